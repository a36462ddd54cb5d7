"""A real text encoder, small enough to be made for each test run."""

from pathlib import Path

import pytest
import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

WORDS = ["alien", "toy", "story", "heat", "horror", "comedy", ".", ","]


@pytest.fixture(scope="session")
def bert_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-layer BERT of width 16 that reads eight tokens of a text, and its word tokenizer."""
    folder = tmp_path_factory.mktemp("encoders") / "tiny-bert"
    vocabulary = {word: number for number, word in enumerate(["[PAD]", "[UNK]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", model_max_length=8
    ).save_pretrained(folder)
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=len(vocabulary), **shape)).save_pretrained(folder)
    return folder


@pytest.fixture
def items() -> Dataset:
    return Dataset.from_dict(
        {
            "item_id": ["i1", "i2", "i3", "i4"],
            "title": ["alien", "toy story", None, "alien"],
            "genres": ["horror", None, "  ", "horror"],
        }
    )


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Tests keep their vectors to themselves; those that need the network keep the downloads."""
    if "network" not in request.keywords:
        monkeypatch.setenv("SEQREC_CACHE", str(tmp_path / "cache"))
