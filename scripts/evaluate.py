"""Measure a trained model and its baselines on held-out targets, the same call for all.

    python scripts/evaluate.py runs/demo [--k 10 20] [--split test] [--top_k_output top20.csv]

Reads RUN/model and RUN/data and prints the table. For the test split it also puts the numbers into
RUN/model/metrics.json and draws RUN/plots.
"""

import argparse
import csv
import sys
from pathlib import Path
from typing import Any

from datasets import Dataset

from seqrec import Ranker, Recommender
from seqrec.baselines import ContentKNN, ItemKNN, Popularity
from seqrec.data import PreparedData
from seqrec.evaluation import PROTOCOL, evaluate
from seqrec.folders import read_json
from seqrec.report import comparison_table, plot_comparison, plot_training, trainer_log, update_metrics


def main(run: Path, k: list[int], split: str, top_k_output: Path | None) -> None:
    """Evaluate the run's model and baselines on a split and show what came out."""
    for folder in (run / "model", run / "data"):
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder} does not exist. Give the folder that scripts/train.py wrote.")
    recommender = Recommender.from_pretrained(run / "model")
    data = PreparedData.load(run / "data")
    if data.report != recommender.folder.preparation:
        raise ValueError(f"{run}/data is not what {run}/model was trained on: a newer run began here. Let it finish.")
    rows = data.dataset[split]
    results = {name: evaluate(ranker, rows, k) for name, ranker in all_rankers(recommender, data).items()}
    if split == "test":
        record(run / "model" / "metrics.json", results)
        draw(run, results)
    if top_k_output:
        write_top_k(recommender, rows, top_k_output)
    print(f"\n{run}, {split}\n\n{comparison_table(results)}")


def all_rankers(recommender: Recommender, data: PreparedData) -> dict[str, Ranker]:
    """Return the model and the baselines that its data allows, by name."""
    train, items = data.dataset["train"], recommender.items
    rankers: dict[str, Ranker] = {
        "seqrec": recommender,
        "popularity": Popularity(train, items),
        "item-kNN": ItemKNN(train, items),
    }
    content = recommender.model.content_vectors("text")
    if content:
        vectors, present = content
        rankers["content-kNN"] = ContentKNN(train, items, vectors.float().numpy(), present.numpy())
    return rankers


def record(path: Path, results: dict[str, dict[str, Any]]) -> None:
    """Add the test and baseline metrics to metrics.json."""
    model, *baselines = results
    protocol = PROTOCOL | read_json(path).get("protocol", {})
    update_metrics(path, protocol=protocol, test=results[model], baselines={name: results[name] for name in baselines})


def draw(run: Path, results: dict[str, dict[str, Any]]) -> None:
    """Draw the plots; without matplotlib say how to get it."""
    try:
        plot_comparison(results, run / "plots" / "comparison.png")
        if log_history := trainer_log(run):
            plot_training(log_history, run / "plots" / "training.png")
    except ImportError as error:
        print(f"No plots: {error}", file=sys.stderr)


def write_top_k(recommender: Recommender, rows: Dataset, path: Path) -> None:
    """Write each user's 20 best unseen items as csv: `user_id,items`, ids separated by spaces, best first."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["user_id", "items"])
        for batch in rows.select_columns(["user_id", "history"]).iter(batch_size=256):
            lists = recommender.recommend(batch["history"], k=20, exclude_seen=True)
            for user_id, best in zip(batch["user_id"], lists, strict=True):
                writer.writerow([user_id, " ".join(item["item_id"] for item in best)])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run folder with model/ and data/")
    parser.add_argument("--k", type=int, nargs="+", default=[10, 20], help="cuts of the metrics")
    parser.add_argument("--split", choices=["test", "validation"], default="test", help="which targets to rank")
    parser.add_argument("--top_k_output", type=Path, help="csv for 20 unseen items a user (ids without spaces)")
    try:
        main(**vars(parser.parse_args()))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
