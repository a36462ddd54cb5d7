"""Item ids of callers, checked and turned into tokens."""

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from transformers import PreTrainedTokenizerFast

UnknownItems = Literal["warn", "ignore", "raise"]
Histories = Sequence[Sequence[str]]
NAMED_AT_MOST = 5  # in a message

logger = logging.getLogger(__name__)


class ItemIds:
    """Reads item ids by a vocabulary.

    Args:
        tokenizer: The vocabulary.
        first: Token of the first item.
        unknown: Token that stands for what is no item.
        removed: Gives the tokens that are not ranked any more: histories may hold them, and nothing else.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        first: int,
        unknown: int,
        removed: Callable[[], Collection[int]] = frozenset,
    ) -> None:
        self._tokenizer = tokenizer
        self._first = first
        self._unknown = unknown
        self._removed = removed

    def convert(self, item_ids: Sequence[str]) -> list[int]:
        """Token ids; what is no item of the catalogue becomes the unknown token, special tokens too."""
        try:
            tokens: Any = self._tokenizer.convert_tokens_to_ids([as_id(item) for item in item_ids])
        except UnicodeEncodeError as error:
            raise ValueError(f"The item id {error.object!r:.80} is not Unicode; read its file as UTF-8.") from None
        return [token if token >= self._first else self._unknown for token in tokens]

    def known(self, item_ids: Sequence[str]) -> list[int]:
        """Token ids of items that must be in the catalogue."""
        if not is_list(item_ids):
            raise ValueError(f"item_ids must be a list of item ids, not {item_ids!r:.60}: wrap it in a list.")
        return self.lists([item_ids], "item_ids", "raise")[0]

    def choices(
        self, ids: Sequence[str] | Histories | None, count: int, name: str, on_unknown_items: UnknownItems
    ) -> list[list[int]] | None:
        """Tokens of one list of ids for each history; a single list of ids serves all of them."""
        if ids is None:
            return None
        if isinstance(ids, str | bytes) or not isinstance(ids, Iterable):
            raise ValueError(f"{name} must be a list of item ids, or one list a history, not {ids!r}.")
        every: list[Any] = list(ids)
        if not any(is_list(item) for item in every):
            return self.lists([every], name, on_unknown_items) * count
        if len(every) != count:
            raise ValueError(
                f"{name} has {len(every)} lists for {count} histories; give one each, or one list of ids for all."
            )
        return self.lists(every, name, on_unknown_items)

    def lists(
        self, lists: Histories, name: str, on_unknown_items: UnknownItems, with_removed: bool = False
    ) -> list[list[int]]:
        """Token ids of lists of item ids without those outside the catalogue, which are named once.

        What was removed is outside, except `with_removed`: histories still hold it.
        """
        if on_unknown_items not in ("warn", "ignore", "raise"):
            raise ValueError(f"on_unknown_items={on_unknown_items!r} must be 'warn', 'ignore' or 'raise'.")
        given, lists = lists, list(lists) if isinstance(lists, Iterable) else []
        if not isinstance(given, Iterable) or not all(is_list(ids) for ids in lists):
            raise ValueError(f"{name} must be a list of lists of item ids, not {given!r:.60}: wrap it in a list.")
        flat = [item for ids in lists for item in ids]
        tokens = self.convert(flat)
        removed = () if with_removed else self._removed()
        if removed:
            tokens = [self._unknown if token in removed else token for token in tokens]
        unknown = [item for item, token in zip(flat, tokens, strict=True) if token < self._first]
        if unknown and on_unknown_items != "ignore":
            some = some_of(list(dict.fromkeys(unknown)))
            message = f"{len(unknown)} of {len(flat)} ids in {name} are not in the catalogue: {some}"
            if on_unknown_items == "raise":
                raise ValueError(f"{message}. Pass ids of the catalogue (`recommender.items['item_id']`).")
            logger.warning("%s; they are left out.", message)
        stream = iter(tokens)
        return [[token for _, token in zip(ids, stream, strict=False) if token >= self._first] for ids in lists]


def some_of(names: Sequence[object]) -> str:
    """Name some of many, for a message.

    >>> some_of(["a", "b"]), some_of(range(8))
    ("'a', 'b'", '0, 1, 2, 3, 4 and 3 more')
    """
    named = ", ".join(f"{name!r:.80}" for name in names[:NAMED_AT_MOST])
    return named + (f" and {len(names) - NAMED_AT_MOST} more" if len(names) > NAMED_AT_MOST else "")


def is_list(ids: object) -> bool:
    """Whether something is a list of ids (an array or a pandas Series, too) rather than an id."""
    return getattr(ids, "ndim", 0) == 1 or (isinstance(ids, Sequence) and not isinstance(ids, str | bytes))


def is_ids(items: object) -> bool:
    """Whether something is a list of ids rather than rows of items."""
    return is_list(items) and not any(isinstance(item, Mapping) for item in items)  # type: ignore[attr-defined]


def as_id(item: object) -> str:
    """An id as training reads it: text, whole numbers without a fraction.

    >>> as_id(1500), as_id(1500.0), as_id("007")
    ('1500', '1500', '007')
    """
    if not isinstance(item, str | int | float | np.number):
        raise ValueError(f"An item id is text or a number, not {item!r:.80}.")
    return str(int(item)) if isinstance(item, float | np.floating) and float(item).is_integer() else str(item)
