"""`rank` and `target_ranks` against the plain logits."""

import pytest
import torch

from seqrec.model import ranking

HISTORIES = torch.tensor([[0, 3, 4], [5, 6, 7]])
MASK_OF = (HISTORIES > 0).long()


@pytest.fixture(params=[2**24, 10], ids=["whole", "chunks of 5 items"])
def chunked(request, monkeypatch):
    monkeypatch.setattr(ranking, "SCORES_AT_ONCE", request.param)


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


def ranks_by_hand(logits, targets, left_out):
    """Ranks from full logits: each target against every item that is not left out."""
    logits = logits.scatter(1, left_out, float("-inf"))
    best = logits.gather(1, targets[:, None])
    return torch.where(torch.isneginf(best[:, 0]), 18, (logits >= best).sum(dim=1))


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
@pytest.mark.parametrize("hidden_size", [2, 16, 128])
def test_target_ranks_are_those_of_the_logits_on_random_models(
    make_model, chunked, attention, similarity, hidden_size
):
    model = make_model(attention=attention, similarity=similarity, hidden_size=hidden_size)
    model.requires_grad_(False)
    for round_ in range(5):
        torch.manual_seed(round_)
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter))
        input_ids = torch.randint(3, 20, (60, 6)) * (torch.rand(60, 6) < 0.8)
        input_ids[:, -1] = 2 if attention == "bidirectional" else input_ids[:, -1].clamp(min=3)
        targets, exclude = torch.randint(0, 20, (60,)), torch.randint(0, 20, (60, 2))
        batch = input_ids, (input_ids > 0).long()
        logits = model(*batch).logits
        got = {
            "all": model.target_ranks(*batch, targets, exclude_seen=False),
            "unseen": model.target_ranks(*batch, targets),
            "unseen, not excluded": model.target_ranks(*batch, targets, exclude=exclude),
            "not excluded": model.target_ranks(*batch, targets, exclude_seen=False, exclude=exclude),
        }
        wanted = {
            "all": ranks_by_hand(logits, targets, input_ids[:, :0]),
            "unseen": ranks_by_hand(logits, targets, input_ids),
            "unseen, not excluded": ranks_by_hand(logits, targets, torch.cat([input_ids, exclude], dim=1)),
            "not excluded": ranks_by_hand(logits, targets, exclude),
        }
        for name, ranks in wanted.items():
            assert got[name].tolist() == ranks.tolist(), name
        assert 0 < (wanted["unseen"] == 18).sum() < 60


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
def test_the_best_item_has_rank_one_however_it_is_summed(make_model, chunked, similarity):
    model = make_model(similarity=similarity, hidden_size=512, vocab_size=200)
    input_ids = torch.randint(3, 200, (64, 5))
    with torch.no_grad():
        model.model.items.ids.weight[:64] = model.encode_history(input_ids)  # best is near parallel: sums are longest
        best = model(input_ids).logits.scatter(1, input_ids, float("-inf")).argmax(dim=1)
    assert (model.target_ranks(input_ids, None, best) == 1).all()


@pytest.mark.parametrize("kind", ["bfloat16", "float16", "autocast"])
@pytest.mark.parametrize("similarity", ["dot", "cosine"])
def test_no_rank_is_better_than_the_first_in_half_precision(make_model, chunked, similarity, kind):
    model = make_model(similarity=similarity, hidden_size=64, vocab_size=2000)
    if kind != "autocast":
        model.to(getattr(torch, kind))
    input_ids = torch.randint(3, 2000, (256, 5))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=kind == "autocast"):
        best = model(input_ids).logits.float().scatter(1, input_ids, float("-inf")).argmax(dim=1)
        ranks = model.target_ranks(input_ids, None, best)
    assert ranks.min() >= 1
    assert ranks.float().mean() < 2


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
def test_special_seen_and_excluded_targets_stand_behind_the_catalogue(make_model, chunked, similarity):
    model = make_model(similarity=similarity)
    histories, mask_of = HISTORIES[:1].expand(7, -1), MASK_OF[:1].expand(7, -1)
    targets, exclude = torch.tensor([0, 1, 2, 3, 4, 9, 10]), torch.tensor([[9, 2]] * 7)
    ranks = model.target_ranks(histories, mask_of, targets, exclude=exclude).tolist()
    assert ranks[:6] == [18] * 6
    assert 1 <= ranks[6] <= 14
    seen = model.target_ranks(histories, mask_of, targets, exclude_seen=False).tolist()
    assert seen[:3] == [18] * 3
    assert all(1 <= rank <= 17 for rank in seen[3:])


def test_an_item_that_scores_no_number_stands_before_every_target(model):
    logits = model(HISTORIES, MASK_OF).logits
    worst = logits[:, 8:].argmin(dim=1) + 8
    for target in range(8, 20):
        targets = torch.tensor([target, target])
        usual = model.target_ranks(HISTORIES, MASK_OF, targets)
        with torch.no_grad():
            kept = model.model.items.ids.weight[worst].clone()
            model.model.items.ids.weight[worst] = float("nan")
        now = model.target_ranks(HISTORIES, MASK_OF, targets)
        with torch.no_grad():
            model.model.items.ids.weight[worst] = kept
        for row in range(2):
            lost = [logits[row, item] < logits[row, target] for item in set(worst.tolist())]
            assert now[row] == (18 if target in worst else usual[row] + sum(lost))


def test_a_history_of_no_number_ranks_every_target_last(model):
    with torch.no_grad():
        model.model.encoders[0].embeddings.positions.weight.fill_(float("nan"))
    assert model.target_ranks(HISTORIES, MASK_OF, torch.tensor([10, 11])).tolist() == [18, 18]


@pytest.mark.parametrize("fused", [True, False])
def test_scores_follow_the_steps_of_an_optimizer(make_model, fused):
    model = make_model(hidden_dropout_prob=0.0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=fused)
    seen = []
    for _ in range(3):
        model.eval()
        with torch.no_grad():
            ranking, vectors = model.rank(HISTORIES, MASK_OF, k=17), model.encode_items().clone()
            torch.testing.assert_close(vectors, model._scaled_items(model.model.items()))
            logits = model(HISTORIES, MASK_OF).logits.scatter(1, HISTORIES, float("-inf"))
            torch.testing.assert_close(ranking.scores, logits.sort(dim=1, descending=True).values[:, :17])
            targets = logits.argmax(dim=1)
            assert model.target_ranks(HISTORIES, MASK_OF, targets).tolist() == [1, 1]
        seen.append(ranking.scores)
        model.train()
        model(HISTORIES, MASK_OF, labels=HISTORIES.where(HISTORIES > 0, -100)).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert not torch.allclose(seen[0], seen[1]) and not torch.allclose(seen[1], seen[2])


def test_scores_follow_weights_that_are_swapped_by_their_data(model):
    with torch.no_grad():
        before = model.encode_items().clone()
        weight = model.model.items.ids.weight
        kept, weight.data = weight.data, torch.randn_like(weight)
        assert not torch.allclose(model.encode_items(), before)
        weight.data = kept
        torch.testing.assert_close(model.encode_items(), before)


@pytest.mark.parametrize("target", [-100, -1, 0, 2, 999])
def test_a_target_that_is_no_item_ranks_behind_all(make_model, target):
    model = make_model(vocab_size=30).eval()
    ranks = model.target_ranks(torch.tensor([[5, 6, 7]]), None, torch.tensor([target]))
    assert ranks.tolist() == [model.config.vocab_size - model.config.num_special_tokens + 1]
