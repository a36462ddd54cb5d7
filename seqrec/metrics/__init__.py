"""The arithmetic of evaluation: ranks in, numbers per user out."""

from seqrec.metrics.intervals import bootstrap_interval
from seqrec.metrics.ranking import hr_at_k, metric_values, mrr_at_k, ndcg_at_k, ranks_from_scores

__all__ = ["bootstrap_interval", "hr_at_k", "metric_values", "mrr_at_k", "ndcg_at_k", "ranks_from_scores"]
