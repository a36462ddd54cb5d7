"""`evaluate.load` of this folder: the metrics of `seqrec.metrics.evaluate_lists` for everybody's rank lists."""

from collections.abc import Sequence
from typing import Any

import datasets
import evaluate

from seqrec.metrics import evaluate_lists

DESCRIPTION = """\
NDCG, hit rate, MRR, recall, precision and MAP at one or several cuts, with 95 % bootstrap intervals over users. One
relevant item a user, or several, each worth the same. With several they are those of trec_eval."""
INPUTS = """\
Args:
    predictions: item ids of each user, best first, none twice; as text.
    references: the relevant item ids of each user, at least one; as text.
    k: the cut or the cuts; 10 by default.
    seed: of the bootstrap.

Returns:
    {"num_users": ..., "ndcg@10": ..., "ndcg@10_ci": [low, high], "hr@10": ..., ...}

>>> metric = evaluate.load("path/to/next_item")
>>> result = metric.compute(predictions=[["a", "b"], ["d"]], references=[["b"], ["d"]], k=2)
>>> result["hr@2"], result["mrr@2"]
(1.0, 0.75)
"""
CITATION = """\
@inproceedings{krichene2020sampled,
  title = {On Sampled Metrics for Item Recommendation},
  author = {Krichene, Walid and Rendle, Steffen},
  booktitle = {KDD},
  year = {2020}
}"""


class NextItem(evaluate.Metric):
    """Metrics of rank lists."""

    def _info(self) -> evaluate.MetricInfo:
        ids = datasets.Sequence(datasets.Value("string"))
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation=CITATION,
            inputs_description=INPUTS,
            features=datasets.Features({"predictions": ids, "references": ids}),
        )

    def _compute(
        self,
        predictions: Sequence[Sequence[str]],
        references: Sequence[Sequence[str]],
        k: int | Sequence[int] = 10,
        seed: int = 0,
    ) -> dict[str, Any]:
        return evaluate_lists(predictions, references, list(k) if isinstance(k, Sequence) else [int(k)], seed)
