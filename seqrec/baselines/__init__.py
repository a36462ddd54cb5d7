"""What a model has to beat: rankers without a network, asked through the same calls as the model."""

from seqrec.baselines.base import Baseline
from seqrec.baselines.content_knn import ContentKNN
from seqrec.baselines.item_knn import ItemKNN
from seqrec.baselines.popularity import Popularity

__all__ = ["Baseline", "ContentKNN", "ItemKNN", "Popularity"]
