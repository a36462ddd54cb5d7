"""Table work on interactions: filters, duplicates, k-core and total order, with polars on integer-coded columns."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from polars import DataFrame


def clean(
    numbered: pa.Table, min_interactions: int, min_value: float | None, drop_duplicates: bool
) -> tuple[pa.Table, list[dict[str, Any]]]:
    """Return the interactions that stay, in their total order, and what every step removed.

    Args:
        numbered: `user`, `item` (integers) and `row` (position in the source), `timestamp` and `value` where given.
        min_interactions: Least number of interactions a user and an item need, counted until both hold.
        min_value: Least value that counts as an interaction; a missing value does not.
        drop_duplicates: Keep the first of several rows with equal user, item and timestamp. Without timestamps
            repeats are real and stay.

    Returns:
        A table ordered by (user, timestamp, row), and one entry a step: its name, the counts before and after.
    """
    import polars as pl

    steps: list[tuple[str, Callable[[DataFrame], DataFrame]]] = []
    if min_value is not None:
        steps.append(("min_value", lambda frame: frame.filter(pl.col("value") >= min_value)))
    if drop_duplicates and "timestamp" in numbered.column_names:
        equal = ["user", "item", "timestamp"]
        steps.append(("drop_duplicates", lambda frame: frame.unique(equal, keep="first", maintain_order=True)))
    steps.append(("min_interactions", lambda frame: k_core(frame, min_interactions)))
    frame = _frame(numbered)
    counts = count(frame)
    report = []
    for name, step in steps:
        frame = step(frame)
        before, counts = counts, count(frame)
        report.append({"name": name, "before": before, "after": counts})
    return _in_order(frame), report


def number_ids(log: pa.Table) -> tuple[pa.Table, pa.Array, pa.Array]:
    """Return canonical interactions with numbers for ids, and the ids of each user number and item number.

    >>> numbered, user_ids, item_ids = number_ids(pa.table({"user_id": ["b", "a"], "item_id": ["x", "x"]}))
    >>> numbered.to_pydict()
    {'user': [0, 1], 'item': [0, 0], 'row': [0, 1]}
    """
    users = log["user_id"].combine_chunks().dictionary_encode()
    items = log["item_id"].combine_chunks().dictionary_encode()
    columns = {"user": users.indices, "item": items.indices, "row": np.arange(log.num_rows)}
    columns |= {name: log[name] for name in ("timestamp", "value") if name in log.column_names}
    return pa.table(columns), users.dictionary, items.dictionary


def in_order(numbered: pa.Table) -> pa.Table:
    """Return interactions with numbers for ids in their total order: user, timestamp where given, row.

    >>> in_order(pa.table({"user": [1, 0, 0], "row": [0, 1, 2], "timestamp": [5, 9, 3]}))["row"].to_pylist()
    [2, 1, 0]
    """
    return _in_order(_frame(numbered))


def count(frame: "DataFrame") -> dict[str, int]:
    """Return the numbers of different users, of different items and of interactions."""
    return {
        "num_users": frame["user"].n_unique(),
        "num_items": frame["item"].n_unique(),
        "num_interactions": frame.height,
    }


def k_core(frame: "DataFrame", k: int) -> "DataFrame":
    """Return the largest part in which every user and every item has at least k interactions.

    >>> import polars as pl
    >>> k_core(pl.DataFrame({"user": [0, 0, 1, 1, 2], "item": [5, 6, 5, 6, 6]}), k=2).height
    4
    """
    import polars as pl

    while True:
        num_rows = frame.height
        for side in ("item", "user"):
            frame = frame.filter(pl.len().over(side) >= k)
        if frame.height == num_rows:
            return frame


def _frame(table: pa.Table) -> "DataFrame":
    import polars as pl

    return cast(pl.DataFrame, pl.from_arrow(table))


def _in_order(frame: "DataFrame") -> pa.Table:
    return frame.sort([name for name in ("user", "timestamp", "row") if name in frame.columns]).to_arrow()
