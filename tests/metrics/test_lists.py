"""Rank lists against ir-measures (trec_eval's code), and the lists that have no place there."""

import ir_measures
import numpy as np
import pytest
from ir_measures import AP, RR, P, R, Success, nDCG

from seqrec.metrics import evaluate_lists, metric_values

THEIRS = {"ndcg": nDCG, "hr": Success, "mrr": RR, "recall": R, "precision": P, "map": AP}
CUTS = (1, 3, 10, 20)


def random_lists(seed, num_users=40, num_items=30):
    """Lists of 0 to 25 items and 1 to 12 targets, some of which no list has."""
    generator = np.random.default_rng(seed)
    ids = [f"item {number}" for number in range(num_items)]
    recommended = [list(generator.permutation(ids)[: generator.integers(0, 26)]) for _ in range(num_users)]
    targets = [
        list(generator.permutation([*ids, "unheard-of"])[: generator.integers(1, 13)]) for _ in range(num_users)
    ]
    return [[str(i) for i in row] for row in recommended], [[str(i) for i in row] for row in targets]


@pytest.mark.parametrize("seed", range(5))
def test_several_targets_are_measured_as_by_ir_measures(seed):
    recommended, targets = random_lists(seed)
    recommended[0] = []
    qrels = {f"q{user}": dict.fromkeys(ids, 1) for user, ids in enumerate(targets)}
    run = {f"q{user}": {item: float(-place) for place, item in enumerate(ids)} for user, ids in enumerate(recommended)}
    measures = {f"{name}@{k}": measure @ k for name, measure in THEIRS.items() for k in CUTS}
    theirs = ir_measures.calc_aggregate(list(measures.values()), qrels, run)
    ours = evaluate_lists(recommended, targets, k=CUTS)
    assert {name: ours[name] for name in measures} == pytest.approx(
        {name: theirs[measure] for name, measure in measures.items()}
    )


def test_one_target_is_measured_as_by_evaluate():
    recommended, targets = random_lists(seed=9)
    targets = [ids[0] for ids in targets]
    ranks = [
        ids.index(target) + 1 if target in ids else 10**6 for ids, target in zip(recommended, targets, strict=True)
    ]
    result = evaluate_lists(recommended, targets, k=CUTS)
    assert result["num_users"] == 40
    for name, values in metric_values(ranks, CUTS).items():
        assert result[name] == pytest.approx(values.mean())
        low, high = result[f"{name}_ci"]
        assert low <= result[name] <= high


def test_a_worked_example():
    """Two of three targets at ranks 1 and 3; the best list would have all three in front."""
    result = evaluate_lists([["a", "x", "b", "y"]], [["a", "b", "c"]], k=[2, 4])
    assert result["ndcg@4"] == pytest.approx((1 + 1 / 2) / (1 + 1 / np.log2(3) + 1 / 2))
    assert result["map@4"] == pytest.approx((1 / 1 + 2 / 3) / 3)
    assert (result["recall@4"], result["precision@4"], result["mrr@4"]) == (2 / 3, 2 / 4, 1)
    assert result["ndcg@2"] == pytest.approx(1 / (1 + 1 / np.log2(3)))


def test_numbers_arrays_and_one_shot_iterables_are_ids_too():
    expected = evaluate_lists([[1, 2], [3, 4]], [[2], [3]], k=[2])
    assert evaluate_lists(np.array([[1, 2], [3, 4]]), np.array([2, 3]), k=[2]) == expected
    assert evaluate_lists([iter([1, 2]), iter([3, 4])], [{2}, (3, 3)], k=[2]) == expected


def test_nothing_recommended_to_anybody_is_worth_nothing():
    result = evaluate_lists([[], []], ["a", ["b", "c"]], k=[10])
    assert {value for name, value in result.items() if name.endswith("@10")} == {0.0}


@pytest.mark.parametrize(
    ("recommended", "targets", "said"),
    [
        ([["a"], ["b"]], [["a"]], "Got 2 lists and 1 users' targets"),
        ([], [], "at least one"),
        ([["a"], ["b"]], [["a"], []], "Row 1 has no targets"),
        ([["a", "b", "a"]], [["b"]], "Row 0 recommends 'a' more than once"),
        ([{"a", "b"}], [["a"]], "Row 0 of recommended is a set, which has no order; expected a list, best first"),
        ([["a"], frozenset("b")], ["a", "b"], "Row 1 of recommended is a frozenset"),
        (["abc"], [["a"]], "Row 0 of recommended is 'abc'; expected a list of ids"),
        ([[{"item_id": "a"}]], ["a"], r'pass \[item\["item_id"\] for item in row\]'),
        ([["a"]], [None], "Row 0 of targets is None"),
        ([["1", "2"]], [[1]], "text and some are numbers"),
    ],
)
def test_what_has_no_answer_is_refused_with_a_sentence(recommended, targets, said):
    with pytest.raises(ValueError, match=said):
        evaluate_lists(recommended, targets)


@pytest.mark.parametrize("k", [[], [0], 10, "10", [2.5]])
def test_cuts_that_are_none_are_refused(k):
    with pytest.raises(ValueError, match="must name cuts of at least 1"):
        evaluate_lists([["a"]], ["a"], k=k)
