"""The protocol, against lists counted one by one."""

from math import log2

import numpy as np
import pytest
from datasets import Dataset

from seqrec.baselines import ContentKNN, ItemKNN, Popularity
from seqrec.evaluation import dataset_ranks, evaluate, user_metrics

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
