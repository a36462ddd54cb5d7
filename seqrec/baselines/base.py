"""Everything a baseline is, except its scores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sparse
from datasets import Dataset

from seqrec.evaluation import evaluate
from seqrec.metrics import ranks_from_scores

MAX_SCORES = 2**20  # scores held at once: 4 MB, which stay near the processor


class Baseline(ABC):
    """A ranker that scores the whole catalogue at once.

    Args:
        train: Training histories, one user a row, column `history` (oldest item first).
        items: The catalogue, column `item_id`; results keep this order among equal scores.
    """

    def __init__(self, train: Dataset, items: Dataset) -> None:
        """Index the catalogue and count the training histories."""
        _require(train, "history", "the training histories")
        _require(items, "item_id", "the catalogue")
        self.items = items
        self._item_ids: list[str] = items["item_id"][:]
        self._positions = {item_id: position for position, item_id in enumerate(self._item_ids)}
        if not self._item_ids:
            raise ValueError("The catalogue has no items, so there is nothing to rank. Give at least one item.")
        self._train_items, self._train_rows = _flat_histories(train, self._item_ids)
        counts = np.bincount(self._train_items, minlength=len(self._item_ids))
        self._popularity: npt.NDArray[np.float32] = (counts / (counts.max() + 1)).astype(np.float32)  # in [0, 1)

    @abstractmethod
    def score(self, histories: Sequence[Sequence[str]]) -> npt.NDArray[np.float32]:
        """Return the score of every item after each history, float32 (num_histories, num_items), higher is better."""

    def recommend(
        self, histories: Sequence[Sequence[str]], k: int = 10, exclude_seen: bool = True
    ) -> list[list[dict[str, Any]]]:
        """Return the `k` best items of each history (fewer where fewer exist), best first, with `item_id` and `score`.

        Unknown ids in a history are ignored.
        """
        if k < 1:
            raise ValueError(f"k={k} asks for no items. Ask for at least 1.")
        results = []
        for _, scores, excluded in self._batches(histories, exclude_seen):
            for row_scores, row_excluded in zip(scores, excluded, strict=True):
                best = _best_positions(row_scores, np.flatnonzero(~row_excluded), k)
                results.append([{"item_id": self._item_ids[i], "score": float(row_scores[i])} for i in best])
        return results

    def target_ranks(
        self, histories: Sequence[Sequence[str]], targets: Sequence[str], exclude_seen: bool = True
    ) -> npt.NDArray[np.int64]:
        """Return the rank of each history's target over the full catalogue, as `seqrec.ranker.Ranker` defines it."""
        if len(histories) != len(targets):
            raise ValueError(f"Got {len(histories)} histories and {len(targets)} targets. Give one target a history.")
        positions = np.array([self._positions.get(target, -1) for target in targets], dtype=np.int64)
        ranks = [np.empty(0, dtype=np.int64)]
        for rows, scores, excluded in self._batches(histories, exclude_seen):
            ranks.append(ranks_from_scores(scores, positions[rows], excluded))
        return np.concatenate(ranks)

    def evaluate(self, dataset: Dataset, k: Sequence[int] = (10, 20)) -> dict[str, Any]:
        """Return the metrics on a prepared split, the same call as a trained model's (see `seqrec.evaluation`)."""
        return evaluate(self, dataset, k, self.items if "count" in self.items.column_names else None)

    def _known(self, history: Sequence[str]) -> list[int]:
        """Return the catalogue positions of a history, oldest first, unknown ids left out."""
        return [self._positions[item_id] for item_id in history if item_id in self._positions]

    def _train_matrix(self) -> sparse.csr_array:
        """Return which items each training history holds, however often: float32 (num_users, num_items) of ones."""
        ones = np.ones(len(self._train_items), dtype=np.float32)
        shape = (int(self._train_rows.max(initial=-1)) + 1, len(self._item_ids))
        matrix = sparse.csr_array((ones, (self._train_rows, self._train_items)), shape=shape)
        matrix.data[:] = 1
        return matrix

    def _matrix(self, histories: Sequence[Sequence[str]]) -> sparse.csr_array:
        """Return which items each history holds, however often: float32 (num_histories, num_items) of ones."""
        known = [sorted(set(self._known(history))) for history in histories]
        positions = np.array(list(chain.from_iterable(known)), dtype=np.int32)
        bounds = np.cumsum([0, *map(len, known)], dtype=np.int32)
        ones = np.ones(len(positions), dtype=np.float32)
        return sparse.csr_array((ones, positions, bounds), shape=(len(known), len(self._item_ids)))

    def _popular_where_untrained(
        self, scores: npt.NDArray[np.float32], histories: sparse.csr_array
    ) -> npt.NDArray[np.float32]:
        """Return the scores, with popularity in the rows of histories that hold no item of the training histories."""
        return np.where((histories @ self._popularity > 0)[:, None], scores, self._popularity)

    def _batches(
        self, histories: Sequence[Sequence[str]], exclude_seen: bool
    ) -> Iterator[tuple[slice, npt.NDArray[np.float32], npt.NDArray[np.bool_]]]:
        """Yield (rows, scores, excluded) for as many histories at a time as memory allows."""
        step = max(1, MAX_SCORES // len(self._item_ids))
        for start in range(0, len(histories), step):
            batch = histories[start : start + step]
            excluded = np.zeros((len(batch), len(self._item_ids)), dtype=bool)
            if exclude_seen:
                for row, history in enumerate(batch):
                    excluded[row, self._known(history)] = True
            yield slice(start, start + step), self.score(batch), excluded


def _best_positions(scores: npt.NDArray[np.float32], candidates: npt.NDArray[np.intp], k: int) -> npt.NDArray[np.intp]:
    """Return the `k` best candidates, best first; equal scores in catalogue order, NaN last.

    >>> _best_positions(np.array([0.1, np.nan, 0.7, 0.7, 0.2], np.float32), np.array([0, 1, 2, 3]), k=3).tolist()
    [2, 3, 0]
    """
    losses = np.where(np.isnan(scores), np.inf, -scores)[candidates]
    if k < len(candidates):
        good_enough = losses <= np.partition(losses, k - 1)[k - 1]
        candidates, losses = candidates[good_enough], losses[good_enough]
    return candidates[np.argsort(losses, kind="stable")[:k]]


def _flat_histories(train: Dataset, item_ids: Sequence[str]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the known items of all histories one after the other, and the row of each: int64 (num_interactions,)."""
    catalogue = pa.array(item_ids, pa.string())
    items, rows = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    first_row = 0
    for chunk in train.select_columns(["history"]).with_format("arrow")[:]["history"].chunks:
        chunk = chunk.cast(pa.list_(pa.string()))  # nothing but empty histories have no type of their own
        positions = pc.index_in(chunk.flatten(), value_set=catalogue).fill_null(-1).to_numpy()
        parents = np.repeat(np.arange(first_row, first_row + len(chunk)), pc.list_value_length(chunk).to_numpy())
        items.append(positions[positions >= 0].astype(np.int64))
        rows.append(parents[positions >= 0])
        first_row += len(chunk)
    return np.concatenate(items), np.concatenate(rows)


def _require(dataset: Dataset, column: str, what: str) -> None:
    if column not in dataset.column_names:
        raise ValueError(
            f"A baseline reads the column {column!r} of {what}, but the columns are {dataset.column_names}. "
            "Prepare the data with seqrec.data.prepare."
        )
