import json
import logging
import os
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset

from seqrec.content import encode_content, loaded_encoder
from seqrec.content.encoders import TextEncoder
from seqrec.fetching import cache_dir


@pytest.fixture(autouse=True)
def forgotten_encoders():
    loaded_encoder.cache_clear()


@pytest.fixture
def num_encoded(monkeypatch):
    """How many texts each call of the real encoder has read."""
    calls = []
    encode = TextEncoder.encode

    def counted(self, contents, advance):
        calls.append(len(contents))
        return encode(self, contents, advance)

    monkeypatch.setattr(TextEncoder, "encode", counted)
    return calls


def texts_of(items, folder, template="{title}. {genres}"):
    return encode_content(items, "text", {"encoder": str(folder), "template": template})


def cached_files() -> list[Path]:
    return sorted((cache_dir() / "content").iterdir())


def test_each_item_gets_the_vector_of_its_text(bert_folder, items):
    content = texts_of(items, bert_folder)
    assert content.present.tolist() == [True, True, False, True]
    alien, toy_story = TextEncoder.from_pretrained(str(bert_folder)).encode(["alien. horror", "toy story"]).vectors
    np.testing.assert_allclose(content.vectors, [alien, toy_story, np.zeros(16), alien], atol=1e-6)
    assert (content.origin["encoder"], content.origin["template"]) == ("tiny-bert", "{title}. {genres}")
    assert str(bert_folder.parent) not in json.dumps(content.origin)


def test_the_same_texts_are_encoded_once_also_in_another_catalogue(bert_folder, items, num_encoded):
    first = texts_of(items, bert_folder)
    assert num_encoded == [2]  # two of the four items share a text, one has none
    np.testing.assert_array_equal(texts_of(items, bert_folder).vectors, first.vectors)
    assert num_encoded == [2]
    more = Dataset.from_list([*items, {"item_id": "i5", "title": "heat", "genres": None}])
    np.testing.assert_array_equal(texts_of(more, bert_folder).vectors[:4], first.vectors)
    assert num_encoded == [2, 1]  # the new one alone


def test_an_encoding_that_was_stopped_goes_on(bert_folder, items, num_encoded, monkeypatch):
    from seqrec.content import vectors

    monkeypatch.setattr(vectors, "TEXTS_AT_ONCE", 1)
    whole = TextEncoder.encode

    def stopped(self, contents, advance):
        if num_encoded:
            raise KeyboardInterrupt
        return whole(self, contents, advance)

    monkeypatch.setattr(TextEncoder, "encode", stopped)
    with pytest.raises(KeyboardInterrupt):
        texts_of(items, bert_folder)
    monkeypatch.setattr(TextEncoder, "encode", whole)
    texts_of(items, bert_folder)
    assert num_encoded == [1, 1]


def test_another_encoder_of_the_same_name_is_another_entry(bert_folder, items, num_encoded, tmp_path):
    texts_of(items, bert_folder)
    other = tmp_path / "tiny-bert"  # the same name, other weights
    encoder = TextEncoder.from_pretrained(str(bert_folder))
    encoder.model.pooler.dense.bias.data += 1
    encoder.model.save_pretrained(other)
    encoder.tokenizer.save_pretrained(other)
    texts_of(items, other)
    assert num_encoded == [2, 2]
    assert len(cached_files()) == 2


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "other"])
def test_a_damaged_cache_is_made_again_with_a_notice(bert_folder, items, num_encoded, caplog, damage):
    first = texts_of(items, bert_folder)
    [path] = cached_files()
    whole = path.read_bytes()
    if damage == "flipped":
        with sqlite3.connect(path) as file:
            file.execute("UPDATE vectors SET vector = zeroblob(64) WHERE rowid = 1")
    else:
        path.write_bytes({"cut": whole[:-5000], "empty": b"x", "other": b"not a database" * 99}[damage])
    second = texts_of(items, bert_folder)
    assert num_encoded == [2, 1 if damage == "flipped" else 2]
    np.testing.assert_array_equal(first.vectors, second.vectors)
    assert [record.levelno for record in caplog.records if "made again" in record.getMessage()] == [logging.WARNING]
    assert cached_files() == [path]
    texts_of(items, bert_folder)
    assert len(num_encoded) == 2  # it is whole again


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_cache_that_may_not_be_written_costs_time_alone(bert_folder, items, monkeypatch, tmp_path, caplog):
    (tmp_path / "closed").mkdir(mode=0o500)
    monkeypatch.setenv("SEQREC_CACHE", str(tmp_path / "closed"))
    assert texts_of(items, bert_folder).present.sum() == 3
    assert "cannot be kept" in caplog.text


def test_a_cache_that_is_a_file_costs_time_alone(bert_folder, items, monkeypatch, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SEQREC_CACHE", str(tmp_path / "file"))
    assert texts_of(items, bert_folder).present.sum() == 3
    assert "cannot be kept" in caplog.text


def test_a_catalogue_without_texts_needs_no_encoder(items, bert_folder):
    content = texts_of(items.select([2]), bert_folder)
    assert not content.present.any() and content.vectors.shape[0] == 1


def test_cut_texts_get_one_notice_that_counts_them(bert_folder, caplog):
    items = Dataset.from_dict({"item_id": ["a", "b", "c"], "title": ["heat " * 9, "toy " * 12, "alien"]})
    texts_of(items, bert_folder, "{title}")
    [notice] = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert notice.startswith("2 of 3 contents (text) are longer than the 8 tokens that tiny-bert reads")


def test_files_that_are_not_there_are_named_with_their_items(vit_folder, tmp_path):
    items = Dataset.from_dict({"item_id": ["a", "b"], "cover": [None, "none.png"]})
    with pytest.raises(ValueError, match=r"image of 1 of 2 items cannot be read: 'b' \(no such file.*none\.png\)"):
        encode_content(items, "image", {"encoder": vit_folder, "column": "cover"}, media_folder=tmp_path)


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("../secret.png", "'b' in the column 'cover' is '../secret.png', which leads out of media_folder"),
        ("https://x.org/a.png", "'b' in the column 'cover' is the address https://x.org/a.png"),
        ("a\0b.png", "'b' in the column 'cover' is .*no path"),
        ("loop.png", "'b'.*(no path|levels of symbolic links)"),
        ("~nobody/a.png", r"'b' \(no such file"),
    ],
)
def test_paths_that_cannot_be_read_are_named_with_their_items(vit_folder, tmp_path, cell, said):
    (tmp_path / "loop.png").symlink_to("loop.png")
    items = Dataset.from_dict({"item_id": ["a", "b"], "cover": [None, cell]})
    with pytest.raises(ValueError, match=said):
        encode_content(items, "image", {"encoder": vit_folder, "column": "cover"}, media_folder=tmp_path)


def test_a_media_folder_that_is_not_there_is_told(vit_folder, tmp_path):
    items = Dataset.from_dict({"item_id": ["a"], "cover": ["a.png"]})
    with pytest.raises(ValueError, match="media_folder=.*nowhere.* is no folder"):
        encode_content(items, "image", {"encoder": vit_folder, "column": "cover"}, media_folder=tmp_path / "nowhere")


VECTORS = Dataset.from_dict({"item_id": ["a", "b", "c"], "taste": [[1.0, 2.0], None, [3.0, 4.0]]})


def test_finished_vectors_are_taken_as_they_are():
    content = encode_content(VECTORS, "taste", {"column": "taste"})
    assert content.vectors.tolist() == [[1, 2], [0, 0], [3, 4]]
    assert content.present.tolist() == [True, False, True]
    assert content.origin == {"column": "taste", "width": 2}


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ([[1.0, 2.0], [1.0]], "'b' in the column 'taste' has 1 numbers; expected 2"),
        ([[1.0, 2.0], [1.0, float("nan")]], "'b' in the column 'taste' holds NaN"),
        (["one", "two"], "expected lists of numbers"),
        ([["x", "y"], ["z", "w"]], "'a' in the column 'taste' holds something else than numbers"),
    ],
)
def test_wrong_vectors_are_named_with_their_item(cells, said):
    items = Dataset.from_dict({"item_id": ["a", "b"], "taste": cells})
    with pytest.raises(ValueError, match=said):
        encode_content(items, "taste", {"column": "taste"})
