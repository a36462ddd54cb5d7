"""From two tables to a data set that a model trains on: clean, k-core, split, catalogue, report."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from seqrec.data.catalogue import build_catalogue
from seqrec.data.cleaning import clean, number_ids
from seqrec.data.histories import Histories
from seqrec.data.reading import Tabular, is_hub_name
from seqrec.data.sources import load_tables
from seqrec.data.splits import SplitRows, leave_one_out
from seqrec.folders import read_json, write_json, written_whole

ITEMS_FILE = "items.parquet"
REPORT_FILE = "preparation.json"
FOLDER_NAMES = ("train", "validation", "test", "dataset_dict.json", ITEMS_FILE, REPORT_FILE)


@dataclass(frozen=True)
class PreparedData:
    """A prepared data set: histories with targets, the catalogue, and how both came to be.

    Attributes:
        dataset: Splits `train`, `validation`, `test`; rows `user_id`, `history`, `targets` (empty in train) and, where
            the source has times, `timestamps` parallel to `history`.
        items: The catalogue in token order (count in train descending, then `item_id`): `item_id`, `count`, content.
        report: Source hash, settings, counts before and after each step, split. No paths, no user ids.
    """

    dataset: datasets.DatasetDict
    items: datasets.Dataset
    report: dict[str, Any]

    def save(self, folder: str | Path) -> None:
        """Write everything into a folder, which appears only when it is complete and replaces an older one.

        `datasets.load_from_disk` reads the splits from it without seqrec.

        Raises:
            ValueError: Something else is in the folder already.
        """
        with written_whole(folder, FOLDER_NAMES) as complete:
            self.dataset.save_to_disk(complete)
            pyarrow.parquet.write_table(self.items.data.table, complete / ITEMS_FILE)
            write_json(complete / REPORT_FILE, self.report)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read what `save` wrote.

        Raises:
            ValueError: The folder is missing or is not one that `save` wrote.
        """
        folder = Path(folder)
        missing = [name for name in (REPORT_FILE, ITEMS_FILE, "dataset_dict.json") if not (folder / name).is_file()]
        if missing:
            raise ValueError(
                f"{str(folder)!r} is not a prepared data set: {missing} are missing; expected a folder that "
                "PreparedData.save wrote. Make one with scripts/prepare.py."
            )
        return cls(
            dataset=datasets.DatasetDict.load_from_disk(folder),
            items=datasets.Dataset(pyarrow.parquet.read_table(folder / ITEMS_FILE)),
            report=read_json(folder / REPORT_FILE),
        )


def prepare(
    interactions: Tabular,
    items: Tabular | None = None,
    *,
    column_mapping: Mapping[str, str] | None = None,
    min_interactions: int = 5,
    min_value: float | None = None,
    drop_duplicates: bool = True,
) -> PreparedData:
    """Clean interactions, split them leave-one-out and put the catalogue beside them.

    A user's history is ordered by (timestamp, row in the source), by the row alone where there are no timestamps.

    Args:
        interactions: Anything that `load_interactions` takes.
        items: Anything that `load_items` takes; a named data set brings its own.
        column_mapping: Their column name to ours, for both tables.
        min_interactions: Least number of interactions of every user and every item (iterative k-core).
        min_value: Least `value` that counts as an interaction; without it all count.
        drop_duplicates: Count rows with equal user, item and timestamp once.

    Raises:
        ValueError: A table cannot be read, a setting does not fit it, or no interaction is left.
    """
    log, content = load_tables(interactions, items, column_mapping)
    _check_settings(log, min_interactions, min_value)
    numbered, user_ids, item_ids = number_ids(log)
    settings = {"min_interactions": min_interactions, "min_value": min_value, "drop_duplicates": drop_duplicates}
    kept, steps = clean(numbered, min_interactions, min_value, drop_duplicates)
    if not kept.num_rows:
        raise ValueError(_nothing_left(log, steps, settings))
    histories = Histories.from_sorted(kept, user_ids, item_ids)
    splits = leave_one_out(histories.lengths)
    total_counts = np.bincount(histories.items, minlength=len(item_ids))
    catalogue, coverage = build_catalogue(item_ids, histories.item_counts(splits["train"]), total_counts, content)
    dataset = {name: datasets.Dataset(histories.rows(rows)) for name, rows in splits.items()}
    report = {
        "source": {
            "name": source_name(interactions),
            "sha256": table_sha256(log),
            "num_interactions": log.num_rows,
            "columns": log.column_names,
        },
        "settings": settings,
        "steps": steps,
        "order": ["timestamp", "row"] if histories.timestamps is not None else ["row"],
        "split": _split_report(splits),
        "content": coverage,
        "num_users": len(histories.user_ids),
        "num_items": catalogue.num_rows,
        "num_interactions": kept.num_rows,
    }
    return PreparedData(datasets.DatasetDict(dataset), datasets.Dataset(catalogue), report)


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
            digest.update(pc.binary_length(column).cast(pa.int64()).fill_null(0).to_numpy().tobytes())
            for chunk in column.chunks:
                digest.update("".join(text or "" for text in chunk.to_pylist()).encode())
        else:
            digest.update(column.fill_null(0).to_numpy().tobytes())
    return digest.hexdigest()


def _check_settings(log: pa.Table, min_interactions: int, min_value: float | None) -> None:
    if min_interactions < 1:
        raise ValueError(f"min_interactions={min_interactions}; expected at least 1, which keeps every user and item.")
    if min_value is not None and "value" not in log.column_names:
        raise ValueError(
            f"min_value={min_value} needs the column 'value', but the interactions have {log.column_names}. "
            "Say which column it is, e.g. column_mapping={'rating': 'value'}, or leave min_value out."
        )


def _nothing_left(log: pa.Table, steps: list[dict[str, Any]], settings: dict[str, Any]) -> str:
    counts = "; ".join(f"{step['name']} left {step['after']['num_interactions']:,}" for step in steps)
    return (
        f"No interaction is left of {log.num_rows:,} ({counts}) with the settings {settings}; expected some. "
        "Lower min_interactions or min_value, or bring more data."
    )


def _split_report(splits: dict[str, SplitRows]) -> dict[str, Any]:
    """How many users each split asks about, and how many interactions its histories and targets hold."""
    counts = {
        name: {
            "num_users": len(rows.users),
            "num_history_interactions": int(rows.history_lengths.sum()),
            "num_targets": int(rows.num_targets.sum()),
        }
        for name, rows in splits.items()
    }
    only_in_train = len(splits["train"].users) - len(splits["test"].users)
    return {"name": "leave_one_out", **counts, "num_users_only_in_train": only_in_train}
