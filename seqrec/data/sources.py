"""Interactions and items from any source, in canonical columns."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from seqrec.data.columns import ids_as_strings, timestamps_as_integers, values_as_floats
from seqrec.data.named import NAMED_DATASETS, load_named
from seqrec.data.reading import Tabular, read_table

INTERACTION_COLUMNS = ("user_id", "item_id", "timestamp", "value")
TICKS_PER_SECOND = b"ticks_per_second"  # of the timestamps, in the metadata of their field


def load_interactions(source: Tabular, column_mapping: Mapping[str, str] | None = None) -> pa.Table:
    """Return interactions as `user_id`, `item_id` (strings) and, where given, `timestamp` (int64), `value` (float64).

    Rows keep their order, other columns are not even read where the source allows it. How times become integers, and
    in which unit: `timestamps_as_integers`; the unit stands in the metadata of the field `timestamp`. A data set of
    the Hub that is stored as CSV has the types that `datasets` finds in it (an id `007` is the number 7 there);
    Parquet keeps its own.

    Args:
        source: A path, a glob or a list of paths (CSV, TSV, JSONL, Parquet); a `datasets.Dataset`; any table that
            speaks the Arrow C stream (pandas, polars, pyarrow, DuckDB, Daft); a named data set; a Hub data set's name.
        column_mapping: Their column name to ours.

    Raises:
        ValueError: A column is missing, or holds something that cannot be read.
    """
    return load_tables(source, None, column_mapping)[0]


def load_items(source: Tabular, column_mapping: Mapping[str, str] | None = None) -> pa.Table:
    """Return items as `item_id` (string) and all their content columns, as they are.

    Args:
        source: As in `load_interactions`; a named data set gives its items.
        column_mapping: Their column name to ours.

    Raises:
        ValueError: `item_id` is missing, or holds something that cannot be read.
    """
    return _canonical_items(_renamed({"Items": _raw_items(source)}, column_mapping or {})["Items"])


def load_tables(
    interactions: Tabular,
    items: Tabular | None = None,
    column_mapping: Mapping[str, str] | None = None,
    dataset_files: Sequence[str | Path] = (),
) -> tuple[pa.Table, pa.Table | None]:
    """Return both tables as `load_interactions` and `load_items` do, with one mapping for both.

    A named data set brings its own items, unless others are given. `dataset_files` are copies of its files that are
    here already.

    Raises:
        ValueError: As above; also when a key of the mapping is a column of neither table.
    """
    tables: dict[str, pa.Table] = {}
    mapping = column_mapping or {}
    if isinstance(interactions, str) and interactions in NAMED_DATASETS:
        tables["Interactions"], tables["Items"] = load_named(NAMED_DATASETS[interactions], dataset_files)
    elif dataset_files:
        raise ValueError(
            f"dataset_files={[str(file) for file in dataset_files]} are copies of the files of a named data set, but "
            f"{str(interactions)!r:.80} is none of {sorted(NAMED_DATASETS)}. Pass them as `interactions` instead."
        )
    else:
        wanted = {theirs for theirs, ours in mapping.items() if ours in INTERACTION_COLUMNS}
        tables["Interactions"] = read_table(interactions, columns=wanted.union(INTERACTION_COLUMNS))
    if items is not None:
        tables["Items"] = _raw_items(items)
    tables = _renamed(tables, mapping)
    canonical_items = _canonical_items(tables["Items"]) if "Items" in tables else None
    return _canonical_interactions(tables["Interactions"]), canonical_items


def _raw_items(source: Tabular) -> pa.Table:
    if isinstance(source, str) and source in NAMED_DATASETS:
        return load_named(NAMED_DATASETS[source])[1]
    return read_table(source)


def _renamed(tables: Mapping[str, pa.Table], column_mapping: Mapping[str, str]) -> dict[str, pa.Table]:
    """All tables with our names for their columns."""
    known = {name for table in tables.values() for name in table.column_names}
    unknown = sorted(set(column_mapping) - known)
    if unknown:
        columns = " and ".join(
            f"{kind.lower()} with the columns {table.column_names}" for kind, table in tables.items()
        )
        raise ValueError(
            f"column_mapping names {unknown}, which no table has; expected keys among the columns of {columns}. "
            "Its keys are their names, its values ours: {'customer': 'user_id'}."
        )
    renamed = {}
    for kind, table in tables.items():
        names = [column_mapping.get(name, name) for name in table.column_names]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(
                f"After column_mapping {dict(column_mapping)} the {kind.lower()} have several columns called "
                f"{repeated}; expected different names for {table.column_names}. "
                "Map the other one to another name as well."
            )
        renamed[kind] = table.rename_columns(names)
    return renamed


def _canonical_interactions(table: pa.Table) -> pa.Table:
    _require(table, ("user_id", "item_id"), "Interactions")
    columns = {name: ids_as_strings(table[name], name) for name in ("user_id", "item_id")}
    fields = [pa.field(name, pa.string()) for name in columns]
    if "timestamp" in table.column_names:
        columns["timestamp"], per_second = timestamps_as_integers(table["timestamp"])
        fields.append(pa.field("timestamp", pa.int64(), metadata={TICKS_PER_SECOND: str(per_second)}))
    if "value" in table.column_names:
        columns["value"] = values_as_floats(table["value"])
        fields.append(pa.field("value", pa.float64()))
    return pa.table(columns, schema=pa.schema(fields))


def ticks_per_second(interactions: pa.Table) -> int | None:
    """Return how many units of the timestamps of canonical interactions make a second; None without timestamps."""
    if "timestamp" not in interactions.column_names:
        return None
    return int((interactions.schema.field("timestamp").metadata or {}).get(TICKS_PER_SECOND, 1))


def _canonical_items(table: pa.Table) -> pa.Table:
    _require(table, ("item_id",), "Items")
    content = {name: table[name] for name in table.column_names if name != "item_id"}
    return pa.table({"item_id": ids_as_strings(table["item_id"], "item_id"), **content})


def _require(table: pa.Table, required: tuple[str, ...], kind: str) -> None:
    missing = sorted(set(required) - set(table.column_names))
    if missing:
        example = {(table.column_names or ["customer"])[0]: missing[0]}
        raise ValueError(
            f"{kind} need the columns {sorted(required)}, but {missing} are missing from "
            f"{sorted(table.column_names)}. Say which of them is meant, e.g. column_mapping={example}."
        )
