"""The encoder and the head, on a small model with random weights."""

import pytest
import torch

from seqrec.model import SeqRecConfig, SeqRecForNextItem
from seqrec.model.embeddings import positions_from_newest
from seqrec.model.encoder import SeqRecModel

PAD, UNK, MASK = 0, 1, 2
LEFT_OUT = -100


def batch_of(*histories, attention):
    """Left-padded histories, with the [MASK] that a bidirectional model reads."""
    rows = [[*history, MASK] if attention == "bidirectional" else list(history) for history in histories]
    width = max(map(len, rows))
    input_ids = torch.tensor([[PAD] * (width - len(row)) + row for row in rows])
    return {"input_ids": input_ids, "attention_mask": (input_ids != PAD).long()}


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"hidden_size": 65, "num_attention_heads": 2}, "hidden_size=65"),
        ({"temperature": 0.0}, "temperature=0.0"),
        ({"hidden_dropout_prob": 1.0}, "hidden_dropout_prob=1.0"),
        ({"vocab_size": 3}, "vocab_size=3"),
        ({"attention": "sideways"}, "sideways"),
        ({"max_position_embeddings": 0}, "max_position_embeddings=0"),
        ({"max_position_embeddings": 1, "attention": "bidirectional"}, "no place for a history"),
    ],
)
def test_a_wrong_setting_is_named(setting, said):
    with pytest.raises(Exception, match=said):
        SeqRecConfig(**setting)


def test_logits_stand_for_every_item_and_no_special_token(make_model, attention):
    logits = make_model(attention=attention)(**batch_of([3, 4], [5, 6, 7], attention=attention)).logits
    assert logits.shape == (2, 20)
    assert torch.isneginf(logits[:, :3]).all()
    assert torch.isfinite(logits[:, 3:]).all()


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
def test_score_is_the_product_of_history_and_item_vectors(make_model, attention, similarity):
    model, batch = make_model(attention=attention, similarity=similarity), batch_of([3, 4], attention=attention)
    with torch.no_grad():
        product = model.encode_history(**batch) @ model.encode_items().T
        torch.testing.assert_close(model(**batch).logits[:, 3:], product[:, 3:])
    if similarity == "cosine":
        assert product.abs().max() <= 1 / model.config.temperature + 1e-4


def test_sdpa_and_eager_attention_agree(make_model, attention):
    batch = batch_of([3, 4, 5], [6, 7], attention=attention)
    settings = {"attention": attention, "content_sizes": {"text": [4, 4]}}
    sdpa, eager = make_model("sdpa", **settings), make_model("eager", **settings)
    torch.testing.assert_close(sdpa(**batch).logits, eager(**batch).logits)


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_padding_changes_nothing_on_either_side(make_model, attention, norm):
    model = make_model(attention=attention, norm=norm)
    alone = model(**batch_of([3, 4, 5], attention=attention)).logits
    left = model(**batch_of([3, 4, 5], [6, 7, 8, 9, 10], attention=attention)).logits[:1]
    right_ids = torch.nn.functional.pad(batch_of([3, 4, 5], attention=attention)["input_ids"], (0, 4))
    torch.testing.assert_close(left, alone)
    torch.testing.assert_close(model(right_ids, (right_ids != PAD).long()).logits, alone)


def test_unknown_items_are_skipped(make_model, attention):
    model = make_model(attention=attention)
    known = model(**batch_of([3, 4], attention=attention)).logits
    for history in ([UNK, 3, 4], [3, UNK, UNK, 4], [3, 4, UNK]):
        torch.testing.assert_close(model(**batch_of(history, attention=attention)).logits, known)


def test_a_long_history_is_read_from_its_newest_end(make_model, attention):
    model = make_model(attention=attention)
    history = [3 + place % 17 for place in range(10_000)]
    read = 8 if attention == "causal" else 7
    torch.testing.assert_close(
        model(**batch_of(history, [4], attention=attention)).logits[:1],
        model(**batch_of(history[-read:], attention=attention)).logits,
    )


def test_an_empty_history_has_an_answer(make_model, attention):
    model = make_model(attention=attention)
    none = model(torch.zeros(1, 0, dtype=torch.long)).logits
    assert torch.isfinite(none[:, 3:]).all()
    torch.testing.assert_close(model(torch.tensor([[PAD, MASK]])).logits, none)
    if attention == "causal":
        torch.testing.assert_close(model(**batch_of([], [3, 4], attention=attention)).logits[:1], none)


def test_a_bidirectional_model_insists_on_its_mask(make_model):
    model = make_model(attention="bidirectional")
    with pytest.raises(ValueError, match="MASK"):
        model(torch.tensor([[3, 4]]))


def test_packed_histories_do_not_see_each_other(make_model, attention):
    model = make_model(attention=attention).model
    packed = torch.tensor([[3, MASK, 5, 6, 7, MASK, PAD]])
    segments = torch.tensor([[1, 1, 2, 2, 2, 2, 0]])
    states = model(packed, segments).last_hidden_state[0]
    torch.testing.assert_close(states[:2], model(packed[:, :2]).last_hidden_state[0])
    torch.testing.assert_close(states[2:6], model(packed[:, 2:6]).last_hidden_state[0])


def test_causal_attention_sees_the_past_only(make_model):
    model = make_model(attention="causal", num_hidden_layers=2).model
    before = model(torch.tensor([[3, 4, 5]])).last_hidden_state[0, :2]
    torch.testing.assert_close(model(torch.tensor([[3, 4, 9]])).last_hidden_state[0, :2], before)
    both = make_model(attention="bidirectional").model
    first = both(torch.tensor([[3, 4, 5]])).last_hidden_state[0, 0]
    assert not torch.allclose(both(torch.tensor([[3, 4, 9]])).last_hidden_state[0, 0], first)


def test_positions_count_from_the_newest_and_skip_padding():
    assert positions_from_newest(torch.tensor([[0, 0, 1, 1]])).tolist() == [[2, 2, 1, 0]]
    assert positions_from_newest(torch.tensor([[1, 0, 1, 2, 3, 3]])).tolist() == [[1, 1, 0, 0, 1, 0]]


def test_a_mask_starts_from_its_visible_neighbours(make_model):
    item_vectors = torch.randn(20, 16)
    input_ids, segments = torch.tensor([[3, MASK, MASK, 6, MASK]]), torch.ones(1, 5, dtype=torch.long)
    wanted = {
        "plain": [0, 0, 0],
        "previous": [item_vectors[3], item_vectors[3], item_vectors[6]],
        "neighbours": [(item_vectors[3] + item_vectors[6]) / 2] * 2 + [item_vectors[6]],
    }
    for mask_query, added in wanted.items():
        model: SeqRecModel = make_model(attention="bidirectional", mask_query=mask_query).model
        positions = positions_from_newest(segments)
        start = model.encoders[0].embeddings(item_vectors[input_ids], input_ids, segments, positions)
        rest = start - model.encoders[0].embeddings.positions(positions)
        for place, extra in zip([1, 2, 4], added, strict=True):
            torch.testing.assert_close(rest[0, place], item_vectors[MASK] + extra)


@pytest.mark.parametrize(("mask_query", "read"), [("plain", 4), ("shifted", 3), ("newest", 3)])
def test_scores_come_from_the_state_that_the_mask_query_names(make_model, mask_query, read):
    model = make_model(attention="bidirectional", mask_query=mask_query)
    history = torch.tensor([[3, 4, 5, 6] + [MASK] * model.config.appends_mask])
    state = model.model(history).last_hidden_state[:, read]
    torch.testing.assert_close(model.encode_history(history), model._scaled_states(state))
    lone = model.model(torch.tensor([[MASK]])).last_hidden_state[:, 0]  # the answer to an empty history
    torch.testing.assert_close(model.encode_history(torch.tensor([[PAD, MASK]])), model._scaled_states(lone))


def test_content_is_as_loud_as_each_encoder_is_told(make_model):
    shape = {"ensemble_size": 2, "content_sizes": {"text": [4, 4]}}
    model, louder = make_model(**shape), make_model(**shape, content_scale=[5.0, 2.0])
    louder.load_state_dict(model.state_dict())
    added, louder_added = (m.model.items()[6] - m.model.items.ids.weight[6] for m in (model, louder))
    torch.testing.assert_close(louder_added, added * torch.tensor([5.0] * 16 + [2.0] * 16), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
def test_an_ensemble_is_models_whose_scores_add_up_and_whose_losses_are_their_own(make_model, similarity):
    ensemble = make_model(ensemble_size=2, similarity=similarity, num_hidden_layers=2)
    members = [make_model(similarity=similarity, num_hidden_layers=2) for _ in range(2)]
    for number, member in enumerate(members):
        member.model.encoders[0].load_state_dict(ensemble.model.encoders[number].state_dict())
        with torch.no_grad():
            member.model.items.ids.weight.copy_(ensemble.model.items.ids.weight.chunk(2, dim=1)[number])
    history = torch.tensor([[3, 4, 5], [PAD, 6, 7]])
    added = sum(member(history).logits for member in members)
    torch.testing.assert_close(ensemble(history).logits, added)
    labels = torch.tensor([[LEFT_OUT, 8, 9], [LEFT_OUT, LEFT_OUT, 10]])
    losses = [member(history, labels=labels).loss for member in members]
    torch.testing.assert_close(ensemble(history, labels=labels).loss, sum(losses) / 2)


def test_the_loss_is_the_mean_over_asked_places(make_model, attention):
    model = make_model(attention=attention)
    input_ids = torch.tensor([[3, 4, 5, 6]])
    labels = torch.tensor([[LEFT_OUT, 7, LEFT_OUT, 8]])
    loss = model(input_ids, labels=labels).loss
    states = model._scaled_states(model.model(input_ids).last_hidden_state[0, [1, 3]])
    logits = (states @ model.encode_items()[3:].T).log_softmax(-1)
    torch.testing.assert_close(loss, -(logits[0, 7 - 3] + logits[1, 8 - 3]) / 2)
    torch.testing.assert_close(model(input_ids, labels=labels, num_items_in_batch=4).loss, loss / 2)
    assert model(input_ids, labels=labels).logits is None


def test_a_batch_that_asks_nothing_costs_nothing(make_model):
    model = make_model()
    loss = model(torch.tensor([[3, 4]]), labels=torch.tensor([[LEFT_OUT, LEFT_OUT]])).loss
    loss.backward()
    assert loss == 0


def test_gradient_checkpointing_gives_the_same_gradients(make_model, attention):
    batch = {**batch_of([3, 4, 5], attention=attention)}
    labels = torch.where(batch["input_ids"] > 2, batch["input_ids"], LEFT_OUT)
    gradients = []
    for checkpointing in (False, True):
        model = make_model(attention=attention).train()
        model.config.hidden_dropout_prob = 0.0
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        if checkpointing:
            old_name = model.gradient_checkpointing_enable  # all that the first releases of transformers 5 have
            getattr(model, "activation_checkpointing_enable", old_name)()
        model(**batch, labels=labels).loss.backward()
        gradients.append(model.model.encoders[0].layers[0].feed_forward[0].weight.grad)
    torch.testing.assert_close(*gradients)


def test_item_dropout_hides_items_in_training_only(make_model):
    model = make_model(item_dropout_prob=0.9, hidden_dropout_prob=0.0)
    batch = batch_of([3, 4, 5, 6, 7], attention="causal")
    calm = model.model(**batch).last_hidden_state
    torch.testing.assert_close(model.model(**batch).last_hidden_state, calm)
    assert not torch.allclose(model.train().model(**batch).last_hidden_state, calm)


def test_content_joins_at_the_item_vector(make_model):
    model = make_model(content_sizes={"text": [4, 4]}, similarity="dot")
    content = model.model.items.content["text"]
    ids, projected = model.model.items.ids.weight, content.projection(content.features.float())
    vectors = model.encode_items()
    torch.testing.assert_close(vectors[:3], ids[:3])  # special tokens have none
    torch.testing.assert_close(vectors[5], ids[5] + content.missing)  # the one without content
    torch.testing.assert_close(vectors[6:], (ids + projected)[6:])
    features, present = model.content_vectors("text")
    assert features.shape == (17, 4)
    assert present.tolist() == [True, True, False, *[True] * 14]
    assert model.content_vectors("image") is None


def test_saved_model_gives_the_same_scores(make_model, attention, tmp_path):
    model = make_model(attention=attention, content_sizes={"text": [4, 4]})
    model.save_pretrained(tmp_path)
    reloaded = SeqRecForNextItem.from_pretrained(tmp_path)
    batch = batch_of([3, 4, 5], [6], attention=attention)
    torch.testing.assert_close(reloaded(**batch).logits, model(**batch).logits, rtol=0, atol=0)
    assert sorted(path.name for path in tmp_path.glob("*")) == [
        "attention.py",
        "blocks.py",
        "config.json",
        "configuration_seqrec.py",
        "content.py",
        "embeddings.py",
        "encoder.py",
        "losses.py",
        "model.safetensors",
        "modeling_seqrec.py",
        "neighbours.py",
        "ranking.py",
        "transitions.py",
    ]


def test_hidden_states_and_attentions_can_be_asked_for(make_model, attention):
    output = make_model("eager", attention=attention).model(
        **batch_of([3, 4], attention=attention), output_hidden_states=True, output_attentions=True
    )
    length = 2 if attention == "causal" else 3
    assert [weights.shape for weights in output.attentions] == [(1, 2, length, length)] * 2
    assert len(output.hidden_states) == 3
