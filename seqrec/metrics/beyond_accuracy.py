"""What kind of lists a ranker gives, whether or not the target is in them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

MAX_VALUES = 2**24  # content values gathered at once: 64 MB

Positions = npt.NDArray[np.integer]
Content = tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]


def coverage_at_k(lists: Positions, num_items: int, k: int) -> float:
    """Return the share of the catalogue that is in the first `k` of at least one list.

    "Catalog coverage" of Ge et al., "Beyond Accuracy: Evaluating Recommender Systems by Coverage and Serendipity",
    RecSys 2010.

    Args:
        lists: (num_users, length), positions in the catalogue, best first; -1 where a list is shorter.
        num_items: Items in the catalogue.
        k: The cut.

    >>> coverage_at_k(np.array([[0, 1], [0, 2], [0, -1]]), num_items=4, k=2)
    0.75
    """
    return float((_exposure(lists, num_items, k) > 0).mean())


def gini_at_k(lists: Positions, num_items: int, k: int) -> float:
    """Return how unequally the places of the lists go to the items: 0 is equally, 1 is all to one item.

    The Gini index over the whole catalogue as in Castells, Hurley, Vargas, "Novelty and Diversity in Recommender
    Systems", Recommender Systems Handbook 2022. NaN where no item is recommended, or there is but one.

    >>> gini_at_k(np.array([[0], [1], [2]]), num_items=3, k=1), gini_at_k(np.array([[0], [0]]), num_items=3, k=1)
    (0.0, 1.0)
    """
    shown = np.sort(_exposure(lists, num_items, k))
    if num_items < 2 or not shown.any():
        return float("nan")
    weights = 2 * np.arange(1, num_items + 1) - num_items - 1
    return float(weights @ shown / ((num_items - 1) * shown.sum()))


def novelty_at_k(lists: Positions, train_counts: npt.ArrayLike, k: int) -> float:
    """Return the mean self-information of the recommended items in bits: how surprising they are by popularity.

    -log2 p(item), mean over each list, then over the lists (Zhou et al., "Solving the apparent diversity-accuracy
    dilemma of recommender systems", PNAS 2010; Castells et al. 2022). p is the item's share of the training
    interactions after one is added for each item (Laplace), so an item that training never saw has a finite value.

    >>> novelty_at_k(np.array([[0, 1]]), train_counts=[3, 1, 1], k=2)  # p = 4/8 and 2/8
    1.5
    """
    counts = np.asarray(train_counts, dtype=np.float64) + 1
    return _mean_of_lists(np.log2(counts.sum() / counts), lists[:, :k])


def popularity_at_k(lists: Positions, train_counts: npt.ArrayLike, k: int) -> float:
    """Return how often training has the recommended items, mean over each list, then over the lists.

    "Average recommendation popularity" of Yin et al., "Challenging the Long Tail Recommendation", VLDB 2012.

    >>> popularity_at_k(np.array([[0, 1], [2, -1]]), train_counts=[3, 1, 1], k=2)
    1.5
    """
    return _mean_of_lists(np.asarray(train_counts, dtype=np.float64), lists[:, :k])


def cold_items_at_k(lists: Positions, train_counts: npt.ArrayLike, k: int) -> float:
    """Return the share of recommended items that training never saw, mean over each list, then over the lists.

    NaN where training saw the whole catalogue.

    >>> cold_items_at_k(np.array([[0, 1], [0, -1]]), train_counts=[3, 0], k=2)
    0.25
    """
    cold = np.asarray(train_counts) == 0
    return _mean_of_lists(cold.astype(np.float64), lists[:, :k]) if cold.any() else float("nan")


def diversity_at_k(lists: Positions, content: Content, k: int) -> float:
    """Return how different the items of a list are: 1 - cosine of their content, mean over its pairs, then over lists.

    "Intra-list diversity" (Ziegler et al., "Improving Recommendation Lists Through Topic Diversification", WWW 2005).
    Items without content take no part, nor do lists with fewer than two items that have it; NaN where all are such.

    Args:
        lists: (num_users, length), positions in the catalogue, -1 where a list is shorter.
        content: Vectors (num_items, width), and which items have one, bool (num_items,).
        k: The cut.

    >>> vectors = np.array([[1, 0], [0, 2], [3, 0]], np.float32)
    >>> round(diversity_at_k(np.array([[0, 1, 2]]), (vectors, np.ones(3, bool)), k=3), 4)  # pairs: 1, 0 and 1
    0.6667
    """
    vectors, present = content
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    present = present & (lengths[:, 0] > 0)
    unit = np.where(present[:, None], vectors / np.where(lengths > 0, lengths, 1), 0)
    step = max(1, MAX_VALUES // max(1, k * unit.shape[1]))
    total, num_lists = 0.0, 0
    for start in range(0, len(lists), step):
        part = lists[start : start + step, :k]
        there = (part >= 0) & present[part]
        num = there.sum(axis=1)
        sums = np.where(there[:, :, None], unit[part], 0).sum(axis=1, dtype=np.float64)  # (lists, width)
        cosines = ((sums**2).sum(axis=1) - num)[num > 1] / (num * (num - 1.0))[num > 1]  # |sum|^2 = num + all pairs
        total += float((1 - cosines).sum())
        num_lists += cosines.size
    return total / num_lists if num_lists else float("nan")


def list_metrics(
    lists: Positions, train_counts: npt.ArrayLike, k: Sequence[int] = (10, 20), content: Content | None = None
) -> dict[str, float]:
    """Return every measure of the lists at every cut, `{"coverage@10": ..., "gini@10": ..., ...}`.

    A measure that the lists do not allow (diversity without content, cold items where there are none, anything of
    empty lists) is left out.

    Args:
        lists: (num_users, length), positions in the catalogue, best first; -1 where a list is shorter.
        train_counts: (num_items,), how often training has each item of the catalogue.
        k: The cuts.
        content: Vectors (num_items, width), and which items have one, bool (num_items,).
    """
    num_items = np.asarray(train_counts).size
    values = {}
    for cut in k:
        values[f"coverage@{cut}"] = coverage_at_k(lists, num_items, cut)
        values[f"gini@{cut}"] = gini_at_k(lists, num_items, cut)
        values[f"novelty@{cut}"] = novelty_at_k(lists, train_counts, cut)
        values[f"popularity@{cut}"] = popularity_at_k(lists, train_counts, cut)
        values[f"cold_items@{cut}"] = cold_items_at_k(lists, train_counts, cut)
        if content is not None:
            values[f"diversity@{cut}"] = diversity_at_k(lists, content, cut)
    return {name: value for name, value in values.items() if not np.isnan(value)}


def _exposure(lists: Positions, num_items: int, k: int) -> npt.NDArray[np.int64]:
    """Return how many lists have each item among their first `k`, (num_items,)."""
    shown = lists[:, :k]
    return np.bincount(shown[shown >= 0], minlength=num_items)


def _mean_of_lists(values: npt.NDArray[np.float64], lists: Positions) -> float:
    """Return the mean over lists of the mean value of a list's items; lists without items do not count."""
    there = lists >= 0
    lengths = there.sum(axis=1)
    sums = np.where(there, values[lists], 0).sum(axis=1)
    filled = lengths > 0
    return float((sums[filled] / lengths[filled]).mean()) if filled.any() else float("nan")
