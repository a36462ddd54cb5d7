import numpy as np
import pyarrow as pa

from seqrec.data.cleaning import clean


def test_steps_run_in_order_and_only_where_they_apply():
    table = pa.table({"user": [0, 0, 1], "item": [0, 0, 1], "row": [0, 1, 2], "timestamp": [7, 7, 7]})
    kept, steps = clean(table, min_interactions=1, min_value=None, drop_duplicates=True)
    assert kept["row"].to_pylist() == [0, 2]
    assert [step["name"] for step in steps] == ["drop_duplicates", "min_interactions"]


def test_the_order_is_total_whatever_the_order_of_the_rows():
    table = pa.table({"user": [1, 0, 1, 0], "item": [0, 1, 2, 3], "row": [3, 2, 1, 0], "timestamp": [5, 5, 5, 6]})
    kept, _ = clean(table, min_interactions=1, min_value=None, drop_duplicates=True)
    assert kept["row"].to_pylist() == [2, 0, 1, 3]


def log(users, items, times):
    return pa.table({"user": users, "item": items, "row": range(len(users)), "timestamp": times})


def test_bursts_are_chains_of_one_user_and_one_item():
    #            a chain of three, then late enough;  another item between;  another user
    table = log([0, 0, 0, 0, 0, 1], [7, 7, 7, 7, 8, 7], [1000, 2500, 4000, 5501, 1001, 1000])
    kept, steps = clean(table, min_interactions=1, burst_seconds=1.5, ticks_per_second=1000)
    assert sorted(kept["row"].to_pylist()) == [0, 3, 4, 5]
    assert steps[0] == {
        "name": "burst_seconds",
        "before": {"num_users": 2, "num_items": 2, "num_interactions": 6},
        "after": {"num_users": 2, "num_items": 2, "num_interactions": 4},
    }


def test_inhuman_users_go_whole_by_any_24_hours_and_before_other_steps():
    day = 24 * 3600
    busy, quick, calm = [0, day - 1, 5 * day], [9 * day, 9 * day + 5, 9 * day + 5], [0, day, 2 * day]
    table = log([0, 0, 0, 1, 1, 1, 2, 2, 2], [1, 2, 3, 1, 2, 2, 1, 2, 3], busy + quick + calm)
    kept, steps = clean(table, min_interactions=1, max_daily_interactions=1, drop_duplicates=True)
    assert set(kept["user"].to_pylist()) == {2}
    assert [step["name"] for step in steps] == ["max_daily_interactions", "drop_duplicates", "min_interactions"]
    assert steps[0]["after"] == {"num_users": 1, "num_items": 3, "num_interactions": 3}
    kept, _ = clean(table, min_interactions=1, max_daily_interactions=2)
    assert set(kept["user"].to_pylist()) == {0, 2}
    assert clean(table, min_interactions=1, max_daily_interactions=10**30)[0].num_rows == 9


def test_duplicates_agree_with_a_set_of_seen_events():
    random = np.random.default_rng(0)
    users, items, times = (random.integers(0, high, 3000) for high in (40, 30, 12))
    kept, _ = clean(log(users, items, times), min_interactions=1, drop_duplicates=True)
    first = {event: row for row, event in reversed(list(enumerate(zip(users, items, times, strict=True))))}
    assert sorted(kept["row"].to_pylist()) == sorted(first.values())


def test_times_at_the_ends_of_int64_do_not_wrap_around():
    table = log([0, 0], [1, 1], [-(2**63), 2**63 - 1])
    assert clean(table, min_interactions=1, burst_seconds=1e300, max_daily_interactions=1)[0].num_rows == 2
