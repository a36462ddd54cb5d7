"""Where data come from: what a source is called, and a hash of what it holds."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from seqrec.data.reading import Tabular, is_hub_name


def describe_source(source: Tabular, log: pa.Table) -> dict[str, Any]:
    """Return what a report says of its source: name, hash, rows and columns; no path.

    Args:
        source: What was read.
        log: The canonical interactions that came of it.
    """
    return {
        "name": source_name(source),
        "sha256": table_sha256(log),
        "num_interactions": log.num_rows,
        "columns": log.column_names,
    }


def source_name(source: Tabular) -> str:
    """Return what a source is called: a data set's name, the names of files without their folders, or its type.

    >>> source_name("movielens-100k"), source_name("owner/clicks"), source_name(["/home/me/a.csv", "b.csv"])
    ('movielens-100k', 'owner/clicks', 'a.csv, b.csv')
    """
    if isinstance(source, str | Path):
        return str(source) if is_hub_name(str(source)) else Path(source).name
    if isinstance(source, list | tuple):
        return ", ".join(map(source_name, source))
    return type(source).__name__


def table_sha256(table: pa.Table) -> str:
    """Return a hash of a table's names and values that does not depend on how the table came here.

    >>> halves = pa.chunked_array([["a"], ["b"]])
    >>> table_sha256(pa.table({"user_id": halves})) == table_sha256(pa.table({"user_id": ["a", "b"]}))
    True
    """
    digest = hashlib.sha256()
    for name in table.column_names:
        column = table[name]
        digest.update(f"{name} {column.type} {len(column)}".encode())
        digest.update(np.asarray(column.is_valid()).tobytes())
        if pa.types.is_string(column.type):
            digest.update(pc.binary_length(column).cast(pa.int64()).fill_null(0).to_numpy())
            for chunk in column.chunks:
                digest.update(_text_bytes(chunk))
        else:
            digest.update(column.fill_null(0).to_numpy())
    return digest.hexdigest()


def _text_bytes(texts: pa.StringArray) -> memoryview:
    """All texts of an array, one after the other, as they lie in memory (a missing one has no bytes)."""
    _, offsets, data = texts.buffers()
    bounds = np.frombuffer(offsets, np.int32, count=len(texts) + 1, offset=4 * texts.offset)
    return memoryview(data or b"")[bounds[0] : bounds[-1]]
