"""Baselines in a world of four histories and five items, worked by hand."""

import numpy as np
import pytest
import scipy.sparse as sparse
from datasets import Dataset, concatenate_datasets

from seqrec.baselines import ContentKNN, ItemKNN, MatrixFactorisation, Popularity, SeedNetwork
from seqrec.baselines import base as base_module
from seqrec.metrics import ranks_from_scores

# counts: a 3, b 2, c 1, d 1, e 0
HISTORIES = [["a", "b", "c"], ["a", "b"], ["a", "d"], []]
VECTORS = np.array([[1, 0], [2, 0], [0, 3], [3, 4], [np.nan, np.nan]], dtype=np.float32)
PRESENT = np.array([True, True, True, True, False])


@pytest.fixture(scope="module")
def items():
    return Dataset.from_dict({"item_id": list("abcde"), "count": [3, 2, 1, 1, 0]})


@pytest.fixture(scope="module")
def train():
    return Dataset.from_dict({"user_id": list("wxyz"), "history": HISTORIES, "targets": [[]] * 4})


MAKERS = {
    "popularity": Popularity,
    "item_knn": ItemKNN,
    "content_knn": lambda train, items: ContentKNN(train, items, VECTORS[: len(items)], PRESENT[: len(items)]),
    "matrix_factorisation": MatrixFactorisation,
    "seed_network": SeedNetwork,
}


@pytest.fixture(scope="module", params=MAKERS)
def make(request):
    return MAKERS[request.param]


@pytest.fixture(scope="module")
def baseline(make, train, items):
    return make(train, items)


def ids(results):
    return [[item["item_id"] for item in result] for result in results]


def test_popularity_counts_the_training_histories(train, items):
    popularity = Popularity(train, items)
    assert popularity.score([["c"]]).tolist() == [[3 / 4, 2 / 4, 1 / 4, 1 / 4, 0]]
    assert ids(popularity.recommend([["a"], ["b", "d"]], k=2)) == [["b", "c"], ["a", "c"]]


def test_popularity_ties_count_against_the_target(train, items):
    popularity = Popularity(train, items)
    assert popularity.target_ranks([["a"]], ["c"]).tolist() == [3]  # b and the equal d above; a is out
    assert popularity.target_ranks([["a"]], ["c"], exclude_seen=False).tolist() == [4]


def test_item_knn_sums_the_cosines_of_a_history(train, items):
    # a was taken by w, x, y; b by w, x; c by w; d by y
    scores = ItemKNN(train, items).score([["a"], ["b", "c", "z"]])
    ab, ac, ad, bc = 2 / 6**0.5, 1 / 3**0.5, 1 / 3**0.5, 1 / 2**0.5
    assert scores[0].tolist() == pytest.approx([3 / 4 - 1, ab, ac, ad, -1])  # what is no neighbour: popularity - 1
    assert scores[1].tolist() == pytest.approx([ab + ac, bc, bc, 1 / 4 - 1, -1])


def test_item_knn_does_not_see_order_or_repeats(train, items):
    knn = ItemKNN(train, items)
    np.testing.assert_array_equal(knn.score([["c", "b", "c"]]), knn.score([["b", "c"]]))
    twice = Dataset.from_dict({"history": [["a", "b", "a", "b", "c"], ["a", "b"], ["d", "a"]]})
    np.testing.assert_array_equal(ItemKNN(twice, items).score([["a"]])[:, 1:4], knn.score([["a"]])[:, 1:4])


def test_item_knn_scores_are_those_of_the_formula_written_out():
    """Float for float, so that no rank depends on how the products are arranged."""
    generator = np.random.default_rng(0)
    item_ids = [f"i{number}" for number in range(60)]
    weights = 1 / np.arange(1, 61)
    histories = [generator.choice(item_ids, 6, p=weights / weights.sum()).tolist() for _ in range(80)] + [[], ["?"]]
    train = Dataset.from_dict({"history": histories[:50]})
    knn = ItemKNN(train, Dataset.from_dict({"item_id": item_ids}), num_neighbours=5)
    asked = sparse.csr_array([[item_id in history for item_id in item_ids] for history in histories], dtype=np.float32)
    scores = (asked @ knn._neighbours).toarray()
    counts = np.array([sum(history.count(item_id) for history in histories[:50]) for item_id in item_ids])
    popularity = (counts / (counts.max() + 1)).astype(np.float32)
    assert (scores > 0).any() and (scores == 0).any()
    np.testing.assert_array_equal(knn.score(histories), np.where(scores > 0, scores, popularity - 1))


def test_item_knn_keeps_the_nearest_neighbours_of_each_item(train, items):
    knn = ItemKNN(train, items, num_neighbours=1)
    assert knn.score([["a"]])[0, 1] > 0  # b is a's nearest
    assert (knn.score([["a"]])[0, 2:] < 0).all()
    assert knn.score([["c"]])[0, 1] > 0  # b is c's nearest as well


def test_content_knn_is_the_cosine_with_the_weighted_mean_of_unit_vectors(train, items):
    knn = ContentKNN(train, items, VECTORS, PRESENT, recency=0.5)
    scores = knn.score([["c"], ["c", "b"]])
    assert scores[0].tolist() == pytest.approx([0, 0, 1, 0.8, -3])
    mean = np.array([1, 0.5]) / np.sqrt(1.25)
    assert scores[1, :4].tolist() == pytest.approx([mean[0], mean[0], mean[1], 0.6 * mean[0] + 0.8 * mean[1]])


def test_content_knn_ranks_items_without_content_last(train, items):
    away = np.array([[1, 0], [-1, 0], [0, 0], [0, 0], [1, 0]], dtype=np.float32)
    knn = ContentKNN(train, items, away, np.array([True, True, True, False, True]))
    results = knn.recommend([["a"]], k=5, exclude_seen=False)
    assert ids(results) == [["a", "e", "b", "c", "d"]]  # c's zeros and d's absence: no content, then by popularity


def test_content_knn_skips_items_of_the_history_without_content(train, items):
    knn = ContentKNN(train, items, VECTORS, PRESENT)
    np.testing.assert_allclose(knn.score([["c", "e", "unheard-of"]]), knn.score([["c"]]))
    np.testing.assert_array_equal(knn.score([["e"]]), knn.score([[]]))


def test_content_of_another_catalogue_is_refused(train, items):
    with pytest.raises(ValueError, match=r"for 5 items, got shapes \(4, 2\)"):
        ContentKNN(train, items, VECTORS[:4], PRESENT)


def test_empty_and_unknown_histories_get_popular_items(baseline):
    assert ids(baseline.recommend([[], ["unheard-of"]], k=3)) == [["a", "b", "c"]] * 2


def test_seen_items_are_excluded_only_when_asked(baseline):
    (without,) = ids(baseline.recommend([["b", "a", "b"]], k=5))
    (with_seen,) = ids(baseline.recommend([["b", "a", "b"]], k=5, exclude_seen=False))
    assert sorted(without) == ["c", "d", "e"]
    assert sorted(with_seen) == ["a", "b", "c", "d", "e"]


def test_k_larger_than_the_catalogue_gives_every_item_there_is(baseline):
    assert [len(result) for result in baseline.recommend([["a"], list("abcde")], k=100)] == [4, 0]


def test_scores_of_results_fall_and_are_plain_numbers(baseline):
    (result,) = baseline.recommend([["c", "a"]], k=5)
    scores = [item["score"] for item in result]
    assert scores == sorted(scores, reverse=True)
    assert all(type(score) is float for score in scores)
    assert [set(item) for item in result] == [{"item_id", "score"}] * 3


def test_unrankable_targets_stand_after_the_last_item(baseline):
    ranks = baseline.target_ranks([["a"], ["a"]], ["unheard-of", "a"])
    assert ranks.tolist() == [6, 6]
    assert ranks.dtype == np.int64
    assert baseline.target_ranks([["a"]], ["a"], exclude_seen=False)[0] <= 5


def test_nothing_asked_nothing_answered(baseline):
    assert baseline.recommend([]) == []
    assert baseline.target_ranks([], []).tolist() == []


def test_blocks_change_nothing(baseline, monkeypatch):
    histories, targets = [["a"], [], ["c", "b"], ["d"], ["e"]], ["b", "a", "a", "c", "d"]
    lists, ranks = baseline.recommend(histories), baseline.target_ranks(histories, targets)
    monkeypatch.setattr(base_module, "MAX_SCORES", 10)
    assert ids(baseline.recommend(histories)) == ids(lists)
    assert baseline.target_ranks(histories, targets).tolist() == ranks.tolist()


def test_best_positions_agree_with_sorting_everything():
    generator = np.random.default_rng(0)
    for k in (1, 3, 50):
        scores = generator.integers(0, 6, size=50).astype(np.float32)
        scores[generator.random(50) < 0.1] = np.nan
        candidates = np.flatnonzero(generator.random(50) < 0.7)
        order = sorted(candidates, key=lambda i, s=scores: (np.isnan(s[i]), -np.nan_to_num(s[i]), i))
        assert base_module._best_positions(scores, candidates, k).tolist() == order[:k]


def test_ranks_agree_with_the_scores(baseline):
    histories, targets = [["a", "b"], ["c"]], ["d", "e"]
    expected = ranks_from_scores(baseline.score(histories), [3, 4])
    assert baseline.target_ranks(histories, targets, exclude_seen=False).tolist() == expected.tolist()


def test_a_filtered_training_set_is_read_as_filtered(train, items):
    only_last = train.select([2])
    assert Popularity(only_last, items).score([[]]).tolist() == [[1 / 2, 0, 0, 1 / 2, 0]]


def test_training_items_outside_the_catalogue_are_ignored(train, items):
    popularity = Popularity(train, items.select([1, 2]))
    assert popularity.score([[]]).tolist() == [pytest.approx([2 / 3, 1 / 3])]


def test_mistakes_are_answered_with_a_sentence(train, items):
    with pytest.raises(ValueError, match="'history' of the training histories"):
        Popularity(items, items)
    with pytest.raises(ValueError, match="'item_id' of the catalogue"):
        Popularity(train, train)
    with pytest.raises(ValueError, match="no items"):
        Popularity(train, items.select([]))
    with pytest.raises(ValueError, match="at least 1"):
        Popularity(train, items).recommend([["a"]], k=0)
    with pytest.raises(ValueError, match="one target a history"):
        Popularity(train, items).target_ranks([["a"]], [])


def test_lists_and_ranks_are_of_one_order(baseline):
    histories, targets = [["c", "a"], ["d"], ["b", "unheard-of"], []], ["b", "a", "c", "e"]
    for exclude_seen in (True, False):
        lists = ids(baseline.recommend(histories, k=5, exclude_seen=exclude_seen))
        ranks = baseline.target_ranks(histories, targets, exclude_seen=exclude_seen)
        scores = baseline.score(histories)
        for row, (found, target, rank) in enumerate(zip(lists, targets, ranks, strict=True)):
            equals = [item for item in found if scores[row, "abcde".index(item)] == scores[row, "abcde".index(target)]]
            assert rank == found.index(equals[-1]) + 1  # behind all that score as much


def test_the_same_data_gives_the_same_scores(make, train, items):
    histories = [["a"], ["b", "c"], ["e"], []]
    np.testing.assert_array_equal(make(train, items).score(histories), make(train, items).score(histories))


def test_scores_are_numbers_for_every_item_of_every_history(baseline):
    scores = baseline.score([["a", "b", "c", "d", "e"], ["e"], [], ["unheard-of"]])
    assert scores.shape == (4, 5)
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()


def test_a_catalogue_of_one_item(make, train, items):
    baseline = make(train, items.select([0]))
    assert ids(baseline.recommend([[], ["a"], ["b"]], k=3)) == [["a"], [], ["a"]]
    assert baseline.target_ranks([[], ["a"]], ["a", "a"]).tolist() == [1, 2]


def test_evaluation_counts_every_user(baseline):
    split = Dataset.from_dict({"user_id": list("wxyz"), "history": HISTORIES, "targets": [["d"], ["e"], ["b"], ["a"]]})
    results = baseline.evaluate(split, k=(1, 5))
    assert results["num_users"] == 4
    assert results["exclude_seen"]["hr@5"] == 1


def test_a_train_set_of_nothing_but_empty_histories(make, items):
    nothing = Dataset.from_dict({"history": [[], []]})
    assert ids(make(nothing, items).recommend([[], ["unheard-of"]], k=2)) == [["a", "b"]] * 2
    no_users = Dataset.from_dict({"history": [["a"]]}).select([])
    assert ids(make(no_users, items).recommend([[]], k=2)) == [["a", "b"]]


def test_without_training_items_taken_together_the_order_is_that_of_the_catalogue(items):
    nothing = Dataset.from_dict({"history": [[], []]})
    for maker in (Popularity, ItemKNN, MatrixFactorisation, SeedNetwork):
        assert ids(maker(nothing, items).recommend([["c"]], k=2)) == [["a", "b"]]


def test_training_histories_in_several_chunks(train, items):
    chunks = concatenate_datasets([train.select([0]), train.select([3]), train.select([1, 2])])
    np.testing.assert_array_equal(ItemKNN(chunks, items).score([["a"]]), ItemKNN(train, items).score([["a"]]))
