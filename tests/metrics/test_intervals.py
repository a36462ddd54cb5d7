"""The bootstrap against what is known about means."""

import numpy as np
import pytest

from seqrec.metrics import bootstrap_interval
from seqrec.metrics import intervals as module


def test_interval_of_a_share_matches_the_normal_approximation():
    values = np.repeat([0.0, 1.0], [7000, 3000])
    low, high = bootstrap_interval(values)
    half_width = 1.96 * np.sqrt(0.3 * 0.7 / 10_000)
    assert low == pytest.approx(0.3 - half_width, abs=0.001)
    assert high == pytest.approx(0.3 + half_width, abs=0.001)


def test_interval_of_distinct_values_matches_the_normal_approximation():
    values = np.random.default_rng(1).normal(size=2000)
    low, high = bootstrap_interval(values)
    half_width = 1.96 * values.std() / np.sqrt(2000)
    assert (low + high) / 2 == pytest.approx(values.mean(), abs=half_width / 5)
    assert (high - low) / 2 == pytest.approx(half_width, rel=0.1)


def test_same_seed_same_interval_and_order_does_not_matter():
    values = np.arange(50) % 7 / 7
    assert bootstrap_interval(values, seed=3) == bootstrap_interval(values[::-1], seed=3)
    assert bootstrap_interval(values, seed=3) != bootstrap_interval(values, seed=4)


def test_blocks_of_resamples_give_the_same_numbers(monkeypatch):
    values = np.arange(50) % 7 / 7
    whole = bootstrap_interval(values)
    monkeypatch.setattr(module, "MAX_COUNTS", 7 * 13)
    assert bootstrap_interval(values) == whole


def test_confidence_widens_the_interval():
    values = np.arange(50) % 7 / 7
    low, high = bootstrap_interval(values, confidence=0.5)
    wide_low, wide_high = bootstrap_interval(values, confidence=0.99)
    assert wide_low < low < high < wide_high


def test_one_user_has_an_interval_of_one_point():
    assert bootstrap_interval([0.25]) == (0.25, 0.25)


@pytest.mark.parametrize("values, message", [([], "at least one user"), ([0.1, np.nan], "1 of 2 values are NaN")])
def test_what_has_no_interval_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_interval(values)
