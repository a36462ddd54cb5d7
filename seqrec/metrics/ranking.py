"""Ranks of targets, and what a rank is worth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def ranks_from_scores(
    scores: npt.ArrayLike, target_positions: npt.ArrayLike, excluded: npt.ArrayLike | None = None
) -> npt.NDArray[np.int64]:
    """Return the 1-based rank of each row's target, int64 (batch,); whatever is not surely below it stands above it.

    So ties count against the target, and so does an item whose score is NaN. A target that cannot be ranked (position
    below zero, excluded, or with a NaN score) gets the rank after the last item.

    Args:
        scores: (batch, num_items), higher is better.
        target_positions: (batch,), the target's column; negative where the catalogue has no such item.
        excluded: (batch, num_items) bool, true for items that take no part in the ranking.

    >>> ranks_from_scores([[0.9, 0.5, 0.5, 0.1]] * 3, target_positions=[0, 1, -1]).tolist()
    [1, 3, 5]
    >>> ranks_from_scores([[0.9, 0.5, 0.5, 0.1]], [1], excluded=[[True, False, False, False]]).tolist()
    [2]
    """
    scores = np.asarray(scores)
    positions = np.asarray(target_positions, dtype=np.int64)
    if scores.ndim != 2 or positions.shape != scores.shape[:1]:
        raise ValueError(
            f"Expected scores (batch, num_items) and one target position a row, got {scores.shape} and "
            f"{positions.shape}. Score the histories and look up their targets in the same order."
        )
    num_rows, num_items = scores.shape
    rows = np.flatnonzero(positions >= 0)
    targets = positions[rows]
    target_scores = np.full((num_rows, 1), np.nan, dtype=scores.dtype if scores.dtype.kind == "f" else np.float64)
    target_scores[rows, 0] = scores[rows, targets]
    above = ~(scores < target_scores)
    above[rows, targets] = False
    if excluded is not None:
        excluded = np.asarray(excluded, dtype=bool)
        target_scores[rows[excluded[rows, targets]]] = np.nan
        above &= ~excluded
    return np.where(np.isnan(target_scores[:, 0]), num_items + 1, 1 + above.sum(axis=1, dtype=np.int64))


def ndcg_at_k(ranks: npt.ArrayLike, k: int) -> npt.NDArray[np.float64]:
    """Return each user's discounted gain of one target: 1 / log2(rank + 1) within the first `k`, else 0.

    >>> ndcg_at_k([1, 3, 11], k=10).tolist()
    [1.0, 0.5, 0.0]
    """
    ranks = _checked(ranks)
    return np.where(ranks <= k, 1 / np.log2(ranks + 1.0), 0.0)


def hr_at_k(ranks: npt.ArrayLike, k: int) -> npt.NDArray[np.float64]:
    """Return 1 for each user whose target is among the first `k`, else 0.

    >>> hr_at_k([1, 10, 11], k=10).tolist()
    [1.0, 1.0, 0.0]
    """
    return (_checked(ranks) <= k).astype(np.float64)


def mrr_at_k(ranks: npt.ArrayLike, k: int) -> npt.NDArray[np.float64]:
    """Return each user's reciprocal rank within the first `k`, else 0.

    >>> mrr_at_k([1, 4, 11], k=10).tolist()
    [1.0, 0.25, 0.0]
    """
    ranks = _checked(ranks)
    return np.where(ranks <= k, 1.0 / ranks, 0.0)


def metric_values(ranks: npt.ArrayLike, k: Sequence[int] = (10, 20)) -> dict[str, npt.NDArray[np.float64]]:
    """Return every metric of every user at every cut, `{"ndcg@10": (num_users,), "hr@10": ..., "mrr@10": ...}`.

    >>> {name: float(values.mean()) for name, values in metric_values([1, 3], k=[2]).items()}
    {'ndcg@2': 0.5, 'hr@2': 0.5, 'mrr@2': 0.5}
    """
    metrics = {"ndcg": ndcg_at_k, "hr": hr_at_k, "mrr": mrr_at_k}
    return {f"{name}@{cut}": metric(ranks, cut) for cut in k for name, metric in metrics.items()}


def check_cuts(k: Sequence[int]) -> None:
    """Raise unless every cut is a whole number of at least 1, and there is one."""
    cuts = [] if isinstance(k, int | str) else list(k)
    if not cuts or not all(isinstance(cut, int | np.integer) and cut >= 1 for cut in cuts):
        raise ValueError(f"k={k!r} must name cuts of at least 1, e.g. k=(10, 20).")


def _checked(ranks: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Return the ranks as int64; a rank below 1 would be a gain above 1."""
    ranks = np.asarray(ranks, dtype=np.int64)
    if ranks.size and ranks.min() < 1:
        raise ValueError(f"Ranks count from 1, got {ranks.min()}. Add 1 to ranks that count from 0.")
    return ranks
