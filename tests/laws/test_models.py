"""Laws of models: lists, ranks, folders, training windows and metrics, whatever the catalogue and the histories."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from hypothesis import strategies as st

from seqrec import Recommender
from seqrec.data.collation import TrainingWindows, collate_windows
from seqrec.data.columns import SPECIAL_TOKENS
from seqrec.metrics import metric_values, ranks_from_scores
from seqrec.model import SeqRecConfig, SeqRecForNextItem
from seqrec.model_folder import ModelFolder

IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6).filter(
    lambda i: i not in SPECIAL_TOKENS
)
CATALOGUES = st.lists(IDS, min_size=1, max_size=12, unique=True)
SHAPES = st.fixed_dictionaries(
    {
        "attention": st.sampled_from(["causal", "bidirectional"]),
        "norm": st.sampled_from(["pre", "post"]),
        "similarity": st.sampled_from(["dot", "cosine"]),
        "mask_query": st.sampled_from(["plain", "previous", "neighbours", "shifted", "newest"]),
        "relative_position_bias": st.booleans(),
        "ensemble_size": st.integers(1, 3),
        "transition_size": st.sampled_from([0, 3]),
        "num_attention_heads": st.sampled_from([1, 2]),
        "num_hidden_layers": st.integers(0, 2),
        "max_position_embeddings": st.integers(2, 6),
    }
)


@st.composite
def questions(draw):
    """A catalogue, the shape of a model, histories (also of unknown ids), and what may be asked about them."""
    catalogue = draw(CATALOGUES)
    ids = st.one_of(st.sampled_from(catalogue), st.sampled_from(catalogue), IDS, st.sampled_from(SPECIAL_TOKENS))
    histories = draw(st.lists(st.lists(ids, max_size=8), min_size=1, max_size=4))
    lists = st.one_of(
        st.none(),
        st.lists(ids, max_size=4),
        st.lists(st.lists(ids, max_size=4), min_size=len(histories), max_size=len(histories)),
    )
    asked = {"k": draw(st.integers(1, 14)), "exclude_seen": draw(st.booleans())}
    return catalogue, draw(SHAPES), histories, asked | {"candidates": draw(lists), "exclude": draw(lists)}


def each_has_its_own(lists, count, otherwise):
    if lists is None:
        return [otherwise] * count
    return lists if lists and isinstance(lists[0], list) else [lists] * count


def lists_are_what_was_asked_for(world, case):
    catalogue, shape, histories, asked = case
    recommender = Recommender(world.make(catalogue, **shape))
    lists = recommender.recommend(histories, **asked, on_unknown_items="ignore")
    candidates = each_has_its_own(asked["candidates"], len(histories), catalogue)
    excluded = each_has_its_own(asked["exclude"], len(histories), [])
    vectors = recommender.encode_history(histories, "ignore") @ recommender.encode_items().T
    for history, rows, chosen, out, scores in zip(histories, lists, candidates, excluded, vectors, strict=True):
        available = (set(chosen) & set(catalogue)) - set(out) - set(history if asked["exclude_seen"] else [])
        ids = [row["item_id"] for row in rows]
        assert len(set(ids)) == len(ids) == min(asked["k"], len(available))
        assert set(ids) <= available
        given = [row["score"] for row in rows]
        assert given == sorted(given, reverse=True)
        dots = {item: float(score) for item, score in zip(catalogue, scores, strict=True)}
        assert given == pytest.approx([dots[item] for item in ids], rel=1e-4, abs=1e-4)
        assert not ids or given[-1] >= max((dots[i] for i in available - set(ids)), default=-math.inf) - 1e-3


def ranks_agree_with_lists(world, case):
    catalogue, shape, histories, asked = case
    recommender = Recommender(world.make(catalogue, **shape))
    lists = recommender.recommend(histories, len(catalogue), asked["exclude_seen"], on_unknown_items="ignore")
    for target in (catalogue[0], catalogue[-1], SPECIAL_TOKENS[0]):
        ranks = recommender.target_ranks(histories, [target] * len(histories), asked["exclude_seen"])
        for rows, rank in zip(lists, ranks, strict=True):
            scores = {row["item_id"]: row["score"] for row in rows}
            ties = (
                sum(score >= scores[target] for score in scores.values()) if target in scores else len(catalogue) + 1
            )
            assert rank == ties


def a_saved_model_is_the_same(world, case):
    catalogue, shape, histories, _ = case
    folder = world.make(catalogue, **shape)
    assert folder.tokenizer.convert_tokens_to_ids(catalogue) == list(range(3, 3 + len(catalogue)))
    folder.save(world.path)
    loaded = ModelFolder.load(world.path)
    assert loaded.tokenizer.convert_ids_to_tokens(list(range(3, 3 + len(catalogue)))) == catalogue
    assert loaded.items.to_dict() == folder.items.to_dict()
    assert loaded.metrics == folder.metrics
    before, after = folder.model.state_dict(), loaded.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before.keys() | after.keys())
    vectors = [Recommender(each).encode_history(histories, "ignore") for each in (folder, loaded)]
    np.testing.assert_allclose(vectors[0], vectors[1], rtol=1e-4, atol=1e-5)


WINDOWS = st.fixed_dictionaries(
    {
        "histories": st.lists(st.lists(st.integers(3, 8), max_size=9), min_size=1, max_size=5),
        "objective": st.sampled_from(["shifted", "cloze", "last_item"]),
        "window": st.integers(2, 5),
        "seed": st.integers(0, 3),
    }
)


def windows_ask_for_what_happened(world, case):
    windows = TrainingWindows(**case, mask_token_id=2, appends_mask=False)
    histories, objective = case["histories"], case["objective"]
    asked = Counter()
    for index in range(len(windows)):
        history = histories[windows.rows[index]]
        for place, (input_ids, labels) in enumerate(windows[index]):
            told = labels != -100
            if len(input_ids) == 1 and input_ids[0] == 2 and (place or objective != "cloze"):
                assert labels[0] in history  # the lone [MASK] of an empty history
                continue
            asked[windows.rows[index]] += int(told.sum())
            assert len(input_ids) <= windows.lengths()[index]
            whole = [*input_ids, labels[-1]] if objective != "cloze" else [*np.where(told, labels, input_ids)]
            if objective == "shifted":
                assert whole == [input_ids[0], *labels]
            starts = range(len(history) - len(whole) + 1)
            assert any(history[start : start + len(whole)] == whole for start in starts)
    if objective == "last_item":
        assert asked == Counter({row: len(history) - 1 for row, history in enumerate(histories) if len(history) > 1})
    packed_is_the_same_as_apart(world, [segment for index in range(len(windows)) for segment in windows[index]])


def packed_is_the_same_as_apart(world, segments):
    if not segments:
        return
    model = world.make(
        [str(number) for number in range(6)], attention="bidirectional", max_position_embeddings=5
    ).model
    with torch.no_grad():
        together = model(**collate_windows([segments])).loss
        apart = [model(**collate_windows([[segment]])).loss * (segment[1] != -100).sum() for segment in segments]
    count = sum(int((labels != -100).sum()) for _, labels in segments)
    torch.testing.assert_close(together, sum(apart) / max(count, 1), rtol=1e-4, atol=1e-4)


SCORES = st.integers(1, 6).flatmap(
    lambda items: st.lists(
        st.tuples(
            st.lists(st.sampled_from([0.0, 0.5, 1.0, math.nan, -math.inf]), min_size=items, max_size=items),
            st.integers(-1, items - 1),
            st.lists(st.booleans(), min_size=items, max_size=items),
        ),
        min_size=1,
        max_size=4,
    )
)


def metrics_are_their_formulas(world, rows):
    scores, targets, excluded = zip(*rows, strict=True)
    ranks = ranks_from_scores(scores, targets, excluded)
    values = metric_values(ranks, k=(1, 3))
    for place, (row, target, out) in enumerate(rows):
        last = len(row) + 1
        can = target >= 0 and not out[target] and not math.isnan(row[target])
        others = [score for item, score in enumerate(row) if item != target and not out[item]]
        rank = 1 + sum(not score < row[target] for score in others) if can else last
        assert ranks[place] == rank
        for k in (1, 3):
            assert values[f"hr@{k}"][place] == (rank <= k)
            assert values[f"mrr@{k}"][place] == (1 / rank if rank <= k else 0)
            assert values[f"ndcg@{k}"][place] == pytest.approx(1 / math.log2(rank + 1) if rank <= k else 0)


ODD_SHAPES = st.fixed_dictionaries(
    {"vocab_size": st.integers(2, 9), "hidden_size": st.integers(-1, 9)},
    optional={
        "num_attention_heads": st.integers(0, 4),
        "intermediate_size": st.integers(0, 4),
        "hidden_act": st.sampled_from(["gelu", "relu", "silu", "tanh", "swiglu"]),
        "temperature": st.floats(),
        "layer_norm_eps": st.floats(),
        "initializer_range": st.floats(0, 1),
        "hidden_dropout_prob": st.floats(-0.5, 1.5),
        "attention_probs_dropout_prob": st.floats(-0.5, 1.5),
        "item_dropout_prob": st.floats(-0.5, 1.5),
        "content_sizes": st.dictionaries(
            st.sampled_from(["text", "image", "attributes"]), st.lists(st.integers(-1, 3), min_size=2, max_size=3)
        ),
        "use_item_ids": st.booleans(),
        "num_trained_tokens": st.integers(2, 9),
        "fusion": st.sampled_from(["sum", "gate"]),
        "id_dropout_prob": st.floats(-0.5, 1.5),
    },
)


def a_config_learns_or_is_refused(world, case):
    shape, odd, seed = case
    torch.manual_seed(seed)
    try:
        model = SeqRecForNextItem(SeqRecConfig(**(shape | odd)))
    except (ValueError, StrictDataclassError) as error:
        world.assert_speaks(error)
        return
    input_ids = torch.randint(2, model.config.vocab_size, (2, 4))
    labels = torch.randint(model.config.num_special_tokens, model.config.vocab_size, (2, 4))
    loss = model(input_ids, labels=labels).loss
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


LAWS = {
    a_config_learns_or_is_refused: (st.tuples(SHAPES, ODD_SHAPES, st.integers(0, 3)), 100),
    lists_are_what_was_asked_for: (questions(), 120),
    ranks_agree_with_lists: (questions(), 60),
    a_saved_model_is_the_same: (questions(), 40),
    windows_ask_for_what_happened: (WINDOWS, 60),
    metrics_are_their_formulas: (SCORES, 70),
}


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_it_holds(law, holds):
    holds(law, *LAWS[law])
