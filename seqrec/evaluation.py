"""One protocol for every ranker: where in the full catalogue does the next item stand?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
from datasets import Dataset
from datasets.utils import tqdm

from seqrec.metrics import PairedDifference, list_metrics, metric_values, paired_difference
from seqrec.metrics.beyond_accuracy import Content
from seqrec.metrics.cohorts import Cohort, cold_and_warm, head_and_tail, short_and_long
from seqrec.metrics.intervals import CONFIDENCE, NUM_RESAMPLES, summarise
from seqrec.metrics.ranking import check_cuts
from seqrec.ranker import Ranker

PROTOCOL = {
    "candidates": "full catalogue",
    "targets": "one a user",
    "ties": "against the ranker",
    "intervals": f"percentile bootstrap over users, {NUM_RESAMPLES} resamples, {CONFIDENCE:.0%}",
    "lists": "seen items excluded",
    "cohorts": "seen items excluded",
}
NO_ITEM = "\0 no item has this id"

Values = dict[str, npt.NDArray[np.float64]]


def evaluate(
    ranker: Ranker,
    dataset: Dataset,
    k: Sequence[int] = (10, 20),
    items: Dataset | None = None,
    content: Content | None = None,
    batch_size: int = 256,
    seed: int = 0,
) -> dict[str, Any]:
    """Return a ranker's metrics on a prepared split, with seen items excluded and included.

    Every user counts: a target that cannot be ranked (not in the catalogue, or already seen where seen items are
    excluded) is a miss, and `num_unranked` says how many there are.

    Args:
        ranker: The model or baseline.
        dataset: One user a row, columns `user_id`, `history` (oldest first) and `targets` (exactly one).
        k: The cuts.
        items: The catalogue with `item_id` and its `count` in training; with it the result also has `cohorts`,
            `lists` and, where the target of a user is new to training, `cold` and `warm`.
        content: The items' vectors (num_items, width) and which items have one, bool (num_items,), in the order of
            `items`; with them `lists` has `diversity`.
        batch_size: Users asked for at a time.
        seed: Seed of the bootstrap.

    Returns:
        `{"num_users": ..., "exclude_seen": {"ndcg@10": ..., "ndcg@10_ci": [low, high], "hr@10": ..., ...},
        "include_seen": {...}}`, the shape of "test" in metrics.json. With `items` also `"cohorts": {"head":
        {"num_users": ..., "definition": ..., "ndcg@10": ..., ...}, "tail", "short", "long"}` (defined
        in `seqrec.metrics.cohorts`; one without users is left out) and `"lists": {"coverage@10": ..., "gini@10",
        "novelty@10", "popularity@10", "diversity@10", ...}` (defined in `seqrec.metrics.beyond_accuracy`).

    Raises:
        ValueError: A column is missing, a row has not exactly one target, or an argument does not fit.
    """
    check_cuts(k)
    _check_rows(dataset)
    _check_items(items, content)
    num_items = _count_items(ranker)
    results: dict[str, Any] = {"num_users": len(dataset)}
    values: dict[bool, Values] = {}
    for exclude_seen in (True, False):
        ranks = dataset_ranks(ranker, dataset, exclude_seen=exclude_seen, batch_size=batch_size)
        values[exclude_seen] = user_metrics(ranks, k, num_items)
        results["exclude_seen" if exclude_seen else "include_seen"] = {
            "num_unranked": int((ranks > num_items).sum()),
            **summarise(values[exclude_seen], seed),
        }
    if items is not None:
        results |= _summarise_cohorts(values[True], dataset, items, seed)
        lists = _recommended_positions(ranker, dataset, items, min(max(k), num_items), batch_size)
        results["lists"] = list_metrics(lists, _train_counts(items), k, content)
    return results


def compare(
    ranker: Ranker, other: Ranker, dataset: Dataset, k: Sequence[int] = (10, 20), batch_size: int = 256, seed: int = 0
) -> dict[str, PairedDifference]:
    """Return by how much one ranker is better than another on the same users, seen items excluded, by metric.

    Args:
        ranker: The model or baseline.
        other: What it is compared with.
        dataset: One user a row, as in `evaluate`.
        k: The cuts.
        batch_size: Users asked for at a time.
        seed: Seed of the bootstrap and of the test.
    """
    check_cuts(k)
    ours, theirs = (
        user_metrics(dataset_ranks(each, dataset, batch_size=batch_size), k, _count_items(each))
        for each in (ranker, other)
    )
    return {metric: paired_difference(ours[metric], theirs[metric], seed) for metric in ours}


def check_same_rows(dataset: Dataset, other: Dataset) -> None:
    """Raise unless two splits ask for the same target after the same history of the same users, in whatever order.

    Raises:
        ValueError: They do not; it says how many users differ.
    """
    ours, theirs = _fingerprints(dataset), _fingerprints(other)
    only_ours, only_theirs = len(ours.keys() - theirs.keys()), len(theirs.keys() - ours.keys())
    changed = sum(ours[user_id] != theirs[user_id] for user_id in ours.keys() & theirs.keys())
    if only_ours or only_theirs or changed:
        raise ValueError(
            f"The two runs are not tested on the same rows: {only_ours:,} users are only in the first, "
            f"{only_theirs:,} only in the second, {changed:,} have another history or target. "
            "Compare runs of the same data with the same cleaning and split."
        )


def dataset_ranks(
    ranker: Ranker, dataset: Dataset, exclude_seen: bool = True, batch_size: int = 256
) -> npt.NDArray[np.int64]:
    """Return the rank of every user's target, int64 (num_users,), in the order of the rows.

    `user_metrics` makes their worth of them.
    """
    _check_rows(dataset)
    ranks = np.empty(len(dataset), dtype=np.int64)
    label = f"Ranking, seen items {'excluded' if exclude_seen else 'included'}"
    for rows, batch in _batches(dataset, batch_size, label):
        targets = [target for (target,) in batch["targets"]]
        ranks[rows] = ranker.target_ranks(batch["history"], targets, exclude_seen=exclude_seen)
    return ranks


def user_metrics(ranks: npt.NDArray[np.int64], k: Sequence[int], num_items: int) -> Values:
    """Return every metric of every user; the rank after the last item is a miss even where k reaches it."""
    values = {}
    for cut in k:
        for name, of_users in metric_values(ranks, [min(cut, num_items)]).items():
            values[f"{name.partition('@')[0]}@{cut}"] = of_users
    return values


def _summarise_cohorts(values: Values, dataset: Dataset, items: Dataset, seed: int) -> dict[str, Any]:
    """Return the metrics of some of the users, for each cohort that has any."""
    rows = dataset.select_columns(["history", "targets"]).with_format("arrow")[:]
    counts = _train_counts(items)
    places = pc.index_in(pc.list_flatten(rows["targets"]), value_set=items.with_format("arrow")[:]["item_id"])
    target_counts = np.append(counts, 0)[places.fill_null(len(items)).to_numpy()]
    lengths = pc.list_value_length(rows["history"]).to_numpy()

    def summaries(cohorts: dict[str, Cohort]) -> dict[str, Any]:
        return {
            name: {
                "num_users": int(members.sum()),
                "definition": definition,
                **summarise({metric: of_users[members] for metric, of_users in values.items()}, seed),
            }
            for name, (definition, members) in cohorts.items()
            if members.any()
        }

    new_to_training = summaries(cold_and_warm(target_counts)) if (target_counts == 0).any() else {}
    return {**new_to_training, "cohorts": summaries(head_and_tail(target_counts, counts) | short_and_long(lengths))}


def _recommended_positions(
    ranker: Ranker, dataset: Dataset, items: Dataset, k: int, batch_size: int
) -> npt.NDArray[np.int32]:
    """Return the catalogue positions of every user's k best unseen items, (num_users, k), -1 where there are fewer."""
    positions = {item_id: position for position, item_id in enumerate(items["item_id"][:])}
    lists = np.full((len(dataset), k), -1, dtype=np.int32)
    for rows, batch in _batches(dataset, batch_size, "Recommending"):
        for row, best in zip(rows, ranker.recommend(batch["history"], k=k, exclude_seen=True), strict=True):
            unknown = [item["item_id"] for item in best if item["item_id"] not in positions]
            if unknown:
                raise ValueError(
                    f"The ranker recommends {unknown[0]!r}, which is not among the {len(items)} items. "
                    "Pass the ranker's own catalogue."
                )
            lists[row, : len(best)] = [positions[item["item_id"]] for item in best]
    return lists


def _batches(dataset: Dataset, batch_size: int, label: str) -> Iterator[tuple[range, dict[str, Any]]]:
    """Yield the numbers of some rows and their columns, with a progress bar."""
    asked = dataset.select_columns(["history", "targets"]).with_format(None)
    for start in tqdm(range(0, len(dataset), batch_size), desc=label, unit="batch", disable=None, leave=False):
        rows = range(start, min(start + batch_size, len(dataset)))
        yield rows, asked[start : rows.stop]


def _fingerprints(dataset: Dataset) -> dict[str, int]:
    """Return a hash of each user's history and target, by user."""
    _check_rows(dataset)
    batches = dataset.select_columns(["user_id", "history", "targets"]).with_format(None).iter(batch_size=4096)
    return {
        user_id: hash((*history, None, *targets))
        for batch in batches
        for user_id, history, targets in zip(batch["user_id"], batch["history"], batch["targets"], strict=True)
    }


def _count_items(ranker: Ranker) -> int:
    """Return the size of a ranker's catalogue: what cannot be ranked stands after all of it."""
    return int(ranker.target_ranks([[]], [NO_ITEM])[0]) - 1


def _train_counts(items: Dataset) -> npt.NDArray[np.int64]:
    """Return how often training has each item, (num_items,); an item that was added later has no count."""
    return np.asarray(items.with_format("arrow")[:]["count"].fill_null(0).to_numpy(), dtype=np.int64)


def _check_items(items: Dataset | None, content: Content | None) -> None:
    """Refuse a catalogue without what cohorts and lists read."""
    if items is None:
        if content is not None:
            raise ValueError("content describes items, but there are none. Pass the catalogue as items= too.")
        return
    missing = sorted({"item_id", "count"} - set(items.column_names))
    if missing or not len(items):
        raise ValueError(
            f"Cohorts and lists read the columns item_id and count of at least one item, but {missing} are missing "
            f"from {items.column_names} ({len(items)} items). Pass the items of the prepared data."
        )
    if content is not None and not len(content[0]) == len(content[1]) == len(items):
        raise ValueError(
            f"content has {len(content[0])} vectors and {len(content[1])} marks for {len(items)} items. "
            "Give one of each for every item, in their order."
        )


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
            "Evaluate the validation or test split."
        )
