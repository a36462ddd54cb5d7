"""The arithmetic of evaluation: ranks or lists in, numbers out."""

from seqrec.metrics.beyond_accuracy import list_metrics
from seqrec.metrics.comparison import PairedDifference, paired_difference
from seqrec.metrics.intervals import bootstrap_interval
from seqrec.metrics.lists import evaluate_lists
from seqrec.metrics.ranking import hr_at_k, metric_values, mrr_at_k, ndcg_at_k, ranks_from_scores

__all__ = [
    "PairedDifference",
    "bootstrap_interval",
    "evaluate_lists",
    "hr_at_k",
    "list_metrics",
    "metric_values",
    "mrr_at_k",
    "ndcg_at_k",
    "paired_difference",
    "ranks_from_scores",
]
