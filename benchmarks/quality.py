"""Train and measure our models on three data sets, and put them beside the published results.

    python benchmarks/quality.py [--only beauty] [--seeds 0 1 2] [--data ../shared/data] [--cores 0 1] [--no_training]

A row is a config of `configs/`, or the defaults with nothing named but files. What is finished is kept, what was
interrupted is resumed; several processes may share the work by `--only`. Writes benchmarks/RESULTS.md from all runs
that are finished. Rank lists of MovieLens-100K go through `../shared/bench/evaluator.py`, which must agree with us.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from seqrec.folders import read_json, written_whole_file

ROOT = Path(__file__).parent.parent
BENCH = ROOT.parent / "shared" / "bench"
FOLDERS = {"amazon-beauty": "amazon-beauty-2014", "movielens-1m": "movielens-1m"}
"""Where the tables of a data set are under `--data`; MovieLens-100K is fetched."""
TITLES = {
    "amazon-beauty": "Amazon Beauty 2014, 5-core: 22,363 users, 12,101 items",
    "movielens-1m": "MovieLens-1M, items with fewer than 5 ratings removed: 6,040 users, 3,416 items",
    "movielens-100k": "MovieLens-100K, 5-core: 943 users, 1,349 items",
}
BASELINES = ("popularity", "item-kNN", "content-kNN")


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Args:
        data: The data set.
        name: What stands in the table.
        mask: Who sees whom.
        config: Of `configs/`; none for the defaults.
    """

    data: str
    name: str
    mask: str
    config: str | None

    def run(self, seed: int) -> str:
        """The name of a run's folder."""
        return f"{self.config or f'{self.data}-default'}-{seed}"


ROWS = (
    Row("amazon-beauty", "ids + text", "causal", "amazon-beauty"),
    Row("amazon-beauty", "ids + text", "bidirectional", "amazon-beauty-bidirectional"),
    Row("amazon-beauty", "ids", "causal", "amazon-beauty-ids"),
    Row("amazon-beauty", "defaults", "causal", None),
    Row("movielens-1m", "ids + text", "causal", "movielens-1m"),
    Row("movielens-1m", "ids + text", "bidirectional", "movielens-1m-bidirectional"),
    Row("movielens-1m", "defaults", "causal", None),
    Row("movielens-100k", "ids + text", "causal", "movielens-100k"),
    Row("movielens-100k", "ids + text", "bidirectional", "movielens-100k-bidirectional"),
    Row("movielens-100k", "defaults", "causal", None),
)


def main(options: argparse.Namespace) -> None:
    """Do what is not done yet, then write the tables."""
    if options.cores:
        os.sched_setaffinity(0, options.cores)
    output_dir = options.output_dir.resolve()
    if not options.no_training:
        for seed in options.seeds:  # all rows of the first seed before the second, so that tables can be seen early
            for row in ROWS:
                if options.only in row.run(seed):
                    finish(row, seed, output_dir / row.run(seed), options.data)
    with written_whole_file(Path(__file__).parent / "RESULTS.md") as temporary:
        temporary.write_text(results(output_dir, options.seeds))


def finish(row: Row, seed: int, folder: Path, data: Path) -> None:
    """Train and measure one run, as far as that is not done."""
    words = [] if row.config is None else [f"configs/{row.config}.yaml"]
    train(folder, words, {"seed": seed, "disable_tqdm": True} | source(row.data, data))
    if "test" not in read_json(folder / "model" / "metrics.json"):
        call(
            ["scripts/evaluate.py", str(folder), "--baselines", *BASELINES, "--top_k_output", str(folder / "top.csv")]
        )
    if row.data == "movielens-100k":
        check_outside(folder)


def source(data: str, folder: Path) -> dict[str, str]:
    """The settings that name a data set: its tables, or its name where it is fetched."""
    if data not in FOLDERS:
        return {"dataset": data}
    path = folder.resolve() / FOLDERS[data]
    return {"interactions": str(path / "interactions.parquet"), "items": str(path / "items.parquet")}


def train(folder: Path, words: Sequence[str], settings: Mapping[str, Any]) -> None:
    """Train a run to its end, from where it was, in a process of its own; its checkpoints go when it is there."""
    if not (folder / "logs" / "trainer_state.json").is_file():
        named = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
        resume = ["--resume_from_checkpoint"] if (folder / "logs" / "course.json").is_file() else []
        call(["scripts/train.py", *words, *named, "--output_dir", str(folder), *resume])
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def call(words: Sequence[str]) -> str:
    """Run a command of this repository with this Python, and return what it printed."""
    print("python", *words, file=sys.stderr, flush=True)
    return subprocess.run([sys.executable, *words], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout


def check_outside(folder: Path) -> None:
    """See that an evaluator that is not ours finds the same in the rank lists, to four digits."""
    if not (BENCH / "evaluator.py").is_file():
        return
    split, lists = BENCH / "ml100k_split.csv", folder / "top.csv"
    words = [str(BENCH / "evaluator.py"), "--split", str(split), "--topk", str(lists), "--expect", "filtered"]
    printed = call(words)
    theirs = json.loads(printed[printed.index("{") :])
    ours = read_json(folder / "model" / "metrics.json")["test"]["exclude_seen"]
    for name in ("hr@10", "ndcg@10", "hr@20", "ndcg@20"):
        if abs(theirs[name] - ours[name]) > 5e-5:
            raise ValueError(f"{folder}: {name} is {theirs[name]:.5f} outside and {ours[name]:.5f} here.")


def results(output_dir: Path, seeds: Sequence[int]) -> str:
    """Return the tables of what is finished, as Markdown."""
    with (Path(__file__).parent / "published.yaml").open(encoding="utf-8") as file:
        published = yaml.safe_load(file)
    parts = [
        "# Results\n\nFull catalogue, leave-one-out, test targets, seen items excluded where not said otherwise. "
        "Ours, by `python\nbenchmarks/quality.py`: mean and standard deviation over seeds, chosen on validation. "
        "Theirs: as published, with\nthe source, by falling NDCG@10."
    ]
    for data, title in TITLES.items():
        parts.append(f"## {title}\n\n{table(data, output_dir, seeds, published[data])}")
    return "\n\n".join(parts) + "\n"


def table(data: str, output_dir: Path, seeds: Sequence[int], published: Sequence[Mapping[str, Any]]) -> str:
    """Return the table of one data set."""
    titles = ["model", "mask", "HR@10", "NDCG@10", "HR@10, seen included", "NDCG@10, seen included"]
    lines = [[*titles, "validation NDCG@10", "training min", "source"], ["---"] * 9]
    for row in ROWS:
        runs = [read_json(output_dir / row.run(seed) / "model" / "metrics.json") for seed in seeds]
        measured = [run for run in runs if "test" in run]
        if row.data == data and measured:
            lines.append(own_cells(row, measured))
    for result in sorted(published, key=lambda result: -result["ndcg"]):
        included = result["seen"] == "included"
        values = [f"{result['hr']:.4f}", f"{result['ndcg']:.4f}"]
        cells = ["", "", *values] if included else [*values, "", ""]
        unsaid = " (filter not said)" if result["seen"] == "not said" else ""
        lines.append([result["model"] + unsaid, result["mask"], *cells, "", "", result["source"]])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def own_cells(row: Row, runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the cells of one of our rows."""
    cells = [f"**seqrec, {row.name}**", row.mask]
    for part in ("exclude_seen", "include_seen"):
        cells += [spread([run["test"][part][name] for run in runs]) for name in ("hr@10", "ndcg@10")]
    cells.append(spread([run["validation"]["exclude_seen"]["ndcg@10"] for run in runs]))
    minutes = statistics.mean(run["train"]["seconds"] for run in runs) / 60
    config = f"`configs/{row.config}.yaml`" if row.config else "nothing named but files"
    return [*cells, f"{minutes:.0f}", f"{config}, {len(runs)} seed(s)"]


def spread(values: Sequence[float]) -> str:
    """Return mean and standard deviation."""
    deviation = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.4f}{deviation}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--output_dir", type=Path, default=ROOT / "runs" / "benchmarks" / "quality")
    parser.add_argument("--only", default="", help="runs whose name holds this, e.g. beauty-ids or default-0")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--cores", type=int, nargs="+", help="the cores that may be used")
    parser.add_argument("--no_training", action="store_true", help="write the tables of what is finished")
    main(parser.parse_args())
