"""People who took this also took that."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import scipy.sparse as sparse
from datasets import Dataset

from seqrec.baselines.base import Baseline

ITEMS_AT_ONCE = 4096  # rows of the item-item matrix made at a time


class ItemKNN(Baseline):
    """Rank items by their cosine with the history's items, over who took them; the order of a history plays no part.

    The score of an item is the sum, over the items of the history that have it among their nearest neighbours, of the
    cosine of the two items' columns in the binary matrix of users and items (Deshpande & Karypis, "Item-Based Top-N
    Recommendation Algorithms", 2004). Items that are nobody's neighbour come last, the most popular first.

    Args:
        train: Training histories, one user a row, column `history` (oldest item first).
        items: The catalogue, column `item_id`.
        num_neighbours: Neighbours that an item of the history has.
    """

    def __init__(self, train: Dataset, items: Dataset, num_neighbours: int = 100) -> None:
        """Find every item's neighbours in the training histories."""
        super().__init__(train, items)
        self._neighbours = nearest_columns(self._train_matrix(), num_neighbours)

    def score(self, histories: Sequence[Sequence[str]]) -> npt.NDArray[np.float32]:
        """Return positive scores of the history's neighbours, negative ones (in popularity order) of all others."""
        found = self._matrix(histories) @ self._neighbours
        scores = np.tile(self._popularity - 1, (len(histories), 1))
        first_cells = np.arange(len(histories)) * scores.shape[1]
        scores.reshape(-1)[np.repeat(first_cells, np.diff(found.indptr)) + found.indices] = found.data
        return scores


def nearest_columns(matrix: sparse.csr_array, k: int) -> sparse.csr_array:
    """Return the cosines of each column (row of the result) with its `k` nearest other columns, the rest left out.

    >>> taken = sparse.csr_array([[1, 1, 0], [1, 1, 1], [0, 0, 1]], dtype=np.float32)
    >>> nearest_columns(taken, k=1).toarray().round(2).tolist()
    [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.5, 0.0, 0.0]]
    """
    norms = np.sqrt(np.maximum(matrix.power(2).sum(axis=0), 1))
    unit = sparse.csc_array(matrix @ sparse.diags_array(1 / norms), dtype=np.float32)
    blocks = []
    for start in range(0, unit.shape[1], ITEMS_AT_ONCE):
        block = sparse.csr_array(unit[:, start : start + ITEMS_AT_ONCE].T @ unit)
        block.setdiag(0, k=start)
        block.eliminate_zeros()
        blocks.append(_largest_of_rows(block, k))
    return sparse.vstack(blocks, format="csr")


def _largest_of_rows(block: sparse.csr_array, k: int) -> sparse.csr_array:
    """Keep the `k` largest entries of each row; of equal ones those of the more popular items, which come first."""
    for row in range(block.shape[0]):
        begin, end = block.indptr[row], block.indptr[row + 1]
        if end - begin > k:
            order = np.lexsort((block.indices[begin:end], -block.data[begin:end]))
            block.data[begin + order[k:]] = 0
    block.eliminate_zeros()
    return block
