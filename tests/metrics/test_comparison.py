"""Paired comparisons against enumeration, against the t-test, and against chance."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from seqrec.metrics import paired_difference


def test_few_users_are_tested_by_all_ways_to_give_the_signs():
    values, others = np.array([0.9, 0.5, 1.0, 0.2, 0.3]), np.array([0.1, 0.6, 0.3, 0.1, 0.3])
    differences = (values - others)[:4]
    sums = [abs(np.dot(signs, differences)) for signs in product((-1, 1), repeat=4)]
    found = paired_difference(values, others)
    assert found.p_value == pytest.approx(np.mean(np.array(sums) >= abs(differences.sum()) - 1e-12))
    assert (found.value, found.other, found.num_users) == (pytest.approx(0.58), pytest.approx(0.28), 5)
    assert found.difference == pytest.approx(0.3)
    low, high = found.interval
    assert low < found.difference < high


def test_many_users_agree_with_the_t_test():
    generator = np.random.default_rng(3)
    values = (generator.random(800) < 0.20) * generator.random(800)
    others = np.where(generator.random(800) < 0.9, values, (generator.random(800) < 0.1) * 0.5)
    found = paired_difference(values, others)
    assert 0.005 < found.p_value < 0.5
    assert found.p_value == pytest.approx(stats.ttest_rel(values, others).pvalue, abs=0.02)


def test_the_other_way_round_only_the_sign_changes():
    generator = np.random.default_rng(4)
    values, others = generator.random(60), generator.random(60)
    there, back = paired_difference(values, others), paired_difference(others, values)
    assert back.difference == -there.difference
    assert back.p_value == pytest.approx(there.p_value, abs=0.02)
    assert back.interval == pytest.approx((-there.interval[1], -there.interval[0]), abs=0.02)


def test_what_is_surely_better_is_found_and_what_is_equal_is_not():
    values = np.random.default_rng(5).random(200)
    assert paired_difference(values + 0.1, values).p_value == pytest.approx(0.0002)
    same = paired_difference(values, values)
    assert (same.difference, same.interval, same.p_value) == (0, (0, 0), 1)
    assert paired_difference([1.0, 0.5], [0.0, 0.5]).p_value == 1  # one difference has no direction to be sure of


def test_users_are_paired():
    """A small difference in every user is found where the users themselves differ much more."""
    values = np.random.default_rng(6).random(50)
    assert paired_difference(values + 0.01, values).p_value < 0.001
    assert stats.ttest_ind(values + 0.01, values).pvalue > 0.5


@pytest.mark.parametrize(
    ("values", "others", "said"),
    [([1, 2], [1], r"\(2,\) and \(1,\)"), ([], [], "at least one user"), ([np.nan], [1], "1 of 1 values are NaN")],
)
def test_what_cannot_be_paired_is_refused(values, others, said):
    with pytest.raises(ValueError, match=said):
        paired_difference(values, others)
