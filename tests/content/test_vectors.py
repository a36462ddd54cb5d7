import logging
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset
from safetensors.numpy import load_file, save_file

from seqrec.content import TextEncoder, encode_text
from seqrec.fetching import cache_dir


@pytest.fixture
def num_encoded(monkeypatch):
    """How many texts each call of the real encoder has read."""
    calls = []
    encode = TextEncoder.encode

    def counted(self, texts):
        calls.append(len(texts))
        return encode(self, texts)

    monkeypatch.setattr(TextEncoder, "encode", counted)
    return calls


def cached_files() -> list[Path]:
    return sorted((cache_dir() / "content").iterdir())


def test_each_item_gets_the_vector_of_its_text(bert_folder, items):
    content = encode_text(items, encoder=str(bert_folder))
    assert content is not None
    assert content.present.tolist() == [True, True, False, True]
    alien, toy_story = TextEncoder.from_pretrained(str(bert_folder)).encode(["alien. horror", "toy story"])
    np.testing.assert_allclose(content.vectors, [alien, toy_story, np.zeros(16), alien], atol=1e-6)
    assert (content.encoder, content.template) == ("tiny-bert", "{title}. {genres}")
    assert not any(str(bert_folder) in str(value) for value in vars(content).values())


def test_the_same_texts_are_encoded_once(bert_folder, items, num_encoded):
    first = encode_text(items, encoder=str(bert_folder))
    second = encode_text(items, encoder=str(bert_folder))
    assert num_encoded == [2]  # two of the four items share a text, one has none
    np.testing.assert_array_equal(first.vectors, second.vectors)


def test_another_template_or_encoder_is_another_entry(bert_folder, items, num_encoded, tmp_path):
    encode_text(items, encoder=str(bert_folder))
    encode_text(items, template="{title}", encoder=str(bert_folder))
    other = tmp_path / "tiny-bert"  # the same name, other weights
    encoder = TextEncoder.from_pretrained(str(bert_folder))
    encoder.model.pooler.dense.bias.data += 1
    encoder.model.save_pretrained(other)
    encoder.tokenizer.save_pretrained(other)
    encode_text(items, encoder=str(other))
    assert num_encoded == [2, 2, 2]
    assert len(cached_files()) == 3


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "other"])
def test_a_damaged_cache_is_made_again_with_a_notice(bert_folder, items, num_encoded, caplog, damage):
    first = encode_text(items, encoder=str(bert_folder))
    [path] = cached_files()
    whole = path.read_bytes()
    if damage == "other":
        save_file({"vectors": np.zeros((7, 16), np.float32)}, path)
    else:
        path.write_bytes({"cut": whole[:-3], "flipped": whole[:-1] + bytes([whole[-1] ^ 1]), "empty": b""}[damage])
    second = encode_text(items, encoder=str(bert_folder))
    assert num_encoded == [2, 2]
    np.testing.assert_array_equal(first.vectors, second.vectors)
    assert [record.levelno for record in caplog.records if "made again" in record.getMessage()] == [logging.WARNING]
    assert len(load_file(path)["vectors"]) == 2
    assert cached_files() == [path]


def test_a_catalogue_without_texts_has_no_content(bert_folder, items, caplog):
    assert encode_text(Dataset.from_dict({"item_id": ["i1"], "price": [3]}), encoder=str(bert_folder)) is None
    assert not caplog.records
    assert encode_text(items.select([2]), encoder=str(bert_folder)) is None
    assert "No item has a text" in caplog.text
