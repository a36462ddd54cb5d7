"""Attention in chunks, and at a few places only, is the attention written out: same losses, same gradients."""

import pytest
import torch

from seqrec.model import Sampling, SeqRecForNextItem, Softmax, chunked_attention
from seqrec.model import attention as attention_module
from seqrec.model.attention import CHUNKED, asked_places, chunked_attention_forward

MASK, NOT_ASKED = 2, -100
SEGMENTS = torch.tensor(
    [
        [1, 1, 1, 1, 1, 1, 1, 1],
        [1, 1, 1, 2, 2, 3, 3, 3],
        [0, 0, 0, 1, 1, 1, 2, 2],
        [1, 1, 2, 2, 2, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 0, 0],
        [1, 2, 3, 4, 5, 6, 7, 8],
        [1, 1, 1, 0, 0, 1, 1, 2],
    ]
)
ASKED = {
    "all": SEGMENTS > 0,
    "a fifth": torch.zeros(7, 8, dtype=torch.bool).index_put_(
        (torch.tensor([0, 0, 1, 2, 2, 3, 3, 5, 5, 6]), torch.tensor([3, 7, 5, 3, 7, 1, 4, 0, 6, 1])),
        torch.tensor(True),
    ),
    "one of one row": torch.zeros(7, 8, dtype=torch.bool).index_put_(
        (torch.tensor(2), torch.tensor(5)), torch.tensor(True)
    ),
    "half of one row": (SEGMENTS == 1) & (torch.arange(7) == 6)[:, None] & (torch.arange(8) < 6),
}


@pytest.fixture(params=[2**20, 300, 1], ids=["one chunk", "chunks of two rows", "a row a chunk"])
def chunks(request, monkeypatch):
    monkeypatch.setattr(attention_module, "WEIGHTS_AT_ONCE", request.param)


@pytest.fixture
def make_trained(make_model):
    """A model in training without dropout, whose attention is `attn_implementation`."""

    def make(attn_implementation="sdpa", **settings):
        return make_model(attn_implementation, hidden_dropout_prob=0.0, **settings).train()

    return make


def batch_of(attention, asked):
    """Packed and padded histories; a bidirectional model's asked places are hidden."""
    torch.manual_seed(3)
    items = torch.randint(3, 20, SEGMENTS.shape)
    hidden = asked if attention == "bidirectional" else torch.zeros_like(asked)
    return {
        "input_ids": torch.where(hidden, MASK, items) * (SEGMENTS > 0),
        "attention_mask": SEGMENTS,
        "labels": torch.where(asked, torch.randint(3, 20, SEGMENTS.shape), NOT_ASKED),
    }


def learned(model, loss):
    """The loss and the gradient of every parameter that has a part in it."""
    model.zero_grad()
    loss.backward()
    parts = {name: parameter.grad for name, parameter in model.named_parameters()}
    gradients = {name: gradient.clone() for name, gradient in parts.items() if gradient is not None}
    return {"loss": loss.detach(), **gradients}


def written_out(model, batch):
    """The loss by hand, from the states of all places."""
    asked = batch["labels"] != NOT_ASKED
    states = model.model(batch["input_ids"], batch["attention_mask"]).last_hidden_state[asked]
    logits = model._scaled_states(states) @ model._scaled_items(model.model.items())[3:].T
    return torch.nn.functional.cross_entropy(logits, batch["labels"][asked] - 3)


def assert_equal_up_to(found, expected, share):
    """Every gradient's largest difference is at most this share of its largest value (or of 1, if that is more)."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        gap = (found[name].double() - value.double()).abs().max().item()
        assert gap <= share * max(1.0, value.abs().max().item()), name


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("relative_position_bias", [True, False])
@pytest.mark.parametrize("asked", ["all", "a fifth"])
def test_chunks_learn_what_other_attention_learns(
    make_trained, chunks, attention, heads, relative_position_bias, asked
):
    settings = {"attention": attention, "num_attention_heads": heads, "relative_position_bias": relative_position_bias}
    batch = batch_of(attention, ASKED[asked])
    of = {}
    for implementation in (CHUNKED, "sdpa", "eager"):
        model = make_trained(implementation, **settings)
        of[implementation] = learned(model, model(**batch).loss)
    assert ("model.encoders.0.attention_bias.distances.weight" in of[CHUNKED]) == relative_position_bias
    assert_equal_up_to(of[CHUNKED], of["sdpa"], 1e-5)
    assert_equal_up_to(of[CHUNKED], of["eager"], 1e-5)


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_chunks_are_exact_in_float64(make_trained, chunks, attention, norm):
    batch, of = batch_of(attention, ASKED["a fifth"]), {}
    for implementation in (CHUNKED, "sdpa"):
        model = make_trained(implementation, attention=attention, norm=norm, content_sizes={"text": [4, 4]}).double()
        model.softmax.chunk_size = 0
        of[implementation] = learned(model, model(**batch).loss)
    assert of[CHUNKED]["loss"].dtype == torch.float64
    by_distance = [
        found.pop("model.encoders.0.attention_bias.distances.weight") for found in of.values()
    ]  # summed in float32
    assert by_distance[1].abs().max() > 1e-3
    torch.testing.assert_close(*by_distance, rtol=1e-6, atol=1e-6)
    assert_equal_up_to(of[CHUNKED], of["sdpa"], 1e-11)


def test_bfloat16_autocast_stays_near_float64(make_trained, chunks, attention):
    """Within a tenth of each gradient, and at most twice as far from float64 as sdpa in bfloat16 is."""
    batch, of = batch_of(attention, ASKED["all"]), {}
    for implementation in (CHUNKED, "sdpa", "eager"):
        model = make_trained(implementation, attention=attention, temperature=0.5)
        if implementation == "eager":
            model.double().softmax.chunk_size = 0
        with torch.autocast("cpu", torch.bfloat16, enabled=implementation != "eager"):
            loss = model(**batch).loss
        of[implementation] = learned(model, loss)
    exact = of.pop("eager")
    torch.testing.assert_close(of[CHUNKED]["loss"].double(), exact["loss"], rtol=1e-2, atol=0)
    for name, value in exact.items():
        gap = {kind: (found[name].double() - value).norm() for kind, found in of.items()}
        assert gap[CHUNKED] <= 0.1 * value.norm() + 1e-3, name
        assert gap[CHUNKED] <= 2 * gap["sdpa"] + 1e-3, name
    assert any(not torch.equal(of[CHUNKED][name].double(), value) for name, value in exact.items())  # it was bfloat16


@pytest.mark.parametrize("rows", [1, 5, 6])
@pytest.mark.parametrize("at_once", [1, 128, 257, 10**6])
def test_chunks_take_each_row_once(monkeypatch, rows, at_once):
    monkeypatch.setattr(attention_module, "WEIGHTS_AT_ONCE", at_once)
    query, key, value = torch.randn(3, rows, 2, 8, 4)
    blocked = torch.randn(rows, 1, 8, 8)
    mixed = attention_module._ChunkedAttention.apply(query, key, value, blocked, None)
    weights = (query @ key.transpose(2, 3) + blocked).softmax(dim=-1)
    torch.testing.assert_close(mixed, weights @ value)


@pytest.mark.parametrize("implementation", [CHUNKED, "sdpa", "eager"])
@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("num_hidden_layers", [0, 1, 2])
def test_few_asked_places_learn_what_all_states_would(
    make_trained, attention, implementation, asked, num_hidden_layers
):
    model = make_trained(implementation, attention=attention, num_hidden_layers=num_hidden_layers)
    batch = batch_of(attention, ASKED[asked])
    expected = learned(model, written_out(model, batch))
    assert len(expected) == 1 + len(list(model.parameters())) - (num_hidden_layers == 0)  # the bias by distance
    assert_equal_up_to(learned(model, model(**batch).loss), expected, 1e-5)


def test_the_last_layer_computes_the_asked_places_alone(make_trained, attention):
    model, widths = make_trained(attention=attention), {}
    for number, layer in enumerate(model.model.encoders[0].layers):
        layer.feed_forward.register_forward_hook(
            lambda module, read, written, number=number: widths.update({number: written.shape[1]})
        )
    for asked, width in {"all": 8, "a fifth": 2, "one of one row": 1, "half of one row": 4}.items():
        model(**batch_of(attention, ASKED[asked]))
        assert widths == {0: 8, 1: width}, asked


def test_asked_places_keep_the_order_of_the_labels():
    asked = torch.tensor(
        [[False, True, False, False, True, False], [False] * 6, [False, False, False, True, False, False]]
    )
    places, chosen = asked_places(asked)
    assert places[chosen].tolist() == [1, 4, 3]
    assert chosen.tolist() == [[True, True], [False, False], [True, False]]
    for places_of_row in places.tolist():
        assert len(set(places_of_row)) == 2  # also those that stand in for nothing


@pytest.mark.parametrize(
    "asked", [torch.ones(2, 4), torch.zeros(2, 4), torch.zeros(0, 4), torch.zeros(2, 0), torch.ones(1, 1)]
)
def test_where_nothing_would_be_saved_all_places_are_computed(asked):
    places, same = asked_places(asked.bool())
    assert places is None
    assert torch.equal(same, asked.bool())


@pytest.mark.parametrize("implementation", [CHUNKED, "sdpa"])
def test_few_asked_places_learn_from_a_sample_of_the_catalogue(make_trained, attention, implementation):
    model, batch = make_trained(implementation, attention=attention), batch_of(attention, ASKED["a fifth"])
    expected = learned(model, written_out(model, batch))
    model.softmax = Softmax(sampling=Sampling(1000, torch.full((17,), 1 / 17)))  # all are drawn
    assert_equal_up_to(learned(model, model(**batch).loss), expected, 1e-5)


def test_a_batch_that_asks_nothing_learns_nothing_in_chunks(make_trained, attention):
    model = make_trained(CHUNKED, attention=attention)
    found = learned(model, model(**batch_of(attention, torch.zeros(7, 8, dtype=torch.bool))).loss)
    assert found.pop("loss") == 0
    assert all((gradient == 0).all() for gradient in found.values())


@pytest.mark.parametrize("use_reentrant", [None, False, True])
@pytest.mark.parametrize("asked", ["all", "a fifth"])
@pytest.mark.parametrize("implementation", [CHUNKED, "sdpa"])
@pytest.mark.filterwarnings("ignore:.gradient_checkpointing_enable. is deprecated")
def test_checkpointed_layers_learn_the_same(make_trained, attention, implementation, asked, use_reentrant):
    batch, of = batch_of(attention, ASKED[asked]), []
    for checkpointing in (False, True):
        model = make_trained(implementation, attention=attention)
        if checkpointing:
            kwargs = None if use_reentrant is None else {"use_reentrant": use_reentrant}
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=kwargs)
            assert all(layer.gradient_checkpointing for layer in model.model.encoders[0].layers)
        of.append(learned(model, model(**batch).loss))
    assert of[0]["model.encoders.0.attention_bias.distances.weight"].abs().max() > 0
    assert_equal_up_to(of[1], of[0], 1e-5)


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("implementation", [CHUNKED, "sdpa", "eager"])
def test_a_history_is_encoded_as_its_last_state(make_model, attention, implementation, norm):
    model = make_model(implementation, attention=attention, norm=norm)
    last = [MASK] if attention == "bidirectional" else [9]
    input_ids = torch.tensor([[0, 0, 3, 4, 5, *last], [6, 7, 8, 9, 10, *last], [0, 0, 0, 0, 0, *last]])
    with torch.no_grad():
        states = model.model(input_ids, (input_ids > 0).long()).last_hidden_state
        encoded = model.encode_history(input_ids, (input_ids > 0).long())
    torch.testing.assert_close(encoded, model._scaled_states(states[:, -1]), rtol=1e-5, atol=1e-5)


def test_chunked_attention_ends_with_its_block(make_model):
    model = make_model()
    with chunked_attention(model):
        assert model.config._attn_implementation == CHUNKED
        assert model.model.encoders[0].layers[0].attention.config._attn_implementation == CHUNKED
    assert model.config._attn_implementation == "sdpa"
    with pytest.raises(KeyError, match="stop"), chunked_attention(model):
        raise KeyError("stop")
    assert model.config._attn_implementation == "sdpa"
    assert model.model.encoders[0].layers[0].attention.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_chunked_attention_is_for_sdpa_without_dropout(make_model, implementation, dropout):
    model = make_model(implementation, attention_probs_dropout_prob=dropout)
    with chunked_attention(model):
        inside = model.config._attn_implementation
        model.train()(torch.tensor([[3, 4]]), labels=torch.tensor([[4, 5]])).loss.backward()
    assert inside == (CHUNKED if (implementation, dropout) == ("sdpa", 0.0) else implementation)
    assert model.config._attn_implementation == implementation


def test_chunks_refuse_dropout(make_model):
    model = make_model(attention_probs_dropout_prob=0.1)
    model.set_attn_implementation(CHUNKED)
    batch = {"input_ids": torch.tensor([[3, 4]]), "labels": torch.tensor([[4, 5]])}
    assert torch.isfinite(model(**batch).loss)  # there is none in evaluation
    with pytest.raises(ValueError, match=r"no dropout, not 0\.1; use sdpa"):
        model.train()(**batch)
    with pytest.raises(ValueError, match="use sdpa"):
        chunked_attention_forward(model, *[torch.zeros(1, 1, 2, 4)] * 3, None, 0.5, dropout=1e-6)


def test_a_model_saved_inside_attends_as_usual_when_loaded(make_model, tmp_path):
    model = make_model()
    with chunked_attention(model):
        model.save_pretrained(tmp_path)
    assert CHUNKED not in (tmp_path / "config.json").read_text()
    assert SeqRecForNextItem.from_pretrained(tmp_path).config._attn_implementation == "sdpa"
