"""All baselines in one call."""

from __future__ import annotations

import logging

import numpy as np
import numpy.typing as npt
from datasets import Dataset

from seqrec.baselines.base import Baseline
from seqrec.baselines.content_knn import ContentKNN
from seqrec.baselines.item_knn import ItemKNN
from seqrec.baselines.matrix_factorisation import MatrixFactorisation
from seqrec.baselines.popularity import Popularity
from seqrec.baselines.seed_network import SeedNetwork

logger = logging.getLogger(__name__)


def fit_baselines(
    train: Dataset,
    items: Dataset,
    content: tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]] | None = None,
    seed: int = 0,
) -> dict[str, Baseline]:
    """Return every baseline that the data and the installed packages allow, by the name it has in tables.

    Without `implicit` the matrix factorisation is left out, and a warning says how to get it.

    Args:
        train: Training histories, one user a row, column `history` (oldest item first).
        items: The catalogue, column `item_id`.
        content: The items' vectors (num_items, width) and which items have one, bool (num_items,), in the order of
            `items`; without them there is no content-kNN.
        seed: Seed of the two that start from random numbers.
    """
    baselines: dict[str, Baseline] = {"popularity": Popularity(train, items), "item-kNN": ItemKNN(train, items)}
    if content is not None:
        baselines["content-kNN"] = ContentKNN(train, items, *content)
    try:
        baselines["matrix factorisation"] = MatrixFactorisation(train, items, seed=seed)
    except ImportError as error:
        logger.warning("The baseline matrix factorisation is left out. %s", error)
    baselines["seed network"] = SeedNetwork(train, items, seed=seed)
    return baselines
