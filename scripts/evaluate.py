"""Measure a trained model and its baselines on held-out targets, the same call for all.

    python scripts/evaluate.py runs/demo [--k 10 20] [--split test] [--baselines popularity item-kNN]
    python scripts/evaluate.py runs/demo --top_k_output top20.csv
    python scripts/evaluate.py runs/demo --against runs/other

Reads RUN/model and RUN/data and prints the tables. For the test split it also puts the numbers into
RUN/model (metrics.json and the card) and draws RUN/plots. With --against it compares two runs user by user, and
records nothing.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from seqrec import Recommender
from seqrec.baselines import BASELINES, fit_baselines
from seqrec.data import PreparedData
from seqrec.evaluation import PROTOCOL, check_same_rows, compare, evaluate
from seqrec.folders import read_json
from seqrec.model_folder import write_card
from seqrec.plots import plot_comparison, plot_training
from seqrec.report import trainer_log, update_metrics, write_top_k
from seqrec.tables import cohorts_table, comparison_table, difference_table, lists_table


def main(
    run: Path, k: list[int], split: str, baselines: list[str], against: Path | None, top_k_output: Path | None
) -> None:
    """Evaluate the run's model and baselines on a split, or compare it with another run, and show what came out."""
    if against:
        return show_difference(run, against, k, split)
    recommender, data = load(run)
    rows = data.dataset[split]
    if top_k_output:
        write_top_k(recommender, rows, top_k_output)
    items, content = recommender.items, recommender.text_vectors()
    results = {"seqrec": evaluate(recommender, rows, k, items, content)}
    for name, baseline in fit_baselines(data.dataset["train"], items, content, baselines).items():
        results[name] = evaluate(baseline, rows, k, items, content)
    print(f"\n{run}, {split}", comparison_table(results), lists_table(results), cohorts_table(results), sep="\n\n")
    if split == "test":
        record(run / "model" / "metrics.json", results)
        write_card(run / "model")
        draw(run, results)


def load(run: Path) -> tuple[Recommender, PreparedData]:
    """Return a run's model and the data that it was trained on."""
    for folder in (run / "model", run / "data"):
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder} does not exist. Give the folder that scripts/train.py wrote.")
    recommender, data = Recommender.from_pretrained(run / "model"), PreparedData.load(run / "data")
    if data.report != recommender.folder.preparation:
        raise ValueError(f"{run}/data is not what {run}/model was trained on: a newer run began here. Let it finish.")
    if data.report["split"]["name"] == "none":
        refit = "refit" in recommender.folder.metrics.get("train", {})
        held_out = f"; measure {run}/validated, which chose how long" if refit else ""
        raise ValueError(f"{run} was trained on everything, so there is nothing to measure it on{held_out}.")
    return recommender, data


def show_difference(run: Path, against: Path, k: list[int], split: str) -> None:
    """Compare two runs user by user."""
    if run.resolve() == against.resolve():
        raise ValueError(f"{run} differs in nothing from itself; expected another run. Give one to --against.")
    (recommender, data), (other, other_data) = load(run), load(against)
    check_same_rows(data.dataset[split], other_data.dataset[split])
    differences = compare(recommender, other, data.dataset[split], k)
    print(f"\n{run} against {against}, {split}\n\n{difference_table(differences, str(run), str(against))}")


def record(path: Path, results: dict[str, dict[str, Any]]) -> None:
    """Add the test and baseline metrics to metrics.json; a baseline measured before stays, if with the same cuts."""
    before, cuts = read_json(path), results["seqrec"]["exclude_seen"].keys()
    kept = {name: old for name, old in before.get("baselines", {}).items() if old["exclude_seen"].keys() == cuts}
    test, protocol = results["seqrec"], PROTOCOL | before.get("protocol", {})
    baselines = {name: result for name, result in (kept | results).items() if name != "seqrec"}
    update_metrics(path, protocol=protocol, test=test, baselines=baselines)


def draw(run: Path, results: dict[str, dict[str, Any]]) -> None:
    """Draw the plots, or say why there are none."""
    try:
        plot_comparison(results, run / "plots" / "comparison.png")
        if log_history := trainer_log(run):
            plot_training(log_history, run / "plots" / "training.png")
    except (ImportError, ValueError, OSError) as error:
        print(f"No plots: {error}", file=sys.stderr)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run folder with model/ and data/")
    parser.add_argument("--k", type=int, nargs="+", default=[10, 20], help="cuts of the metrics")
    parser.add_argument("--split", choices=["test", "validation"], default="test", help="which targets to rank")
    parser.add_argument("--baselines", nargs="*", choices=BASELINES, default=BASELINES, help="those that are wanted")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--against", type=Path, help="another run folder of the same data: compare, record nothing")
    instead.add_argument("--top_k_output", type=Path, help="csv for 20 unseen items a user (ids without spaces)")
    try:
        main(**vars(parser.parse_args()))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
