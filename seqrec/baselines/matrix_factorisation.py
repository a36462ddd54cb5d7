"""A user and an item are a few numbers each, and what a user takes is their product."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

import numpy as np
import numpy.typing as npt
import scipy.sparse as sparse
from datasets import Dataset

from seqrec.baselines.base import Baseline
from seqrec.extras import require


class MatrixFactorisation(Baseline):
    """Rank items by the product of their factors with the history's, found by alternating least squares.

    Hu, Koren & Volinsky, "Collaborative Filtering for Implicit Feedback Datasets", 2008, as the library `implicit`
    solves it. The factors of a history are solved for its items alone, so no user needs to be known; the order of a
    history and its repeats play no part. A history without an item of the training histories gets the popular ones.

    Args:
        train: Training histories, one user a row, column `history` (oldest item first).
        items: The catalogue, column `item_id`.
        num_factors: Numbers that stand for a user or an item.
        regularization: What large factors cost.
        alpha: What a taken item weighs; one that was not taken weighs 1.
        num_iterations: How often all users and then all items are solved.
        seed: Seed of the first factors; the number of threads changes nothing.

    Raises:
        ImportError: `implicit` is not installed; the message holds the command that installs it.
    """

    def __init__(
        self,
        train: Dataset,
        items: Dataset,
        num_factors: int = 128,
        regularization: float = 30.0,
        alpha: float = 8.0,
        num_iterations: int = 15,
        seed: int = 0,
    ) -> None:
        """Factorise the binary matrix of users and items."""
        super().__init__(train, items)
        solver = require("implicit.cpu.als", "baselines").AlternatingLeastSquares
        self._blas = require("threadpoolctl", "baselines").ThreadpoolController()
        with self._one_blas_thread():
            self._model = solver(num_factors, regularization, alpha, iterations=num_iterations, random_state=seed)
            self._model.fit(sparse.csr_matrix(self._train_matrix()), show_progress=False)

    def score(self, histories: Sequence[Sequence[str]]) -> npt.NDArray[np.float32]:
        """Return how far each item belongs to each history, about 1 where it does; 0 for items nobody took."""
        taken = self._matrix(histories)
        with self._one_blas_thread():
            factors = self._model.recalculate_user(np.arange(len(histories)), sparse.csr_matrix(taken))
            scores = factors @ self._model.item_factors.T
        return self._popular_where_untrained(scores, taken)

    def _one_blas_thread(self) -> AbstractContextManager[None]:
        """Hold numpy to one thread: the same sums on any number of cores, which are left to `implicit`."""
        return self._blas.limit(limits=1, user_api="blas")
