"""Where id embeddings start: from which items are taken near each other, instead of from chance."""

import numpy as np
import torch
from scipy.sparse import csr_array

from seqrec.counting import truncated_svd
from seqrec.data.collation import TrainingWindows
from seqrec.model import SeqRecForNextItem

REACH = 8  # places between two items that still count as near
CONTEXT_POWER = 0.75  # smooths the frequency of what stands near (Levy et al., TACL 2015, 3.1)
NEGLIGIBLE = 1e-6  # singular values below this share of the largest are rounding


@torch.no_grad()
def start_from_cooccurrence(model: SeqRecForNextItem, windows: TrainingWindows, seed: int = 0) -> None:
    """Set the id embeddings to the leading directions of the items' co-occurrence in training.

    Those are U S^(1/2) of a truncated singular value decomposition of the positive pointwise mutual information (Levy
    and Goldberg, NIPS 2014), scaled to the spread that random weights would have. Items and directions beyond those
    that the decomposition has keep their random weights.

    Args:
        model: The untrained model.
        windows: Its training data.
        seed: Of the decomposition's random projection.
    """
    table, size = model.model.items.ids.weight, model.config.hidden_size
    vectors = cooccurrence_vectors(windows.items, windows.sizes, table.shape[0], size, seed)
    known = vectors.any(axis=1)
    if known.any():
        vectors *= model.config.initializer_range / vectors[known].std()
        rows = torch.from_numpy(np.flatnonzero(known)).to(table.device)
        for first in range(0, table.shape[1], size):  # each encoder of an ensemble starts there
            table[rows, first : first + vectors.shape[1]] = torch.from_numpy(vectors[known]).to(table)


def cooccurrence_vectors(items: np.ndarray, sizes: np.ndarray, num_items: int, width: int, seed: int) -> np.ndarray:
    """Return a vector an item (num_items, width or fewer), zero where an item is near no other.

    Args:
        items: (interactions,), all histories one after the other.
        sizes: (histories,), the length of each.
        num_items: Rows of the result.
        width: Columns of the result, at most.
        seed: Of the decomposition's random projection.
    """
    near = nearness(items, sizes, num_items)
    of_item, total = near.sum(axis=1), near.sum()
    context = of_item**CONTEXT_POWER
    context /= max(context.sum(), 1e-12)
    pairs = near.tocoo()
    information = np.log(pairs.data / (of_item[pairs.row] * context[pairs.col])) if total else pairs.data
    kept = information > 0
    positive = csr_array((information[kept], (pairs.row[kept], pairs.col[kept])), shape=near.shape)
    vectors = leading_directions(positive, width, seed) * (positive.sum(axis=1) > 0)[:, None]
    return vectors.astype(np.float32)


def leading_directions(matrix: csr_array, width: int, seed: int) -> np.ndarray:
    """Return U S^(1/2) of a truncated decomposition (rows, width or fewer), the same for the same seed."""
    left, values, _ = truncated_svd(matrix, width, seed)
    found = values > NEGLIGIBLE * values.max(initial=0.0)
    return (left * np.sqrt(values))[:, found]


def nearness(items: np.ndarray, sizes: np.ndarray, num_items: int) -> csr_array:
    """Return how often two items are near each other (num_items, num_items), each pair with 1/sqrt(distance)."""
    history = np.repeat(np.arange(len(sizes)), sizes)
    total = csr_array((num_items, num_items), dtype=np.float64)
    for distance in range(1, REACH + 1):
        same = (history[distance:] == history[:-distance]) & (items[distance:] != items[:-distance])
        pair = items[distance:][same], items[:-distance][same]
        total += csr_array((np.full(len(pair[0]), distance**-0.5), pair), shape=total.shape)
    return total + total.T
