"""Laws of settings: whatever they are, they are taken or refused in a sentence."""

import dataclasses

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from hypothesis import strategies as st

from seqrec.arguments import DataArguments, ModelArguments
from seqrec.model import SeqRecConfig, SeqRecForNextItem
from seqrec.settings import parse_settings, read_config

SHAPES = st.fixed_dictionaries(
    {
        "attention": st.sampled_from(["causal", "bidirectional"]),
        "norm": st.sampled_from(["pre", "post"]),
        "similarity": st.sampled_from(["dot", "cosine"]),
        "mask_query": st.sampled_from(["plain", "previous", "neighbours"]),
        "relative_position_bias": st.booleans(),
        "num_attention_heads": st.sampled_from([1, 2]),
        "num_hidden_layers": st.integers(0, 2),
        "max_position_embeddings": st.integers(1, 6),
    }
)

NAMES = [field.name for cls in (DataArguments, ModelArguments) for field in dataclasses.fields(cls)]
NAMES += ["learning_rate", "seed", "num_train_epochs", "objective", "mask_probability", "softmax_dtype", "report_to"]
NAMES += ["per_device_train_batch_size", "warmup_steps", "output_dir", "save_strategy", "lr_scheduler_kwargs"]
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5))
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=3), st.dictionaries(st.text(max_size=3), SCALARS, max_size=2))
SETTINGS = st.dictionaries(
    st.one_of(st.sampled_from(NAMES), st.sampled_from(NAMES), st.text(max_size=5)), VALUES, max_size=2
)


def settings_are_taken_or_refused(world, given_settings):
    try:
        arguments = parse_settings(given_settings)
    except ValueError as error:
        world.assert_speaks(error)
    else:
        SeqRecConfig(**dataclasses.asdict(arguments.model))


YAML = st.one_of(
    st.binary(max_size=20), st.text(st.sampled_from("ab:[]{}&*!-#|>'\"%@? \n\t1.~"), max_size=20).map(str.encode)
)


def a_config_file_is_read_or_refused(world, content):
    world.path.write_bytes(content)
    try:
        assert isinstance(read_config(world.path), dict)
    except ValueError as error:
        assert str(world.path) in str(error)


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
        "content_sizes": st.dictionaries(st.sampled_from(["text", "image"]), st.integers(-1, 3)),
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
    settings_are_taken_or_refused: (SETTINGS, 100),
    a_config_file_is_read_or_refused: (YAML, 100),
    a_config_learns_or_is_refused: (st.tuples(SHAPES, ODD_SHAPES, st.integers(0, 3)), 100),
}


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_it_holds(law, holds):
    holds(law, *LAWS[law])
