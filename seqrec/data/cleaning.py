"""Table work on interactions: filters, duplicates, k-core and total order, with Daft on integer-coded columns.

Daft runs the same code embedded and on a Ray cluster. It does not keep row order across a group-by, so histories are
cut out of one total sort by (user, timestamp, row) and never collected by a group-by.
"""

import os
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    from daft import DataFrame


def clean(
    log: pa.Table, min_interactions: int, min_value: float | None, drop_duplicates: bool
) -> tuple[pa.Table, list[dict[str, Any]]]:
    """Return the interactions that stay, in their total order, and what every step removed.

    Args:
        log: `user`, `item` (integers) and `row` (position in the source), `timestamp` and `value` where given.
        min_interactions: Least number of interactions a user and an item need, counted until both hold.
        min_value: Least value that counts as an interaction; a missing value does not.
        drop_duplicates: Keep the first of several rows with equal user, item and timestamp. Without timestamps
            repeats are real and stay.

    Returns:
        A table ordered by (user, timestamp, row), and one entry a step: its name, the counts before and after.
    """
    daft = _load_daft()
    frame = daft.from_arrow(log)
    steps: list[tuple[str, Callable[[DataFrame], DataFrame]]] = []
    if min_value is not None:
        steps.append(("min_value", lambda frame: frame.where(daft.col("value") >= daft.lit(min_value))))
    if drop_duplicates and "timestamp" in log.column_names:
        steps.append(("drop_duplicates", _first_of_equal_rows))
    steps.append(("min_interactions", lambda frame: k_core(frame, min_interactions)))
    counts = count(frame)
    report = []
    for name, step in steps:
        frame = step(frame).collect()
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
    columns = {"user": users.indices, "item": items.indices, "row": pa.array(range(log.num_rows), pa.int64())}
    columns |= {name: log[name] for name in ("timestamp", "value") if name in log.column_names}
    return pa.table(columns), users.dictionary, items.dictionary


def in_order(numbered: pa.Table) -> pa.Table:
    """Return interactions with numbers for ids in their total order: user, timestamp where given, row."""
    return _in_order(_load_daft().from_arrow(numbered))


def count(frame: "DataFrame") -> dict[str, int]:
    """Return the numbers of different users, of different items and of interactions."""
    from daft import col

    totals = frame.agg(
        col("user").count_distinct().alias("num_users"),
        col("item").count_distinct().alias("num_items"),
        col("row").count().alias("num_interactions"),
    ).to_pylist()[0]
    return {name: int(total or 0) for name, total in totals.items()}


def k_core(frame: "DataFrame", k: int) -> "DataFrame":
    """Return the largest part in which every user and every item has at least k interactions."""
    num_rows = frame.count_rows()
    while True:
        for side in ("item", "user"):
            frame = frame.join(_frequent(frame, side, k), on=side, how="semi").collect()
        if frame.count_rows() == num_rows:
            return frame
        num_rows = frame.count_rows()


def _in_order(frame: "DataFrame") -> pa.Table:
    return frame.sort([name for name in ("user", "timestamp", "row") if name in frame.column_names]).to_arrow()


def _frequent(frame: "DataFrame", side: str, k: int) -> "DataFrame":
    from daft import col, lit

    return frame.groupby(side).agg(col("row").count().alias("num_rows")).where(col("num_rows") >= lit(k)).select(side)


def _first_of_equal_rows(frame: "DataFrame") -> "DataFrame":
    from daft import col

    first = frame.groupby("user", "item", "timestamp").agg(col("row").min()).select("row")
    return frame.join(first, on="row", how="semi")


def _load_daft() -> ModuleType:
    """Daft reports its use over the network and draws on the terminal unless told otherwise; the user may tell it."""
    for switch in ("DAFT_ANALYTICS_ENABLED", "DAFT_PROGRESS_BAR", "DAFT_SHOW_QUERY_ID"):
        os.environ.setdefault(switch, "0")
    import daft

    return daft
