"""More of the same: items whose content is like the history's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from datasets import Dataset

from seqrec.baselines.base import Baseline


class ContentKNN(Baseline):
    """Rank items by the cosine of their content with the recency-weighted mean content of the history.

    Items without content come last, the most popular of them first; so do all items for a history without content.

    Args:
        train: Training histories, one user a row, column `history` (oldest item first).
        items: The catalogue, column `item_id`.
        vectors: (num_items, width), the content vectors in catalogue order.
        present: (num_items,) bool, which items have content; the vectors of the others are not read.
        recency: What an item of the history weighs relative to the one after it.
    """

    def __init__(
        self,
        train: Dataset,
        items: Dataset,
        vectors: npt.NDArray[np.float32],
        present: npt.NDArray[np.bool_],
        recency: float = 0.85,
    ) -> None:
        """Bring the content vectors to length 1."""
        super().__init__(train, items)
        if vectors.ndim != 2 or present.shape != (len(items),) or len(vectors) != len(items):
            raise ValueError(
                f"Expected vectors (num_items, width) and present (num_items,) for {len(items)} items, got shapes "
                f"{vectors.shape} and {present.shape}. Give one row for each item of the catalogue, in its order."
            )
        self.recency = recency
        vectors = np.where(present[:, None], vectors, 0).astype(np.float32)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        self._vectors = vectors / np.where(lengths > 0, lengths, 1)
        self._present = lengths[:, 0] > 0

    def score(self, histories: Sequence[Sequence[str]]) -> npt.NDArray[np.float32]:
        """Return cosines in [-1, 1] for items with content, popularity shares in [-3, -2) for all others."""
        means = np.zeros((len(histories), self._vectors.shape[1]), dtype=np.float32)
        for row, history in enumerate(histories):
            newest = [position for position in reversed(self._known(history)) if self._present[position]]
            weights = self.recency ** np.arange(len(newest), dtype=np.float32)
            means[row] = weights @ self._vectors[newest]
        lengths = np.linalg.norm(means, axis=1, keepdims=True)
        scores = means / np.where(lengths > 0, lengths, 1) @ self._vectors.T
        return np.where(self._present & (lengths > 0), scores, self._popularity - 3)
