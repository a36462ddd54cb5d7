"""The protocol, against lists counted one by one."""

from math import log2

import numpy as np
import pytest
from datasets import Dataset

from seqrec.baselines import ContentKNN, ItemKNN, Popularity
from seqrec.evaluation import check_same_rows, compare, dataset_ranks, evaluate, user_metrics

ITEMS = [f"item-{i}" for i in range(30)]


@pytest.fixture(scope="module")
def items():
    return Dataset.from_dict({"item_id": ITEMS})


@pytest.fixture(scope="module")
def train():
    generator = np.random.default_rng(0)
    histories = [[ITEMS[i] for i in generator.permutation(30)[:12]] for _ in range(40)]
    return Dataset.from_dict({"history": histories})


@pytest.fixture(scope="module")
def test_split(train):
    """Twelve items of a history, then one that was not among them."""
    targets = [[next(i for i in ITEMS[row % 30 :] + ITEMS if i not in h)] for row, h in enumerate(train["history"])]
    return Dataset.from_dict(
        {"user_id": [f"user-{i}" for i in range(40)], "history": train["history"], "targets": targets}
    )


@pytest.fixture(scope="module")
def tieless(train, items):
    """A ranker whose scores are all different."""
    return ContentKNN(
        train, items, np.random.default_rng(1).normal(size=(30, 8)).astype(np.float32), np.ones(30, bool)
    )


@pytest.mark.parametrize("exclude_seen", [True, False])
def test_metrics_equal_those_counted_from_recommended_lists(tieless, test_split, exclude_seen):
    result = evaluate(tieless, test_split, k=(3, 10))["exclude_seen" if exclude_seen else "include_seen"]
    for k in (3, 10):
        lists = tieless.recommend(test_split["history"], k=k, exclude_seen=exclude_seen)
        ndcg, hits, reciprocal = [], [], []
        for best, (target,) in zip(lists, test_split["targets"], strict=True):
            found = [place for place, item in enumerate(best, start=1) if item["item_id"] == target]
            ndcg.append(sum(1 / log2(place + 1) for place in found))
            hits.append(len(found))
            reciprocal.append(sum(1 / place for place in found))
        assert sum(hits) > 0
        assert result[f"ndcg@{k}"] == pytest.approx(np.mean(ndcg))
        assert result[f"hr@{k}"] == pytest.approx(np.mean(hits))
        assert result[f"mrr@{k}"] == pytest.approx(np.mean(reciprocal))


def test_intervals_hold_the_mean(tieless, test_split):
    result = evaluate(tieless, test_split, k=(5, 10))
    assert result["num_users"] == 40
    for part in ("exclude_seen", "include_seen"):
        for metric in ("ndcg", "hr", "mrr"):
            for k in (5, 10):
                low, high = result[part][f"{metric}@{k}_ci"]
                assert 0 <= low < result[part][f"{metric}@{k}"] < high <= 1


def test_the_same_call_gives_the_same_numbers_whatever_the_batches(tieless, test_split):
    assert evaluate(tieless, test_split, batch_size=7) == evaluate(tieless, test_split) == tieless.evaluate(test_split)


def test_ranks_by_hand_with_ties_a_seen_target_and_an_unknown_one():
    train = Dataset.from_dict({"history": [["a", "b"], ["a", "c"], ["a"]]})
    popularity = Popularity(train, Dataset.from_dict({"item_id": ["a", "b", "c"]}))
    split = Dataset.from_dict(
        {
            "user_id": list("wxyz"),
            "history": [["a"], [], ["a"], ["b"]],
            "targets": [["b"], ["a"], ["a"], ["unheard-of"]],
        }
    )
    assert dataset_ranks(popularity, split).tolist() == [2, 1, 4, 4]
    assert dataset_ranks(popularity, split, exclude_seen=False).tolist() == [3, 1, 1, 4]
    result = evaluate(popularity, split, k=[2, 10])
    assert result["exclude_seen"]["num_unranked"] == 2
    assert result["exclude_seen"]["ndcg@2"] == pytest.approx((1 / log2(3) + 1) / 4)
    assert result["include_seen"]["num_unranked"] == 1
    assert result["include_seen"]["mrr@2"] == pytest.approx((1 + 1) / 4)


def test_a_cut_beyond_the_catalogue_does_not_turn_misses_into_hits():
    train = Dataset.from_dict({"history": [["a", "b"]]})
    popularity = Popularity(train, Dataset.from_dict({"item_id": ["a", "b"]}))
    split = Dataset.from_dict({"user_id": ["u", "v"], "history": [[], []], "targets": [["unheard-of"], ["a"]]})
    assert evaluate(popularity, split, k=[100])["exclude_seen"]["hr@100"] == 1 / 2


def test_a_ranker_of_nan_finds_nothing(train, items, test_split):
    class Broken(Popularity):
        def score(self, histories):
            return np.full((len(histories), len(ITEMS)), np.nan, dtype=np.float32)

    assert evaluate(Broken(train, items), test_split, k=[100])["include_seen"]["hr@100"] == 0


def test_item_knn_beats_popularity_where_items_go_in_pairs():
    pairs = [[ITEMS[2 * i], ITEMS[2 * i + 1]] for i in range(15)]
    train = Dataset.from_dict({"history": pairs})
    items = Dataset.from_dict({"item_id": ITEMS})
    split = Dataset.from_dict(
        {"user_id": list("abcdefghijklmno"), "history": [[a] for a, _ in pairs], "targets": [[b] for _, b in pairs]}
    )
    assert evaluate(ItemKNN(train, items), split)["exclude_seen"]["hr@10"] == 1
    assert evaluate(Popularity(train, items), split)["exclude_seen"]["hr@10"] == 0


def test_what_cannot_be_evaluated_is_answered_with_a_sentence(tieless, test_split, train):
    with pytest.raises(ValueError, match="no rows"):
        evaluate(tieless, test_split.select([]))
    with pytest.raises(ValueError, match=r"\['targets', 'user_id'\] are missing from \['history'\]"):
        evaluate(tieless, train)
    with pytest.raises(ValueError, match="at least 1"):
        evaluate(tieless, test_split, k=[0])
    with pytest.raises(ValueError, match="Row 1 has 0 targets"):
        evaluate(tieless, Dataset.from_dict({"user_id": ["a", "b"], "history": [[], []], "targets": [["x"], []]}))
    with pytest.raises(ValueError, match="Row 0 has 2 targets"):
        evaluate(tieless, Dataset.from_dict({"user_id": ["a"], "history": [[]], "targets": [["x", "y"]]}))


def test_a_miss_stays_a_miss_where_k_reaches_beyond_the_catalogue():
    ranks = np.array([1, 4])  # three items: the second target cannot be ranked
    assert user_metrics(ranks, [10], num_items=3)["hr@10"].tolist() == [1, 0]


@pytest.fixture(scope="module")
def counted(train):
    """The catalogue, with its counts in training; the last item was added later."""
    counts = [sum(item in history for history in train["history"]) for item in ITEMS[:-1]]
    return Dataset.from_dict({"item_id": ITEMS, "count": [*counts, None]})


def test_cohorts_are_the_same_metrics_of_some_of_the_users(tieless, test_split, counted):
    result = evaluate(tieless, test_split, k=[10], items=counted)
    count = dict(zip(ITEMS, counted["count"], strict=True))
    least = sorted((count or 0 for count in counted["count"]), reverse=True)[5]
    popular = [row for row, (target,) in enumerate(test_split["targets"]) if (count[target] or 0) >= least]
    assert 0 < len(popular) < 40
    alone = evaluate(tieless, test_split.select(popular), k=[10])
    head = result["cohorts"]["head"]
    assert head.pop("definition").startswith(f"target taken at least {least} times")
    assert head.pop("num_users") == len(popular)
    assert alone["exclude_seen"] == {"num_unranked": 0, **head}
    assert result["cohorts"]["tail"]["num_users"] == 40 - len(popular)
    assert result["cohorts"]["short"]["num_users"] == 40 and "long" not in result["cohorts"]


def test_targets_new_to_training_are_cold_and_without_them_nobody_is(tieless, test_split, counted):
    cold = [row for row, (target,) in enumerate(test_split["targets"]) if target == ITEMS[-1]]
    result = evaluate(tieless, test_split, items=counted)
    assert result["cold"]["num_users"] == len(cold) > 0
    assert result["warm"]["num_users"] == 40 - len(cold)
    others = test_split.select(sorted(set(range(40)) - set(cold)))
    assert evaluate(tieless, others, items=counted).keys().isdisjoint({"cold", "warm"})


def test_a_target_outside_the_catalogue_is_cold_and_in_the_tail(train, counted):
    split = Dataset.from_dict({"user_id": ["u"], "history": [[]], "targets": [["unheard-of"]]})
    result = evaluate(Popularity(train, counted), split, items=counted)
    assert set(result["cohorts"]) == {"tail", "short"} and "cold" in result and "warm" not in result


MEASURES = ("coverage", "gini", "novelty", "popularity", "cold_items", "diversity")


def test_lists_are_those_that_the_ranker_recommends(tieless, test_split, counted):
    vectors = np.random.default_rng(2).normal(size=(30, 4)).astype(np.float32)
    content = vectors, np.ones(30, dtype=bool)
    result = evaluate(tieless, test_split, k=[5], items=counted, content=content, batch_size=7)["lists"]
    lists = [[item["item_id"] for item in best] for best in tieless.recommend(test_split["history"], k=5)]
    assert result["coverage@5"] == len({item for best in lists for item in best}) / 30
    count = {item: number or 0 for item, number in zip(ITEMS, counted["count"], strict=True)}
    assert result["popularity@5"] == pytest.approx(np.mean([[count[item] for item in best] for best in lists]))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = [unit[places] @ unit[places].T for places in ([ITEMS.index(item) for item in best] for best in lists)]
    assert result["diversity@5"] == pytest.approx(np.mean([1 - (c.sum() - 5) / 20 for c in cosines]), abs=1e-6)
    assert set(result) == {f"{name}@5" for name in MEASURES}


def test_lists_may_be_shorter_than_the_cut(train, counted):
    split = Dataset.from_dict({"user_id": ["u", "v"], "history": [ITEMS[:29], ITEMS], "targets": [["item-29"]] * 2})
    lists = evaluate(Popularity(train, counted), split, k=[100], items=counted)["lists"]
    assert lists["coverage@100"] == 1 / 30
    assert lists["popularity@100"] == 0


def test_baselines_answer_the_same_call_with_cohorts_and_lists(train, test_split, counted):
    popularity = Popularity(train, counted)
    assert popularity.evaluate(test_split) == evaluate(popularity, test_split, items=counted)


def test_comparing_two_rankers_pairs_their_users(tieless, train, items, test_split):
    popularity = Popularity(train, items)
    differences = compare(tieless, popularity, test_split, k=[10])
    ours, theirs = evaluate(tieless, test_split, k=[10]), evaluate(popularity, test_split, k=[10])
    assert list(differences) == ["ndcg@10", "hr@10", "mrr@10"]
    for metric, found in differences.items():
        assert found.value == pytest.approx(ours["exclude_seen"][metric])
        assert found.other == pytest.approx(theirs["exclude_seen"][metric])
        assert found.interval[0] <= found.difference <= found.interval[1]
    assert compare(tieless, tieless, test_split)["ndcg@10"].p_value == 1


def test_the_same_rows_in_another_order_are_the_same(test_split):
    check_same_rows(test_split, test_split.shuffle(seed=1))


def test_other_rows_are_refused_with_what_differs(test_split):
    first = test_split.select(range(3))
    changed = Dataset.from_list([first[0], first[1] | {"targets": ["item-0"]}, first[2] | {"user_id": "new"}])
    with pytest.raises(ValueError, match="1 users are only in the first, 1 only in the second, 1 have another"):
        check_same_rows(first, changed)
    with pytest.raises(ValueError, match="have another history"):  # the target did not move into the history
        check_same_rows(
            Dataset.from_dict({"user_id": ["u"], "history": [["a", "b"]], "targets": [["c"]]}),
            Dataset.from_dict({"user_id": ["u"], "history": [["a"]], "targets": [["c"]]}),
        )


def test_a_catalogue_that_does_not_fit_is_answered_with_a_sentence(tieless, test_split, items, counted):
    with pytest.raises(ValueError, match=r"\['count'\] are missing from \['item_id'\]"):
        evaluate(tieless, test_split, items=items)
    with pytest.raises(ValueError, match="Pass the ranker's own catalogue"):
        evaluate(tieless, test_split, items=counted.select(range(3)))
    content = np.zeros((29, 2), dtype=np.float32), np.zeros(30, dtype=bool)
    with pytest.raises(ValueError, match="29 vectors and 30 marks for 30 items"):
        evaluate(tieless, test_split, items=counted, content=content)
    with pytest.raises(ValueError, match="items= too"):
        evaluate(tieless, test_split, content=content)
