"""How far a mean over users could be off."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

CONFIDENCE = 0.95
NUM_RESAMPLES = 1000
MAX_COUNTS = 2**22  # resampled counts held at once: 32 MB


def bootstrap_interval(
    values: npt.ArrayLike, num_resamples: int = NUM_RESAMPLES, confidence: float = CONFIDENCE, seed: int = 0
) -> tuple[float, float]:
    """Return the percentile bootstrap interval (low, high) of the mean over users.

    For a paired comparison of two rankers give the differences of their users' values.
    Users with equal values are drawn together, as one multinomial count: the same distribution as drawing users one
    by one, at a cost that does not grow with their number when few values are possible.

    >>> bootstrap_interval([0.5, 0.5, 0.5])
    (0.5, 0.5)
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or values.size == 0:
        raise ValueError(
            f"Expected one value a user, got an array of shape {values.shape}. Evaluate at least one user."
        )
    if np.isnan(values).any():
        raise ValueError(
            f"{np.isnan(values).sum()} of {values.size} values are NaN. Decide what they are worth first."
        )
    distinct, counts = np.unique(values, return_counts=True)
    generator = np.random.default_rng(seed)
    step = max(1, MAX_COUNTS // distinct.size)
    means = [
        generator.multinomial(values.size, counts / values.size, size=min(step, num_resamples - start)) @ distinct
        for start in range(0, num_resamples, step)
    ]
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(means) / values.size, [tail, 1 - tail])
    return float(low), float(high)


def summarise(values: Mapping[str, npt.NDArray[np.float64]], seed: int = 0) -> dict[str, Any]:
    """Return the mean of every metric over the users, and its interval under the same name with `_ci`.

    >>> summarise({"hr@10": np.array([1.0, 1.0])})
    {'hr@10': 1.0, 'hr@10_ci': [1.0, 1.0]}
    """
    summary: dict[str, Any] = {}
    for metric, of_users in values.items():
        summary[metric] = float(of_users.mean())
        summary[f"{metric}_ci"] = list(bootstrap_interval(of_users, seed=seed))
    return summary
