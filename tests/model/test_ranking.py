"""`rank` and `target_ranks` against the plain logits."""

import pytest
import torch

from seqrec.model import modeling_seqrec

HISTORIES = torch.tensor([[0, 3, 4], [5, 6, 7]])
MASK_OF = (HISTORIES > 0).long()


@pytest.fixture(params=[2**24, 10], ids=["whole", "chunks of 5 items"])
def chunked(request, monkeypatch):
    monkeypatch.setattr(modeling_seqrec, "SCORES_AT_ONCE", request.param)


@pytest.fixture
def model(make_model, chunked):
    return make_model()


def test_rank_is_the_top_of_the_logits(model):
    logits = model(HISTORIES, MASK_OF).logits
    ranking = model.rank(HISTORIES, MASK_OF, k=6, exclude_seen=False)
    best = logits.topk(6, dim=1)
    assert ranking.token_ids.tolist() == best.indices.tolist()
    torch.testing.assert_close(ranking.scores, best.values)


def test_seen_items_are_left_out(model):
    logits = model(HISTORIES, MASK_OF).logits.scatter(1, HISTORIES, float("-inf"))
    assert model.rank(HISTORIES, MASK_OF, k=4).token_ids.tolist() == logits.topk(4, dim=1).indices.tolist()


def test_excluded_items_are_left_out_one_list_a_history(model):
    exclude = torch.tensor([[0, 8], [9, 10]])
    ranked = model.rank(HISTORIES, MASK_OF, k=20, exclude=exclude).token_ids
    left = [set(range(3, 20)) - {3, 4, 8}, set(range(3, 20)) - {5, 6, 7, 9, 10}]
    assert [set(row) - {0} for row in ranked.tolist()] == left


def test_candidates_limit_the_list(model):
    ranking = model.rank(HISTORIES, MASK_OF, k=3, candidates=torch.tensor([9, 4, 7, 11, 12, 13, 14]))
    logits = model(HISTORIES, MASK_OF).logits
    for row, allowed in enumerate(([9, 7, 11, 12, 13, 14], [9, 4, 11, 12, 13, 14])):
        best = sorted(allowed, key=lambda token: -logits[row, token])[:3]
        assert ranking.token_ids[row].tolist() == best


def test_a_list_longer_than_the_catalogue_ends_in_padding(model):
    ranking = model.rank(HISTORIES, MASK_OF, k=100)
    assert ranking.token_ids.shape == (2, 17)
    assert sorted(ranking.token_ids[0].tolist()) == [0, 0, *sorted(set(range(3, 20)) - {3, 4})]
    assert torch.isneginf(ranking.scores[ranking.token_ids == 0]).all()


@pytest.mark.parametrize("exclude_seen", [True, False])
def test_target_ranks_count_the_items_above(model, exclude_seen):
    logits = model(HISTORIES, MASK_OF).logits
    if exclude_seen:
        logits = logits.scatter(1, HISTORIES, float("-inf"))
    for target in range(8, 20):
        wanted = [1 + int((row > row[target]).sum()) for row in logits]
        got = model.target_ranks(HISTORIES, MASK_OF, torch.tensor([target, target]), exclude_seen)
        assert got.tolist() == wanted


def test_ties_count_against_the_model(model):
    with torch.no_grad():
        model.model.items.ids.weight[10:15] = model.model.items.ids.weight[10]
    first = model.target_ranks(HISTORIES, MASK_OF, torch.tensor([10, 10]))
    for target in range(10, 15):
        assert model.target_ranks(HISTORIES, MASK_OF, torch.tensor([target, target])).tolist() == first.tolist()
    above = (model(HISTORIES, MASK_OF).logits.scatter(1, HISTORIES, float("-inf")) > 0).sum()  # not all are equal
    assert above > 0
    assert (first >= 5).all()


def test_what_cannot_be_ranked_stands_behind_the_catalogue(model):
    seen_and_unknown = torch.tensor([4, 1])
    assert model.target_ranks(HISTORIES, MASK_OF, seen_and_unknown).tolist() == [18, 18]
    with torch.no_grad():
        model.model.items.ids.weight[10] = float("nan")
    assert model.target_ranks(HISTORIES, MASK_OF, torch.tensor([10, 10])).tolist() == [18, 18]


def test_item_vectors_follow_the_weights(model):
    with torch.no_grad():
        before = model.encode_items()
        assert model.encode_items() is before
        model.model.items.ids.weight[3] += 1
        assert not torch.allclose(model.encode_items()[3], before[3])
