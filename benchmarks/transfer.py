"""A model of one shop on another one's items: as it is, with an adapter, and beside what starts from nothing.

    python benchmarks/transfer.py [--seeds 0 1 2] [--data ../shared/data] [--cores 0 1]

The base is trained on Amazon Beauty without item ids (`configs/amazon-beauty-without-ids.yaml`), and the target is
MovieLens-100K (`configs/movielens-100k-from-beauty.yaml`). "From nothing" has the base's shape, and the target's data
and steps. What is finished is kept. Prints the table of docs/lora.md.
"""

import argparse
import os
from pathlib import Path
from typing import Any

from quality import ROOT, call, source, train

from seqrec import PreparedData, Recommender
from seqrec.folders import read_json
from seqrec.settings import read_config
from seqrec.tables import runs_table

BASE, TARGET = "amazon-beauty-without-ids", "movielens-100k-from-beauty"
NEIGHBOURS = ("popularity", "content-kNN")
OF_ADAPTERS = ("base_model", "lora", "lora_rank", "lora_alpha")
OF_THE_SHOP = ("dataset", "text_template", "seed")


def main(options: argparse.Namespace) -> None:
    """Train what is not there yet, measure it on the target, and print the table."""
    if options.cores:
        os.sched_setaffinity(0, options.cores)
    runs = options.output_dir.resolve()
    base, target = read_config(ROOT / "configs" / f"{BASE}.yaml"), read_config(ROOT / "configs" / f"{TARGET}.yaml")
    data = source("amazon-beauty", options.data) | {"text_template": base["text_template"]}
    train(runs / "base", [f"configs/{BASE}.yaml"], {"disable_tqdm": True, **data})
    shape = {name: value for name, value in base.items() if name not in OF_THE_SHOP}
    scratch = shape | {name: value for name, value in target.items() if name not in OF_ADAPTERS}
    for seed in options.seeds:
        again = {"seed": seed, "disable_tqdm": True, "base_model": str(runs / "base" / "model")}
        train(runs / f"adapter-{seed}", [f"configs/{TARGET}.yaml"], again)
        texts = {"text_template": base["text_template"], "column_mapping": target["column_mapping"]}
        train(runs / f"scratch-{seed}", [], {**scratch, **texts, "seed": seed, "disable_tqdm": True})
        for name in (f"adapter-{seed}", f"scratch-{seed}"):
            if "test" not in read_json(runs / name / "model" / "metrics.json"):
                call(
                    [
                        "scripts/evaluate.py",
                        str(runs / name),
                        "--baselines",
                        *(NEIGHBOURS if seed == options.seeds[0] else ()),
                    ]
                )
    measured: dict[str, list[dict[str, Any]]] = {
        name: [read_json(runs / f"adapter-{options.seeds[0]}" / "model" / "metrics.json")["baselines"][name]]
        for name in NEIGHBOURS
    }
    measured["zero-shot"] = [zero_shot(runs / "base", runs / f"adapter-{options.seeds[0]}")]
    for name in ("adapter", "scratch"):
        measured[name] = [
            read_json(runs / f"{name}-{seed}" / "model" / "metrics.json")["test"] for seed in options.seeds
        ]
    print(runs_table(measured))
    for name in ("adapter", "scratch"):
        print(name, *(course(runs / f"{name}-{seed}") for seed in options.seeds), sep="\n  ")


def zero_shot(base: Path, target: Path) -> dict[str, Any]:
    """Measure the base on the target's data as it is, its own items replaced by those of the target."""
    recommender, data = Recommender.from_pretrained(base / "model"), PreparedData.load(target / "data")
    recommender.set_catalogue(data.items.remove_columns("count").with_format("arrow")[:])
    return recommender.evaluate(data.dataset["test"])


def course(run: Path) -> str:
    """NDCG@10 on validation against CPU-seconds of training."""
    metrics = read_json(run / "model" / "metrics.json")["train"]
    log = read_json(run / "logs" / "trainer_state.json")["log_history"]
    points = [(entry["cpu_seconds"], entry["eval_ndcg@10"]) for entry in log if "eval_ndcg@10" in entry]
    before = metrics.get("lora", {}).get("before", {}).get("exclude_seen", {}).get("ndcg@10")
    start = f"{before:.4f} before; " if before is not None else ""
    return start + ", ".join(f"{seconds:.0f} s {value:.4f}" for seconds, value in points[:: max(1, len(points) // 8)])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--output_dir", type=Path, default=ROOT / "runs" / "benchmarks" / "transfer")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--cores", type=int, nargs="+", help="the cores that may be used")
    main(parser.parse_args())
