"""Runs that adapt a finished model: its text encoder with the ranking loss, its sequence encoder to other data."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModel, AutoTokenizer
from transformers.models.bert.modeling_bert import BertAttention

import seqrec
from seqrec import Recommender
from seqrec.content.encoders import TextEncoder
from seqrec.content.sources import find_encoder
from seqrec.content.tuning import TunedTexts
from seqrec.trainer import SeqRecTrainer

HISTORIES = [["1500", "d04"], ["d05"], []]
OF_THE_RUN = ("min_interactions", "num_train_epochs", "per_device_train_batch_size", "num_threads", "disable_tqdm")
NEW = {"item_id": "new", "title": "alien story", "genres": "horror"}


@pytest.fixture(scope="module")
def settings(bert_folder):
    from tests.conftest import TOY_SETTINGS

    return {**TOY_SETTINGS, "text_encoder": str(bert_folder)}


@pytest.fixture(scope="module")
def tables():
    from tests.conftest import toy_interactions_table, toy_items_table

    return toy_interactions_table(), toy_items_table()


@pytest.fixture(scope="module")
def base(settings, tables, tmp_path_factory):
    """The run folder of a model with ids and texts."""
    path = tmp_path_factory.mktemp("runs") / "base"
    seqrec.train(*tables, output_dir=path, **settings)
    return path


@pytest.fixture(scope="module")
def without_ids(settings, tables, tmp_path_factory):
    """The run folder of a model that knows items by their texts alone."""
    path = tmp_path_factory.mktemp("runs") / "without-ids"
    shape = {name: value for name, value in settings.items() if name != "transition_size"}
    seqrec.train(*tables, output_dir=path, use_item_ids=False, **shape)
    return path


@pytest.fixture
def adapt(settings, tables, tmp_path):
    """A function that runs an adaptation and returns its recommender and run folder."""

    def run(base, lora, interactions=tables[0], items=tables[1], name="adapted", **changes):
        own = {name: settings[name] for name in (*OF_THE_RUN, "text_encoder")}
        if lora == "text_encoder":
            own["softmax_samples"] = 4
        own |= {"learning_rate": 1e-2, "base_model": str(base / "model"), "lora": lora}
        path, settings_of_run = tmp_path / name, {**own, **changes}
        given = {setting: value for setting, value in settings_of_run.items() if value is not None}
        return seqrec.train(interactions, items, output_dir=path, **given), path

    return run


def interrupt(*args):
    raise KeyboardInterrupt


def renamed(table, to="n"):
    """The same table with other item ids."""
    ids = pa.array([to + item for item in table["item_id"].to_pylist()])
    return table.set_column(table.column_names.index("item_id"), "item_id", ids)


def ranked(recommender, histories=HISTORIES):
    """Scores of all items, by id."""
    lists = recommender.recommend(histories, k=99, exclude_seen=False)
    return torch.tensor(
        [[score for _, score in sorted((row["item_id"], row["score"]) for row in rows)] for rows in lists]
    )


class TestTextEncoder:
    def test_the_run_leaves_a_model_that_loads_and_knows_new_items_by_the_adapted_encoder(
        self, adapt, base, bert_folder
    ):
        recommender, path = adapt(base, "text_encoder")
        loaded = Recommender.from_pretrained(path / "model")
        assert torch.equal(ranked(loaded), ranked(recommender))
        known = next(row for row in loaded.items.to_list() if row["item_id"] == "15001")
        loaded.add_items([{**known, "item_id": "twin"}], encoders={"text": str(bert_folder)})
        features = loaded.model.model.items.content["text"].features
        torch.testing.assert_close(features[loaded._ids.known(["twin"])], features[loaded._ids.known(["15001"])])
        plain = Recommender.from_pretrained(base / "model")
        new, old = (one.encode_items([NEW], encoders={"text": str(bert_folder)}) for one in (loaded, plain))
        assert np.abs(new - old).max() > 1e-3

    def test_the_adapter_is_peft_s_and_lies_in_the_model_folder(self, adapt, base, bert_folder):
        recommender, path = adapt(base, "text_encoder")
        tensors = load_file(path / "model" / "text_adapter" / "adapter_model.safetensors")
        assert any(weights.abs().sum() > 0 for name, weights in tensors.items() if "lora_B" in name)
        config = json.loads((path / "adapter" / "adapter_config.json").read_text())
        assert config["base_model_name_or_path"] == "tiny-bert" and config["revision"].startswith("sha256:")
        assert (path / "adapter" / "adapter_model.safetensors").read_bytes() == (
            path / "model" / "text_adapter" / "adapter_model.safetensors"
        ).read_bytes()
        network = PeftModel.from_pretrained(AutoModel.from_pretrained(bert_folder), path / "adapter").eval()
        encoder = TextEncoder(network, AutoTokenizer.from_pretrained(bert_folder), "adapted", "1", 8)
        part = recommender.model.model.items.content["text"]
        theirs = part.features_of(torch.from_numpy(encoder.encode(["Alien (1979). Action, Horror, Sci-Fi"]).vectors))
        ours = part.features[recommender._ids.known(["15001"])]
        torch.testing.assert_close(theirs.half(), ours, atol=2e-3, rtol=1e-2)

    def test_the_ranker_learns_nothing_but_its_items_texts(self, adapt, base):
        recommender, path = adapt(base, "text_encoder")
        old = load_file(base / "model" / "model.safetensors")
        new = load_file(path / "model" / "model.safetensors")
        changed = {name for name in old if not torch.equal(old[name], new[name])}
        assert changed == {"model.items.content.text.features", "model.items.content.text.longest"}
        assert all(weights.requires_grad for weights in recommender.model.parameters())

    def test_the_base_stays(self, adapt, base):
        before = {path: path.read_bytes() for path in (base / "model").iterdir()}
        adapt(base, "text_encoder")
        assert {path: path.read_bytes() for path in (base / "model").iterdir()} == before

    def test_items_that_training_never_saw_have_the_content_of_added_ones(
        self, adapt, settings, tables, bert_folder, tmp_path
    ):
        interactions, items = tables
        cold = interactions.filter(pc.not_equal(interactions["item_id"], "d11"))
        last = interactions.slice(len(interactions) - 1)  # somebody's last item alone: never in training
        ids = pa.array(["d11"])
        last = last.set_column(last.column_names.index("item_id"), "item_id", ids)
        shape = {**settings, "min_interactions": 1}
        table = pa.concat_tables([cold, last])
        path = tmp_path / "base"
        base = seqrec.train(table, items, output_dir=path, **shape)
        assert dict(zip(base.items["item_id"][:], base.items["count"][:], strict=True))["d11"] == 0
        recommender, _ = adapt(path, "text_encoder", table, items, min_interactions=1)
        row = next(row for row in items.to_pylist() if row["item_id"] == "d11")
        recommender.add_items([{**row, "item_id": "twin"}], encoders={"text": str(bert_folder)})
        vectors = recommender.encode_items(["d11", "twin"])
        np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-4)

    def test_a_mixed_folder_is_refused(self, adapt, base):
        _, one = adapt(base, "text_encoder", name="one")
        _, other = adapt(base, "text_encoder", name="other", seed=3)
        weights = "text_adapter/adapter_model.safetensors"
        (one / "model" / weights).write_bytes((other / "model" / weights).read_bytes())
        with pytest.raises(ValueError, match="mixes two models: its text_adapter"):
            Recommender.from_pretrained(one / "model")

    def test_a_saved_copy_keeps_the_adapter(self, adapt, base, tmp_path):
        recommender, path = adapt(base, "text_encoder")
        recommender.save_pretrained(tmp_path / "copy")
        copied = {file.relative_to(tmp_path / "copy"): file.read_bytes() for file in (tmp_path / "copy").rglob("*.*")}
        assert copied == {
            file.relative_to(path / "model"): file.read_bytes() for file in (path / "model").rglob("*.*")
        }

    def test_only_items_of_the_batch_and_sampled_ones_are_encoded_while_training(self, adapt, base, monkeypatch):
        counts, real = [], TunedTexts.forward

        def counting(self, tokens):
            if self.training:
                counts.append(len(tokens))
                assert len(tokens.unique()) == len(tokens)
            return real(self, tokens)

        monkeypatch.setattr(TunedTexts, "forward", counting)
        adapt(base, "text_encoder", per_device_train_batch_size=1, softmax_samples=1)
        assert counts and max(counts) <= 6 + 1 + 1  # a window, its last target, and one sample

    def test_the_adapter_learns_what_the_loss_says(self, adapt, base):
        everything = {
            "softmax_samples": 15,
            "num_train_epochs": 30,
            "average_decay": 0.0,
            "early_stopping_patience": 0,
        }
        _, path = adapt(base, "text_encoder", **everything, save_strategy="no", load_best_model_at_end=False)
        log = json.loads((path / "logs" / "trainer_state.json").read_text())["log_history"]
        losses = [entry["loss"] for entry in log if "loss" in entry]
        assert np.mean(losses[-5:]) < 0.95 * np.mean(losses[:5])

    def test_gradient_checkpointing_changes_no_weight(self, adapt, base, monkeypatch):
        calls, real = [], BertAttention.forward
        monkeypatch.setattr(BertAttention, "forward", lambda *args, **kwargs: calls.append(1) or real(*args, **kwargs))
        plain, _ = adapt(base, "text_encoder", name="plain")
        num_plain = len(calls)
        saving, _ = adapt(base, "text_encoder", name="saving", gradient_checkpointing=True)
        assert len(calls) - num_plain > num_plain  # layers are computed again
        torch.testing.assert_close(ranked(saving), ranked(plain))

    def test_what_the_base_reached_is_recorded(self, adapt, base):
        recommender, path = adapt(base, "text_encoder")
        recorded = json.loads((path / "model" / "metrics.json").read_text())["train"]["lora"]
        assert recorded["of"] == "text_encoder" and recorded["base_model"] == "base" and recorded["rank"] == 8
        assert recorded["before"] == json.loads((base / "model" / "metrics.json").read_text())["validation"]

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"softmax_samples": 0}, "softmax_samples"),
            ({"hidden_size": 32}, r"The base model says itself.*\['hidden_size'\]"),
            ({"text_template": "{title}"}, r"\['text_template'\]"),
            ({"refit": True}, "refit"),
            ({"base_model": "nowhere"}, "no model folder 'nowhere'"),
            ({"base_model": None}, "go together"),
            ({"lora": None}, "go together"),
            ({"lora_rank": 0}, "lora_rank=0"),
            ({"base_revision": "main"}, "base_revision='main' is about the Hub"),
            ({"image_encoder": "somewhere"}, r"reads \['text'\] of items, and image_encoder is set"),
            ({"lora": "everything"}, "everything"),
        ],
    )
    def test_settings_that_do_not_go_together_are_refused(self, adapt, base, changes, said):
        with pytest.raises(ValueError, match=said):
            adapt(base, **{"lora": "text_encoder", **changes})

    def test_settings_of_an_adapter_without_one_are_refused(self, settings, tables, tmp_path):
        with pytest.raises(ValueError, match="lora_rank=4 has no effect without lora"):
            seqrec.train(*tables, output_dir=tmp_path, lora_rank=4, **settings)

    def test_items_that_have_lost_their_texts_are_refused(self, adapt, base, tables):
        empty = pa.array([None] * len(tables[1]), pa.string())
        items = pa.table({"item_id": tables[1]["item_id"], "title": empty, "genres": empty})
        with pytest.raises(ValueError, match="0 of these items have a text, and 15 of the base"):
            adapt(base, "text_encoder", tables[0], items)

    def test_other_data_are_refused(self, adapt, base, tables):
        with pytest.raises(ValueError, match="these data have other ones"):
            adapt(base, "text_encoder", renamed(tables[0]), renamed(tables[1]))

    def test_an_adapted_model_is_not_adapted_again(self, adapt, base):
        _, path = adapt(base, "text_encoder")
        with pytest.raises(ValueError, match="without an adapter"):
            adapt(path, "text_encoder", name="again")


class TestTunedTexts:
    @pytest.fixture
    def texts(self, bert_folder):
        encoder = TextEncoder.from_source(find_encoder(str(bert_folder)))
        return encoder, TunedTexts(encoder, [None, "alien", "toy story", "alien", "", "heat horror comedy"]).eval()

    def test_the_vectors_are_those_of_the_encoder(self, texts):
        encoder, tuned = texts
        vectors = tuned(torch.tensor([5, 1, 0, 2, 3, 4])).detach()
        wanted = encoder.encode(["heat horror comedy", "alien", "toy story", "alien"]).vectors
        torch.testing.assert_close(vectors[[0, 1, 3, 4]], torch.from_numpy(wanted))
        assert not vectors[[2, 5]].any()

    def test_equal_texts_are_read_once(self, texts, monkeypatch):
        encoder, tuned = texts
        read, real = [], encoder.embed
        monkeypatch.setattr(encoder, "embed", lambda batch: read.append(len(batch["input_ids"])) or real(batch))
        tuned(torch.tensor([1, 3, 1, 2]))
        assert read == [2]

    def test_the_encoder_reads_without_dropout_in_training_as_it_serves(self, texts):
        tokens = torch.tensor([1, 2, 5])
        served = texts[1](tokens).detach()
        assert torch.equal(texts[1].train()(tokens), served)

    def test_no_text_at_all_gives_zeros(self, texts):
        assert not texts[1](torch.tensor([0, 4])).any()
        assert not TunedTexts(texts[0], [None, None])(torch.tensor([0, 1])).any()


class TestSequenceEncoder:
    @pytest.fixture
    def newer(self, tables):
        """The tables of a period in which many took an item that the base does not know."""
        interactions, items = tables
        new = pa.table({"item_id": [NEW["item_id"]] * 9, "user_id": [f"u{number:02}" for number in range(1, 10)]})
        new = new.append_column("timestamp", pa.array([10_000] * 9, interactions["timestamp"].type))
        rows = pa.concat_tables([items, pa.table({name: [value] for name, value in NEW.items()})])
        return pa.concat_tables([interactions, new.select(interactions.column_names)]), rows

    @pytest.mark.parametrize("softmax_samples", [0, 4])
    def test_a_model_with_ids_goes_on_with_a_newer_period(self, adapt, base, newer, bert_folder, softmax_samples):
        before = Recommender.from_pretrained(base / "model")
        recommender, path = adapt(base, "sequence_encoder", *newer, softmax_samples=softmax_samples)
        old = dict(zip(before.items["item_id"][:], before.items["count"][:], strict=True))
        counts = dict(zip(recommender.items["item_id"][:], recommender.items["count"][:], strict=True))
        assert counts == {**old, "new": 0}  # what it never learned from is a cold item
        assert recommender.folder.metrics["num_items"] == len(old) + 1
        test = seqrec.PreparedData.load(path / "data").dataset["test"]
        assert recommender.evaluate(test)["cold"]["num_users"] == 9
        together = Recommender.from_pretrained(base / "model", adapter=path / "adapter")
        together.add_items([NEW], encoders={"text": str(bert_folder)})
        torch.testing.assert_close(ranked(together), ranked(recommender))
        together.adapters.unload()
        before.add_items([NEW], encoders={"text": str(bert_folder)})
        assert torch.equal(ranked(together), ranked(before))
        assert (ranked(before) - ranked(recommender)).abs().max() > 0.01

    def test_items_that_were_removed_come_back(self, adapt, base, tables, tmp_path):
        shop = Recommender.from_pretrained(base / "model")
        shop.remove_items(["d05"])
        shop.save_pretrained(tmp_path / "without" / "model")
        recommender, _ = adapt(tmp_path / "without", "sequence_encoder")
        assert "d05" in recommender.items["item_id"][:]

    def test_what_the_base_was_trained_on_binds_what_goes_out(self, adapt, base, tmp_path):
        shop = Recommender.from_pretrained(base / "model")
        shop.folder.preparation["source"]["name"] = "movielens-100k"
        shop.save_pretrained(tmp_path / "bound" / "model")
        recommender, _ = adapt(tmp_path / "bound", "sequence_encoder")
        with pytest.raises(ValueError, match="trained on 'movielens-100k', whose data may not be passed on"):
            recommender.push_to_hub("owner/name")

    def test_another_base_does_not_go_on_with_a_run(self, adapt, base, monkeypatch, tmp_path):
        other = Recommender.from_pretrained(base / "model")
        with torch.no_grad():
            other.model.model.items.ids.weight += 0.01
        other.save_pretrained(tmp_path / "other" / "model")
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(SeqRecTrainer, "_load_best_model", interrupt)
            adapt(base, "sequence_encoder", name="again")
        with pytest.raises(ValueError, match="was trained with base_model"):
            adapt(tmp_path / "other", "sequence_encoder", name="again", resume_from_checkpoint="last")

    def test_a_later_run_leaves_no_adapter_of_an_earlier_one(self, adapt, base, tables, settings):
        _, path = adapt(base, "sequence_encoder")
        assert list((path / "adapter").iterdir())
        seqrec.train(*tables, output_dir=path, **settings)
        assert not list((path / "adapter").iterdir())

    def test_only_the_adapter_learns(self, adapt, base):
        recommender, path = adapt(base, "sequence_encoder")
        old = load_file(base / "model" / "model.safetensors")
        new = load_file(path / "model" / "model.safetensors")
        changed = {name for name in old if not torch.equal(old[name], new[name])}
        assert changed and all(".layers." in name or name.endswith("projection.weight") for name in changed)
        assert not any(name.endswith("bias") or "norm" in name for name in changed)
        learned = sum(
            weights.numel() for weights in load_file(path / "adapter" / "adapter_model.safetensors").values()
        )
        assert recommender.folder.metrics["train"]["parameters"] == learned
        card = (path / "adapter" / "README.md").read_text()
        assert f"{learned:,} learned numbers" in card and "adapter=" in card and str(path.parent) not in card

    def test_a_model_without_ids_moves_to_another_shop(self, adapt, without_ids, tables, bert_folder):
        interactions, items = renamed(tables[0]), renamed(tables[1])
        recommender, path = adapt(without_ids, "sequence_encoder", interactions, items)
        assert all(item.startswith("n") for item in recommender.items["item_id"][:])
        assert sum(recommender.items["count"][:]) > 0
        histories = [["n1500", "nd04"], ["nd05"]]
        assert recommender.recommend(histories, k=1)[0][0].keys() == {"item_id", "score", "title", "genres"}
        loaded = Recommender.from_pretrained(path / "model")
        assert torch.equal(ranked(loaded, histories), ranked(recommender, histories))
        together = Recommender.from_pretrained(without_ids / "model", adapter=path / "adapter")
        together.set_catalogue(items, encoders={"text": str(bert_folder)})
        torch.testing.assert_close(ranked(together, histories), ranked(recommender, histories))

    def test_what_is_recorded_before_is_the_model_as_it_moved(self, adapt, without_ids, tables, bert_folder):
        interactions, items = renamed(tables[0]), renamed(tables[1])
        recommender, path = adapt(without_ids, "sequence_encoder", interactions, items)
        moved = Recommender.from_pretrained(without_ids / "model")
        moved.set_catalogue(items, encoders={"text": str(bert_folder)})
        validation = seqrec.PreparedData.load(path / "data").dataset["validation"]
        recorded = recommender.folder.metrics["train"]["lora"]["before"]["exclude_seen"]
        assert moved.evaluate(validation)["exclude_seen"]["ndcg@10"] == pytest.approx(recorded["ndcg@10"])

    def test_a_model_of_other_items_is_refused(self, adapt, base, tables):
        with pytest.raises(ValueError, match="knows none of the 15 items.*use_item_ids"):
            adapt(base, "sequence_encoder", renamed(tables[0]), renamed(tables[1]))

    def test_items_that_the_model_cannot_read_are_refused(self, adapt, without_ids, tables):
        items = tables[1].rename_columns(["item_id", "name", "kind"])
        with pytest.raises(ValueError, match=r"reads the columns \['genres', 'title'\].*column_mapping"):
            adapt(without_ids, "sequence_encoder", tables[0], items)

    def test_items_without_content_are_left_out_of_a_model_with_ids(self, toy_run, adapt, tables, caplog):
        interactions = pa.concat_tables([tables[0], renamed(tables[0].slice(0, 40), "x")])
        recommender, _ = adapt(toy_run("causal"), "sequence_encoder", interactions, None, text_encoder=None)
        assert not any(item.startswith("x") for item in recommender.items["item_id"][:])
        assert "items are new to the base model" in caplog.text


@pytest.mark.parametrize("lora", ["text_encoder", "sequence_encoder"])
def test_an_interrupted_run_goes_on_to_the_same_weights(adapt, base, monkeypatch, lora):
    whole, _ = adapt(base, lora, name="whole")
    real = SeqRecTrainer._save_checkpoint

    def interrupted(self, *args):
        real(self, *args)
        if self.state.epoch == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(SeqRecTrainer, "_save_checkpoint", interrupted)
        adapt(base, lora, name="again")
    resumed, _ = adapt(base, lora, name="again", resume_from_checkpoint="last")
    assert torch.equal(ranked(resumed), ranked(whole))
