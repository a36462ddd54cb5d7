"""Adapters around a model's layers: loaded, switched, merged, taken away; read with care."""

import json

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel
from safetensors.torch import load_file, save_file

from seqrec import Recommender
from seqrec.adapter_files import CONFIG_FILE, WEIGHTS_FILE, Adapter
from seqrec.adapters import attach, detach, extract
from seqrec.lora import SEQUENCE_LAYERS

ITEMS = [f"item-{number}" for number in range(9)]
HISTORIES = [["item-1", "item-2"], ["item-3"]]


@pytest.fixture
def recommender(untrained):
    return Recommender(untrained(ITEMS, ensemble_size=2))


@pytest.fixture
def make_adapter(tmp_path):
    """A function that writes an adapter with random weights for a recommender, whose model stays as it was."""

    def make(recommender, name="adapter", seed=0, rank=2):
        model = recommender.model
        wrapped = attach(model, LoraConfig(r=rank, target_modules=SEQUENCE_LAYERS))
        torch.manual_seed(seed)
        for weight_name, weights in model.named_parameters():
            if "lora_" in weight_name:
                torch.nn.init.normal_(weights, std=0.3)
        extract(wrapped, "somebody/base").save(tmp_path / name)
        detach(wrapped, merge=False)
        model.eval()
        return tmp_path / name

    return make


def weights_of(recommender):
    return {name: weights.clone() for name, weights in recommender.model.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def scores(recommender):
    rows = recommender.recommend(HISTORIES, k=len(ITEMS), exclude_seen=False)
    return torch.tensor(
        [[score for _, score in sorted((row["item_id"], row["score"]) for row in each)] for each in rows]
    )


def test_an_adapter_changes_the_answers_and_the_base_stays_to_the_last_bit(recommender, make_adapter):
    before, alone = weights_of(recommender), scores(recommender)
    one, other = make_adapter(recommender, "one", seed=1), make_adapter(recommender, "other", seed=2)
    assert same(weights_of(recommender), before)
    recommender.adapters.load(one, "one")
    with_one = scores(recommender)
    recommender.adapters.load(other, "other")
    with_other = scores(recommender)
    assert (with_one - alone).abs().max() > 0.01 and (with_other - with_one).abs().max() > 0.01
    assert recommender.adapters.names == ["one", "other"] and recommender.adapters.active == "other"
    recommender.adapters.use("one")
    assert torch.equal(scores(recommender), with_one)
    recommender.adapters.use(None)
    assert torch.equal(scores(recommender), alone)
    recommender.adapters.use("other")
    assert torch.equal(scores(recommender), with_other)
    recommender.adapters.unload()
    assert same(weights_of(recommender), before) and torch.equal(scores(recommender), alone)
    assert recommender.adapters.names == [] and recommender.adapters.active is None


def test_a_merged_model_answers_as_base_and_adapter_and_can_be_saved(recommender, make_adapter, tmp_path):
    recommender.adapters.load(make_adapter(recommender))
    wanted = scores(recommender)
    with pytest.raises(ValueError, match="adapters loaded.*merge"):
        recommender.save_pretrained(tmp_path / "model")
    recommender.adapters.merge()
    torch.testing.assert_close(scores(recommender), wanted)
    recommender.save_pretrained(tmp_path / "model")
    torch.testing.assert_close(scores(Recommender.from_pretrained(tmp_path / "model")), wanted)
    with pytest.raises(ValueError, match="No adapter is in use"):
        recommender.adapters.merge()


def test_several_adapters_merge_the_one_in_use_alone(recommender, make_adapter):
    for seed, name in enumerate(("one", "other")):
        recommender.adapters.load(make_adapter(recommender, name, seed=seed), name)
    recommender.adapters.use("one")
    wanted = scores(recommender)
    recommender.adapters.merge()
    torch.testing.assert_close(scores(recommender), wanted)


def test_a_base_and_an_adapter_load_in_one_call(recommender, make_adapter, tmp_path):
    adapter = make_adapter(recommender)
    recommender.save_pretrained(tmp_path / "model")
    recommender.adapters.load(adapter)
    loaded = Recommender.from_pretrained(tmp_path / "model", adapter=adapter)
    assert torch.equal(scores(loaded), scores(recommender))


def test_plain_peft_loads_an_adapter(recommender, make_adapter):
    adapter = make_adapter(recommender)
    batch = {"input_ids": torch.tensor([[4, 5], [6, 7]])}
    alone = recommender.model(**batch).logits
    recommender.adapters.load(adapter)
    ours = recommender.model(**batch).logits
    recommender.adapters.unload()
    theirs = PeftModel.from_pretrained(recommender.model, adapter)(**batch).logits
    assert not torch.allclose(alone[:, 3:], ours[:, 3:])
    torch.testing.assert_close(theirs[:, 3:], ours[:, 3:])


def test_every_adapted_matrix_learns(recommender):
    model = recommender.model
    attach(model, LoraConfig(r=2, target_modules=SEQUENCE_LAYERS))
    for name, weights in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weights)
    model(torch.tensor([[4, 5, 6]]), labels=torch.tensor([[-100, 6, 7]])).loss.backward()  # asks some places alone
    learning = {name for name, weights in model.named_parameters() if weights.requires_grad}
    assert learning and all("lora_" in name for name in learning)
    still = [n for n, weights in model.named_parameters() if n in learning and not weights.grad.abs().sum()]
    assert not still


def test_an_adapter_of_another_model_is_refused_and_changes_nothing(recommender, untrained, make_adapter):
    torch.manual_seed(99)
    other = Recommender(untrained(ITEMS, ensemble_size=2))
    before = weights_of(recommender)
    with pytest.raises(ValueError, match="trained on another model"):
        recommender.adapters.load(make_adapter(other))
    assert same(weights_of(recommender), before)


@pytest.mark.parametrize("loaded_before", [False, True])
def test_an_adapter_that_does_not_fit_is_refused_and_changes_nothing(
    recommender, untrained, make_adapter, loaded_before
):
    if loaded_before:
        recommender.adapters.load(make_adapter(recommender, "first"), "first")
    wider = make_adapter(Recommender(untrained(ITEMS, ensemble_size=2, hidden_size=16)), "wider")
    save_file(load_file(wider / WEIGHTS_FILE), wider / WEIGHTS_FILE)  # without the fingerprint, as others write it
    before, wanted = weights_of(recommender), scores(recommender)
    with pytest.raises(ValueError, match="does not fit this model"):
        recommender.adapters.load(wider, "wider")
    assert same(weights_of(recommender), before) and torch.equal(scores(recommender), wanted)
    assert recommender.adapters.names == (["first"] if loaded_before else [])


def test_weights_without_a_place_are_refused(recommender, make_adapter):
    adapter = make_adapter(recommender)
    tensors = load_file(adapter / WEIGHTS_FILE)
    tensors |= {f"base_model.model.nowhere.lora_{part}.weight": torch.ones(2, 2) for part in "AB"}
    save_file(tensors, adapter / WEIGHTS_FILE)
    with pytest.raises(ValueError, match="none. Load it on"):
        recommender.adapters.load(adapter)


def test_a_taken_name_is_refused(recommender, make_adapter):
    adapter = make_adapter(recommender)
    recommender.adapters.load(adapter)
    with pytest.raises(ValueError, match="cannot be called 'default'"):
        recommender.adapters.load(adapter)
    with pytest.raises(ValueError, match="no adapter 'x'.*'default'"):
        recommender.adapters.use("x")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"peft_type": "IA3"}, "peft_type is 'IA3', not LORA"),
        ({"modules_to_save": ["items"]}, "modules_to_save"),
        ({"megatron_core": "os", "megatron_config": {"a": 1}}, "megatron"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights='pissa'"),
        ({"r": "eight"}, "r='eight', and the weights have"),
    ],
)
def test_a_config_that_asks_for_more_is_refused(recommender, make_adapter, change, said):
    adapter = make_adapter(recommender)
    content = json.loads((adapter / CONFIG_FILE).read_text())
    (adapter / CONFIG_FILE).write_text(json.dumps(content | change))
    with pytest.raises(ValueError, match=said):
        recommender.adapters.load(adapter)


def test_a_pickled_adapter_is_none(recommender, make_adapter, tmp_path):
    adapter = make_adapter(recommender)
    (adapter / WEIGHTS_FILE).rename(adapter / "adapter_model.bin")
    with pytest.raises(ValueError, match=r"no adapter.*adapter_model\.safetensors.*missing"):
        recommender.adapters.load(adapter)
    with pytest.raises(ValueError, match="no adapter folder 'nobody/nothing' here"):
        recommender.adapters.load("nobody/nothing")


@pytest.mark.parametrize("content", [b"", b"\x10\0\0\0\0\0\0\0{}", b"not safetensors at all"])
def test_damaged_weights_are_refused(recommender, make_adapter, content):
    adapter = make_adapter(recommender)
    (adapter / WEIGHTS_FILE).write_bytes(content)
    with pytest.raises(ValueError, match="cannot be read"):
        recommender.adapters.load(adapter)


def test_weights_that_are_no_numbers_are_refused(recommender, make_adapter):
    adapter = make_adapter(recommender)
    tensors = load_file(adapter / WEIGHTS_FILE)
    next(iter(tensors.values()))[0, 0] = float("nan")
    save_file(tensors, adapter / WEIGHTS_FILE)
    with pytest.raises(ValueError, match="NaN or infinity"):
        recommender.adapters.load(adapter)


def test_two_loads_of_one_adapter_are_equal(recommender, make_adapter):
    adapter = make_adapter(recommender)
    assert Adapter.load(adapter) == Adapter.load(adapter)
    assert Adapter.load(adapter).sha256 != Adapter.load(make_adapter(recommender, "other", seed=5)).sha256


@pytest.mark.parametrize("name", ["layers", "encoders", "model", "attention"])
def test_an_adapter_may_be_called_like_a_module(recommender, make_adapter, name):
    first, second = make_adapter(recommender, "first", seed=1), make_adapter(recommender, "second", seed=2)
    recommender.adapters.load(first, "first")
    recommender.adapters.load(second, name)
    assert recommender.adapters.active == name


def test_the_model_alone_is_the_same_to_the_last_bit_at_any_size(untrained, make_adapter):
    recommender = Recommender(untrained(ITEMS, hidden_size=128, num_attention_heads=2, max_position_embeddings=50))
    histories = [[ITEMS[place % 7] for place in range(50)]]
    alone = recommender.encode_history(histories)
    recommender.adapters.load(make_adapter(recommender))
    assert not np.array_equal(recommender.encode_history(histories), alone)
    recommender.adapters.use(None)
    assert np.array_equal(recommender.encode_history(histories), alone)


@pytest.mark.parametrize("dtype", [torch.int8, torch.bool, torch.float8_e4m3fn, torch.complex64])
def test_weights_of_other_types_are_refused_and_change_nothing(recommender, make_adapter, dtype):
    adapter = make_adapter(recommender)
    tensors = {name: weights.to(dtype) for name, weights in load_file(adapter / WEIGHTS_FILE).items()}
    save_file(tensors, adapter / WEIGHTS_FILE)
    before = weights_of(recommender)
    with pytest.raises(ValueError, match="expected matrices of LoRA"):
        recommender.adapters.load(adapter)
    assert same(weights_of(recommender), before) and recommender.adapters.names == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[" * 100_000, "is not JSON"),
        ("[]", "holds a list"),
        ('{"peft_type": "LORA", "r": 2, "lora_alpha": Infinity}', "Infinity is no number"),
        ('{"peft_type": "LORA", "r": 1000000000, "lora_alpha": 1}', "r=1000000000, and the weights have"),
        ('{"peft_type": "LORA", "r": 2, "lora_alpha": "8"}', "lora_alpha='8'"),
        ('{"peft_type": "LORA", "r": 2, "rank_pattern": {"(a+)+$": 3}}', "rank_pattern"),
    ],
)
def test_a_config_that_cannot_be_true_is_refused(recommender, make_adapter, content, said):
    adapter = make_adapter(recommender)
    (adapter / CONFIG_FILE).write_text(content)
    with pytest.raises(ValueError, match=said):
        recommender.adapters.load(adapter)


def test_patterns_of_a_config_are_not_run(recommender, make_adapter):
    adapter = make_adapter(recommender)
    content = json.loads((adapter / CONFIG_FILE).read_text())
    (adapter / CONFIG_FILE).write_text(
        json.dumps(content | {"target_modules": "(.*a.*)*b", "layers_pattern": "(a+)+$"})
    )
    recommender.adapters.load(adapter)
    assert recommender.adapters.names == ["default"]
