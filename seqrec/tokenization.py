"""From the catalogue to a stock tokenizer: one item, one token."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from datasets import DatasetDict
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from seqrec.data.columns import SPECIAL_TOKENS

if TYPE_CHECKING:
    from seqrec.model import SeqRecConfig


def build_tokenizer(item_ids: Sequence[str], config: "SeqRecConfig") -> PreTrainedTokenizerFast:
    """Return a word-level tokenizer whose token ids are `config.num_special_tokens` + place in `item_ids`.

    It pads and truncates on the left, and appends [MASK] where the model reads one. Special tokens are never looked
    for inside an item id, so an item may be called `a [MASK] b`.

    Args:
        item_ids: The catalogue in token order.
        config: Says whether the model reads a [MASK], and how much of a history.

    Raises:
        ValueError: If an item id stands twice or equals a special token, or the config numbers those otherwise.
    """
    numbers = (config.pad_token_id, config.unk_token_id, config.mask_token_id)
    if numbers != (0, 1, 2):
        raise ValueError(
            f"The config numbers {', '.join(SPECIAL_TOKENS)} {numbers}; expected (0, 1, 2), as in every tokenizer "
            "of ours. Leave pad_token_id, unk_token_id and mask_token_id out."
        )
    vocabulary = {token: number for number, token in enumerate([*SPECIAL_TOKENS, *item_ids])}
    if len(vocabulary) != len(SPECIAL_TOKENS) + len(item_ids):
        seen: set[str] = set(SPECIAL_TOKENS)
        double = next(item for item in item_ids if item in seen or seen.add(item))  # type: ignore[func-returns-value]
        raise ValueError(
            f"The item id {double!r} stands twice, or equals one of the special tokens {list(SPECIAL_TOKENS)}; "
            "every item needs an id of its own. Rename it in both tables."
        )
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    if config.appends_mask:
        tokenizer.post_processor = TemplateProcessing(
            single="$A [MASK]", special_tokens=[("[MASK]", vocabulary["[MASK]"])]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        mask_token="[MASK]",
        padding_side="left",
        truncation_side="left",
        split_special_tokens=True,
        model_max_length=config.max_position_embeddings,
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
    )


def tokenize(dataset: DatasetDict, tokenizer: PreTrainedTokenizerFast) -> DatasetDict:
    """Return the splits as tokens: `input_ids`, a history, and `target`, the item after it (-1 in train)."""

    def convert(rows: dict[str, list[list[str]]]) -> dict[str, list[Any]]:
        histories = [tokenizer.convert_tokens_to_ids(history) for history in rows["history"]]
        targets = [tokenizer.convert_tokens_to_ids(items[0]) if items else -1 for items in rows["targets"]]
        return {"input_ids": histories, "target": targets}

    columns = dataset["train"].column_names
    in_memory = {"keep_in_memory": True, "load_from_cache_file": False}  # nothing is left in the folder it came from
    return dataset.map(convert, batched=True, remove_columns=columns, desc="Tokenising", **in_memory)
