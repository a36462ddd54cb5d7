"""What lists are like, counted one by one."""

from itertools import combinations
from math import log2

import numpy as np
import pytest

from seqrec.metrics import beyond_accuracy as module
from seqrec.metrics import list_metrics
from seqrec.metrics.beyond_accuracy import diversity_at_k, gini_at_k, novelty_at_k, popularity_at_k

COUNTS = np.array([5, 3, 1, 0])
LISTS = np.array([[0, 1, 3], [0, 2, -1], [-1, -1, -1]])


def test_measures_by_hand():
    """Seen places in all: item 0 twice, the others once; training has 9 interactions, 13 with one added an item."""
    values = list_metrics(LISTS, COUNTS, k=[1, 3])
    names = ("coverage", "gini", "novelty", "popularity", "cold_items")
    assert set(values) == {f"{name}@{k}" for name in names for k in (1, 3)}
    assert (values["cold_items@1"], values["cold_items@3"]) == (0, (1 / 3 + 0) / 2)  # the empty list does not count
    assert (values["coverage@1"], values["coverage@3"]) == (1 / 4, 1)
    assert values["gini@1"] == 1
    assert values["gini@3"] == pytest.approx((-3 * 1 - 1 * 1 + 1 * 1 + 3 * 2) / (3 * 5))
    assert values["popularity@3"] == pytest.approx(((5 + 3 + 0) / 3 + (5 + 1) / 2) / 2)
    bits = [-log2(count / 13) for count in (6, 4, 2, 1)]
    assert values["novelty@3"] == pytest.approx(((bits[0] + bits[1] + bits[3]) / 3 + (bits[0] + bits[2]) / 2) / 2)


def test_rare_items_are_novel_and_not_popular():
    popular, rare = np.array([[0, 1]]), np.array([[2, 3]])
    assert novelty_at_k(popular, COUNTS, 2) < novelty_at_k(rare, COUNTS, 2) < np.inf
    assert popularity_at_k(popular, COUNTS, 2) > popularity_at_k(rare, COUNTS, 2)


def test_gini_grows_with_the_share_of_few():
    even, uneven = np.arange(10).reshape(5, 2), np.array([[0, 1]] * 4 + [[0, 2]])
    assert gini_at_k(even, 10, k=2) == 0
    assert 0.5 < gini_at_k(uneven, 10, k=2) < 1


@pytest.mark.parametrize("max_values", [2**24, 1])
def test_diversity_equals_that_of_all_pairs_in_any_number_of_steps(max_values, monkeypatch):
    monkeypatch.setattr(module, "MAX_VALUES", max_values)
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(20, 6)).astype(np.float32) * 3
    present = generator.random(20) < 0.7
    vectors[~present] = np.nan  # nobody may read them
    lists = np.array([generator.permutation(20)[:8] for _ in range(30)])
    lists[0, 1:] = -1
    expected = []
    for row in lists[:, :5]:
        unit = [vectors[item] / np.linalg.norm(vectors[item]) for item in row if item >= 0 and present[item]]
        if len(unit) > 1:
            expected.append(np.mean([1 - a @ b for a, b in combinations(unit, 2)]))
    assert diversity_at_k(lists, (vectors, present), k=5) == pytest.approx(np.mean(expected), abs=1e-6)


def test_equal_texts_have_no_diversity_and_zero_vectors_are_no_content():
    vectors = np.array([[1, 0], [2, 0], [0, 0], [0, 1]], dtype=np.float32)
    present = np.ones(4, dtype=bool)
    assert diversity_at_k(np.array([[0, 1, 2]]), (vectors, present), k=3) == pytest.approx(0)
    assert np.isnan(diversity_at_k(np.array([[0, 2]]), (vectors, present), k=2))


def test_a_measure_that_no_list_allows_is_left_out():
    empty = np.full((2, 3), -1)
    nothing = np.zeros((4, 2), dtype=np.float32), np.zeros(4, dtype=bool)
    assert list_metrics(empty, COUNTS, k=[3], content=nothing) == {"coverage@3": 0.0}
    assert "diversity@3" not in list_metrics(LISTS, COUNTS, k=[3], content=nothing)
