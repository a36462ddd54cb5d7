"""All baselines in one call."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

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

BASELINES = ("popularity", "item-kNN", "content-kNN", "matrix factorisation", "seed network")
"""The names that the baselines have in tables, in the order of the rows."""


def fit_baselines(
    train: Dataset,
    items: Dataset,
    content: tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]] | None = None,
    names: Sequence[str] = BASELINES,
    seed: int = 0,
) -> dict[str, Baseline]:
    """Return every baseline asked for that the data and the installed packages allow, by its name.

    Without `implicit` the matrix factorisation is left out, and a warning says how to get it.

    Args:
        train: Training histories, one user a row, column `history` (oldest item first).
        items: The catalogue, column `item_id`.
        content: The items' vectors (num_items, width) and which items have one, bool (num_items,), in the order of
            `items`; without them there is no content-kNN.
        names: Those that are wanted, of `BASELINES`. The seed network takes minutes where the catalogue has tens of
            thousands of items.
        seed: Seed of the two that start from random numbers.

    Raises:
        ValueError: There is no baseline of a name.
    """
    unknown = sorted(set(names) - set(BASELINES))
    if unknown:
        raise ValueError(f"There is no baseline {unknown[0]!r}; expected some of {list(BASELINES)}.")
    makers: dict[str, Callable[[], Baseline]] = {
        "popularity": lambda: Popularity(train, items),
        "item-kNN": lambda: ItemKNN(train, items),
        "matrix factorisation": lambda: MatrixFactorisation(train, items, seed=seed),
        "seed network": lambda: SeedNetwork(train, items, seed=seed),
    }
    if content is not None:
        makers["content-kNN"] = lambda: ContentKNN(train, items, *content)
    baselines = {}
    for name in BASELINES:
        if name in names and name in makers:
            try:
                baselines[name] = makers[name]()
            except ImportError as error:
                logger.warning("The baseline %s is left out. %s", name, error)
    return baselines
