"""Table work on interactions: filters, duplicates, k-core and total order, with polars on integer-coded columns."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from polars import DataFrame


SECONDS_A_DAY = 24 * 60 * 60


def clean(
    numbered: pa.Table,
    *,
    min_interactions: int,
    min_value: float | None = None,
    drop_duplicates: bool = False,
    burst_seconds: float | None = None,
    max_daily_interactions: int | None = None,
    ticks_per_second: int = 1,
) -> tuple[pa.Table, list[dict[str, Any]]]:
    """Return the interactions that stay, in their total order, and what every step removed.

    Args:
        numbered: `user`, `item` (integers) and `row` (position in the source), `timestamp` and `value` where given.
        min_interactions: Least number of interactions a user and an item need, counted until both hold.
        min_value: Least value that counts as an interaction; a missing value does not.
        drop_duplicates: Keep the first of several rows with equal user, item and timestamp. Without timestamps
            repeats are real and stay.
        burst_seconds: Drop an event that comes at most so long after the same user's last event with the same item.
        max_daily_interactions: Drop a user with more events than this within any 24 hours, before all other steps.
        ticks_per_second: Units of `timestamp` that make a second.

    Returns:
        A table ordered by (user, timestamp, row), and one entry a step: its name, the counts before and after.
    """
    import polars as pl

    steps: list[tuple[str, Callable[[DataFrame], DataFrame]]] = []
    if max_daily_interactions is not None:
        day = SECONDS_A_DAY * ticks_per_second
        steps.append(("max_daily_interactions", lambda frame: without_busy_users(frame, max_daily_interactions, day)))
    if min_value is not None:
        steps.append(("min_value", lambda frame: frame.filter(pl.col("value") >= min_value)))
    if drop_duplicates and "timestamp" in numbered.column_names:
        steps.append(("drop_duplicates", without_duplicates))
    if burst_seconds is not None:
        pause = min(int(burst_seconds * ticks_per_second), 2**63 - 1)
        steps.append(("burst_seconds", lambda frame: without_bursts(frame, pause)))
    steps.append(("min_interactions", lambda frame: k_core(frame, min_interactions)))
    frame = _ordered(numbered)  # once: every step keeps the order
    del numbered
    counts = count(frame)
    report = []
    for name, step in steps:
        frame = step(frame)
        before, counts = counts, count(frame)
        report.append({"name": name, "before": before, "after": counts})
    return frame.to_arrow(), report


def number_ids(log: pa.Table) -> tuple[pa.Table, pa.Array, pa.Array]:
    """Return canonical interactions with numbers for ids, and the ids of each user number and item number.

    >>> numbered, user_ids, item_ids = number_ids(pa.table({"user_id": ["b", "a"], "item_id": ["x", "x"]}))
    >>> numbered.to_pydict()
    {'user': [0, 1], 'item': [0, 0], 'row': [0, 1]}
    """
    users, user_ids = _numbers(log["user_id"])
    items, item_ids = _numbers(log["item_id"])
    columns = {"user": users, "item": items, "row": np.arange(log.num_rows, dtype=np.uint32)}
    columns |= {name: log[name] for name in ("timestamp", "value") if name in log.column_names}
    return pa.table(columns), user_ids, item_ids


def _numbers(ids: pa.ChunkedArray) -> tuple[pa.Array, pa.Array]:
    """A number for every id, and the id of every number, in the order in which they appear."""
    encoded = ids.dictionary_encode().combine_chunks()
    return encoded.indices, encoded.dictionary


def in_order(numbered: pa.Table) -> pa.Table:
    """Return interactions with numbers for ids in their total order: user, timestamp where given, row.

    >>> in_order(pa.table({"user": [1, 0, 0], "row": [0, 1, 2], "timestamp": [5, 9, 3]}))["row"].to_pylist()
    [2, 1, 0]
    """
    return _ordered(numbered).to_arrow()


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


def without_duplicates(frame: "DataFrame") -> "DataFrame":
    """Keep the first of several events with equal user, item and timestamp, in a frame in total order.

    >>> import polars as pl
    >>> frame = pl.DataFrame({"user": 0, "item": [5, 6, 5, 5], "timestamp": [1, 1, 1, 2], "row": range(4)})
    >>> without_duplicates(frame)["row"].to_list()
    [0, 1, 3]
    """
    import polars as pl

    tied = pl.all_horizontal(pl.col(name) == pl.col(name).shift() for name in ("user", "timestamp")).fill_null(False)
    events = frame.filter(tied | tied.shift(-1, fill_value=False))  # few: only these can be equal
    first = events.unique(["user", "item", "timestamp"], keep="first")
    later = events.join(first, on="row", how="anti")["row"]
    return frame.filter(~pl.col("row").is_in(later.implode()))


def without_busy_users(frame: "DataFrame", most: int, day: int) -> "DataFrame":
    """Drop users with more than `most` events within any `day` units of time (its end excluded), in total order.

    >>> import polars as pl
    >>> frame = pl.DataFrame({"user": [0, 0, 0, 1, 1, 1], "timestamp": [1, 5, 10, 1, 5, 11]})
    >>> without_busy_users(frame, most=2, day=10)["user"].unique().to_list()
    [1]
    """
    import polars as pl

    span = pl.col("timestamp").shift(-min(most, frame.height)).over("user") - pl.col("timestamp")
    busy = frame.filter(span.is_between(0, day - 1))["user"].unique()
    return frame.filter(~pl.col("user").is_in(busy.implode()))


def without_bursts(frame: "DataFrame", pause: int) -> "DataFrame":
    """Keep the first of a user's events with one item that follow each other by at most `pause` units of time.

    >>> import polars as pl
    >>> frame = pl.DataFrame({"user": 0, "item": [5, 5, 6, 5, 5], "timestamp": [1, 3, 4, 5, 9], "row": range(5)})
    >>> without_bursts(frame, pause=2)["row"].to_list()
    [0, 2, 4]

    Args:
        frame: Events in total order.
        pause: In units of `timestamp`.
    """
    import polars as pl

    since_last = pl.col("timestamp").diff().over("user", "item")
    return frame.filter(~since_last.is_between(0, pause).fill_null(False))


def _ordered(table: pa.Table) -> "DataFrame":
    import polars as pl

    frame = cast(pl.DataFrame, pl.from_arrow(table))
    return frame.sort([name for name in ("user", "timestamp", "row") if name in frame.columns])
