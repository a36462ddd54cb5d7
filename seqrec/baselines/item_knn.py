"""People who took this took that soon before or after."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import scipy.sparse as sparse
from datasets import Dataset

from seqrec.baselines.base import Baseline


class ItemKNN(Baseline):
    """Rank items by how often they stood near the history's items in the training histories.

    The score of an item is the sum over the history's newest items of recency^age times how closely it followed (or,
    for less, preceded) them, divided by powers of how much both co-occur at all. Items that never stood near any of
    them come last, the most popular first.

    Args:
        train: Training histories, one user a row, column `history` (oldest item first).
        items: The catalogue, column `item_id`.
        window: How many places apart two items of a history may stand.
        distance_power: A pair weighs 1 / places^distance_power.
        backward: What standing before an item is worth relative to standing after it.
        recency: What an item of the history weighs relative to the one after it.
        max_history: How many of the newest items of a history count.
        history_power: How much the history's items that co-occur with many are held back.
        item_power: How much the catalogue's items that co-occur with many are held back.
    """

    def __init__(
        self,
        train: Dataset,
        items: Dataset,
        window: int = 10,
        distance_power: float = 0.5,
        backward: float = 0.25,
        recency: float = 0.7,
        max_history: int = 20,
        history_power: float = 0.5,
        item_power: float = 0.2,
    ) -> None:
        """Count which items stand together in the training histories."""
        super().__init__(train, items)
        self.recency = recency
        self.max_history = max_history
        after = followers(self._train_items, self._train_rows, len(items), window, distance_power)
        near = after + backward * after.T  # (history's item, item to score)
        total = 1 + near.sum(axis=1)
        scaled = sparse.diags_array(total**-history_power) @ near @ sparse.diags_array(total**-item_power)
        self._neighbours = sparse.csr_array(scaled, dtype=np.float32)

    def score(self, histories: Sequence[Sequence[str]]) -> npt.NDArray[np.float32]:
        """Return positive scores of items near the history, negative ones (in popularity order) of all others."""
        newest = [self._known(history)[::-1][: self.max_history] for history in histories]
        lengths = [len(history) for history in newest]
        weights = sparse.csr_array(
            (
                np.concatenate([np.empty(0), *(self.recency ** np.arange(length) for length in lengths)]),
                np.array([position for history in newest for position in history], dtype=np.int64),
                np.cumsum([0, *lengths]),
            ),
            shape=(len(newest), len(self._popularity)),
            dtype=np.float32,
        )
        scores = (weights @ self._neighbours).toarray()
        return np.where(scores > 0, scores, self._popularity - 1)


def followers(
    items: npt.NDArray[np.int64],
    rows: npt.NDArray[np.int64],
    num_items: int,
    window: int,
    distance_power: float,
) -> sparse.csr_array:
    """Return how closely each item (column) followed each other item (row): the sum of 1 / places^distance_power.

    Args:
        items: (num_interactions,), the items of all histories one after the other.
        rows: (num_interactions,), the history of each.
        num_items: Size of the catalogue.
        window: How many places apart still counts.
        distance_power: How fast the weight falls with the places; 0 for not at all.

    >>> followers(np.array([0, 1, 2, 1]), np.array([0, 0, 0, 1]), num_items=3, window=2, distance_power=1).toarray()
    array([[0. , 1. , 0.5],
           [0. , 0. , 1. ],
           [0. , 0. , 0. ]], dtype=float32)
    """
    total = sparse.csr_array((num_items, num_items), dtype=np.float32)
    for places in range(1, window + 1):
        earlier, later = items[:-places], items[places:]
        pairs = (rows[:-places] == rows[places:]) & (earlier != later)
        weights = np.full(pairs.sum(), places**-distance_power, dtype=np.float32)
        total += sparse.coo_array((weights, (earlier[pairs], later[pairs])), shape=total.shape).tocsr()
    return total
