"""One item, one token."""

import pytest
from transformers import AutoTokenizer

from seqrec.data.columns import SPECIAL_TOKENS
from seqrec.model import SeqRecConfig
from seqrec.tokenization import build_tokenizer

ITEMS = ["a [MASK] b", "1500", "15001", "[mask]", " x ", "é", "a b"]


@pytest.fixture(params=["causal", "bidirectional"])
def config(request):
    return SeqRecConfig(vocab_size=len(ITEMS) + 3, attention=request.param, max_position_embeddings=4)


@pytest.fixture(params=["built", "saved and loaded"])
def tokenizer(config, request, tmp_path):
    tokenizer = build_tokenizer(ITEMS, config)
    if request.param == "built":
        return tokenizer
    tokenizer.save_pretrained(tmp_path)
    return AutoTokenizer.from_pretrained(tmp_path)


def test_every_id_is_one_token(tokenizer, config):
    batch = tokenizer([ITEMS], is_split_into_words=True)
    mask = [2] if config.attention == "bidirectional" else []
    assert batch["input_ids"] == [[*range(3, 10), *mask]]
    assert tokenizer.convert_tokens_to_ids(ITEMS) == list(range(3, 10))
    assert tokenizer.convert_tokens_to_ids(list(SPECIAL_TOKENS)) == [
        config.pad_token_id,
        config.unk_token_id,
        config.mask_token_id,
    ]


def test_unknown_ids_are_unknown(tokenizer):
    assert tokenizer(["150", "1500 15001"], is_split_into_words=True)["input_ids"][:2] == [1, 1]


def test_padding_and_truncation_keep_the_newest(tokenizer, config):
    batch = tokenizer([ITEMS, ["1500"]], is_split_into_words=True, padding=True, truncation=True)
    if config.attention == "bidirectional":
        assert batch["input_ids"] == [[7, 8, 9, 2], [0, 0, 4, 2]]
    else:
        assert batch["input_ids"] == [[6, 7, 8, 9], [0, 0, 0, 4]]
    assert batch["attention_mask"][1] == [int(token != 0) for token in batch["input_ids"][1]]


@pytest.mark.parametrize("items", [["a", "b", "a"], ["a", "[MASK]"]])
def test_ids_that_cannot_be_told_apart_are_refused(items, config):
    with pytest.raises(ValueError, match="stands twice"):
        build_tokenizer(items, config)


def test_special_tokens_that_a_config_numbers_otherwise_are_refused():
    with pytest.raises(ValueError, match=r"\(1, 0, 2\); expected \(0, 1, 2\)"):
        build_tokenizer(ITEMS, SeqRecConfig(vocab_size=len(ITEMS) + 3, pad_token_id=1, unk_token_id=0))
