"""Whether one ranker is better than another, user by user."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

from seqrec.metrics.intervals import bootstrap_interval

NUM_FLIPS = 9999
MAX_FLIPS = 2**20  # signs held at once


class PairedDifference(NamedTuple):
    """How much better one ranker is on the same users.

    Attributes:
        value: Its mean.
        other: The other's mean.
        difference: `value - other`.
        interval: Paired bootstrap interval of the difference (low, high).
        p_value: Probability of a mean at least so far from 0 if it were chance which ranker has which value.
        num_users: Users compared.
    """

    value: float
    other: float
    difference: float
    interval: tuple[float, float]
    p_value: float
    num_users: int


def paired_difference(values: npt.ArrayLike, others: npt.ArrayLike, seed: int = 0) -> PairedDifference:
    """Return the mean difference of two rankers' values on the same users, its interval and its p-value.

    The test is the two-sided randomisation test (`scipy.stats.permutation_test` on the signs of the differences). It
    asks of the values neither a normal distribution, which differences that are mostly zero have not, nor that a rank
    of them means something, and is what Smucker, Allan, Carterette, "A Comparison of Statistical Significance Tests
    for Information Retrieval Evaluation", CIKM 2007, recommend over Wilcoxon's. Users without a difference are left
    out of it: their sign changes nothing. The least p-value is 2 / 10,000.

    Args:
        values: (num_users,), one ranker's value for each user, e.g. `ndcg_at_k(ranks, 10)`.
        others: (num_users,), the other ranker's, the same users in the same order.
        seed: Seed of the bootstrap and of the test.

    Raises:
        ValueError: The shapes differ, there are no users, or a value is NaN.

    >>> paired_difference([1, 1, 1, 1, 0.5], [0, 0, 0, 0, 0.5]).p_value  # 2 of 2^4 ways to give the signs
    0.125
    """
    values, others = np.asarray(values, dtype=np.float64), np.asarray(others, dtype=np.float64)
    if values.shape != others.shape:
        raise ValueError(
            f"A paired comparison needs both values of every user, got {values.shape} and {others.shape}. "
            "Evaluate both rankers on the same users."
        )
    differences = values - others
    interval = bootstrap_interval(differences, seed=seed)
    changed = differences[differences != 0]
    p_value = 1.0
    if changed.size > 1:  # the sign of a single one, or of none, says nothing
        test = stats.permutation_test(
            (changed,),
            lambda signed, axis: signed.sum(axis=axis),
            permutation_type="samples",
            vectorized=True,
            n_resamples=NUM_FLIPS,
            batch=max(1, MAX_FLIPS // changed.size),
            random_state=np.random.default_rng(seed),
        )
        p_value = float(test.pvalue)
    return PairedDifference(
        float(values.mean()), float(others.mean()), float(differences.mean()), interval, p_value, differences.size
    )
