"""One protocol for every ranker: where in the full catalogue does the next item stand?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
from datasets import Dataset
from datasets.utils import tqdm

from seqrec.metrics import bootstrap_interval, metric_values
from seqrec.metrics.intervals import CONFIDENCE, NUM_RESAMPLES
from seqrec.ranker import Ranker

PROTOCOL = {
    "candidates": "full catalogue",
    "targets": "one a user",
    "ties": "against the ranker",
    "intervals": f"percentile bootstrap over users, {NUM_RESAMPLES} resamples, {CONFIDENCE:.0%}",
}
NO_ITEM = "\0 no item has this id"


def evaluate(
    ranker: Ranker, dataset: Dataset, k: Sequence[int] = (10, 20), batch_size: int = 256, seed: int = 0
) -> dict[str, Any]:
    """Return a ranker's metrics on a prepared split, with seen items excluded and included.

    Every user counts: a target that cannot be ranked (not in the catalogue, or already seen where seen items are
    excluded) is a miss, and `num_unranked` says how many there are.

    Args:
        ranker: The model or baseline.
        dataset: One user a row, columns `user_id`, `history` (oldest first) and `targets` (exactly one).
        k: The cuts.
        batch_size: Users asked for at a time.
        seed: Seed of the bootstrap.

    Returns:
        `{"num_users": ..., "exclude_seen": {"ndcg@10": ..., "ndcg@10_ci": [low, high], "hr@10": ..., ...},
        "include_seen": {...}}`, the shape of "test" in metrics.json.
    """
    if isinstance(k, int) or not k or min(k) < 1:
        raise ValueError(f"k={k!r} must name cuts of at least 1, e.g. k=(10, 20).")
    num_items = int(ranker.target_ranks([[]], [NO_ITEM])[0]) - 1
    results: dict[str, Any] = {"num_users": len(dataset)}
    for exclude_seen in (True, False):
        ranks = dataset_ranks(ranker, dataset, exclude_seen=exclude_seen, batch_size=batch_size)
        results["exclude_seen" if exclude_seen else "include_seen"] = _summarise(ranks, k, num_items, seed)
    return results


def dataset_ranks(
    ranker: Ranker, dataset: Dataset, exclude_seen: bool = True, batch_size: int = 256
) -> npt.NDArray[np.int64]:
    """Return the rank of every user's target, int64 (num_users,), in the order of the rows.

    Two rankers asked on the same rows can so be compared user by user, e.g. with
    `bootstrap_interval(ndcg_at_k(ranks_a, 10) - ndcg_at_k(ranks_b, 10))`.
    """
    _check_rows(dataset)
    ranks = np.empty(len(dataset), dtype=np.int64)
    label = f"Ranking, seen items {'excluded' if exclude_seen else 'included'}"
    asked = dataset.select_columns(["history", "targets"]).with_format(None)
    for start in tqdm(range(0, len(dataset), batch_size), desc=label, unit="batch", disable=None, leave=False):
        rows = asked[start : start + batch_size]
        targets = [target for (target,) in rows["targets"]]
        ranks[start : start + batch_size] = ranker.target_ranks(rows["history"], targets, exclude_seen=exclude_seen)
    return ranks


def _summarise(ranks: npt.NDArray[np.int64], k: Sequence[int], num_items: int, seed: int) -> dict[str, Any]:
    """Return mean and interval of every metric."""
    summary: dict[str, Any] = {"num_unranked": int((ranks > num_items).sum())}
    for metric, values in user_metrics(ranks, k, num_items).items():
        summary[metric] = float(values.mean())
        summary[f"{metric}_ci"] = list(bootstrap_interval(values, seed=seed))
    return summary


def user_metrics(ranks: npt.NDArray[np.int64], k: Sequence[int], num_items: int) -> dict[str, npt.NDArray[np.float64]]:
    """Return every metric of every user; the rank after the last item is a miss even where k reaches it."""
    values = {}
    for cut in k:
        for name, of_users in metric_values(ranks, [min(cut, num_items)]).items():
            values[f"{name.partition('@')[0]}@{cut}"] = of_users
    return values


def _check_rows(dataset: Dataset) -> None:
    """Refuse what the protocol has no answer for."""
    missing = sorted({"user_id", "history", "targets"} - set(dataset.column_names))
    if missing:
        raise ValueError(
            f"Evaluation reads the columns user_id, history and targets, but {missing} are missing from "
            f"{dataset.column_names}. Prepare the data with seqrec.data.prepare."
        )
    if not len(dataset):
        raise ValueError("The split to evaluate has no rows, so there is no mean. Choose a split with users.")
    targets = dataset.select_columns(["targets"]).with_format("arrow")[:]["targets"]
    lengths = pc.list_value_length(targets).fill_null(0).to_numpy()
    wrong = np.flatnonzero(lengths != 1)
    if wrong.size:
        raise ValueError(
            f"Row {wrong[0]} has {lengths[wrong[0]]} targets; evaluation ranks exactly one target a row. "
            "Evaluate the validation or test split of leave_one_out."
        )
