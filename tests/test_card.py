"""The card of a model folder."""

import json
import re
import subprocess
import sys

import pytest
from huggingface_hub import ModelCard

from seqrec import Recommender
from seqrec.baselines import fit_baselines
from seqrec.card import SEEN, is_generated, model_card
from seqrec.data import PreparedData
from seqrec.evaluation import evaluate
from seqrec.model import SeqRecConfig
from seqrec.model_folder import write_card


@pytest.fixture(scope="module")
def measured(toy_run):
    """A trained recommender, and its metrics with test results."""
    run = toy_run("bidirectional")
    recommender, data = Recommender.from_pretrained(run / "model"), PreparedData.load(run / "data")
    rows, items = data.dataset["test"], recommender.items
    baselines = fit_baselines(data.dataset["train"], items, None, ["popularity"])
    found = {
        "test": evaluate(recommender, rows, [2, 5], items),
        "baselines": {name: evaluate(baseline, rows, [2, 5], items) for name, baseline in baselines.items()},
    }
    return recommender, recommender.folder.metrics | found


def card_of(recommender, metrics, repo_id=None):
    return model_card(recommender.model.config, recommender.items, metrics, recommender.folder.preparation, repo_id)


def test_metadata_has_every_value_with_its_protocol(measured):
    recommender, metrics = measured
    card = ModelCard(card_of(recommender, metrics, "owner/toy"))
    assert card.data.library_name == "seqrec" and "bert4rec" in card.data.tags and card.data.model_name == "toy"
    written = {
        (result.dataset_args["seen_items"], result.dataset_args["targets"], result.metric_type): result.metric_value
        for result in card.data.eval_results
    }
    for part, seen, targets in [("exclude_seen", "excluded", "all"), ("include_seen", "included", "all")]:
        for name, value in metrics["test"][part].items():
            if "@" in name and not name.endswith("_ci"):
                assert written[seen, targets, name.replace("@", "_at_")] == pytest.approx(value, abs=1e-5)
    args = card.data.eval_results[0].dataset_args
    assert (args["split"], args["num_items"], args["num_users"], args["min_interactions"]) == (
        "leave_one_out",
        15,
        12,
        3,
    )
    assert len(card.data.eval_results) == 6 * sum(part in metrics["test"] for part in SEEN)


def test_the_text_is_whole_and_names_nobody(measured):
    recommender, metrics = measured
    text = card_of(recommender, metrics)
    for section in (
        "What an event is",
        "Use it",
        "How good it is",
        "Data",
        "Limits",
        "Privacy",
        "Training",
        "Citation",
    ):
        assert f"\n## {section}\n" in text
    assert not re.search(r"\{\{|\{%|None|\bu\d\d\b|/tmp/", text)
    assert "| popularity | " in text and "12 users, one target each; all 15 items are ranked" in text
    assert "| min_interactions | " in text and "their title, their genres" in text
    assert "It was not measured on test targets; on validation its NDCG@10 was" in card_of(
        recommender, recommender.folder.metrics
    )


def test_its_examples_run(measured, toy_run):
    recommender, metrics = measured
    examples = re.findall(
        r"```python\n(.*?)```", card_of(recommender, metrics, str(toy_run("bidirectional") / "model")), re.S
    )
    assert len(examples) == 3
    checks = "\nassert users.shape == (1, items.shape[1]) and len(next_item({'history': ['1500']}, top_k=10)) == 10"
    done = subprocess.run([sys.executable, "-c", "\n".join(examples) + checks], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_what_a_model_of_a_named_data_set_learned_from_is_said(measured):
    recommender, metrics = measured
    preparation = json.loads(json.dumps(recommender.folder.preparation))
    preparation["source"]["name"], preparation["settings"]["min_value"] = "movielens-100k", 4
    text = model_card(recommender.model.config, recommender.items, metrics, preparation)
    assert "A rating of a film, whatever its value" in text and "Rows with a value below 4 do not count." in text


def test_a_card_of_ones_own_stays_and_a_foreign_readme_is_not_lost(measured, tmp_path):
    recommender, _ = measured
    recommender.save_pretrained(tmp_path / "model")
    card = tmp_path / "model" / "README.md"
    assert is_generated(card.read_text(encoding="utf-8"))
    card.write_text("My own words.", encoding="utf-8")
    recommender.save_pretrained(tmp_path / "model")
    write_card(tmp_path / "model")
    assert card.read_text(encoding="utf-8") == "My own words."
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "README.md").write_text("Notes.", encoding="utf-8")
    with pytest.raises(ValueError, match=r"holds a README\.md and no model"):
        recommender.save_pretrained(tmp_path / "notes")


@pytest.mark.parametrize(
    "metrics",
    [
        {"test": {"num_users": 3, "exclude_seen": {"ndcg@10": 0.5}}},
        {"test": [1]},
        {"train": None, "test": None},
        {"validation": {"exclude_seen": {"ndcg@10": "high"}}},
    ],
)
def test_records_that_are_not_ours_keep_no_model_from_being_saved(measured, metrics, caplog):
    assert "## How good it is" in card_of(measured[0], metrics)
    assert "The card says nothing of data and results" in caplog.text


def test_results_without_cohorts_and_lists_are_shown_alone(measured):
    recommender, metrics = measured
    test = {name: part for name, part in metrics["test"].items() if name not in ("cohorts", "lists")}
    text = card_of(recommender, metrics | {"test": test, "baselines": {}})
    assert "| this model | " in text and "What kind of items" not in text


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ({}, ["knows items by their ids alone", "needs its own training"]),
        (
            {"content_sizes": {"text": [4, 4]}},
            ["where items stand whose content is nearest", "needs its own training"],
        ),
        ({"content_sizes": {"attributes": [3, 1, 0]}}, ["stands where its content says", "needs its own training"]),
        (
            {"content_sizes": {"text": [4, 4]}, "use_item_ids": False},
            ["stands where its content says", "`set_catalogue`"],
        ),
    ],
)
def test_its_limits_are_those_of_the_model(measured, shape, said):
    recommender, metrics = measured
    config = SeqRecConfig(vocab_size=recommender.model.config.vocab_size, **shape)
    text = model_card(config, recommender.items, metrics, recommender.folder.preparation)
    assert all(sentence in text for sentence in said)


def test_names_of_columns_are_no_markdown(measured):
    recommender, metrics = measured
    items = recommender.items.rename_column("title", "`title`\n# big")
    text = model_card(recommender.model.config, items, metrics, recommender.folder.preparation)
    assert "their 'title' # big" in text and "\n# big" not in text
