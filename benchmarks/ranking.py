"""Train and measure every row of README's table on MovieLens-100K, three seeds each: what is finished is kept.

    python benchmarks/ranking.py [--output_dir runs/benchmarks/ranking] [--seeds 0 1 2]

An interrupted run is resumed. Prints the table as Markdown; every run's own numbers are in its metrics.json.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from seqrec.folders import read_json
from seqrec.report import results_of_runs
from seqrec.tables import runs_table

ROOT = Path(__file__).parent.parent
CAUSAL, BIDIRECTIONAL = "configs/movielens-100k.yaml", "configs/movielens-100k-bidirectional.yaml"
MODELS = {
    "seqrec, causal, ids": [CAUSAL, "--text_encoder", "none", "--early_stopping_patience", "0"],
    "seqrec, causal, ids + text": [CAUSAL],
    "seqrec, bidirectional, ids + text": [BIDIRECTIONAL],
}


def main(output_dir: Path, seeds: list[int]) -> None:
    """Do what is not done yet, then print the table."""
    runs: dict[str, list[Path]] = {name: [] for name in MODELS}
    for seed in seeds:  # all rows of the first seed before the second, so that a table can be seen early
        for name, words in MODELS.items():
            run = output_dir / f"{name.replace(', ', '-').replace(' + ', '-')}-{seed}"
            finish(run, [*words, "--seed", str(seed)])
            runs[name].append(run)
    print(runs_table(results_of_runs(runs)))


def finish(run: Path, words: list[str]) -> None:
    """Train and evaluate a run, as far as that is not done."""
    if not (run / "logs" / "trainer_state.json").is_file():
        resume = ["--resume_from_checkpoint"] if (run / "logs" / "course.json").is_file() else []
        launch = ["-m", "accelerate.commands.accelerate_cli", "launch", "--quiet", "--num_processes", "1"]
        call(
            [
                *launch,
                "scripts/train.py",
                *words,
                "--output_dir",
                str(run),
                "--num_threads",
                "1",
                "--disable_tqdm",
                "true",
                *resume,
            ]
        )
    if "test" not in read_json(run / "model" / "metrics.json"):
        call(["scripts/evaluate.py", str(run)])


def call(words: list[str]) -> None:
    """Run a command of this repository with this Python."""
    print("python", *words, file=sys.stderr, flush=True)
    subprocess.run([sys.executable, *words], cwd=ROOT, stdout=sys.stderr, check=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", type=Path, default=ROOT / "runs" / "benchmarks" / "ranking")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    main(arguments.output_dir.resolve(), arguments.seeds)
