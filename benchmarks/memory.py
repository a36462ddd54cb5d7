"""Measure the memory of training: 1,000,000 items, bfloat16 weights, gradient checkpointing, and the estimate.

    python benchmarks/memory.py [--data ../shared/data] [--output_dir runs/benchmarks/training]

Every row is a run of scripts/train.py in a process of its own: a few steps, a validation, a checkpoint, the finished
model. The estimate is what the run prints before it trains; the peak is that of the process when it has finished.
"""

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from systems.launch import ROOT

from seqrec.folders import read_json

NUM_ITEMS, NUM_LIGHT_USERS, NUM_HEAVY_USERS, HEAVY_LENGTH = 1_000_000, 500_000, 2_000, 20
LIMIT_MB = 8 * 1024
COMMON = "--text_encoder none --num_threads 1 --min_interactions 1 --similarity dot --disable_tqdm true"
NETWORK = "--ensemble_size 1 --hidden_size 64 --num_attention_heads 1 --transition_size 0"
STEPS = "--max_steps 4 --eval_strategy steps --eval_steps 4 --save_strategy steps --save_steps 4"
MILLION = "--hidden_size 128 --num_attention_heads 2 --max_position_embeddings 50 --per_device_train_batch_size 256"
DEEP = "--num_hidden_layers 6 --max_position_embeddings 200 --per_device_train_batch_size 128 --norm pre"
RUNS = {
    "1,000,000 items, sampled softmax": ("million", f"{MILLION} --softmax_samples 8192"),
    "the same, bfloat16 weights": ("million", f"{MILLION} --softmax_samples 8192 --weights_dtype bfloat16"),
    "1,000,000 items, exact softmax": ("million", MILLION),
    "ML-1M, 6 blocks": ("movielens-1m", DEEP),
    "the same, gradient checkpointing": ("movielens-1m", f"{DEEP} --gradient_checkpointing true"),
}
MEASURED = re.compile(r"measured +([\d,]+) ms the largest step, ([\d,]+) MB peak memory")


def memory(options: argparse.Namespace) -> tuple[list[dict[str, Any]], str]:
    """Peak memory of whole runs beside what they had estimated."""
    rows = []
    for name, (data, words) in RUNS.items():
        file = options.data / "movielens-1m" / "interactions.parquet"
        if data == "million":
            file = options.output_dir / "million.parquet"
            write_million(file)
        rows.append({"run": name, **train(file, words)})
    table = [
        "| run | estimate, MB | peak, MB | peak / estimate | s, largest step | limit |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for row in rows:
        limit = f"{LIMIT_MB:,} MB; ratio 0.75 to 1.25" if "1,000,000" in row["run"] else "ratio 0.75 to 1.25"
        ratio = row["peak_mb"] / row["estimate_mb"]
        cells = [
            row["run"],
            f"{row['estimate_mb']:,}",
            f"{row['peak_mb']:,}",
            f"{ratio:.2f}",
            f"{row['step_seconds']:.2f}",
        ]
        table.append(f"| {' | '.join([*cells, limit])} |")
    return rows, "\n".join(table)


def write_million(path: Path) -> None:
    """Write interactions that take every one of a million items, most by users of two; the others can be validated."""
    if path.exists():
        return
    random = np.random.default_rng(0)
    light = random.permutation(NUM_ITEMS)
    heavy = random.integers(NUM_ITEMS, size=NUM_HEAVY_USERS * HEAVY_LENGTH)
    users = (
        np.repeat(np.arange(NUM_LIGHT_USERS), 2),
        np.repeat(np.arange(NUM_HEAVY_USERS), HEAVY_LENGTH) + NUM_LIGHT_USERS,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({"user_id": np.concatenate(users), "item_id": np.concatenate([light, heavy])})
    pq.write_table(table, path)


def train(interactions: Path, words: str) -> dict[str, Any]:
    """Run a training and return what it estimated and what it took."""
    with TemporaryDirectory() as folder:
        command = [sys.executable, "scripts/train.py", "--interactions", str(interactions), "--output_dir", folder]
        command += [*COMMON.split(), *NETWORK.split(), *STEPS.split(), *words.split()]
        print(*command, file=sys.stderr, flush=True)
        done = subprocess.run(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        found = MEASURED.search(done.stdout)
        if done.returncode or found is None:
            raise RuntimeError(f"The run ended with {done.returncode}:\n{done.stdout[-2000:]}")
        step, estimate = (int(number.replace(",", "")) for number in found.groups())
        peak = read_json(Path(folder) / "model" / "metrics.json")["train"]["peak_memory_mb"]
    return {"estimate_mb": estimate, "peak_mb": peak, "step_seconds": step / 1000}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--output_dir", type=Path, default=ROOT / "runs" / "benchmarks" / "training")
    arguments = parser.parse_args()
    arguments.data, arguments.output_dir = arguments.data.resolve(), arguments.output_dir.resolve()
    measured, markdown = memory(arguments)
    print(json.dumps(measured), markdown, sep="\n\n")
