"""A catalogue that changes without training: what comes, changes and goes, and what stays as it was."""

import json
import logging
import shutil

import numpy as np
import pyarrow as pa
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

import seqrec
from seqrec.content import loaded_encoder
from seqrec.data import prepare

HISTORIES = [["1500", "d05"], ["15001", "d07"], []]


@pytest.fixture
def with_taste(toy_items):
    """The toy catalogue with finished vectors and attributes; one item has neither."""
    table = toy_items
    random = np.random.default_rng(0)
    tastes = [None if item == "d06" else random.normal(size=3).tolist() for item in table["item_id"].to_pylist()]
    return table.append_column("taste", pa.array(tastes, pa.list_(pa.float64())))


@pytest.fixture(scope="module")
def folders():
    return {}


@pytest.fixture
def trained(folders, toy_settings, toy_interactions, with_taste, tmp_path_factory):
    """A model of the toy world, trained once for all tests and loaded anew for each."""

    def train(name, **settings):
        if name not in folders:
            folders[name] = tmp_path_factory.mktemp(name)
            chosen = {**toy_settings, "vector_columns": ["taste"], **settings}
            seqrec.train(toy_interactions, with_taste, output_dir=folders[name], **chosen)
        return seqrec.Recommender.from_pretrained(folders[name] / "model")

    return train


@pytest.fixture(
    params=[{"fusion": "sum"}, {"fusion": "gate"}, {"fusion": "gate", "ensemble_size": 2, "transition_size": 4}],
    ids=lambda settings: "-".join(map(str, settings.values())),
)
def recommender(trained, request):
    return trained(str(request.param), **request.param, id_dropout_prob=0.2)


def ids(lists):
    return [[row["item_id"] for row in recommended] for recommended in lists]


def test_a_new_item_stands_beside_the_one_that_its_content_equals(recommender, with_taste):
    tastes = dict(zip(with_taste["item_id"].to_pylist(), with_taste["taste"].to_pylist(), strict=True))
    before = recommender.recommend(HISTORIES, k=20)
    recommender.add_items([{"item_id": "new", "taste": tastes["15001"], "title": "Alien again"}])
    assert recommender.items["item_id"][-1] == "new" and recommender.items["count"][-1] == 0
    assert recommender.similar_items(["new"], k=1)[0][0]["item_id"] == "15001"
    after = recommender.recommend(HISTORIES, k=20)
    assert all("new" in recommended for recommended in ids(after))
    shown = next(row for row in after[2] if row["item_id"] == "new")
    assert shown["title"] == "Alien again" and shown["genres"] is None
    others = [[row for row in recommended if row["item_id"] != "new"] for recommended in after]
    assert ids(others) == ids(before)  # the old ones keep their order
    scores = [[row["score"] for row in recommended] for recommended in others]
    np.testing.assert_allclose(sum(scores, []), [row["score"] for rows in before for row in rows], rtol=1e-5)


def test_a_changed_catalogue_survives_saving_and_plain_transformers(recommender, with_taste, tmp_path):
    recommender.add_items(
        [{"item_id": "15", "taste": [1.0, 2.0, 3.0]}, {"item_id": "[other]", "taste": [0.0, 1.0, 0.0]}]
    )
    recommender.remove_items(["d04"])
    recommender.save_pretrained(tmp_path / "model")
    again = seqrec.Recommender.from_pretrained(tmp_path / "model")
    histories = [["15", "1500"], ["d04", "[other]"], []]
    assert again.recommend(histories, k=20) == recommender.recommend(histories, k=20)
    assert again.items["item_id"][:] == recommender.items["item_id"][:]
    model = AutoModel.from_pretrained(tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    batch = tokenizer(histories[:1], is_split_into_words=True, return_tensors="pt", padding=True)
    ranked = tokenizer.convert_ids_to_tokens(model.rank(**batch, k=20).token_ids[0].tolist())
    assert [item for item in ranked if item != "[PAD]"] == ids(recommender.recommend(histories[:1], k=20))[0]


def test_removed_items_leave_every_list_and_come_back(recommender, with_taste):
    first = ids(recommender.recommend(HISTORIES[:1], k=1))[0][0]
    whole = recommender.recommend(HISTORIES, k=20)
    recommender.remove_items([first])
    assert all(first not in recommended for recommended in ids(recommender.recommend(HISTORIES, k=20)))
    assert first not in recommender.items["item_id"] and len(recommender.encode_items()) == 14
    assert recommender.target_ranks([[]], [first]).tolist() == [15]  # behind the 14 that are left
    assert recommender.recommend([[first]], k=3) != recommender.recommend([[]], k=3)  # histories still read it
    assert all(first not in recommended for recommended in ids(recommender.similar_items(["1500"], k=20)))
    with pytest.raises(ValueError, match="not in the catalogue"):
        recommender.remove_items([first])
    tastes = dict(zip(with_taste["item_id"].to_pylist(), with_taste["taste"].to_pylist(), strict=True))
    recommender.add_items([{"item_id": first, "taste": tastes[first]}])
    assert ids(recommender.recommend(HISTORIES, k=20)) == ids(whole)


def test_an_item_that_comes_back_by_its_id_alone_has_the_content_it_had(recommender):
    recommender.add_items([{"item_id": "x", "taste": [1.0, 2.0, 3.0]}])
    whole = recommender.recommend(HISTORIES, k=20)
    recommender.remove_items(["x", "d04"])
    recommender.add_items([{"item_id": "x"}, {"item_id": "d04"}, {"item_id": "y", "taste": [3.0, 2.0, 1.0]}])
    recommender.remove_items(["y"])
    assert ids(recommender.recommend(HISTORIES, k=20)) == ids(whole)


def test_an_item_that_comes_back_keeps_the_texts_that_are_shown(recommender):
    title = dict(zip(recommender.items["item_id"], recommender.items["title"], strict=True))["d04"]
    recommender.remove_items(["d04"])
    recommender.add_items([{"item_id": "d04"}, {"item_id": "new", "title": "New", "taste": [1.0, 2.0, 3.0]}])
    titles = dict(zip(recommender.items["item_id"], recommender.items["title"], strict=True))
    assert (titles["d04"], titles["new"]) == (title, "New")


def test_removed_items_can_be_read_and_nothing_else(recommender, caplog):
    recommender.remove_items(["d04"])
    assert ids(recommender.recommend([[]], candidates=["d04", "d05"])) == [["d05"]]
    assert "1 of 2 ids in candidates are not in the catalogue: 'd04'" in caplog.text
    for asked in (recommender.encode_items, recommender.similar_items):
        with pytest.raises(ValueError, match="not in the catalogue: 'd04'"):
            asked(["d04"])
    with pytest.raises(ValueError, match="not Unicode"):
        recommender.remove_items(["\ud800"])


def test_the_last_item_stays(recommender):
    with pytest.raises(ValueError, match="would leave none"):
        recommender.remove_items(recommender.items["item_id"])


def test_an_update_changes_what_it_names(recommender, with_taste):
    tastes = dict(zip(with_taste["item_id"].to_pylist(), with_taste["taste"].to_pylist(), strict=True))
    recommender.add_items([{"item_id": "new", "taste": tastes["15001"], "title": "One", "genres": "War"}])
    recommender.update_items([{"item_id": "new", "title": "Two"}])
    shown = recommender.items[len(recommender.items) - 1]
    assert (shown["title"], shown["genres"]) == ("Two", "War")
    assert recommender.similar_items(["new"], k=1)[0][0]["item_id"] == "15001"
    recommender.update_items([{"item_id": "new", "taste": tastes["d12"]}])
    assert recommender.similar_items(["new"], k=1)[0][0]["item_id"] == "d12"
    with pytest.raises(ValueError, match="Nothing would be known any more of 'new'"):
        recommender.update_items([{"item_id": "new", "taste": None}])
    assert recommender.similar_items(["new"], k=1)[0][0]["item_id"] == "d12"


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
def test_new_items_are_shown_more_if_asked(trained, similarity):
    recommender = trained(f"scaled {similarity}", similarity=similarity)
    recommender.add_items([{"item_id": f"x{n}", "taste": [float(n), 1.0, -1.0]} for n in range(5)])
    old, shares = recommender.encode_items(["1500"]), []
    for scale in (0.5, 1.0, 2.0):
        recommender.model.config.new_item_scale = scale
        recommender.model.resize_catalogue(recommender.model.config.vocab_size)  # forgets its vectors
        lists = ids(recommender.recommend(HISTORIES, k=5))
        shares.append(sum(item.startswith("x") for recommended in lists for item in recommended))
        np.testing.assert_array_equal(recommender.encode_items(["1500"]), old)
        [new] = recommender.encode_items([{"item_id": "y", "taste": [1.0, 1.0, -1.0]}])
        np.testing.assert_allclose(recommender.encode_items(["x1"])[0], new, rtol=1e-2, atol=1e-5)
    assert shares == sorted(shares) and shares[0] < shares[-1]


def test_settings_of_ids_are_refused_without_ids(toy_settings, toy_interactions, with_taste, tmp_path):
    chosen = {**toy_settings, "vector_columns": ["taste"], "use_item_ids": False, "id_dropout_prob": 0.1}
    with pytest.raises(ValueError, match="id_dropout_prob=0.1 and id_start='random' are about item ids"):
        seqrec.train(toy_interactions, with_taste, output_dir=tmp_path, **chosen)


def test_rows_of_an_update_have_the_same_columns(recommender):
    before = recommender.recommend(HISTORIES, k=20)
    with pytest.raises(ValueError, match="different columns, and an update empties what a row lacks"):
        recommender.update_items([{"item_id": "d04", "title": "X"}, {"item_id": "d05", "taste": [1.0, 2.0, 3.0]}])
    assert recommender.recommend(HISTORIES, k=20) == before


def test_what_train_returns_takes_items_as_its_folder_does(toy_settings, toy_interactions, with_taste, tmp_path):
    chosen = {**toy_settings, "vector_columns": ["taste"], "num_train_epochs": 1}
    recommender = seqrec.train(toy_interactions, with_taste, output_dir=tmp_path, **chosen)
    again = seqrec.Recommender.from_pretrained(tmp_path / "model")
    for one in (recommender, again):
        one.add_items([{"item_id": "x", "taste": [1.0, 2.0, 3.0], "title": "X"}])
        one.update_items([{"item_id": "d04", "taste": [1.0, 2.0, 3.0]}])
    assert recommender.items.column_names == again.items.column_names
    assert ids(recommender.recommend(HISTORIES, k=20)) == ids(again.recommend(HISTORIES, k=20))


def test_attributes_beyond_what_training_saw(toy_settings, toy_interactions, with_taste, tmp_path):
    table = with_taste.append_column("price", pa.array([float(n) for n in range(len(with_taste))]))
    genres = pa.array([text.split(", ") for text in table["genres"].to_pylist()])
    table = table.set_column(table.column_names.index("genres"), "genres", genres)
    chosen = {**toy_settings, "attributes": ["genres", "price"], "num_train_epochs": 1}
    recommender = seqrec.train(toy_interactions, table, output_dir=tmp_path, **chosen)
    most = recommender.model.config.content_sizes["attributes"][1]
    many = sorted({genre for row in genres.to_pylist() for genre in row})
    rows = [{"item_id": "dear", "genres": ["War"], "price": 1e29}, {"item_id": "many", "genres": many, "price": 3.0}]
    recommender.add_items([*rows, {"item_id": "top", "genres": ["War"], "price": 14.0}])
    dear, top = recommender.encode_items(["dear", "top"])
    np.testing.assert_allclose(dear, top, rtol=1e-5)  # as far as training saw, and no further
    assert len(many) > most
    recommender.save_pretrained(tmp_path / "grown")
    again = seqrec.Recommender.from_pretrained(tmp_path / "grown")
    assert ids(again.recommend(HISTORIES, k=20)) == ids(recommender.recommend(HISTORIES, k=20))
    recommender.remove_items(["d04", "many"])
    recommender.add_items([{"item_id": "d04"}, {"item_id": "many"}])
    assert ids(again.recommend(HISTORIES, k=20)) == ids(recommender.recommend(HISTORIES, k=20))
    with pytest.raises(ValueError, match="Item 'y' has 1e.300 in the column 'price'"):
        recommender.add_items([{"item_id": "y", "genres": ["War"], "price": 1e300}])


def test_a_row_without_text_needs_no_encoder(toy_settings, toy_interactions, with_taste, bert_folder, tmp_path):
    copy = shutil.copytree(bert_folder, tmp_path / "encoder")
    chosen = {**toy_settings, "vector_columns": ["taste"], "text_encoder": str(copy), "num_train_epochs": 1}
    recommender = seqrec.train(toy_interactions, with_taste, output_dir=tmp_path / "run", **chosen)
    shutil.rmtree(copy)
    loaded_encoder.cache_clear()
    recommender.add_items([{"item_id": "x", "taste": [1.0, 2.0, 3.0]}])
    with pytest.raises(ValueError, match="was a local folder"):
        recommender.add_items([{"item_id": "y", "title": "Y"}])
    with pytest.raises(ValueError, match=r"encoders names \['sound'\]; expected modalities"):
        recommender.add_items([{"item_id": "y", "title": "Y"}], encoders={"sound": "x"})
    recommender.update_items([{"item_id": "x", "taste": [3.0, 2.0, 1.0]}], encoders={"text": str(copy)})


def test_new_items_follow_the_trained_ones_that_change(recommender, with_taste):
    tastes = dict(zip(with_taste["item_id"].to_pylist(), with_taste["taste"].to_pylist(), strict=True))
    new = [{"item_id": "a", "taste": tastes["d04"]}, {"item_id": "b", "taste": tastes["d05"]}]
    recommender.add_items(new)
    swap = [
        {"item_id": "d04", "taste": [-number for number in tastes["d04"]]},
        {"item_id": "d07", "taste": tastes["d05"]},
    ]
    recommender.update_items(swap)
    np.testing.assert_allclose(
        recommender.encode_items(["a", "b"]), recommender.encode_items(new), rtol=1e-3, atol=1e-5
    )


def test_an_interrupted_change_leaves_the_catalogue_as_it_was(trained, monkeypatch):
    row = [{"item_id": "x", "taste": [1.0, 2.0, 3.0]}]
    for name, settings in {"sum": {"id_dropout_prob": 0.2}, "no ids": {"use_item_ids": False}}.items():
        recommender = trained(name, **settings)
        before = recommender.recommend(HISTORIES, k=20)

        def interrupt(*_):
            raise KeyboardInterrupt

        changes = [recommender.add_items] + ([recommender.set_catalogue] if name == "no ids" else [])
        for change in changes:
            with monkeypatch.context() as patch:
                patch.setattr(type(recommender.model.model.items), "place", interrupt)
                with pytest.raises(KeyboardInterrupt):
                    change(row)
            assert recommender.recommend(HISTORIES, k=20) == before
        recommender.add_items(row)
        assert "x" in recommender.items["item_id"]


def test_trained_items_without_content_are_nobodys_neighbours(recommender):
    recommender.add_items([{"item_id": "x", "taste": [9.0, -9.0, 9.0]}])
    neighbours = recommender.model.model.items.neighbours.of(torch.tensor([recommender.model.config.vocab_size - 1]))
    without = recommender.items["item_id"][:].index("d06") + recommender.model.config.num_special_tokens
    assert without not in neighbours.tokens and len(neighbours.tokens[0].unique()) == 10


def test_a_gate_without_ids_learns(trained):
    recommender = trained("gate, no ids", fusion="gate", use_item_ids=False, attributes=["genres"])
    assert all(np.isfinite(row["score"]) for row in recommender.recommend([["1500"]], k=20)[0])


def test_a_modality_that_only_new_items_have_is_left_out(toy_settings, toy_interactions, with_taste, tmp_path, caplog):
    items = prepare(toy_interactions, with_taste, min_interactions=3, cold_item_fraction=0.2).items
    cold = [item for item, count in zip(items["item_id"], items["count"], strict=True) if not count]
    cells = [[1.0, 2.0] if item in cold else None for item in with_taste["item_id"].to_pylist()]
    table = with_taste.append_column("shape", pa.array(cells, pa.list_(pa.float64())))
    chosen = {**toy_settings, "vector_columns": ["taste", "shape"], "num_train_epochs": 1, "cold_item_fraction": 0.2}
    assert cold
    with caplog.at_level(logging.WARNING):
        recommender = seqrec.train(toy_interactions, table, output_dir=tmp_path, **chosen)
    assert list(recommender.model.config.content_sizes) == ["taste"]
    assert "No item of training has any shape" in caplog.text


def test_rows_are_encoded_without_being_added(recommender):
    rows = [{"item_id": "new", "taste": [1.0, 2.0, 3.0]}]
    [vector] = recommender.encode_items(rows)
    assert "new" not in recommender.items["item_id"]
    recommender.add_items(rows)
    np.testing.assert_allclose(recommender.encode_items(["new"])[0], vector, rtol=1e-4, atol=1e-6)


MISTAKES = {
    "there already": (
        [{"item_id": "d04", "taste": [1.0, 2.0, 3.0]}],
        "items are in the catalogue already: 'd04'",
    ),
    "no content": ([{"item_id": "x", "taste": [1.0, 2.0, 3.0]}, {"item_id": "y"}], "no content to be ranked by: 'y'"),
    "narrow": ([{"item_id": "x", "taste": [1.0, 2.0]}], "'x' in the column 'taste' has 2 numbers; expected 3"),
    "NaN": ([{"item_id": "x", "taste": [1.0, 2.0, float("nan")]}], "'x' in the column 'taste' holds NaN"),
    "special": ([{"item_id": "[MASK]", "taste": [1.0, 2.0, 3.0]}], r"\[MASK\]"),
    "no id": ([{"taste": [1.0, 2.0, 3.0]}], "item_id"),
    "twice": (
        [{"item_id": "x", "taste": [1.0, 2.0, 3.0]}, {"item_id": "x", "taste": [1.0, 2.0, 4.0]}],
        "several rows",
    ),
    "not Unicode": ([{"item_id": "x", "taste": [1.0, 2.0, 3.0], "title": "\ud800"}], "Item 'x'.*'title'.*Unicode"),
    "no rows": ([], "no rows"),
    "bytes and text": (
        [{"item_id": "x", "taste": [1.0, 2.0, 3.0], "title": b"X"}, {"item_id": "y", "title": "Y"}],
        "Item 'y'.*'title'.*bytes beside text",
    ),
    "texts as numbers": (
        [{"item_id": "x", "taste": ["1", "2", "3"]}],
        "'x' in the column 'taste' holds something else",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_names_the_item_and_changes_nothing(trained, name):
    recommender = trained("sum", fusion="sum", id_dropout_prob=0.2)
    rows, said = MISTAKES[name]
    before = recommender.recommend(HISTORIES, k=20), recommender.model.config.vocab_size
    with pytest.raises(ValueError, match=said):
        recommender.add_items(rows)
    assert (recommender.recommend(HISTORIES, k=20), recommender.model.config.vocab_size) == before


def test_a_misspelt_column_is_told(trained, caplog):
    recommender = trained("sum", fusion="sum", id_dropout_prob=0.2)
    with caplog.at_level(logging.WARNING):
        recommender.add_items([{"item_id": "x", "taste": [1.0, 2.0, 3.0], "titel": "X"}])
    assert "['titel'] of the items are not read" in caplog.text and "'taste'" in caplog.text


def test_content_far_from_all_others_does_not_lead_every_list(trained):
    recommender = trained("sum", fusion="sum", id_dropout_prob=0.2)
    recommender.add_items([{"item_id": f"x{n}", "taste": [1e6 * (n - 2), 1e6, -1e6]} for n in range(5)])
    lengths = np.linalg.norm(recommender.encode_items(), axis=1)
    assert lengths[15:].max() <= lengths[:15].max() * (1 + 1e-5)


def test_a_model_without_content_says_why_it_takes_no_items(toy_settings, toy_interactions, toy_items, tmp_path):
    recommender = seqrec.train(toy_interactions, toy_items, output_dir=tmp_path, **toy_settings)
    with pytest.raises(ValueError, match="knows its items by ids alone.*Train with content"):
        recommender.add_items([{"item_id": "x", "title": "X"}])
    before = recommender.recommend([[]], k=20)
    recommender.remove_items(["d04"])
    assert "d04" not in ids(recommender.recommend([[]], k=20))[0]
    recommender.add_items([{"item_id": "d04"}])
    assert recommender.recommend([[]], k=20) == before


def test_a_model_without_ids_ranks_another_catalogue(trained, tmp_path):
    recommender = trained("no ids", use_item_ids=False)
    assert recommender.model.get_input_embeddings().weight.shape[0] == 3
    recommender.add_items([{"item_id": "x", "taste": [1.0, 2.0, 3.0]}])
    assert "x" in ids(recommender.recommend([["1500"]], k=20))[0]
    shop = [{"item_id": f"s{n}", "taste": [float(n), 1.0, -1.0]} for n in range(4)]
    recommender.set_catalogue(shop)
    assert recommender.items["title"][:] == [None] * 4  # a later item may have one
    assert recommender.items["item_id"][:] == ["s0", "s1", "s2", "s3"]
    lists = recommender.recommend([["s0", "s1"], ["1500"], []], k=10, on_unknown_items="ignore")
    assert [len(recommended) for recommended in lists] == [2, 4, 4]
    recommender.save_pretrained(tmp_path / "model")
    [again] = seqrec.Recommender.from_pretrained(tmp_path / "model").recommend([["s0", "s1"]])
    assert [row["item_id"] for row in again] == [row["item_id"] for row in lists[0]]
    assert [row["score"] for row in again] == pytest.approx([row["score"] for row in lists[0]], rel=1e-5)


def test_a_model_with_ids_keeps_its_catalogue(recommender):
    with pytest.raises(ValueError, match="use_item_ids: false"):
        recommender.set_catalogue([{"item_id": "s0", "taste": [1.0, 2.0, 3.0]}])


def test_texts_and_attributes_of_new_items(
    toy_settings, toy_interactions, toy_items, bert_folder, tmp_path, monkeypatch
):
    monkeypatch.setenv("SEQREC_CACHE", str(tmp_path / "cache"))
    loaded_encoder.cache_clear()
    settings = {**toy_settings, "text_encoder": str(bert_folder), "text_template": "{title}", "attributes": ["genres"]}
    recommender = seqrec.train(toy_interactions, toy_items, output_dir=tmp_path / "run", **settings)
    assert set(recommender.model.config.content_sizes) == {"text", "attributes"}
    row = {"item_id": "new", "title": "Alien toy story", "genres": "Drama"}
    with pytest.raises(ValueError, match="'tiny-bert'.*was a local folder"):
        recommender.add_items([row])
    assert len(recommender.items) == 15
    recommender.add_items([row], encoders={"text": str(bert_folder)})
    recommender.add_items([{"item_id": "no title", "genres": "Drama"}], encoders={"text": str(bert_folder)})
    assert {"new", "no title"} < set(ids(recommender.recommend([["1500"]], k=20))[0])
    config = json.loads((tmp_path / "run" / "model" / "config.json").read_text())
    assert config["content_encoders"]["attributes"]["categories"]["genres"]
    assert str(tmp_path) not in json.dumps(config)
    with pytest.raises(ValueError, match="'title'.*bytes|bytes.*'title'"):
        recommender.add_items([{"item_id": "raw", "title": b"caf\xe9"}], encoders={"text": str(bert_folder)})


def test_a_million_items_can_come(trained):
    recommender = trained("sum", fusion="sum", id_dropout_prob=0.2)
    count = 100_000  # a million takes ten times as long; benchmarks/content.py does that
    tastes = np.random.default_rng(0).normal(size=(count, 3))
    table = pa.table({"item_id": pa.array([f"m{n}" for n in range(count)]), "taste": pa.array(tastes.tolist())})
    recommender.add_items(table)
    assert len(recommender.recommend([["1500", "m7"]], k=10)[0]) == 10
    assert recommender.model.get_input_embeddings().weight.shape[0] == 18


def test_training_leaves_the_ids_of_others_alone(trained):
    recommender = trained("sum", fusion="sum", id_dropout_prob=0.2)
    assert recommender.model.config.num_trained_tokens == 3 + int((np.array(recommender.items["count"]) > 0).sum())
    assert torch.isfinite(recommender.model.encode_items()).all()
