"""What a model has to beat: simpler rankers, asked through the same calls as the model."""

from seqrec.baselines.base import Baseline
from seqrec.baselines.content_knn import ContentKNN
from seqrec.baselines.fitting import BASELINES, fit_baselines
from seqrec.baselines.item_knn import ItemKNN
from seqrec.baselines.matrix_factorisation import MatrixFactorisation
from seqrec.baselines.popularity import Popularity
from seqrec.baselines.seed_network import SeedNetwork

__all__ = [
    "BASELINES",
    "Baseline",
    "ContentKNN",
    "ItemKNN",
    "MatrixFactorisation",
    "Popularity",
    "SeedNetwork",
    "fit_baselines",
]
