"""Three dense layers from what was taken to what was taken: the network this project's idea started from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import scipy.sparse as sparse
import torch
from datasets import Dataset
from datasets.utils import tqdm
from torch import Tensor, nn

from seqrec.baselines.base import Baseline

HIDDEN_SIZES = (64, 128)
LEARNING_RATE = 1e-3


class SeedNetwork(Baseline):
    """Rank items by a plain network's guess of the history's own multi-hot vector.

    The multi-hot of a history, brought to length 1, goes through 64 and 128 hidden units (ReLU) to one score an item;
    the loss is the mean squared error to the multi-hot itself, the optimiser Adam. The order of a history and its
    repeats play no part. A history without an item of the training histories gets the popular ones.

    Args:
        train: Training histories, one user a row, column `history` (oldest item first).
        items: The catalogue, column `item_id`.
        num_epochs: Passes over the training histories.
        batch_size: Histories a step; memory holds batch_size x num_items numbers a few times.
        seed: Seed of the first weights and of the order of the histories.
    """

    def __init__(
        self, train: Dataset, items: Dataset, num_epochs: int = 40, batch_size: int = 64, seed: int = 0
    ) -> None:
        """Train the network on the CPU."""
        super().__init__(train, items)
        with torch.random.fork_rng(devices=[]):  # nobody else's random numbers change
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would set those of the GPUs too
            self._network = _dense_layers(len(items))
            _train(self._network, self._train_matrix(), num_epochs, batch_size)

    @torch.inference_mode()
    def score(self, histories: Sequence[Sequence[str]]) -> npt.NDArray[np.float32]:
        """Return the network's guess of each history's multi-hot, about 1 where an item belongs and 0 elsewhere."""
        taken = self._matrix(histories)
        scores = self._network(_unit_rows(_dense(taken))).numpy()
        return self._popular_where_untrained(scores, taken)


def _dense_layers(num_items: int) -> nn.Sequential:
    first, second = HIDDEN_SIZES
    return nn.Sequential(
        nn.Linear(num_items, first), nn.ReLU(), nn.Linear(first, second), nn.ReLU(), nn.Linear(second, num_items)
    )


def _train(network: nn.Sequential, taken: sparse.csr_array, num_epochs: int, batch_size: int) -> None:
    """Teach the network to give back every row that is not empty, a batch of dense rows at a time."""
    taken = taken[np.flatnonzero(np.diff(taken.indptr))]
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE, fused=True)
    for _ in tqdm(range(num_epochs), desc="Training the seed network", unit="epoch", disable=None, leave=False):
        for rows in torch.randperm(taken.shape[0]).split(batch_size):
            targets = _dense(taken[rows.numpy()])
            loss = nn.functional.mse_loss(network(_unit_rows(targets)), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def _dense(matrix: sparse.csr_array) -> Tensor:
    return torch.from_numpy(matrix.toarray())


def _unit_rows(multi_hot: Tensor) -> Tensor:
    return nn.functional.normalize(multi_hot, dim=1)  # (batch, num_items); a row of zeros stays one
