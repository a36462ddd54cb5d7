"""Settings: one place, typed, and a wrong one stops at once."""

import dataclasses
import inspect

import pytest

from seqrec.arguments import (
    MODEL_SETTINGS,
    RECIPE,
    ModelArguments,
    SeqRecTrainingArguments,
    _config_help,
)
from seqrec.data_arguments import DataArguments
from seqrec.model import SeqRecConfig
from seqrec.settings import parse_command_line, parse_settings


@pytest.fixture
def config_file(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("dataset: movielens-100k\nlearning_rate: 5e-4\nattention: bidirectional\nreport_to: none\n")
    return str(path)


def test_a_config_and_the_command_line(config_file):
    arguments = parse_command_line([config_file, "--learning_rate", "1e-2", "--no_relative_position_bias"])
    assert arguments.data.dataset == "movielens-100k"
    assert arguments.model.attention == "bidirectional"
    assert arguments.model.relative_position_bias is False
    assert arguments.training.learning_rate == 0.01  # the later word wins
    assert parse_command_line([config_file]).training.learning_rate == 5e-4


def test_interactions_replace_the_data_set_of_the_config(config_file):
    arguments = parse_command_line([config_file, "--interactions", "a.csv", "b.csv"])
    assert arguments.data.dataset is None
    assert arguments.data.interactions == ["a.csv", "b.csv"]


def test_a_data_set_replaces_the_files_of_the_config(tmp_path):
    config = tmp_path / "x.yaml"
    config.write_text('interactions: [a.csv]\nitems: [b.csv]\ncolumn_mapping: {"sku": "item_id"}\n')
    data = parse_command_line([str(config), "--dataset", "movielens-100k"]).data
    assert (data.dataset, data.interactions, data.items, data.column_mapping) == ("movielens-100k", None, None, None)


def test_keyword_arguments_keep_their_types():
    schedule = {"lr_scheduler_type": "linear", "lr_scheduler_kwargs": {"last_epoch": -1}}
    arguments = parse_settings({"column_mapping": {"sku": "item_id"}, **schedule})
    assert arguments.data.mapping() == {"sku": "item_id"}
    assert arguments.training.lr_scheduler_kwargs == {"last_epoch": -1}
    assert parse_settings({"text_encoder": "none"}).data.text_encoder is None
    assert parse_settings({"text_encoder": None}).data.text_encoder is None
    assert parse_settings({"min_value": None, "eval_strategy": "no"}).data.min_value is None
    assert parse_settings({"resume_from_checkpoint": "last"}).training.resume_from_checkpoint == "last"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"lerning_rate": 1e-3}, "'lerning_rate': did you mean 'learning_rate'"),
        ({"vocab_size": 3}, "Unknown setting 'vocab_size'"),
        ({"learning_rate": "fast"}, "learning_rate.*invalid float value: 'fast'"),
        ({"attention": "sideways"}, "sideways"),
        ({"column_mapping": "sku=item_id"}, "column_mapping must be a JSON object"),
        ({"column_mapping": {"sku": 3}}, "column_mapping must map column names"),
        ({"min_interactions": 0}, "min_interactions=0"),
        ({"average_decay": 1.0}, "average_decay=1.0"),
        ({"mask_probability": 0}, "mask_probability=0"),
        ({"num_threads": 0}, "num_threads=0"),
        ({"softmax_chunk_size": -1}, "softmax_chunk_size=-1"),
        ({"dataloader_persistent_workers": True}, "dataloader_persistent_workers"),
        ({"data_seed": 3}, "data_seed=3 has no effect"),
        ({"label_smoothing_factor": 0.1}, "label_smoothing_factor=0.1 has no effect"),
        (
            {"lr_scheduler_kwargs": '{"foo": 1}', "lr_scheduler_type": "linear"},
            "lr_scheduler_kwargs=.* do not fit .*foo",
        ),
        ({"lr_scheduler_kwargs": '{"foo": 1}'}, "lr_scheduler_kwargs=.* do not fit lr_scheduler_type=.*foo"),
        ({"dataloader_in_order": False}, "dataloader_in_order=False has no effect"),
        ({"save_only_model": True}, "save_only_model=True has no effect"),
        ({"metric_for_best_model": "ndcg@5"}, "'ndcg@5' is not measured"),
        ({"report_to": "wandb"}, "'wandb' is not installed"),
        ({"softmax_chunk_size": 0, "softmax_dtype": "bfloat16"}, "plain formula"),
        ({"weights_dtype": "bfloat16", "adam_beta2": 0.999}, "adam_beta2=0.999"),
        ({"dataset": "movielens-100k", "interactions": ["a.csv"]}, "Both dataset"),
        ({"learning_rate": None}, "learning_rate"),
        ({"learning_rate": float("nan")}, "learning_rate=nan"),
        ({"num_train_epochs": -1}, "num_train_epochs=-1"),
        ({"per_device_train_batch_size": 0}, "per_device_train_batch_size=0"),
        ({"seed": -1}, "seed=-1"),
        ({"hidden_size": 0}, "hidden_size=0"),
        ({"num_attention_heads": 3}, "num_attention_heads=3"),
        ({"temperature": float("nan")}, "temperature=nan"),
        ({"hidden_act": "evil"}, "hidden_act='evil'"),
        ({"interactions": [{"a": 1}]}, "interactions has {'a': 1} in its list"),
        ({"column_mapping": {"a": object()}}, "column_mapping=.*cannot be written as JSON"),
        ({"accelerator_config": "/nowhere.json"}, "nowhere.json"),
        ({"deepspeed": "/nowhere.json"}, "deepspeed"),
        ({1: 2}, "Unknown setting '1'"),
    ],
)
def test_a_wrong_setting_says_what_is_wrong(settings, said):
    with pytest.raises(ValueError, match=said):
        parse_settings(settings)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--hidden", "3"], "Unknown setting 'hidden'"),  # no abbreviations
        (["--learning-rat=3"], "did you mean 'learning_rate'"),
        (["nowhere.yaml"], "no config 'nowhere.yaml'"),
        (["--attention", "causal", "stray"], "stray"),
    ],
)
def test_a_wrong_command_line_says_what_is_wrong(words, said):
    with pytest.raises(ValueError, match=said):
        parse_command_line(words)


NO_SETTINGS = {
    "a list": "- a\n- b\n",
    "cut off": "a: [1\n",
    "words": "just words\n",
    "nothing": "",
    "an alias": "items: &a [x]\ninteractions: [*a, *a]\n",
    "a tag": "seed: !!python/object/apply:os.getpid []\n",
    "a name twice": "seed: 1\nseed: 2\n",
    "a list as a name": "? [a, b]\n: 1\n",
    "deep": "[" * 3000,
    "binary": "\x00\x07",
}


@pytest.mark.parametrize("text", NO_SETTINGS.values(), ids=NO_SETTINGS)
def test_a_config_that_is_no_list_of_settings_is_refused(tmp_path, text):
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"x\.yaml"):
        parse_command_line([str(tmp_path / "x.yaml")])


def test_no_setting_has_two_homes():
    homes = [[f.name for f in dataclasses.fields(c)] for c in (DataArguments, ModelArguments, SeqRecTrainingArguments)]
    names = sum(homes, [])
    assert len(names) == len(set(names))


def test_model_settings_have_the_defaults_of_the_config_but_for_the_recipe():
    config = SeqRecConfig()
    of_config = {name: getattr(config, name) for name in MODEL_SETTINGS}
    assert of_config | RECIPE == dataclasses.asdict(ModelArguments())


def test_items_without_ids_have_no_transitions_unless_they_are_asked_for():
    assert parse_settings({"use_item_ids": False}).model.transition_size == 0
    with pytest.raises(ValueError, match="transition_size=8 must be"):
        parse_settings({"use_item_ids": False, "transition_size": 8})


def test_help_does_not_hang_on_the_indent_that_python_3_13_takes_from_docstrings(monkeypatch):
    lines = _config_help()
    monkeypatch.setattr(SeqRecConfig, "__doc__", inspect.cleandoc(SeqRecConfig.__doc__))
    assert _config_help() == lines
    monkeypatch.setattr(SeqRecConfig, "__doc__", SeqRecConfig.__doc__.replace("\n", "\n    "))
    assert _config_help() == lines
