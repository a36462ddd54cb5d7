"""What training may not see: the targets, and whatever comes after them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import DatasetDict

from seqrec.data.splits import SPLITS, IntArray, event_positions

ASKED = ("validation", "test")
NEXT_STEP = "Prepare the source again with scripts/prepare.py."


@dataclass(frozen=True)
class _Rows:
    """The rows of one split, with numbers for items: histories one after the other, and the first target of each."""

    users: pa.ChunkedArray
    starts: IntArray
    lengths: IntArray
    items: IntArray
    targets: IntArray
    times: IntArray | None


def check_leaks(dataset: DatasetDict, split: Mapping[str, Any]) -> None:
    """See that no split knows the future; what a hand made or changed is found here.

    Every user has one row a split, and events in the order of their times. The training history is where a user's
    validation and test histories begin, and all of the validation history. The test history goes on with the
    validation target, and with `leave_one_out` ends with it; with `global_time` no event that is shown is at or after
    the cut of its split. Where the split has `cold_items`, items of no training history are passed over.

    Args:
        dataset: Splits `train`, `validation`, `test`, as in `PreparedData`.
        split: The entry `split` of the report.

    Raises:
        ValueError: A row breaks one of these; the sentence names it by its number. Or the columns or the entry are
            not those of prepared data.
    """
    if split.get("name") not in SPLITS:
        raise ValueError(
            f"The report names the split {split.get('name')!r}; expected one of {', '.join(SPLITS)}. {NEXT_STEP}"
        )
    rows = _read(dataset)
    for name, of_split in rows.items():
        _check_rows(name, of_split)
    if split["name"] == "global_time":
        for name, of_split in rows.items():
            period = "validation" if name == "train" else name
            about = split.get(period)
            _check_cut(name, of_split, period, about.get("cut") if isinstance(about, Mapping) else None)
    for name in ASKED:
        shown = _without_cold(rows[name], rows["train"]) if "cold_items" in split else rows[name]
        _check_start(name, rows["train"], shown)
    _check_next(rows["validation"], rows["test"], ends=split["name"] == "leave_one_out")


def _read(dataset: DatasetDict) -> dict[str, _Rows]:
    """All splits, with one numbering of their items."""
    missing = sorted({"train", *ASKED} - set(dataset))
    if missing:
        raise ValueError(f"The prepared data have no {missing[0]!r} among their splits {sorted(dataset)}. {NEXT_STEP}")
    tables = {name: dataset[name].with_format("arrow")[:] for name in ("train", *ASKED)}
    for name, table in tables.items():
        _check_columns(name, table)
    flat = [pc.list_flatten(table[column]) for table in tables.values() for column in ("history", "targets")]
    kind = pa.large_string() if any(column.type == pa.large_string() for column in flat) else pa.string()
    ids = pc.unique(pa.chunked_array([chunk.cast(kind) for column in flat for chunk in column.chunks], kind))
    return {name: _numbered(name, table, ids) for name, table in tables.items()}


def _check_columns(name: str, table: pa.Table) -> None:
    """The columns are there, of their types, and nothing is missing in them."""
    if absent := sorted({"user_id", "history", "targets"} - set(table.column_names)):
        raise ValueError(f"The split {name!r} has no column {absent[0]!r}. {NEXT_STEP}")
    for column in ("user_id", "history", "targets", *({"timestamps"} & set(table.column_names))):
        values = table[column]
        listed = pa.types.is_list(values.type) or pa.types.is_large_list(values.type)
        expected = "int64" if column == "timestamps" else "string"
        kind = values.type.value_type if listed else values.type
        if listed == (column == "user_id") or str(kind).removeprefix("large_") not in (expected, "null"):
            raise ValueError(
                f"The column {column!r} of {name} is of the type {values.type}; expected "
                f"{expected if column == 'user_id' else f'lists of {expected}'}. {NEXT_STEP}"
            )
        if values.null_count or (listed and pc.list_flatten(values).null_count):
            raise ValueError(f"The column {column!r} of {name} lacks a value; expected none missing. {NEXT_STEP}")


def _numbered(name: str, table: pa.Table, ids: pa.Array) -> _Rows:
    history = table["history"]
    lengths = pc.list_value_length(history).fill_null(0).to_numpy().astype(np.int64)
    num_targets = pc.list_value_length(table["targets"]).fill_null(0).to_numpy()
    wrong = np.flatnonzero(num_targets != (0 if name == "train" else 1))
    if wrong.size:
        raise ValueError(
            f"Row {wrong[0]} of {name} has {num_targets[wrong[0]]} targets; expected one in validation and test and "
            f"none in train. {NEXT_STEP}"
        )
    times = None
    if "timestamps" in table.column_names:
        times = pc.list_flatten(table["timestamps"]).to_numpy()
        wrong = np.flatnonzero(pc.list_value_length(table["timestamps"]).fill_null(0).to_numpy() != lengths)
        if wrong.size:
            raise ValueError(f"Row {wrong[0]} of {name} has not one time for each event. {NEXT_STEP}")
    items, targets = (_numbers(table[column], ids) for column in ("history", "targets"))
    return _Rows(table["user_id"], lengths.cumsum() - lengths, lengths, items, targets, times)


def _numbers(lists: pa.ChunkedArray, ids: pa.Array) -> IntArray:
    """The number of every id in lists of ids, one list after the other."""
    return pc.index_in(pc.list_flatten(lists).cast(ids.type), value_set=ids).to_numpy()


def _check_rows(name: str, rows: _Rows) -> None:
    """One row a user, oldest event first."""
    order = pc.index_in(rows.users, value_set=rows.users).to_numpy()
    second = np.flatnonzero(order != np.arange(len(order)))
    if second.size:
        raise ValueError(
            f"Row {second[0]} of {name} is another one of the user of row {order[second[0]]}; expected one a user. "
            + NEXT_STEP
        )
    if rows.times is None:
        return
    back = np.diff(rows.times, prepend=rows.times[:1]) < 0
    back[rows.starts[rows.lengths > 0]] = False
    _refuse_event(rows, back, name, "shows an event that is older than the one before it; expected the oldest first")


def _check_cut(name: str, rows: _Rows, period: str, cut: Any) -> None:
    """Nothing that a split shows is at or after the cut."""
    if rows.times is None or not isinstance(cut, int):
        raise ValueError(
            f"The split global_time cannot be checked: {'timestamps' if rows.times is None else 'the cut'} of {name} "
            f"is missing; expected both in prepared data. {NEXT_STEP}"
        )
    shown = f"shows an event at or after {cut}, the beginning of {period}; expected earlier events only"
    _refuse_event(rows, rows.times >= cut, name, shown)


def _without_cold(rows: _Rows, train: _Rows) -> _Rows:
    """The rows without the events of items that no training history has."""
    kept = np.isin(rows.items, train.items)
    lengths = np.bincount(np.repeat(np.arange(len(rows.lengths)), rows.lengths)[kept], minlength=len(rows.lengths))
    times = None if rows.times is None else rows.times[kept]
    return _Rows(rows.users, lengths.cumsum() - lengths, lengths, rows.items[kept], rows.targets, times)


def _check_start(name: str, train: _Rows, rows: _Rows) -> None:
    """A user's training history is where the other histories begin, and the whole validation history."""
    matches = pc.index_in(rows.users, value_set=train.users)
    common = np.flatnonzero(np.asarray(matches.is_valid()))
    trained = matches.drop_null().to_numpy()
    lengths, shown = train.lengths[trained], rows.lengths[common]
    wrong = shown != lengths if name == "validation" else shown < lengths
    fitting = np.where(wrong, 0, lengths)
    differs = (
        train.items[event_positions(train.starts[trained], fitting)]
        != rows.items[event_positions(rows.starts[common], fitting)]
    )
    wrong |= np.bincount(np.repeat(np.arange(len(common)), fitting), weights=differs, minlength=len(common)) > 0
    if wrong.any():
        first = np.flatnonzero(wrong)[0]
        raise ValueError(
            f"Row {trained[first]} of train, {lengths[first]} events long, is not where row {common[first]} of {name} "
            f"begins, {shown[first]} events long, although both are of one user: training may have seen the target. "
            f"Expected a training history that ends before it. {NEXT_STEP}"
        )


def _check_next(validation: _Rows, test: _Rows, ends: bool) -> None:
    """After the validation history the test history goes on with its target, and may end there (leave-one-out)."""
    matches = pc.index_in(test.users, value_set=validation.users)
    common = np.flatnonzero(np.asarray(matches.is_valid()))
    earlier = matches.drop_null().to_numpy()
    shown, seen = test.lengths[common], validation.lengths[earlier]
    wrong = shown != seen + 1 if ends else shown <= seen
    fitting = np.flatnonzero(~wrong)
    going_on = test.items[test.starts[common[fitting]] + seen[fitting]]
    wrong[fitting] = going_on != validation.targets[earlier[fitting]]
    if wrong.any():
        first = np.flatnonzero(wrong)[0]
        raise ValueError(
            f"Row {common[first]} of test shows {shown[first]} events and row {earlier[first]} of validation, of the "
            f"same user, {seen[first]}; expected the validation history and then its target in test"
            f"{', and nothing after it' if ends else ''}. {NEXT_STEP}"
        )


def _refuse_event(rows: _Rows, wrong: np.ndarray[Any, np.dtype[np.bool_]], name: str, what: str) -> None:
    """Refuse the first event that is wrong, by the number of its row and its time."""
    if wrong.any() and rows.times is not None:
        event = int(wrong.argmax())
        row = int(np.searchsorted(rows.starts + rows.lengths, event, side="right"))
        raise ValueError(f"Row {row} of {name} {what} (its time is {rows.times[event]}). {NEXT_STEP}")
