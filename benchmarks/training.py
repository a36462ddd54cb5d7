"""Measure training against RecTools and RePlay: speed, two cores against one, and the time to the peers' quality.

    python benchmarks/training.py [--parts throughput scaling quality memory] [--data ../shared/data] [--repeats 2]

Prints Markdown tables, every figure beside its target, and keeps all that was measured in OUTPUT_DIR/training.json;
a part that is measured again replaces itself there. Ratios are what counts: a process has the same cores as the one
it is compared with (`taskset` chooses them: the first allowed core, for two threads the second as well), peers and
seqrec take turns, and the best of all rounds is kept. Peers run in environments of their own, made when missing. The
peers' validation curves take hours: they are measured once and kept in benchmarks/curves, whose README says how.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from memory import memory
from systems.launch import ROOT, export_histories, measure

from seqrec.folders import read_json, write_json

CURVES = Path(__file__).parent / "curves"
PEER_STEPS = 8
SCALING_TARGET = 1.7
QUALITY_TARGET = 20
PATIENCE = 10  # epochs without a better value that end a peer's curve
SMALL = {"hidden_size": 64, "ensemble_size": 1, "num_attention_heads": 1, "transition_size": 0}
FAST_START = {"id_start": "cooccurrence", "learning_rate": 2e-3, "average_decay": 0.98, "warmup_steps": 30}
QUALITY_SETTINGS = {
    "movielens-100k": {"config": "configs/movielens-100k.yaml", "num_train_epochs": 12, **SMALL, **FAST_START},
    "amazon-beauty-2014": {
        **{"config": "configs/amazon-beauty.yaml", "num_train_epochs": 20, **SMALL, **FAST_START},
        **{"hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0.2},
    },
}
"""What seqrec is trained with until it passes the peers: a config, and settings that replace its own."""
PEER_MODELS = {"causal": "sasrec", "bidirectional": "bert4rec"}
NETWORK = {"hidden_size": 64, "ensemble_size": 1, "num_hidden_layers": 2, "num_attention_heads": 2}
NETWORK |= {"transition_size": 0, "similarity": "dot", "relative_position_bias": False}
FEED_FORWARD = {
    "causal": {"intermediate_size": 64, "hidden_act": "relu"},
    "bidirectional": {"intermediate_size": 256, "hidden_act": "gelu", "mask_probability": 0.15},
}
"""The feed-forward layer of RecTools' SASRec and BERT4Rec, and what the latter hides."""


AUTOCAST = ["--bf16", "true"]
"""Matrix products of the encoder in bfloat16, too; those of the softmax are wherever the processor multiplies it."""
FLOAT32 = ["--softmax_dtype", "float32"]
"""All in float32, as the peers compute."""


@dataclass(frozen=True)
class Task:
    """Equal settings for all systems.

    Args:
        name: Its name in the table.
        data: The data set.
        attention: What it is called in seqrec; the peers have a model for each.
        length: Places a model reads.
        batch_size: Histories a step.
        larger_batch_size: Of seqrec's last row.
        dropout: Of the input and of both branches of a block.
        target: Times RecTools' interactions per CPU-second, at least.
        aim: The same, hoped for.
    """

    name: str
    data: str
    attention: str
    length: int
    batch_size: int
    larger_batch_size: int
    dropout: float
    target: float
    aim: float


TASKS = (
    Task("Beauty, causal", "amazon-beauty-2014", "causal", 50, 256, 1024, 0.5, target=40, aim=55),
    Task("ML-1M, causal", "movielens-1m", "causal", 200, 128, 256, 0.2, target=10, aim=12),
    Task("ML-1M, bidirectional", "movielens-1m", "bidirectional", 200, 128, 256, 0.2, target=18, aim=22),
)


def main(options: argparse.Namespace) -> None:
    """Measure the parts that are asked for."""
    path = options.output_dir / "training.json"
    for part in options.parts:
        rows, table = PARTS[part](options)
        found = {"date": date.today().isoformat(), "machine": machine(), "rows": rows}
        write_json(path, read_json(path) | {part: found})
        print(f"{part}, {found['date']}, {found['machine']}\n\n{table}\n", flush=True)


def throughput(options: argparse.Namespace) -> tuple[list[dict[str, Any]], str]:
    """Interactions a second on one core, peers and seqrec in turns."""
    cores = allowed_cores()[:1]
    rows: list[dict[str, Any]] = []
    for task in TASKS:
        file = options.output_dir / "histories" / f"{task.data}.jsonl"
        export_histories(to_words(source(task.data, options.data)), file)
        peer = PEER_MODELS[task.attention]
        own = [f"{task.attention}, {kind}" for kind in ("softmax bf16", "all products bf16", "float32")]
        systems = {
            ("rectools", peer, task.batch_size): peer_words(task, file, options),
            ("replay", peer, task.batch_size): peer_words(task, file, options),
            ("seqrec", own[0], task.batch_size): own_words(task, task.batch_size, options),
            ("seqrec", own[1], task.batch_size): [*own_words(task, task.batch_size, options), *AUTOCAST],
            ("seqrec", own[2], task.batch_size): [*own_words(task, task.batch_size, options), *FLOAT32],
            ("seqrec", own[1], task.larger_batch_size): [*own_words(task, task.larger_batch_size, options), *AUTOCAST],
        }
        rounds: dict[tuple[str, str, int], list[dict[str, Any]]] = {key: [] for key in systems}
        for _ in range(options.repeats):
            for key, words in systems.items():
                rounds[key].append(measure(key[0], words, cores))
        rows += throughput_rows(task, rounds)
    return rows, throughput_table(rows)


def throughput_rows(task: Task, rounds: dict[tuple[str, str, int], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return a task's rows, one for each system: the best of its rounds."""
    rows: list[dict[str, Any]] = []
    for (system, model, batch), answers in rounds.items():
        wall, cpu = best_speed(answers)
        reference = rows[0]["per_cpu_second"] if rows else cpu  # RecTools is the first
        rows.append(
            {
                "task": task.name,
                "system": system,
                "model": model,
                "batch_size": batch,
                "per_second": wall,
                "per_cpu_second": cpu,
                "times_rectools": cpu / reference,
                **({"target": task.target, "aim": task.aim} if system == "seqrec" else {}),
                "peak_memory_mb": max(answer["peak_memory_mb"] for answer in answers),
                "rounds": answers,
            }
        )
    return rows


def throughput_table(rows: Iterable[dict[str, Any]]) -> str:
    """Return the rows as Markdown."""
    header = ["data", "system", "model", "batch", "interactions/s", "per CPU-second", "times RecTools (CPU)"]
    cells = [
        [
            row["task"],
            row["system"],
            row["model"],
            f"{row['batch_size']:,}",
            f"{row['per_second']:,.0f}",
            f"{row['per_cpu_second']:,.0f}",
            f"{row['times_rectools']:.1f}",
            f"{row['target']:g} (aim {row['aim']:g})" if "target" in row else "",
            f"{min(answer['first_step_seconds'][0] for answer in row['rounds']):.2f}",
            f"{row['peak_memory_mb']:,.0f}",
        ]
        for row in rows
    ]
    return markdown([*header, "target", "first step, s", "peak MB"], cells)


def scaling(options: argparse.Namespace) -> tuple[list[dict[str, Any]], str]:
    """Two threads on two cores against one on one, wall clock."""
    cores = allowed_cores()[:2]
    if len(cores) < 2:
        raise SystemExit("scaling compares two cores with one, but this process may use one only; allow it a second.")
    rows: list[dict[str, Any]] = []
    for task in (task for task in TASKS if task.attention == "causal"):
        rounds: dict[int, list[dict[str, Any]]] = {1: [], 2: []}
        for _ in range(options.repeats):
            for threads, answers in rounds.items():
                words = own_words(task, task.batch_size, options, threads)
                answers.append(measure("seqrec", words, cores[:threads]))
        one, two = (best_speed(answers)[0] for answers in rounds.values())
        row = {"task": task.name, "one_core": one, "two_cores": two, "ratio": two / one, "target": SCALING_TARGET}
        rows.append({**row, "rounds": rounds})
    cells = [
        [row["task"], f"{row['one_core']:,.0f}", f"{row['two_cores']:,.0f}", f"{row['ratio']:.2f}", str(row["target"])]
        for row in rows
    ]
    return rows, markdown(["data", "interactions/s, one core", "two cores", "ratio", "target"], cells)


def quality(options: argparse.Namespace) -> tuple[list[dict[str, Any]], str]:
    """CPU-seconds to pass the best validation NDCG@10 of each peer whose curve is kept."""
    rows = []
    for data, settings in QUALITY_SETTINGS.items():
        curves = {path.stem: read_curve(path) for path in sorted((CURVES / data).glob("*.jsonl"))}
        if not curves:
            print(f"There is no curve in {CURVES / data}; its README says how to measure one.", file=sys.stderr)
            continue
        target = max(row["ndcg@10"] for curve in curves.values() for row in curve)
        words = [settings["config"], *to_words(source(data, options.data) | {"num_threads": 1})]
        words += to_words({name: value for name, value in settings.items() if name != "config"})
        folder = options.output_dir / f"seqrec-{data}"
        words += ["--curve", str(folder), "--target", str(target)]
        ours = measure("seqrec", words, allowed_cores()[:1])["rows"]
        rows += [quality_row(data, peer, curve, ours) for peer, curve in curves.items()]
    return rows, quality_table(rows)


def quality_row(data: str, peer: str, curve: list[dict[str, Any]], ours: list[dict[str, Any]]) -> dict[str, Any]:
    """Compare the epoch where a peer was best with the first of ours that is better."""
    best = max(range(len(curve)), key=lambda epoch: curve[epoch]["ndcg@10"])
    row = {
        "data": data,
        "peer": peer,
        "peer_best": curve[best]["ndcg@10"],
        "peer_epoch": best + 1,
        "peer_epochs_measured": len(curve),
        "peer_finished": len(curve) - 1 - best >= PATIENCE,
        "peer_cpu_seconds": cpu_seconds(curve[: best + 1]),
        "own_best": max(epoch["ndcg@10"] for epoch in ours),
        **({"target": QUALITY_TARGET} if peer.startswith("rectools") else {}),
    }
    if not row["peer_finished"]:  # its best is still to come: a comparison, but no verdict
        row.pop("target", None)
    passed = next((epoch for epoch, found in enumerate(ours) if found["ndcg@10"] > row["peer_best"]), None)
    if passed is None:
        return row
    seconds = cpu_seconds(ours[: passed + 1])
    ratios = [peers / own for peers, own in zip(row["peer_cpu_seconds"], seconds, strict=True)]
    return {**row, "own_epoch": passed + 1, "own_cpu_seconds": seconds, "ratios": ratios}


def cpu_seconds(epochs: Sequence[dict[str, Any]]) -> list[float]:
    """Return the CPU-seconds of training alone, and with validation."""
    training = sum(epoch["train_seconds"][1] for epoch in epochs)
    return [training, training + sum(epoch["validation_seconds"][1] for epoch in epochs)]


def quality_table(rows: Iterable[dict[str, Any]]) -> str:
    """Return the rows as Markdown."""
    header = ["data", "peer", "its best NDCG@10", "at epoch", "peer's CPU-s, training (+ validation)"]
    header += ["seqrec passes it at epoch", "CPU-s, training (+ validation)", "times less", "target"]
    cells = []
    for row in rows:
        peer = f"{row['peer_epoch']} of {row['peer_epochs_measured']}" + (
            "" if row["peer_finished"] else ", not finished"
        )
        cell = [row["data"], row["peer"], f"{row['peer_best']:.4f}", peer, pair(row["peer_cpu_seconds"], ",.0f")]
        if "own_epoch" in row:
            cell += [str(row["own_epoch"]), pair(row["own_cpu_seconds"], ",.1f"), pair(row["ratios"], ",.1f")]
        else:
            cell += [f"not reached, best {row['own_best']:.4f}", "", ""]
        cells.append([*cell, f"{row['target']}" if "target" in row else ""])
    return markdown(header, cells)


def pair(values: Sequence[float], form: str) -> str:
    """Write the value of training alone, and in brackets that with validation.

    >>> pair([1.0, 2.5], ".1f")
    '1.0 (2.5)'
    """
    return f"{values[0]:{form}} ({values[1]:{form}})"


def read_curve(path: Path) -> list[dict[str, Any]]:
    """Return the epochs of a curve."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def best_speed(answers: Iterable[dict[str, Any]]) -> tuple[float, float]:
    """Return interactions per second and per CPU-second, each of the round where it was best."""
    wall, cpu = zip(*(answer["interactions_per_second"] for answer in answers), strict=True)
    return max(wall), max(cpu)


def source(data: str, folder: Path) -> dict[str, Any]:
    """Return the settings that name a data set; those of `--data` are 5-core already."""
    if data == "movielens-100k":
        return {"dataset": data, "min_interactions": 5}
    return {"interactions": folder / data / "interactions.parquet", "min_interactions": 1}


def peer_words(task: Task, histories: Path, options: argparse.Namespace) -> list[str]:
    """Return what a peer's script is told."""
    settings = {"histories": histories, "model": PEER_MODELS[task.attention], "length": task.length}
    settings |= {"batch_size": task.batch_size, "dropout": task.dropout, "steps": options.steps or PEER_STEPS}
    return to_words(settings)


def own_words(task: Task, batch_size: int, options: argparse.Namespace, num_threads: int = 1) -> list[str]:
    """Return what seqrec's script is told."""
    settings = source(task.data, options.data) | NETWORK | FEED_FORWARD[task.attention]
    settings |= {"attention": task.attention, "max_position_embeddings": task.length, "num_threads": num_threads}
    settings |= {"hidden_dropout_prob": task.dropout, "per_device_train_batch_size": batch_size}
    return to_words(settings | ({"max_steps": options.steps} if options.steps else {}))


def to_words(settings: dict[str, Any]) -> list[str]:
    """Write settings as words of a command.

    >>> to_words({"length": 50, "model": "sasrec"})
    ['--length', '50', '--model', 'sasrec']
    """
    return [word for name, value in settings.items() for word in (f"--{name}", str(value))]


def allowed_cores() -> list[int]:
    """Return the cores this process may use."""
    return sorted(os.sched_getaffinity(0))


def machine() -> str:
    """Return the processor, its cores and the versions that matter."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", "transformers"))
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores, {versions}"


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table.

    >>> print(markdown(["a", "b"], [["1", "2"]]))
    | a | b |
    | --- | --- |
    | 1 | 2 |
    """
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows))


PARTS: dict[str, Callable[[argparse.Namespace], tuple[list[dict[str, Any]], str]]] = {
    "throughput": throughput,
    "scaling": scaling,
    "quality": quality,
    "memory": memory,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--output_dir", type=Path, default=ROOT / "runs" / "benchmarks" / "training")
    parser.add_argument("--repeats", type=int, default=2, help="rounds of which the best is kept")
    parser.add_argument("--steps", type=int, help=f"for a quick look; else {PEER_STEPS} of a peer, an epoch of seqrec")
    arguments = parser.parse_args()
    arguments.data, arguments.output_dir = arguments.data.resolve(), arguments.output_dir.resolve()
    main(arguments)
