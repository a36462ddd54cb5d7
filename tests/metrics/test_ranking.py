"""Ranks and their worth, worked by hand."""

from math import log2, nan

import numpy as np
import pytest

from seqrec.metrics import hr_at_k, metric_values, mrr_at_k, ndcg_at_k, ranks_from_scores


def test_rank_counts_items_above_the_target():
    scores = np.array([[0.1, 0.9, 0.4], [0.1, 0.9, 0.4], [0.1, 0.9, 0.4]])
    assert ranks_from_scores(scores, [0, 1, 2]).tolist() == [3, 1, 2]


def test_ties_count_against_the_target():
    assert ranks_from_scores(np.zeros((2, 4)), [0, 3]).tolist() == [4, 4]


def test_integer_scores_are_ranked_too():
    assert ranks_from_scores(np.array([[3, 1, 2]]), [2]).tolist() == [2]


@pytest.mark.parametrize("target", [0, 1])
def test_nan_never_helps(target):
    """A NaN target is unrankable, and a NaN beside the target stands above it."""
    ranks = ranks_from_scores(np.array([[nan, 0.5, 0.1]]), [target])
    assert ranks.tolist() == [4 if target == 0 else 2]


def test_infinite_scores_rank_like_numbers():
    assert ranks_from_scores(np.array([[-np.inf, 1.0, np.inf]] * 3), [0, 1, 2]).tolist() == [3, 2, 1]
    assert ranks_from_scores(np.array([[-np.inf, -np.inf, 1.0]]), [0]).tolist() == [3]


def test_excluded_items_are_not_counted():
    scores = np.array([[0.9, 0.8, 0.7, 0.6]] * 2)
    excluded = np.array([[True, False, True, False], [False] * 4])
    assert ranks_from_scores(scores, [3, 3], excluded).tolist() == [2, 4]


def test_an_excluded_or_unknown_target_ranks_after_the_last_item():
    scores = np.array([[0.9, 0.8]] * 2)
    assert ranks_from_scores(scores, [0, -1], np.array([[True, False]] * 2)).tolist() == [3, 3]


def test_ranks_of_no_rows():
    assert ranks_from_scores(np.zeros((0, 3)), []).tolist() == []


def test_mismatched_shapes_are_refused():
    with pytest.raises(ValueError, match="one target position a row"):
        ranks_from_scores(np.zeros((2, 3)), [0])


def test_scores_are_not_changed():
    scores = np.array([[nan, 0.5]])
    excluded = np.array([[False, True]])
    ranks_from_scores(scores, [1], excluded)
    assert scores[0, 1] == 0.5 and excluded.tolist() == [[False, True]]


def test_worth_of_ranks():
    ranks = [1, 2, 10, 11]
    assert ndcg_at_k(ranks, 10).tolist() == pytest.approx([1, 1 / log2(3), 1 / log2(11), 0])
    assert hr_at_k(ranks, 10).tolist() == [1, 1, 1, 0]
    assert mrr_at_k(ranks, 10).tolist() == pytest.approx([1, 1 / 2, 1 / 10, 0])


def test_metric_values_names_every_metric_at_every_cut():
    values = metric_values([1, 4, 30], k=(3, 20))
    assert {name: float(v.sum()) for name, v in values.items()} == pytest.approx(
        {
            "ndcg@3": 1,
            "hr@3": 1,
            "mrr@3": 1,
            "ndcg@20": 1 + 1 / log2(5),
            "hr@20": 2,
            "mrr@20": 1 + 1 / 4,
        }
    )


def test_rank_zero_is_refused():
    with pytest.raises(ValueError, match="count from 1, got 0"):
        ndcg_at_k([0, 1], 10)
