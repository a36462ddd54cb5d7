"""Training on the toy world: the run folder, what is kept, what survives."""

import json
import logging
import os
import resource
import runpy
from pathlib import Path

import numpy as np
import pyarrow.csv
import pytest
import torch
from safetensors.torch import load_file

import seqrec
from seqrec.building import build_model
from seqrec.content import ContentVectors, half_whiten
from seqrec.data import PreparedData
from seqrec.estimate import estimate_run
from seqrec.item_content import ItemContent
from seqrec.run_folder import RunFolder
from seqrec.settings import parse_settings
from seqrec.trainer import WeightAverage
from seqrec.training_run import build_trainer

EVALUATE = Path(__file__).parent.parent / "scripts" / "evaluate.py"


@pytest.fixture
def train(toy_settings):
    def train(interactions, items, folder, **settings):
        return seqrec.train(interactions, items, output_dir=folder, **{**toy_settings, **settings})

    return train


def history_of(run):
    return json.loads((run / "logs" / "trainer_state.json").read_text())["log_history"]


def test_files_with_their_own_column_names(train, toy_interactions, toy_items, tmp_path, caplog):
    names = {"customer": "user_id", "sku": "item_id", "when": "timestamp"}
    pyarrow.csv.write_csv(toy_interactions.rename_columns(list(names)), tmp_path / "clicks.csv")
    pyarrow.csv.write_csv(toy_items.rename_columns(["sku", "title", "genres"]), tmp_path / "items.csv")
    with caplog.at_level(logging.INFO, logger="seqrec"):
        trained = train(
            str(tmp_path / "clicks.csv"), str(tmp_path / "items.csv"), tmp_path / "run", column_mapping=names
        )
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"model", "data", "checkpoints", "logs"}
    loaded = seqrec.Recommender.from_pretrained(tmp_path / "run" / "model")
    assert loaded.recommend([["1500"]], k=5) == trained.recommend([["1500"]], k=5)
    said = "\n".join(record.getMessage() for record in caplog.records)
    assert "12 users, 15 items, 93 interactions" in said
    assert "epoch" in said and "MB peak memory" in said and "threads" in said


def test_metrics_say_what_was_measured(toy_run):
    run = toy_run("causal")
    metrics = json.loads((run / "model" / "metrics.json").read_text())
    assert metrics["num_users"] == 12 and metrics["num_items"] == 15
    assert metrics["protocol"]["candidates"] == "full catalogue"
    assert metrics["train"]["seconds"] > 0 and metrics["train"]["interactions_per_second"] > 0
    measured = [entry["eval_ndcg@10"] for entry in history_of(run) if "eval_ndcg@10" in entry]
    assert metrics["validation"]["exclude_seen"]["ndcg@10"] == pytest.approx(max(measured))  # the best is kept
    assert len(measured) == 3
    prepared = PreparedData.load(run / "data")
    again = seqrec.Recommender.from_pretrained(run / "model").evaluate(prepared.dataset["validation"])
    assert again == metrics["validation"]


def test_training_learns_the_toy_world(train, toy_interactions, toy_items, tmp_path):
    train(toy_interactions, toy_items, tmp_path, num_train_epochs=30, early_stopping_patience=0)
    losses = [entry["loss"] for entry in history_of(tmp_path) if "loss" in entry]
    assert losses[-1] < 0.6 * losses[0]
    seconds = [entry["cpu_seconds"] for entry in history_of(tmp_path) if "eval_ndcg@10" in entry]
    assert seconds == sorted(seconds)
    assert 0 <= seconds[0] < seconds[-1]


@pytest.mark.parametrize(
    "settings",
    [
        {"attention": "bidirectional"},
        {"attention": "bidirectional", "mask_query": "shifted"},
        {"attention": "bidirectional", "mask_query": "newest"},
        {"objective": "last_item"},
    ],
)
def test_every_objective_trains(train, toy_interactions, toy_items, tmp_path, settings):
    recommender = train(toy_interactions, toy_items, tmp_path, **settings)
    assert len(recommender.recommend([["1500"]], k=5)[0]) == 5


def test_refit_trains_on_everything_as_long_as_the_validated_run_was_best(
    train, toy_interactions, toy_items, tmp_path
):
    settings = {"num_train_epochs": 6, "early_stopping_patience": 2, "average_decay": 0.0, "learning_rate": 0.02}
    recommender = train(toy_interactions, toy_items, tmp_path, refit=True, **settings)
    best = RunFolder(tmp_path / "validated").best_epoch()
    with pytest.raises(ValueError, match="measure .*validated, which chose"):
        runpy.run_path(str(EVALUATE))["load"](tmp_path)
    metrics, chosen = (json.loads((tmp_path / f / "model" / "metrics.json").read_text()) for f in ("", "validated"))
    assert metrics["train"]["epochs"] == best < 6
    assert metrics["validation"] == chosen["validation"]
    assert metrics["train"]["refit"] == {"validated_on": "leave_one_out", "epochs": best}
    everything = PreparedData.load(tmp_path / "data")
    assert sum(recommender.items["count"]) == everything.report["num_interactions"]
    assert [len(rows) for rows in everything.dataset.values()] == [everything.report["num_users"], 0, 0]
    of_both = [history_of(tmp_path / folder) for folder in ("", "validated")]
    rates = [[entry["learning_rate"] for entry in log if "learning_rate" in entry] for log in of_both]
    assert rates[0] == pytest.approx(rates[1][: len(rates[0])], rel=0.2)  # one schedule, though its steps are more


def test_an_interrupted_refit_goes_on_where_it_was(train, toy_interactions, toy_items, tmp_path):
    whole = train(toy_interactions, toy_items, tmp_path / "a", refit=True, num_train_epochs=2)
    train(toy_interactions, toy_items, tmp_path / "b" / "validated", num_train_epochs=2)  # interrupted between both
    resumed = train(
        toy_interactions, toy_items, tmp_path / "b", refit=True, num_train_epochs=2, resume_from_checkpoint="last"
    )
    assert torch.equal(whole.model.model.items.ids.weight, resumed.model.model.items.ids.weight)
    (tmp_path / "b" / "logs" / "trainer_state.json").unlink()
    again = train(
        toy_interactions, toy_items, tmp_path / "b", refit=True, num_train_epochs=2, resume_from_checkpoint="last"
    )
    assert again.folder.metrics["train"]["resumed_at_step"] > 0
    assert torch.equal(whole.model.model.items.ids.weight, again.model.model.items.ids.weight)


def test_a_refit_that_cannot_go_on_says_so_before_it_trains(train, toy_interactions, toy_items, tmp_path):
    settings = {"refit": True, "num_train_epochs": 2}
    train(toy_interactions, toy_items, tmp_path, **settings)
    with pytest.raises(ValueError, match="is finished"):
        train(toy_interactions, toy_items, tmp_path, resume_from_checkpoint="last", **settings)
    (tmp_path / "logs" / "trainer_state.json").unlink()  # as if the second of its runs had been interrupted
    validated = (tmp_path / "validated" / "logs" / "trainer_state.json").stat().st_mtime_ns
    with pytest.raises(ValueError, match="holds an interrupted run"):
        train(toy_interactions, toy_items, tmp_path, **settings)
    for other in ({"hidden_size": 32}, {"learning_rate": 0.1}, {"ensemble_size": 2}):
        with pytest.raises(ValueError, match=f"was trained with {list(other)[0]}"):
            train(toy_interactions, toy_items, tmp_path, resume_from_checkpoint="last", **settings, **other)
    with pytest.raises(ValueError, match="was trained with data of sha256"):
        train(toy_interactions.slice(1), toy_items, tmp_path, resume_from_checkpoint="last", **settings)
    assert (tmp_path / "validated" / "logs" / "trainer_state.json").stat().st_mtime_ns == validated


def test_a_refit_that_is_killed_in_an_older_run_s_folder_goes_on(train, toy_interactions, toy_items, tmp_path):
    settings = {"refit": True, "num_train_epochs": 2}
    train(toy_interactions, toy_items, tmp_path, **settings)
    RunFolder(tmp_path).forget()  # what a new one does first
    (tmp_path / "validated" / "logs" / "trainer_state.json").unlink()
    train(toy_interactions, toy_items, tmp_path, resume_from_checkpoint="last", **settings)
    assert RunFolder(tmp_path).state.is_file()


def test_a_refit_reads_a_stream_once(train, toy_interactions, toy_items, tmp_path):
    stream = toy_interactions.to_reader()
    train(stream, toy_items, tmp_path, refit=True, num_train_epochs=1)


def test_the_same_seed_gives_the_same_weights(train, toy_interactions, toy_items, tmp_path):
    weights = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(toy_interactions, toy_items, tmp_path / name, seed=seed, num_train_epochs=2)
        weights.append(load_file(tmp_path / name / "model" / "model.safetensors"))
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not torch.equal(weights[0]["model.items.ids.weight"], weights[2]["model.items.ids.weight"])


def test_resuming_on_other_data_or_another_shape_is_refused(train, toy_interactions, toy_items, tmp_path):
    train(toy_interactions, toy_items, tmp_path)
    weights = (tmp_path / "model" / "model.safetensors").read_bytes()
    with pytest.raises(ValueError, match="is finished"):
        train(toy_interactions, toy_items, tmp_path, resume_from_checkpoint="last")
    (tmp_path / "logs" / "trainer_state.json").unlink()  # as if it had been interrupted
    with pytest.raises(ValueError, match="trained with data of sha256"):
        train(toy_interactions.slice(1), toy_items, tmp_path, resume_from_checkpoint="last")
    with pytest.raises(ValueError, match="hidden_size 16, not 32"):
        train(toy_interactions, toy_items, tmp_path, resume_from_checkpoint="last", hidden_size=32)
    with pytest.raises(ValueError, match="per_device_train_batch_size 4, not 8"):
        train(toy_interactions, toy_items, tmp_path, resume_from_checkpoint="last", per_device_train_batch_size=8)
    with pytest.raises(ValueError, match=r"weight_decay 0.0, not 0.5"):
        train(toy_interactions, toy_items, tmp_path, resume_from_checkpoint="last", weight_decay=0.5)
    titles = ["Another title", *toy_items["title"].to_pylist()[1:]]
    with pytest.raises(ValueError, match="trained with other items"):
        other = toy_items.set_column(1, "title", [titles])
        train(toy_interactions, other, tmp_path, resume_from_checkpoint="last")
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == weights


def test_a_half_written_checkpoint_is_passed_over(train, toy_interactions, toy_items, tmp_path):
    train(toy_interactions, toy_items, tmp_path)
    run = RunFolder(tmp_path)
    run.state.unlink()  # as if it had been interrupted
    last = run.last_checkpoint()
    (last / "trainer_state.json").unlink()
    assert run.last_checkpoint() != last
    with pytest.raises(ValueError, match="no whole checkpoint"):
        run.find_checkpoint(str(last))


@pytest.mark.parametrize("attention", ["causal", "bidirectional"])
def test_a_sample_of_the_catalogue_trains_the_same_model(train, toy_interactions, toy_items, tmp_path, attention):
    longer = {"attention": attention, "num_train_epochs": 12, "early_stopping_patience": 0}
    longer |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "item_dropout_prob": 0.0}
    losses = {}
    for samples in (0, 4, 1000):
        run = tmp_path / str(samples)
        train(toy_interactions, toy_items, run, softmax_samples=samples, softmax_dtype="float32", **longer)
        losses[samples] = [entry["loss"] for entry in history_of(run) if "loss" in entry]
    assert losses[1000] == pytest.approx(losses[0], rel=1e-4)  # all items are drawn
    assert losses[4][-1] < 0.7 * losses[4][0]


def test_a_step_larger_than_all_windows_needs_the_last_one(train, toy_interactions, toy_items, tmp_path):
    with pytest.raises(ValueError, match="dataloader_drop_last leaves out all 12 windows"):
        few = {"dataloader_drop_last": True, "per_device_train_batch_size": 13}
        train(toy_interactions, toy_items, tmp_path, **few)


def test_a_full_disk_stops_with_a_sentence_and_the_run_goes_on(train, toy_interactions, toy_items, tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (25_000, limits[1]))  # less than the optimizer's file
    try:
        with pytest.raises(OSError, match="checkpoint of step 3 could not be written .* Make room there"):
            train(toy_interactions, toy_items, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not (tmp_path / "model").exists()
    recommender = train(toy_interactions, toy_items, tmp_path, resume_from_checkpoint="last")
    assert recommender.recommend([["d04"]], k=3) == train(toy_interactions, toy_items, tmp_path / "other").recommend(
        [["d04"]], k=3
    )


def test_a_new_run_replaces_a_finished_one_and_nothing_else(train, toy_interactions, toy_items, tmp_path):
    (tmp_path / "checkpoints" / "checkpoint-best").mkdir(parents=True)
    (tmp_path / "checkpoints" / "notes.txt").touch()
    train(toy_interactions, toy_items, tmp_path)
    finished = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    with pytest.raises(ValueError, match="nowhere.csv"):  # a mistake costs nothing
        train("nowhere.csv", None, tmp_path)
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == finished
    train(toy_interactions, toy_items, tmp_path, num_train_epochs=1)
    left = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert left == {"checkpoint-best", "notes.txt", "checkpoint-3"}
    (tmp_path / "logs" / "trainer_state.json").unlink()  # as if it had been interrupted
    with pytest.raises(ValueError, match="interrupted run"):
        train(toy_interactions, toy_items, tmp_path)


def test_foreign_data_in_the_run_folder_is_left_alone(train, toy_interactions, toy_items, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "raw.csv").touch()
    with pytest.raises(ValueError, match="raw.csv"):
        train(toy_interactions, toy_items, tmp_path)
    assert (tmp_path / "data" / "raw.csv").exists()


def test_training_without_evaluation(train, toy_interactions, toy_items, tmp_path):
    recommender = train(toy_interactions, toy_items, tmp_path, eval_strategy="no")
    assert recommender.folder.metrics["validation"]["exclude_seen"]["ndcg@10"] > 0


def test_prepared_data_trains_as_it_is(train, toy_prepared, tmp_path):
    toy_prepared.save(tmp_path / "prepared")
    before = sorted(path.name for path in (tmp_path / "prepared").rglob("*"))
    recommender = train(tmp_path / "prepared", None, tmp_path / "run")
    assert recommender.items["item_id"][:] == toy_prepared.items["item_id"][:]
    assert sorted(path.name for path in (tmp_path / "prepared").rglob("*")) == before
    with pytest.raises(ValueError, match="min_interactions=4 has no effect"):
        train(tmp_path / "prepared", None, tmp_path / "run", min_interactions=4)
    with pytest.raises(ValueError, match="min_interactions=5 has no effect"):  # the usual value, said
        train(tmp_path / "prepared", None, tmp_path / "run", min_interactions=5)
    with pytest.raises(ValueError, match="items has no effect"):
        train(tmp_path / "prepared", toy_prepared.items, tmp_path / "run")


def test_columns_of_lists_are_no_display_columns(train, toy_interactions, toy_items, tmp_path):
    tags = pyarrow.array([["a", "b"]] * toy_items.num_rows)
    recommender = train(toy_interactions, toy_items.append_column("tags", tags), tmp_path)
    assert set(recommender.recommend([["1500"]])[0][0]) == {"item_id", "score", "title", "genres"}


def test_the_environment_is_left_as_it_was(train, toy_interactions, toy_items, tmp_path):
    import transformers

    before = dict(os.environ), transformers.utils.logging.is_progress_bar_enabled(), logging.getLogger("seqrec").level
    train(toy_interactions, toy_items, tmp_path)
    after = dict(os.environ), transformers.utils.logging.is_progress_bar_enabled(), logging.getLogger("seqrec").level
    assert before == after


def test_early_stopping_ends_a_run_that_no_longer_gets_better(train, toy_interactions, toy_items, tmp_path):
    train(toy_interactions, toy_items, tmp_path, num_train_epochs=50, early_stopping_patience=2, learning_rate=0.0)
    assert len([entry for entry in history_of(tmp_path) if "eval_ndcg@10" in entry]) == 3


def test_without_anybody_to_validate_training_runs_to_its_end(train, tmp_path):
    table = pyarrow.table({"user_id": ["a", "a", "b", "b"], "item_id": ["x", "y", "y", "x"]})
    recommender = train(table, None, tmp_path, min_interactions=1)
    assert len(recommender.recommend([["x"]], k=5)[0]) == 1
    assert recommender.folder.metrics["validation"] == {}


def test_the_last_average_is_kept_where_the_best_model_is_not(train, toy_interactions, toy_items, tmp_path):
    train(toy_interactions, toy_items, tmp_path, load_best_model_at_end=False, early_stopping_patience=0)
    last = max((tmp_path / "checkpoints").iterdir(), key=lambda path: int(path.name.split("-")[1]))
    averaged = load_file(last / "averaged.safetensors")
    kept = load_file(tmp_path / "model" / "model.safetensors")
    assert all(torch.equal(kept[name], averaged[name]) for name in averaged)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"attention": "bidirectional", "objective": "shifted"}, "does not fit"),
        ({"attention": "causal", "objective": "cloze"}, "does not fit"),
        ({"attention": "bidirectional", "mask_query": "newest", "objective": "cloze"}, "no \\[MASK\\]. Leave"),
        ({"resume_from_checkpoint": "last"}, "no checkpoint to resume"),
        ({"max_position_embeddings": 10**11}, "cannot be built: .*llocat.* Choose a smaller"),
        ({"resume_from_checkpoint": "nowhere"}, "no whole checkpoint 'nowhere'"),
        ({"min_interactions": 100}, "min_interactions"),
        ({"refit": True, "split": "none"}, "not split yet"),
        ({"refit": True, "max_steps": 5}, "max_steps=5 would be fewer"),
        ({"ensemble_size": 10**7}, "at most 256"),
        ({"ensemble_size": 2, "content_scale": [1, 2, 3]}, "or one for each encoder"),
        ({"content_scale": 5}, r"content_scale=\[5.0\] is about vectors"),
        ({"cold_item_fraction": 0.1, "split": "none"}, "measures nothing"),
        ({"dataset": "movielens-100k"}, "leave one of them out"),
    ],
)
def test_a_run_that_cannot_work_stops_with_a_sentence(train, toy_interactions, toy_items, tmp_path, settings, said):
    with pytest.raises(ValueError, match=said):
        train(toy_interactions, toy_items, tmp_path / "run", **settings)


def test_a_run_without_data_says_how_to_name_it(tmp_path):
    with pytest.raises(ValueError, match="No data is named"):
        seqrec.train(output_dir=tmp_path)


def test_averaged_weights_by_hand():
    model = torch.nn.Linear(1, 1, bias=False)
    average = WeightAverage(model, decay=0.5)
    values = [model.weight.item()]
    expected = values[0]
    for step, value in enumerate((3.0, 5.0), start=1):
        with torch.no_grad():
            model.weight.fill_(value)
        average.on_step_end(None, type("State", (), {"global_step": step})(), None)
        decay = min(0.5, step / (step + 10))
        expected = decay * expected + (1 - decay) * value
    with average.applied():
        assert model.weight.item() == pytest.approx(expected)
    assert model.weight.item() == 5.0


def test_the_estimate_leaves_no_trace(toy_settings, toy_prepared, tmp_path):
    arguments = parse_settings({**toy_settings, "output_dir": str(tmp_path)})
    folder = build_model(arguments, toy_prepared, ItemContent())
    trainer = build_trainer(folder, toy_prepared, arguments.training)
    weights = {name: tensor.clone() for name, tensor in folder.model.state_dict().items()}
    state = torch.get_rng_state()
    estimate = estimate_run(trainer)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in folder.model.state_dict().items())
    assert all(parameter.grad is None for parameter in folder.model.parameters())
    assert estimate.step_seconds > 0 and estimate.peak_memory_mb > 10
    assert estimate.epoch_seconds > estimate.step_seconds


def test_content_of_the_catalogue_reaches_the_model(toy_settings, toy_prepared, tmp_path):
    arguments = parse_settings({**toy_settings, "output_dir": str(tmp_path)})
    vectors, present = np.random.default_rng(0).normal(size=(15, 6)).astype(np.float32), np.arange(15) != 4
    origin = {"encoder": "some/encoder", "revision": "main", "template": "{title}"}
    text = ContentVectors(vectors * present[:, None], present, origin)
    model = build_model(arguments, toy_prepared, ItemContent({"text": text})).model
    assert model.config.content_sizes == {"text": [6, 6]}
    assert model.config.content_encoders == {"text": origin}
    assert model.config.display_columns == ["title", "genres"]
    features, stored = model.content_vectors("text")
    assert stored.tolist() == present.tolist()
    mean, rotation = half_whiten(vectors, present)
    torch.testing.assert_close(features[0], torch.from_numpy((vectors[0] - mean) @ rotation), rtol=1e-3, atol=1e-3)
