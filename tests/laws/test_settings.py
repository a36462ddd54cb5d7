"""Laws of settings: whatever they are, they are taken or refused in a sentence."""

import dataclasses

import pytest
from hypothesis import strategies as st

from seqrec.arguments import ModelArguments
from seqrec.data_arguments import DataArguments
from seqrec.model import SeqRecConfig
from seqrec.settings import parse_settings, read_config

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


LAWS = {
    settings_are_taken_or_refused: (SETTINGS, 100),
    a_config_file_is_read_or_refused: (YAML, 100),
}


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_it_holds(law, holds):
    holds(law, *LAWS[law])
