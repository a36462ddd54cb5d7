"""Weights in bfloat16 while training, float32 in everything that is measured and kept."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

import seqrec
from seqrec.arguments import SeqRecTrainingArguments
from seqrec.building import build_model
from seqrec.content import ContentVectors
from seqrec.item_content import ItemContent
from seqrec.settings import parse_settings
from seqrec.trainer import WeightAverage
from seqrec.training_run import build_trainer

NO_CONTENT = ItemContent()


@pytest.fixture
def train(toy_settings):
    def train(interactions, items, folder, **settings):
        return seqrec.train(interactions, items, output_dir=folder, **{**toy_settings, **settings})

    return train


@pytest.fixture
def make_trainer(toy_settings, toy_prepared, tmp_path):
    """A trainer on the toy world, before it trains."""

    def make(content=NO_CONTENT, **settings):
        arguments = parse_settings({**toy_settings, "output_dir": str(tmp_path / "run"), **settings})
        return build_trainer(build_model(arguments, toy_prepared, content), toy_prepared, arguments.training)

    return make


class Watch(TrainerCallback):
    """Notes the types of weights, gradients and optimizer state where a step and an evaluation look at them."""

    def __init__(self):
        self.seen = {}

    def note(self, where, tensors):
        self.seen.setdefault(where, set()).update(tensor.dtype for tensor in tensors)

    def on_step_begin(self, args, state, control, model, **kwargs):
        self.note("step", model.parameters())

    def on_pre_optimizer_step(self, args, state, control, model, **kwargs):
        self.note("gradients", (parameter.grad for parameter in model.parameters()))

    def on_step_end(self, args, state, control, model, optimizer, **kwargs):
        self.note("step", model.parameters())
        self.note("optimizer", (part["exp_avg_sq"] for part in optimizer.state.values()))

    def on_prediction_step(self, args, state, control, model, **kwargs):
        self.note("validation", [*model.parameters(), model.encode_items()])


def losses_of(run):
    log = json.loads((run / "logs" / "trainer_state.json").read_text())["log_history"]
    return [entry["loss"] for entry in log if "loss" in entry]


@pytest.mark.parametrize("weights_dtype", ["float32", "bfloat16"])
def test_weights_are_narrow_in_steps_and_float32_elsewhere(make_trainer, weights_dtype):
    trainer, watch = make_trainer(weights_dtype=weights_dtype, num_train_epochs=2), Watch()
    trainer.add_callback(watch)
    trainer.train()
    narrow = {getattr(torch, weights_dtype)}
    assert watch.seen == {"step": narrow, "gradients": narrow, "optimizer": narrow, "validation": {torch.float32}}
    assert {average.dtype for average in trainer.average.average.values()} == {torch.float32}


def test_a_step_smaller_than_bfloat16_can_hold_still_reaches_the_average(make_trainer):
    trainer = make_trainer(weights_dtype="bfloat16")
    before = {name: average.clone() for name, average in trainer.average.average.items()}
    trainer.train()
    moved = trainer.average.average["model.items.ids.weight"]
    assert not torch.equal(moved, before["model.items.ids.weight"])
    assert not torch.equal(moved, moved.bfloat16().float())  # it holds more digits than any of the weights did


@pytest.mark.parametrize("settings", [{}, {"eval_strategy": "no"}, {"load_best_model_at_end": False}])
def test_the_finished_model_is_float32_and_the_saved_one(train, toy_interactions, toy_items, tmp_path, settings):
    settings = {"weights_dtype": "bfloat16", "early_stopping_patience": 0, **settings}
    recommender = train(toy_interactions, toy_items, tmp_path, **settings)
    saved = load_file(tmp_path / "model" / "model.safetensors")
    state = recommender.model.state_dict()
    assert state.keys() == saved.keys()
    assert {tensor.dtype for name, tensor in saved.items() if name != "model.items.removed"} == {torch.float32}
    assert all(
        torch.equal(state[name], tensor) and state[name].dtype == tensor.dtype for name, tensor in saved.items()
    )
    assert any(not torch.equal(tensor, tensor.bfloat16().float()) for tensor in saved.values())
    loaded = seqrec.Recommender.from_pretrained(tmp_path / "model")
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {torch.float32}
    assert loaded.recommend([["1500"], []], k=5) == recommender.recommend([["1500"], []], k=5)


def test_what_is_kept_is_the_average_of_the_best_checkpoint(train, toy_interactions, toy_items, tmp_path):
    train(toy_interactions, toy_items, tmp_path, weights_dtype="bfloat16", save_total_limit=100)
    step = json.loads((tmp_path / "logs" / "trainer_state.json").read_text())["best_global_step"]
    best = tmp_path / "checkpoints" / f"checkpoint-{step}"
    averaged, kept = load_file(best / "averaged.safetensors"), load_file(tmp_path / "model" / "model.safetensors")
    assert kept.keys() - averaged.keys() == {"model.items.removed"}  # no weight
    assert not averaged.keys() - kept.keys()
    assert all(torch.equal(kept[name], tensor) for name, tensor in averaged.items())
    trained = load_file(best / "model.safetensors")
    assert {tensor.dtype for name, tensor in trained.items() if name != "model.items.removed"} == {torch.bfloat16}


def test_what_validation_measured_is_what_the_saved_model_gives(train, toy_interactions, toy_items, tmp_path):
    recommender = train(toy_interactions, toy_items, tmp_path, weights_dtype="bfloat16")
    log = json.loads((tmp_path / "logs" / "trainer_state.json").read_text())["log_history"]
    measured = max(entry["eval_ndcg@10"] for entry in log if "eval_ndcg@10" in entry)
    assert recommender.folder.metrics["validation"]["exclude_seen"]["ndcg@10"] == pytest.approx(measured)


@pytest.mark.parametrize(
    "settings",
    [
        {"attention": "bidirectional"},
        {"objective": "last_item", "norm": "post", "similarity": "dot", "num_train_epochs": 3},
        {"softmax_samples": 4},
        {"softmax_chunk_size": 0},
        {"attention_probs_dropout_prob": 0.1, "gradient_accumulation_steps": 2},
        {"bf16": True},
        {"gradient_checkpointing": True},
    ],
    ids=lambda settings: next(iter(settings)),
)
@pytest.mark.filterwarnings("ignore:.gradient_checkpointing. is deprecated")
def test_narrow_weights_learn_the_toy_world(train, toy_interactions, toy_items, tmp_path, settings):
    settings = {"num_train_epochs": 10, "eval_strategy": "no", "save_strategy": "no"} | settings
    train(toy_interactions, toy_items, tmp_path, weights_dtype="bfloat16", **settings)
    losses = losses_of(tmp_path)
    assert losses[-1] < 0.85 * losses[0]


def test_narrow_weights_learn_about_what_float32_learns(train, toy_interactions, toy_items, tmp_path):
    longer = {"num_train_epochs": 8, "early_stopping_patience": 0, "eval_strategy": "no", "save_strategy": "no"}
    last = {}
    for weights_dtype in ("float32", "bfloat16"):
        run = tmp_path / weights_dtype
        train(toy_interactions, toy_items, run, weights_dtype=weights_dtype, hidden_dropout_prob=0.0, **longer)
        last[weights_dtype] = losses_of(run)[-1]
    assert last["bfloat16"] == pytest.approx(last["float32"], rel=0.25)


def test_content_is_projected_by_narrow_weights(make_trainer):
    origin = {"encoder": "some/encoder", "template": "{title}"}
    text = ContentVectors(torch.randn(15, 6).numpy(), (torch.arange(15) != 4).numpy(), origin)
    trainer = make_trainer(ItemContent({"text": text}), weights_dtype="bfloat16")
    content = trainer.ranker.model.items.content["text"]
    features = content.features.clone()
    trainer.train()
    assert content.features.dtype == torch.float16 and torch.equal(content.features, features)
    assert content.mean.dtype == content.rotation.dtype == torch.float32  # what new items pass through
    assert {parameter.dtype for parameter in trainer.ranker.parameters()} == {torch.float32}  # the best, kept


def test_narrow_weights_need_an_average():
    with pytest.raises(ValueError, match=r"weights_dtype='bfloat16' needs averaged weights.*Set average_decay"):
        SeqRecTrainingArguments(weights_dtype="bfloat16", average_decay=0.0)
    assert SeqRecTrainingArguments(weights_dtype="float32", average_decay=0.0).weights_dtype == "float32"


@pytest.mark.parametrize("weights_dtype", ["float32", "bfloat16"])
def test_a_resumed_run_ends_with_the_same_weights(train, toy_interactions, toy_items, tmp_path, weights_dtype):
    settings = {"weights_dtype": weights_dtype, "save_total_limit": 100, "early_stopping_patience": 0}
    train(toy_interactions, toy_items, tmp_path, **settings)
    whole = (tmp_path / "model" / "model.safetensors").read_bytes()
    for folder in ("model", "checkpoints/checkpoint-9"):  # as if it had been interrupted after two epochs of three
        shutil.rmtree(tmp_path / folder)
    (tmp_path / "logs" / "trainer_state.json").unlink()
    train(toy_interactions, toy_items, tmp_path, resume_from_checkpoint="last", **settings)
    assert (tmp_path / "checkpoints" / "checkpoint-9").is_dir()
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == whole


def test_weights_of_another_type_are_not_resumed(train, toy_interactions, toy_items, tmp_path):
    train(toy_interactions, toy_items, tmp_path, weights_dtype="bfloat16")
    (tmp_path / "logs" / "trainer_state.json").unlink()  # as if it had been interrupted
    with pytest.raises(
        ValueError, match="weights_dtype 'bfloat16', not 'float32'|weights_dtype bfloat16, not float32"
    ):
        train(toy_interactions, toy_items, tmp_path, resume_from_checkpoint="last")


def test_bf16_needs_no_word_about_the_cpu(train, toy_interactions, toy_items, tmp_path):
    assert SeqRecTrainingArguments(bf16=True).use_cpu == (not torch.accelerator.is_available())
    assert not SeqRecTrainingArguments().use_cpu
    longer = {"num_train_epochs": 8, "early_stopping_patience": 0}
    recommender = train(toy_interactions, toy_items, tmp_path, bf16=True, **longer)
    losses = losses_of(tmp_path)
    assert losses[-1] < 0.85 * losses[0]
    assert {parameter.dtype for parameter in recommender.model.parameters()} == {torch.float32}


def test_the_estimate_steps_under_the_autocast_of_training(toy_settings, toy_prepared, tmp_path):
    from seqrec.estimate import estimate_run
    from seqrec.training_run import build_trainer

    arguments = parse_settings({**toy_settings, "bf16": True, "output_dir": str(tmp_path)})
    folder = build_model(arguments, toy_prepared, NO_CONTENT)
    trainer = build_trainer(folder, toy_prepared, arguments.training)
    seen = []
    folder.model.model.register_forward_hook(
        lambda module, *_: seen.append(torch.is_autocast_enabled("cpu")) if module.training else None
    )
    estimate_run(trainer)
    assert seen and all(seen)


def test_kept_weights_are_no_longer_the_average_itself():
    model = torch.nn.Linear(2, 2)
    average = WeightAverage(model, decay=0.5)
    average.keep()
    assert model.weight.data_ptr() != average.average["weight"].data_ptr()
