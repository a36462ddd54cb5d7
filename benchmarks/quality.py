"""Train and measure our models on three data sets, and put them beside the published results.

    python benchmarks/quality.py [--only beauty] [--seeds 0 1 2] [--data ../shared/data] [--cores 0 1] [--no_training]

A row is a config of `configs/`, or the defaults with nothing named but files. What is finished is kept, what was
interrupted is resumed; several processes may share the work by `--only`. Writes benchmarks/RESULTS.md: a row anew if
all SEEDS of it are finished in OUTPUT_DIR and it is not of more seeds there, other rows as they stand. Rank lists of
MovieLens-100K go through `../shared/bench/evaluator.py`, which must agree with us. To let fewer seeds replace a row,
remove it first.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from seqrec.folders import read_json, written_whole_file
from seqrec.report import results_of_runs
from seqrec.settings import read_config
from seqrec.tables import runs_table

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "RESULTS.md"
BENCH = ROOT.parent / "shared" / "bench"
FOLDERS = {"amazon-beauty": "amazon-beauty-2014", "movielens-1m": "movielens-1m"}
"""Where the tables of a data set are under `--data`; MovieLens-100K is fetched."""
TITLES = {
    "amazon-beauty": "Amazon Beauty 2014, 5-core: 22,363 users, 12,101 items",
    "movielens-1m": "MovieLens-1M, items with fewer than 5 ratings removed: 6,040 users, 3,416 items",
    "movielens-100k": "MovieLens-100K, 5-core: 943 users, 1,349 items",
}
COLUMNS = "| ranker | NDCG@10 | HR@10 | NDCG@10, seen included | HR@10, seen included | source |"
BASELINES = ("popularity", "item-kNN", "content-kNN")


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Args:
        data: The data set.
        name: What it is made from.
        mask: Who sees whom.
        config: Of `configs/`; none for the defaults.
        changed: Settings that replace those of the config.
        variant: What stands in the names of its runs for those settings.
    """

    data: str
    name: str
    mask: str
    config: str | None
    changed: Mapping[str, Any] = field(default_factory=dict)
    variant: str = ""

    @property
    def title(self) -> str:
        """What stands in the table's first cell."""
        return f"**seqrec, {self.mask}, {self.name}**"

    def run(self, seed: int) -> str:
        """The name of a run's folder."""
        if self.config is None:
            return f"{self.data}-default-{seed}"
        return "-".join([self.config, *([self.variant] if self.variant else []), str(seed)])


IDS = {
    **{"text_encoder": "none", "ensemble_size": 2},
    **{"hidden_dropout_prob": 0.5, "attention_probs_dropout_prob": 0.5},
}
WIDE = {"hidden_size": 256, "num_attention_heads": 4, "hidden_dropout_prob": 0.3}
ROWS = (
    Row("amazon-beauty", "ids + text", "causal", "amazon-beauty"),
    Row("amazon-beauty", "ids + text", "bidirectional", "amazon-beauty-bidirectional"),
    Row("amazon-beauty", "ids", "causal", "amazon-beauty-ids"),
    Row("amazon-beauty", "ids", "bidirectional", "amazon-beauty-bidirectional", IDS, "ids"),
    Row("amazon-beauty", "defaults", "causal", None),
    Row("movielens-1m", "ids + text", "causal", "movielens-1m"),
    Row("movielens-1m", "ids + text", "bidirectional", "movielens-1m-bidirectional"),
    Row("movielens-1m", "ids + text, 256 wide", "bidirectional", "movielens-1m-bidirectional", WIDE, "wide"),
    Row("movielens-1m", "defaults", "causal", None),
    Row("movielens-100k", "ids + text", "causal", "movielens-100k"),
    Row("movielens-100k", "ids + text", "bidirectional", "movielens-100k-bidirectional"),
    Row("movielens-100k", "defaults", "causal", None),
)


def main(options: argparse.Namespace) -> None:
    """Do what is not done yet, then write the tables."""
    absent = [row.config for row in ROWS if row.config and not (ROOT / "configs" / f"{row.config}.yaml").is_file()]
    if absent:
        raise FileNotFoundError(f"configs/ has no {absent}.")
    if options.cores:
        os.sched_setaffinity(0, options.cores)
    output_dir = options.output_dir.resolve()
    if not options.no_training:
        for seed in options.seeds:  # all rows of the first seed before the second, so that tables can be seen early
            for row in ROWS:
                if options.only in row.run(seed):
                    finish(row, seed, output_dir / row.run(seed), options.data)
    text = results(output_dir, options.seeds, RESULTS.read_text(encoding="utf-8") if RESULTS.is_file() else "")
    with written_whole_file(RESULTS) as temporary:
        temporary.write_text(text, encoding="utf-8")


def finish(row: Row, seed: int, folder: Path, data: Path) -> None:
    """Train and measure one run, as far as that is not done."""
    words = [] if row.config is None else [f"configs/{row.config}.yaml"]
    config = read_config(ROOT / words[0]) if words else {}  # whose template falls when tables replace its data
    texts = {name: value for name, value in config.items() if name == "text_template"}
    train(folder, words, {"seed": seed, "disable_tqdm": True, **texts, **row.changed} | source(row.data, data))
    if "test" not in read_json(folder / "model" / "metrics.json"):
        baselines = BASELINES if seed == 0 else ()  # of which no seed changes anything
        call(
            ["scripts/evaluate.py", str(folder), "--baselines", *baselines, "--top_k_output", str(folder / "top.csv")]
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
        print(f"no {BENCH / 'evaluator.py'}: {folder / 'top.csv'} stays unchecked", file=sys.stderr)
        return
    split, lists = BENCH / "ml100k_split.csv", folder / "top.csv"
    words = [str(BENCH / "evaluator.py"), "--split", str(split), "--topk", str(lists), "--expect", "filtered"]
    printed = call(words)
    theirs = json.loads(printed[printed.index("{") :])
    ours = read_json(folder / "model" / "metrics.json")["test"]["exclude_seen"]
    for name in ("hr@10", "ndcg@10", "hr@20", "ndcg@20"):
        if abs(theirs[name] - ours[name]) > 5e-5:
            raise ValueError(f"{folder}: {name} is {theirs[name]:.5f} outside and {ours[name]:.5f} here.")


def results(output_dir: Path, seeds: Sequence[int], before: str) -> str:
    """Return the tables of what is finished, and of what an earlier text has of the rest, as Markdown."""
    with (Path(__file__).parent / "published.yaml").open(encoding="utf-8") as file:
        published = yaml.safe_load(file)
    parts = [
        "# Results\n\nFull catalogue, leave-one-out, test targets, seen items excluded where not said otherwise. "
        "Ours, by `python\nbenchmarks/quality.py`: mean and standard deviation over seeds, chosen on validation. "
        "Theirs: as published, with\nthe source, by falling NDCG@10."
    ]
    for data, title in TITLES.items():
        old = before.partition(f"## {title}\n")[2].partition("\n## ")[0]
        parts.append(f"## {title}\n\n{table(data, output_dir, seeds, old, published[data])}")
    return "\n\n".join(parts) + "\n"


def table(
    data: str, output_dir: Path, seeds: Sequence[int], before: str, published: Sequence[Mapping[str, Any]]
) -> str:
    """Return the table of one data set: baselines, ours, then theirs."""
    rows = [row for row in ROWS if row.data == data]
    lines = {first_cell(line): line for line in before.splitlines()}
    for name, line in new_lines(rows, output_dir, seeds).items():
        if num_seeds(line) < num_seeds(lines.get(name, "")):
            print(f"{data}: {name} stays as it was, of more seeds", file=sys.stderr)
        else:
            lines[name] = line
    names = [*BASELINES, *(row.title for row in rows)]
    known = [lines[name] for name in names if name in lines]
    theirs = [published_row(result) for result in sorted(published, key=lambda result: -result["ndcg"])]
    return "\n".join([COLUMNS, "|---" * COLUMNS.count(" | ") + "|---|", *known, *theirs])


def new_lines(rows: Sequence[Row], output_dir: Path, seeds: Sequence[int]) -> dict[str, str]:
    """Return the lines of the rows whose seeds are all measured, and of the baselines beside them, by first cell."""
    runs, notes = {}, {}
    for row in rows:
        folders = [output_dir / row.run(seed) for seed in seeds]
        metrics = [read_json(folder / "model" / "metrics.json") for folder in folders]
        if all("test" in of_run for of_run in metrics):
            runs[row.title], notes[row.title] = folders, note(row, seeds, metrics)
    lines = runs_table(results_of_runs(runs)).splitlines()[2:] if runs else []
    floor = "baseline, 95 % interval over users"
    return {first_cell(line): f"{line} {notes.get(first_cell(line), floor)} |" for line in lines}


def first_cell(line: str) -> str:
    """Return what a line of a table is about."""
    return line.split("|")[1].strip() if line.startswith("|") else ""


def num_seeds(line: str) -> int:
    """Return how many seeds a line of ours is of; 0 for baselines and nothing."""
    found = re.search(r"seeds? (\d[\d, ]*\d|\d)", line)
    return len(found[1].split(", ")) if found else 0


def note(row: Row, seeds: Sequence[int], metrics: Sequence[Mapping[str, Any]]) -> str:
    """Return what stands beside one of our rows."""
    which = f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"
    config = f"`configs/{row.config}.yaml`" if row.config else "nothing named but files"
    config += "".join(f" `--{name} {value}`" for name, value in row.changed.items())
    times: dict[str, list[float]] = {}
    for of_run in metrics:
        seconds = times.setdefault(of_run["train"]["device"], [])
        if of_run["train"]["resumed_at_step"] is None:  # of a resumed run only a part was timed
            seconds.append(of_run["train"]["seconds"])
    places = [f"{statistics.mean(of) / 60:.0f} min on {on}" if of else f"resumed on {on}" for on, of in times.items()]
    validation = statistics.mean(of_run["validation"]["exclude_seen"]["ndcg@10"] for of_run in metrics)
    return f"{config}, {which}, validation NDCG@10 {validation:.4f}, {' and '.join(places)}"


def published_row(result: Mapping[str, Any]) -> str:
    """Return the row of a published result."""
    cells = [f"{result[name]:.4f}" if name in result else "" for name in ("ndcg", "hr", "ndcg_seen", "hr_seen")]
    unsaid = "; whether seen items are excluded is not said" if result["seen"] == "not said" else ""
    line = [f"{result['model']}, {result['mask']}", *cells, result["source"] + unsaid]
    return f"| {' | '.join(line)} |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--output_dir", type=Path, default=ROOT / "runs" / "benchmarks" / "quality")
    parser.add_argument("--only", default="", help="runs whose name holds this, e.g. beauty-ids or default-0")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--cores", type=int, nargs="+", help="the cores that may be used")
    parser.add_argument("--no_training", action="store_true", help="write the tables of what is finished")
    main(parser.parse_args())
