"""What is counted in training, not learned: which items follow which."""

import numpy as np
import torch
from scipy.sparse import csr_array, diags_array

from seqrec.data.collation import TrainingWindows
from seqrec.model import SeqRecForNextItem
from seqrec.model.transitions import DECAY, NEWEST

REACH = 10  # places that a transition may span
BACKWARD = 0.25  # weight of the same pair the other way round
BEFORE_POWER, AFTER_POWER = 0.5, 0.2  # how much frequent items are turned down, in the history and as what follows
OVERSAMPLING, POWER_ITERATIONS = 16, 4  # of the truncated decomposition
MEASURED = 1000  # histories whose best scores say how loud the counts are
MOST_COUNTED = 2_000_000  # interactions: their pairs take up to 1 GB, and more of them would change little


@torch.no_grad()
def count_transitions(model: SeqRecForNextItem, windows: TrainingWindows, seed: int = 0) -> None:
    """Give a model the leading directions of its training data's transitions, if it has room for them.

    Their products are the scores of a neighbour table that reads order (`transitions`), cut to `transition_size`
    directions, and scaled so that the best score after a history is 1 in the mean.

    Args:
        model: The model; nothing happens where its `transition_size` is 0.
        windows: Its training data.
        seed: Of the decomposition's random projection.
    """
    if model.transitions is None:
        return
    num_tokens, size = model.transitions.before.shape
    table = transitions(*some_histories(windows.items, windows.sizes, MOST_COUNTED, seed), num_tokens)
    left, values, right = truncated_svd(table, size, seed)
    before, after = np.zeros((num_tokens, size)), np.zeros((num_tokens, size))
    before[:, : len(values)], after[:, : len(values)] = left * np.sqrt(values), right * np.sqrt(values)
    scale = max(_loudness(before, after, windows), 1e-12) ** -0.5
    model.transitions.put(torch.from_numpy(before * scale), torch.from_numpy(after * scale))


def transitions(items: np.ndarray, sizes: np.ndarray, num_items: int) -> csr_array:
    """Return how often one item follows another (num_items, num_items), frequent ones turned down.

    A pair counts 1/sqrt(places between them), and a quarter of that the other way round.

    >>> table = transitions(np.array([0, 1, 0, 1]), np.array([2, 2]), 2)  # 0, then 1, twice
    >>> table.toarray().astype(float).round(2).tolist()
    [[0.0, 0.93], [0.38, 0.0]]

    Args:
        items: (interactions,), all histories one after the other.
        sizes: (histories,), the length of each.
        num_items: Rows and columns of the result.
    """
    history, items = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes), items.astype(np.int32)
    total = csr_array((num_items, num_items), dtype=np.float32)
    for distance in range(1, REACH + 1):
        same = (history[distance:] == history[:-distance]) & (items[distance:] != items[:-distance])
        pair = items[:-distance][same], items[distance:][same]
        total += csr_array((np.full(len(pair[0]), distance**-0.5, np.float32), pair), shape=total.shape)
    total = total + BACKWARD * total.T
    before, after = total.sum(axis=1) + 1, total.sum(axis=0) + 1
    return csr_array(diags_array(before**-BEFORE_POWER) @ total @ diags_array(after**-AFTER_POWER))


def some_histories(items: np.ndarray, sizes: np.ndarray, most: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return as many whole histories as have `most` interactions or fewer together, drawn by chance; all if they do.

    >>> some_histories(np.array([0, 1, 2, 3]), np.array([2, 2]), 3, seed=0)
    (array([0, 1]), array([2]))
    """
    if len(items) <= most:
        return items, sizes
    order = np.random.default_rng(seed).permutation(len(sizes))
    chosen = np.zeros(len(sizes), dtype=bool)
    chosen[order[sizes[order].cumsum() <= most]] = True
    return items[np.repeat(chosen, sizes)], sizes[chosen]


def truncated_svd(matrix: csr_array, width: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return U (rows, width or fewer), S and V (columns, the same) of a matrix, the same for the same seed.

    By random projection and power iterations (Halko, Martinsson and Tropp, SIAM Review 2011, 5.4 and 5.1).
    """
    matrix = matrix.astype(np.float32)  # half the memory, and nothing here is as exact
    basis = np.random.default_rng(seed).normal(size=(matrix.shape[1], min(width + OVERSAMPLING, *matrix.shape)))
    basis = basis.astype(np.float32)
    for _ in range(POWER_ITERATIONS):
        basis = np.linalg.qr(matrix.T @ np.linalg.qr(matrix @ basis).Q).Q
    basis = np.linalg.qr(matrix @ basis).Q
    left, values, right = np.linalg.svd((matrix.T @ basis).T, full_matrices=False)
    return (basis @ left)[:, :width], values[:width], right.T[:, :width]


def _loudness(before: np.ndarray, after: np.ndarray, windows: TrainingWindows) -> float:
    """The best score after a training history, in the mean of some."""
    chosen = np.flatnonzero(windows.sizes)[:MEASURED]
    if not len(chosen):
        return 1.0
    ends = windows.sizes.cumsum()
    best = []
    for number in chosen:
        newest = windows.items[max(ends[number] - NEWEST, ends[number] - windows.sizes[number]) : ends[number]][::-1]
        best.append(float((DECAY ** np.arange(len(newest)) @ before[newest] @ after.T).max()))
    return float(np.mean(best))
