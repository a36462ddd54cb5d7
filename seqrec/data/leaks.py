"""What training may not see: the targets, and whatever comes after them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import DatasetDict

from seqrec.data.splits import IntArray, event_positions

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
    validation and test histories begin, and all of the validation history. With `leave_one_out` the test history is
    the validation history and its target; with `global_time` no event that is shown is at or after the cut of its
    split.

    Args:
        dataset: Splits `train`, `validation`, `test`, as in `PreparedData`.
        split: The entry `split` of the report.

    Raises:
        ValueError: A row breaks one of these; the sentence names it by its number.
    """
    if split.get("name") not in ("leave_one_out", "global_time"):
        raise ValueError(
            f"The report names the split {split.get('name')!r}; expected 'leave_one_out' or 'global_time'. {NEXT_STEP}"
        )
    rows = _read(dataset)
    for name, of_split in rows.items():
        _check_rows(name, of_split)
    if split["name"] == "global_time":
        for name, of_split in rows.items():
            period = "validation" if name == "train" else name
            _check_cut(name, of_split, period, split.get(period, {}).get("cut"))
    for name in ASKED:
        _check_start(name, rows["train"], rows[name])
    if split["name"] == "leave_one_out":
        _check_next(rows["validation"], rows["test"])


def _read(dataset: DatasetDict) -> dict[str, _Rows]:
    """All splits, with one numbering of their items."""
    missing = sorted({"train", *ASKED} - set(dataset))
    if missing:
        raise ValueError(f"The prepared data have no {missing[0]!r} among their splits {sorted(dataset)}. {NEXT_STEP}")
    tables = {name: dataset[name].with_format("arrow")[:] for name in ("train", *ASKED)}
    for name, table in tables.items():
        if absent := sorted({"user_id", "history", "targets"} - set(table.column_names)):
            raise ValueError(f"The split {name!r} has no column {absent[0]!r}. {NEXT_STEP}")
    flat = [pc.list_flatten(table[column]) for table in tables.values() for column in ("history", "targets")]
    kind = pa.large_string() if any(column.type == pa.large_string() for column in flat) else pa.string()
    ids = pc.unique(pa.chunked_array([chunk.cast(kind) for column in flat for chunk in column.chunks], kind))
    return {name: _numbered(name, table, ids) for name, table in tables.items()}


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


def _check_next(validation: _Rows, test: _Rows) -> None:
    """With leave-one-out the test history is the validation history and its target."""
    matches = pc.index_in(test.users, value_set=validation.users)
    common = np.flatnonzero(np.asarray(matches.is_valid()))
    earlier = matches.drop_null().to_numpy()
    wrong = test.lengths[common] != validation.lengths[earlier] + 1
    last = np.where(wrong, 0, test.starts[common] + test.lengths[common] - 1)
    wrong |= test.items[last] != validation.targets[earlier] if len(common) else False
    if wrong.any():
        first = np.flatnonzero(wrong)[0]
        raise ValueError(
            f"Row {common[first]} of test shows {test.lengths[common[first]]} events and row {earlier[first]} of "
            f"validation, of the same user, {validation.lengths[earlier[first]]}; expected the validation history and "
            f"then its target in test, and nothing after it. {NEXT_STEP}"
        )


def _refuse_event(rows: _Rows, wrong: np.ndarray[Any, np.dtype[np.bool_]], name: str, what: str) -> None:
    """Refuse the first event that is wrong, by the number of its row and its time."""
    if wrong.any() and rows.times is not None:
        event = int(wrong.argmax())
        row = int(np.searchsorted(rows.starts + rows.lengths, event, side="right"))
        raise ValueError(f"Row {row} of {name} {what} (its time is {rows.times[event]}). {NEXT_STEP}")
