"""Metrics of anybody's rank lists, with any number of targets."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from seqrec.metrics.intervals import summarise
from seqrec.metrics.ranking import check_cuts


def evaluate_lists(
    recommended: Sequence[Iterable[Hashable]],
    targets: Sequence[Hashable | Iterable[Hashable]],
    k: Sequence[int] = (10, 20),
    seed: int = 0,
) -> dict[str, Any]:
    """Return the metrics of rank lists, their means over users and 95 % bootstrap intervals.

    With one target a user, `ndcg`, `hr` and `mrr` are those of `seqrec.evaluate`, under the same names. With several
    they are those of trec_eval (and so of ir-measures and ranx):

    - `ndcg@k`: the discounted gain 1 / log2(rank + 1) of all targets among the first k, as a share of the best list's,
      which has min(k, targets) of them in front; every target is worth 1.
    - `hr@k`: whether any target is among the first k (trec_eval's success, ranx's hit_rate).
    - `mrr@k`: 1 / rank of the first one.
    - `recall@k`: the share of the targets among the first k. `precision@k`: the share of k, however short the list.
    - `map@k`: the precisions at the ranks of the targets among the first k, summed and divided by the number of all
      targets; some libraries divide by min(k, targets).

    Ids are compared as they are. A list may be shorter than k, or empty; a target that is named twice counts once.

    Args:
        recommended: Ids for each user, best first.
        targets: Each user's relevant ids, at least one; or one id a user.
        k: The cuts.
        seed: Seed of the bootstrap.

    Returns:
        `{"num_users": ..., "ndcg@10": ..., "ndcg@10_ci": [low, high], "hr@10": ..., ...}`.

    Raises:
        ValueError: The two are not equally long, a user has no target, a list names an item twice or is a set, ids
            are no ids, or they are text on one side and numbers on the other.

    >>> result = evaluate_lists([["a", "b", "c"], ["d"]], targets=[["b", "x"], "d"], k=[2])
    >>> {name: result[name] for name in ("hr@2", "mrr@2", "recall@2", "precision@2", "map@2")}
    {'hr@2': 1.0, 'mrr@2': 0.75, 'recall@2': 0.75, 'precision@2': 0.5, 'map@2': 0.625}
    """
    check_cuts(k)
    lists = [_ranked(ids, row) for row, ids in enumerate(recommended)]
    wanted = [_ids([ids] if _is_id(ids) else ids, "targets", row) for row, ids in enumerate(targets)]
    _check(lists, wanted)
    hits = np.zeros((len(lists), min(max(k), max(map(len, lists)))), dtype=bool)  # (users, places)
    for row, (ids, relevant) in enumerate(zip(lists, map(set, wanted), strict=True)):
        hits[row, [place for place, item in enumerate(ids[: hits.shape[1]]) if item in relevant]] = True
    num_targets = np.array([len(set(ids)) for ids in wanted])
    values = {name: of for cut in k for name, of in _values_at(hits, num_targets, cut).items()}
    return {"num_users": len(lists), **summarise(values, seed)}


def _values_at(
    hits: npt.NDArray[np.bool_], num_targets: npt.NDArray[np.int64], k: int
) -> dict[str, npt.NDArray[np.float64]]:
    """Return every metric of every user at one cut, (num_users,) each."""
    hits = hits[:, :k]
    ranks = np.arange(1, hits.shape[1] + 1)
    best = np.cumsum(1 / np.log2(np.arange(min(k, num_targets.max())) + 2.0))  # gain of 1, 2, ... targets in front
    found = hits.sum(axis=1)
    precisions = np.cumsum(hits, axis=1) / ranks
    return {
        f"ndcg@{k}": hits @ (1 / np.log2(ranks + 1.0)) / best[np.minimum(num_targets, k) - 1],
        f"hr@{k}": (found > 0).astype(np.float64),
        f"mrr@{k}": (hits / ranks).max(axis=1, initial=0.0),
        f"recall@{k}": found / num_targets,
        f"precision@{k}": found / k,
        f"map@{k}": (hits * precisions).sum(axis=1) / num_targets,
    }


def _is_id(value: object) -> bool:
    return isinstance(value, str | int | float | np.generic)


def _ranked(ids: Any, row: int) -> list[Any]:
    """Return one user's ids, which have an order, as a list."""
    if isinstance(ids, set | frozenset):
        raise ValueError(
            f"Row {row} of recommended is a {type(ids).__name__}, which has no order; expected a list, best first. "
            "Keep the order in which the items were ranked."
        )
    return _ids(ids, "recommended", row)


def _ids(ids: Any, name: str, row: int) -> list[Any]:
    """Return one user's ids as a list, or say what they should be."""
    listed = list(ids) if isinstance(ids, Iterable) and not isinstance(ids, str | bytes | dict) else None
    if listed is None or not all(map(_is_id, listed)):
        raise ValueError(
            f"Row {row} of {name} is {ids!r:.80}; expected a list of ids, text or numbers. "
            'Of what recommend() returned, pass [item["item_id"] for item in row].'
        )
    return listed


def _check(lists: list[list[Any]], wanted: list[list[Any]]) -> None:
    """Refuse what has no answer."""
    if len(lists) != len(wanted) or not lists:
        raise ValueError(
            f"Got {len(lists)} lists and {len(wanted)} users' targets; expected the same number, at least one. "
            "Give an empty list for a user without recommendations."
        )
    for row, (ids, relevant) in enumerate(zip(lists, wanted, strict=True)):
        if not relevant:
            raise ValueError(f"Row {row} has no targets, so no list is right or wrong there. Leave such users out.")
        if len(set(ids)) < len(ids):
            twice = next(item for place, item in enumerate(ids) if item in ids[:place])
            raise ValueError(f"Row {row} recommends {twice!r} more than once. Give every item one rank.")
    texts = {
        name: {isinstance(item, str) for ids in rows for item in ids} for name, rows in (("l", lists), ("w", wanted))
    }
    if len(texts["l"] | texts["w"]) > 1:
        raise ValueError(
            "Some of the ids are text and some are numbers, so equal ones could look different. Make them all text."
        )
