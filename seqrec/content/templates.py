"""Item texts: a template such as `{title}. {genres}` filled from the columns of a catalogue."""

import datetime
import itertools
import logging
import re
from collections.abc import Iterable
from typing import Any

from datasets import Dataset, Features, LargeList, List, Value

logger = logging.getLogger(__name__)

SEPARATORS = " \t\n.,;:|/-–—·•&+"
CLOSING = {"(": ")", "[": "]", "<": ">", '"': '"', "“": "”", "'": "'"}
LOOKED_AT, FEWEST_CODES, MOSTLY = 1000, 20, 0.8  # how codes are told from words
NO_CONTENT_COLUMNS = frozenset({"item_id", "count"})


def render_texts(items: Dataset, template: str) -> list[str | None]:
    """Fill a template once for each item.

    A field is the exact name of a column in braces. An empty field drops out together with the words before it and
    the brackets around it; an item whose fields are all empty has no text.

    Args:
        items: A catalogue; a field's column holds texts, numbers, dates, or lists of them (joined by commas).
        template: Words and `{column}` fields, for example `"{title}. Genres: {genres}."`.

    Returns:
        One text an item, None where there is nothing to say.

    Raises:
        ValueError: The template has no field, a stray brace, or names a column that is not there.

    >>> items = Dataset.from_dict({"title": ["Alien", "Heat", None], "year": [1979, None, None]})
    >>> render_texts(items, "{title} ({year})")
    ['Alien (1979)', 'Heat', None]
    """
    words, names = _parse(template)
    missing = [name for name in names if name not in items.column_names]
    if missing:
        raise ValueError(
            f"The text template {template!r} names the columns {missing}, but the items have {items.column_names}. "
            "Change the template, or rename the columns with column_mapping."
        )
    plain = items.with_format(None)
    columns = {name: [_as_text(value, name) for value in plain[name][:]] for name in dict.fromkeys(names)}
    rows = zip(*(columns[name] for name in names), strict=True)
    return [_join(words, values) for values in rows]


def fields_of(template: str) -> list[str]:
    """Return the columns that a template names.

    >>> fields_of("{title} ({year})")
    ['title', 'year']
    """
    return list(dict.fromkeys(_parse(template)[1]))


def default_text_template(items: Dataset) -> str | None:
    """Join all text columns of a catalogue, or return None if it has none.

    A column of codes, such as article numbers, says nothing in words and is left out: nearly all its values differ,
    and most are one word with many digits.

    >>> default_text_template(Dataset.from_dict({"item_id": ["i1"], "title": ["Alien"], "genres": [["Horror"]]}))
    '{title}. {genres}'
    """
    columns = _text_columns(items.features)
    codes = [name for name in columns if _are_codes(items, name)]
    if codes:
        logger.info("item texts  without %s, which look like codes; text_template can name them", codes)
    names = [name for name in columns if name not in codes]
    return ". ".join(f"{{{name}}}" for name in names) or None


def _text_columns(features: Features) -> list[str]:
    """Columns of texts or lists of texts whose name a template can hold."""
    names = []
    for name, feature in features.items():
        inner = feature.feature if isinstance(feature, List | LargeList) else feature
        is_text = isinstance(inner, Value) and inner.dtype in ("string", "large_string", "string_view")
        if is_text and name not in NO_CONTENT_COLUMNS and not re.search(r"[{}]", name):
            names.append(name)
    return names


def _are_codes(items: Dataset, column: str) -> bool:
    """Whether the first values of a column are codes; of lists none are."""
    filled = (value for value in items.with_format(None)[column] if value)
    values = list(itertools.islice(filled, LOOKED_AT))
    if len(values) < FEWEST_CODES or not all(isinstance(value, str) for value in values):
        return False
    num_codes = sum(_is_code(value) for value in values)
    return len(set(values)) > MOSTLY * len(values) and num_codes > MOSTLY * len(values)


def _is_code(value: str) -> bool:
    """Whether a text is one word of which a third is digits or more.

    >>> [_is_code(value) for value in ("B000FI4S1E", "4006381333931", "ultra-hd-tv-3", "Se7en", "1984 (1956)")]
    [True, True, False, False, False]
    """
    return len(value.split()) == 1 and value.isascii() and 3 * sum(map(str.isdigit, value)) >= len(value.strip())


def _parse(template: str) -> tuple[list[str], list[str]]:
    """Split a template into the words around its fields (one more than there are fields) and the fields' names.

    No format language: a name is looked up as a column and nothing else, so a template can reach no attribute.

    >>> _parse("{title} ({year})")
    (['', ' (', ')'], ['title', 'year'])
    """
    parts = re.split(r"\{([^{}]*)\}", template)
    words, names = parts[0::2], parts[1::2]
    if not names or any("{" in word or "}" in word for word in words):
        raise ValueError(
            f"The text template {template!r} should hold column names in braces and no other brace, "
            "for example '{title}. {genres}'."
        )
    return words, names


def _as_text(value: Any, column: str) -> str:  # noqa: ANN401 (a cell of somebody's table)
    """Write one cell as text; nothing, NaN and blanks give the empty text.

    >>> _as_text([" Action", None, "War "], "genres")
    'Action, War'
    """
    if value is None or value != value:
        return ""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, list | tuple):
        return ", ".join(text for text in (_as_text(one, column) for one in value) if text)
    if isinstance(value, bool | int | float | datetime.date):
        return str(value)
    raise ValueError(
        f"The column {column!r} holds {type(value).__name__} values, but a text template needs texts, numbers, "
        f"dates or lists of them. Leave {{{column}}} out of the template."
    )


def _join(words: list[str], values: Iterable[str]) -> str | None:
    """Put words and values together without what belongs to an empty value.

    >>> _join(["", " (", "). Genres: ", "."], ["Alien", "", "Horror"])
    'Alien. Genres: Horror.'
    >>> _join(["", " (", "). Genres: ", "."], ["", "", "Horror"])
    'Genres: Horror.'
    """
    text, orphan = "", ""
    for before, value in zip(words, values, strict=False):
        before = before.removeprefix(orphan)
        if value:
            text += (before if text else before.lstrip(SEPARATORS)) + value
        orphan = "" if value else CLOSING.get(before[-1:], "")
    return (text + words[-1].removeprefix(orphan)).strip() if text else None
