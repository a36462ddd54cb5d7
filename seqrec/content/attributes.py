"""Attributes of items: categories by one vocabulary, numbers standardised."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from datasets import Dataset, LargeList, List, Value

KINDS = ("category", "number")
MOST_VALUES = 64  # of one item: attributes describe, they are no list of words
NUMBER = re.compile(r"[+-]?(0|[1-9]\d*)?(?(1)(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
LARGEST_NUMBER = 1e30  # above that, squares are no numbers any more
FLOAT32 = np.finfo(np.float32)
LEAST_ITEMS = 2  # that share a value, for it to have an embedding of its own


@dataclass(frozen=True)
class AttributeValues:
    """The attributes of a catalogue, row by row.

    Attributes:
        values: (num_items, most) int64, numbers of the categories, from 1; 0 is none.
        numbers: (num_items, num_numbers) float32, standardised; 0 where unknown.
        known: (num_items, num_numbers) booleans.
        origin: `categories` (known values of each column) and `numbers` (mean and standard deviation of each).
    """

    values: np.ndarray
    numbers: np.ndarray
    known: np.ndarray
    origin: dict[str, Any]

    @property
    def present(self) -> np.ndarray:
        """(num_items,) booleans, False where no attribute is known."""
        return np.logical_or((self.values > 0).any(axis=1), self.known.any(axis=1))

    @property
    def num_values(self) -> int:
        """Known values of all columns, and one a column for all others."""
        return sum(1 + len(values) for values in self.origin["categories"].values())


def fit_attributes(items: Dataset, columns: Sequence[str], fitted: np.ndarray) -> dict[str, Any]:
    """Return the vocabulary and the scales of attribute columns.

    A value that fewer than two items have shares one embedding with all such values of its column, and with values
    that come later.

    Args:
        items: The catalogue.
        columns: Names of columns; texts (or lists of them) and truth values are categories; numbers are numbers, also
            as texts, which is all that a CSV has. `price:number` or `year:category` says otherwise.
        fitted: (num_items,) booleans, the items that training knows.

    Raises:
        ValueError: A column is missing or of another type, or has nothing to learn from.
    """
    origin: dict[str, Any] = {"categories": {}, "numbers": {}}
    rows = np.flatnonzero(fitted)
    ids = items["item_id"][:]
    for asked in columns:
        name, kind = _column_and_kind(asked, items)
        if name in ("item_id", "count"):
            raise ValueError(f"attributes names {name!r}, which says who an item is or who took it; leave it out.")
        if name in origin["categories"] or name in origin["numbers"]:
            raise ValueError(f"attributes names the column {name!r} twice; name it once.")
        cells = items.with_format(None)[name][:]
        if kind == "category":
            origin["categories"][name] = _known_values(name, cells, ids, rows)
        else:
            origin["numbers"][name] = _scale(name, cells, ids, rows)
    return origin


def read_attributes(items: Dataset, origin: Mapping[str, Any]) -> AttributeValues:
    """Return the attributes of items by a vocabulary and scales that were fitted before.

    Raises:
        ValueError: A cell is not of the kind that its column had; the message names the item.
    """
    ids, plain = items["item_id"][:], items.with_format(None)
    of_items: list[list[int]] = [[] for _ in ids]
    first = 1
    for name, values in origin["categories"].items():
        number_of = {value: first + 1 + number for number, value in enumerate(values)}
        for row, cell in enumerate(plain[name][:]):
            of_items[row] += [number_of.get(value, first) for value in _values(name, cell, ids[row])]
        first += 1 + len(values)
    numbers = np.zeros((len(ids), len(origin["numbers"])), np.float32)
    known = np.zeros(numbers.shape, dtype=bool)
    for column, (name, (mean, deviation)) in enumerate(origin["numbers"].items()):
        for row, cell in enumerate(plain[name][:]):
            number = _number(name, cell, ids[row])
            if number is not None:
                standard = np.clip((number - mean) / deviation, -FLOAT32.max, FLOAT32.max)
                numbers[row, column], known[row, column] = standard, True
    most = max(map(len, of_items), default=0)
    if most > MOST_VALUES:
        wide = next(item for item, values in zip(ids, of_items, strict=True) if len(values) == most)
        raise ValueError(
            f"Item {wide!r} has {most} attribute values; expected at most {MOST_VALUES}. Leave that column out of "
            "attributes, or let the text template name it."
        )
    values = np.zeros((len(ids), most), np.int64)
    for row, of_item in enumerate(of_items):
        values[row, : len(of_item)] = of_item
    return AttributeValues(values, numbers, known, dict(origin))


def _column_and_kind(asked: str, items: Dataset) -> tuple[str, str]:
    """A column and whether it holds categories or numbers.

    >>> items = Dataset.from_dict({"year": [1979, 1995], "price": ["9.99", ""]})
    >>> [_column_and_kind(asked, items)[1] for asked in ("year", "year:category", "price")]
    ['number', 'category', 'number']
    """
    features = items.features
    name, _, kind = asked.rpartition(":") if asked not in features else (asked, "", "")
    if name not in features or (kind and kind not in KINDS):
        raise ValueError(
            f"attributes names {asked!r}; expected one of the columns {list(features)}, perhaps with ':number' or "
            "':category' behind it."
        )
    if kind:
        return name, kind
    feature = features[name]
    inner = feature.feature if isinstance(feature, List | LargeList) else feature
    if not isinstance(inner, Value):
        raise ValueError(f"The column {name!r} of attributes is of the type {feature}; expected texts or numbers.")
    number = inner is feature and inner.dtype.startswith(("int", "uint", "float", "double", "decimal"))
    if inner is feature and inner.dtype in ("string", "large_string"):
        number = _all_numbers(items.with_format(None)[name][:])
    return name, "number" if number else "category"


def _all_numbers(cells: Sequence[str | None]) -> bool:
    """Whether texts are all numbers, as those of a CSV; one that starts with a needless 0 is a code.

    >>> _all_numbers(["9.99", "-3", "", None, "1e3"]), _all_numbers(["007", "12"]), _all_numbers(["12", "unknown"])
    (True, False, False)
    """
    texts = [cell.strip() for cell in cells if cell and cell.strip()]
    return bool(texts) and all(NUMBER.fullmatch(text) for text in texts)


def _values(name: str, cell: Any, item: str) -> list[str]:
    """The categories in one cell.

    >>> _values("genres", ["Action ", None, "War"], "i1")
    ['Action', 'War']
    """
    if cell is None or cell != cell:
        return []
    if isinstance(cell, list | tuple):
        return list(dict.fromkeys(value for one in cell for value in _values(name, one, item)))
    if not isinstance(cell, str | bool | int | float):
        raise ValueError(
            f"Item {item!r} has {type(cell).__name__} in the column {name!r} of attributes; expected text, a number "
            "or a list of them. Convert that cell, or leave the column out."
        )
    text = str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell).strip()
    return [text] if text else []


def _known_values(name: str, cells: Sequence[Any], ids: Sequence[str], rows: Iterable[int]) -> list[str]:
    """Values that several items share, the most frequent first."""
    counts = Counter(value for row in rows for value in _values(name, cells[row], ids[row]))
    shared = [value for value, count in counts.items() if count >= LEAST_ITEMS]
    if not shared:
        raise ValueError(
            f"No value of the column {name!r} of attributes is that of {LEAST_ITEMS} items, so nothing can be learned "
            "from it. Leave it out; a text template may name it."
        )
    return sorted(shared, key=lambda value: (-counts[value], value))


def _number(name: str, cell: Any, item: str) -> float | None:
    """The number in one cell, None where there is none."""
    if cell is None or cell != cell or (isinstance(cell, str) and not cell.strip()):
        return None
    try:
        number = float(cell)
    except (TypeError, ValueError):
        number = math.inf
    if not abs(number) <= LARGEST_NUMBER:
        raise ValueError(
            f"Item {item!r} has {cell!r:.60} in the column {name!r}; expected a number of at "
            f"most {LARGEST_NUMBER:g}. Repair that cell, or say '{name}:category'."
        )
    return number


def _scale(name: str, cells: Sequence[Any], ids: Sequence[str], rows: Iterable[int]) -> list[float]:
    """Mean and standard deviation of a column."""
    numbers = [number for row in rows if (number := _number(name, cells[row], ids[row])) is not None]
    if len(numbers) < LEAST_ITEMS or not np.std(numbers) > 0:
        raise ValueError(
            f"The column {name!r} of attributes has {len(set(numbers))} different numbers; expected at least two. "
            "Leave it out."
        )
    return [float(np.mean(numbers)), float(np.std(numbers))]
