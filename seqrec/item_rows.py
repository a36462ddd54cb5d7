"""Rows of items, as callers hand them in: a list of dicts, or any table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import pyarrow as pa
from datasets import Dataset

from seqrec.data.catalogue import merge_equal_rows
from seqrec.data.reading import Tabular
from seqrec.data.sources import load_items


class ReadingOptions(TypedDict, total=False):
    """The fields of `Reading`."""

    column_mapping: Mapping[str, str] | None
    encoders: Mapping[str, str] | None
    media_folder: str | Path | None


@dataclass(frozen=True)
class Reading:
    """How rows of items are read.

    Attributes:
        column_mapping: Their column name to ours, as in training.
        encoders: Folders of encoders that were local in training, by modality: `{"image": "/models/our-vit"}`.
        media_folder: What relative paths of images and audio start from; the working directory by default.
    """

    column_mapping: Mapping[str, str] | None = None
    encoders: Mapping[str, str] | None = None
    media_folder: str | Path | None = None


def read_rows(rows: Tabular, reading: Reading) -> Dataset:
    """Return items with ids of their own, from a list of dicts or any table.

    Raises:
        ValueError: There are none, an id is missing or two rows of it differ, or a cell does not fit its column.
    """
    if isinstance(rows, Mapping):
        rows = [rows]
    if isinstance(rows, Sequence) and not rows:
        raise ValueError("There are no rows of items; pass at least one.")
    if isinstance(rows, Sequence) and not isinstance(rows, str) and any(isinstance(row, Mapping) for row in rows):
        rows = _table_of_dicts(rows)
    table, _ = merge_equal_rows(load_items(rows, reading.column_mapping))
    if not table.num_rows:
        raise ValueError("There are no rows of items; pass at least one.")
    return Dataset(table)


def _table_of_dicts(rows: Sequence[Any]) -> pa.Table:
    """Rows as a table; a cell that does not fit is named with its item."""
    names = list(dict.fromkeys(name for row in rows if isinstance(row, Mapping) for name in row))
    wrong = next((row for row in rows if not isinstance(row, Mapping) or "item_id" not in row), None)
    if wrong is not None and not isinstance(wrong, Mapping):
        raise ValueError(f"Rows are dicts of columns, and one is {wrong!r:.60}; write {{'item_id': ..., ...}}.")
    columns = {}
    for name in names:
        cells = [row.get(name) for row in rows]
        try:
            if {bytes, str} <= {type(cell) for cell in cells}:
                raise pa.ArrowInvalid("bytes beside text")  # pyarrow would make bytes of both
            columns[name] = pa.array(cells)
        except (pa.ArrowException, UnicodeEncodeError, OverflowError) as error:
            odd = next((row for row in rows if not _fits(row.get(name), cells)), rows[0])
            raise ValueError(
                f"Item {odd.get('item_id')!r:.80} has {odd.get(name)!a:.80} in the column {name!r}, which does not "
                f"fit ({str(error).splitlines()[0]}); expected Unicode text, or one type in the whole column."
            ) from None
    return pa.table(columns)


def _fits(cell: Any, cells: Sequence[Any]) -> bool:
    """Whether a cell can stand in a column beside the first one that can."""
    first = next(one for one in cells if one is not None)
    if {type(first), type(cell)} == {bytes, str}:
        return False
    try:
        pa.array([cell])
        pa.array([first, cell])
    except (pa.ArrowException, UnicodeEncodeError, OverflowError):
        return False
    return True
