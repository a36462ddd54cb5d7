"""What a run leaves on disk about its quality: metrics.json, the log, the rank lists."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset

from seqrec.folders import read_json, write_json, written_whole_file
from seqrec.ranker import Ranker
from seqrec.tables import cuts_of

KEYS = ("dataset", "split", "num_items", "num_users", "protocol", "validation", "test", "baselines", "train")
TOP_K = 20


def update_metrics(path: str | Path, **parts: Any) -> dict[str, Any]:  # noqa: ANN401 (JSON values)
    """Put parts into metrics.json beside those already there, in one step, and return the whole.

    The file is written under a temporary name and renamed, so that a reader never sees half of it.

    Args:
        path: The file.
        parts: Any of the keys of metrics.json; a given one replaces the old one.

    Raises:
        ValueError: A key that metrics.json does not have, or a number that JSON cannot hold (NaN).
    """
    unknown = sorted(set(parts) - set(KEYS))
    if unknown:
        raise ValueError(f"metrics.json has no {unknown}; its keys are {list(KEYS)}. Use one of them.")
    merged = read_json(path) | parts
    metrics = {key: merged[key] for key in sorted(merged, key=lambda key: (KEYS + (key,)).index(key))}
    write_json(path, metrics)
    return metrics


def results_of_runs(runs: Mapping[str, Sequence[str | Path]]) -> dict[str, list[dict[str, Any]]]:
    """Return what `runs_table` shows of run folders that `scripts/evaluate.py` has measured: baselines, then models.

    The baselines are those of the run that has the most of them: on the same data they are the same in every run.

    Args:
        runs: Run folders by the name of their ranker, several where only the seed differs.

    Raises:
        ValueError: A run has no test metrics, or the runs are of different data, splits, users or cuts.
    """
    metrics = {
        name: [read_json(Path(run) / "model" / "metrics.json") for run in folders] for name, folders in runs.items()
    }
    every = [(run, of_run) for name in runs for run, of_run in zip(runs[name], metrics[name], strict=True)]
    for run, of_run in every:
        if "test" not in of_run:
            raise ValueError(f"{str(run)!r} has no test metrics. Measure it first: scripts/evaluate.py {run}.")
        first, facts, of_first = every[0][0], _what_was_measured(of_run), _what_was_measured(every[0][1])
        for key, fact in facts.items():
            if fact != of_first[key]:
                raise ValueError(
                    f"{str(run)!r} has {key} {fact!r}, {str(first)!r} has {of_first[key]!r}; expected runs of the "
                    "same data and split, measured alike. Leave one of them out, or measure it again."
                )
    baselines: dict[str, Any] = max((of_run.get("baselines", {}) for _, of_run in every), key=len, default={})
    models = {name: [of_run["test"] for of_run in of_name] for name, of_name in metrics.items()}
    return {name: [result] for name, result in baselines.items()} | models


def write_top_k(ranker: Ranker, rows: Dataset, path: str | Path) -> None:
    """Write each user's 20 best unseen items as csv: `user_id,items`, ids separated by spaces, best first.

    The file appears when it is whole.

    Args:
        ranker: The model or baseline.
        rows: One user a row, columns `user_id` and `history`.
        path: The file.

    Raises:
        ValueError: An item's id has a space in it, so that it could not be told from two ids, or a folder is there.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(
            f"{str(path)!r} is a folder; expected a file. Name one in it, e.g. {str(path / 'top.csv')!r}."
        )
    with written_whole_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["user_id", "items"])
        for batch in rows.select_columns(["user_id", "history"]).with_format(None).iter(batch_size=256):
            lists = ranker.recommend(batch["history"], k=TOP_K, exclude_seen=True)
            for user_id, best in zip(batch["user_id"], lists, strict=True):
                writer.writerow([user_id, _joined([item["item_id"] for item in best])])


def _what_was_measured(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return what must be equal in runs whose test metrics stand side by side."""
    facts = {key: metrics.get(key) for key in ("dataset", "split", "num_items", "num_users")}
    test = metrics["test"]
    return facts | {"test users": test["num_users"], "cuts": cuts_of({"test": test})}


def trainer_log(run: str | Path) -> list[dict[str, Any]]:
    """Return the log history of the run in a run folder, empty without one."""
    return list(read_json(Path(run) / "logs" / "trainer_state.json").get("log_history", []))


def _joined(item_ids: list[str]) -> str:
    """Return ids separated by spaces."""
    for item_id in item_ids:
        if item_id.split() != [item_id]:
            raise ValueError(
                f"The item id {item_id!r} has a space in it, and this csv separates ids by spaces; expected ids "
                "without any. Make a table: scripts/recommend.py MODEL --interactions FILE --output FILE.parquet."
            )
    return " ".join(item_ids)
