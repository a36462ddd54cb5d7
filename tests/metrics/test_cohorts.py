"""Who belongs where, ties and rows at the edge among them."""

import numpy as np

from seqrec.metrics.cohorts import cold_and_warm, head_and_tail, short_and_long


def members(cohorts):
    return {name: cohort.members.tolist() for name, cohort in cohorts.items()}


def test_the_head_is_the_most_popular_fifth_of_the_catalogue():
    counts = np.arange(10, 0, -1)  # the two most popular have 10 and 9
    assert members(head_and_tail([10, 9, 8, 0], counts)) == {
        "head": [True, True, False, False],
        "tail": [False, False, True, True],
    }


def test_no_tie_is_cut():
    assert members(head_and_tail([2, 1], [2, 2, 2, 2, 1]))["head"] == [True, False]
    assert members(head_and_tail([2], [2, 2, 2, 2, 2])) == {"head": [True], "tail": [False]}


def test_one_item_is_the_head():
    assert members(head_and_tail([0, 7], [7]))["head"] == [False, True]


def test_short_and_long_meet_at_the_median():
    assert members(short_and_long([0, 2, 3, 9])) == {
        "short": [True, True, False, False],
        "long": [False, False, True, True],
    }
    cohorts = short_and_long([4, 4, 4])
    assert members(cohorts)["long"] == [False] * 3
    assert cohorts["short"].definition == "history of at most 4 items, the median"


def test_cold_targets_are_those_that_training_never_saw():
    assert members(cold_and_warm([0, 1])) == {"cold": [True, False], "warm": [False, True]}


def test_what_training_never_has_is_not_popular():
    cohorts = head_and_tail([3, 0], [3, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    assert members(cohorts) == {"head": [True, False], "tail": [False, True]}
    assert cohorts["head"].definition.startswith("target taken at least 1 times in training")
