import datetime as dt
import decimal

import numpy as np
import pyarrow as pa
import pytest

from seqrec.data.columns import ids_as_strings, timestamps_as_integers, values_as_floats


def column(values, type=None):
    return pa.chunked_array([pa.array(values, type)])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["007", "a b"], ["007", "a b"]),
        ([1500, 15001], ["1500", "15001"]),
        ([1500.0, 2.0], ["1500", "2"]),
        ([decimal.Decimal("12")], ["12"]),
        ([b"ab"], ["ab"]),
        ([2**60 + 1], ["1152921504606846977"]),
    ],
)
def test_ids_become_text(given, expected):
    assert ids_as_strings(column(given), "item_id").to_pylist() == expected


def test_ids_in_a_dictionary_become_text():
    assert ids_as_strings(pa.chunked_array([pa.array([3, 3, 4]).dictionary_encode()]), "user_id").to_pylist() == [
        *("3", "3", "4")
    ]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["a", None, None], "'item_id' is empty in 2 rows, first in row 1"),
        (["a", "b", ""], "'item_id' is empty in 1 row, first in row 2"),
        ([1.0, float("nan")], "'item_id' is empty in 1 row, first in row 1"),
        ([1.5], "not whole numbers"),
        ([["a"]], "no id can be read"),
        (["a", "[MASK]"], r"'\[MASK\]', which the tokenizer keeps"),
    ],
)
def test_bad_ids_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        ids_as_strings(column(given), "item_id")


def test_an_id_that_contains_a_special_token_is_fine():
    assert ids_as_strings(column(["a [MASK] b"]), "item_id").to_pylist() == ["a [MASK] b"]


HOUR = 3_600_000_000


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([881250949, 5], [881250949, 5]),
        ([881250949.0, 5.0], [881250949, 5]),
        ([1.5, 2.0], [1_500_000, 2_000_000]),
        ([-0.25], [-250_000]),
        (["12", " 7"], [12, 7]),
        (["1.5", "2"], [1_500_000, 2_000_000]),
        (["1970-01-01", "1970-01-01 01:00:00", "1970-01-01T00:00:00.5"], [0, HOUR, 500_000]),
        (["1970-01-01T01:00:00Z", "1970-01-01T01:00:00+01:00"], [HOUR, 0]),
        ([dt.datetime(1970, 1, 1, 1)], [HOUR]),
        ([dt.datetime(1970, 1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1)))], [0]),
        ([dt.date(1970, 1, 2)], [24 * HOUR]),
    ],
)
def test_timestamps_become_integers(given, expected):
    assert timestamps_as_integers(column(given))[0].to_pylist() == expected


@pytest.mark.parametrize(("unit", "per_second"), [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)])
def test_every_arrow_unit_becomes_microseconds(unit, per_second):
    for zone in (None, "Europe/Berlin"):
        times = column([5 * per_second], pa.timestamp(unit, zone))
        ticks, found = timestamps_as_integers(times)
        assert (ticks.to_pylist(), found) == ([5_000_000], 10**6)


def test_order_survives_below_a_microsecond():
    assert timestamps_as_integers(column([1, 2], pa.timestamp("ns")))[0].to_pylist() == [1, 2]
    texts = ["2020-01-01T00:00:00.000000002", "2020-01-01T00:00:00.000000001"]
    later, earlier = timestamps_as_integers(column(texts))[0].to_pylist()
    assert later == earlier + 1
    seconds = np.nextafter(1.7e9, np.inf) - np.array([0.0, 2.0**-22])  # two neighbouring floats
    later, earlier = timestamps_as_integers(column(seconds))[0].to_pylist()
    assert later > earlier


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([1, None], "'timestamp' is empty in 1 row, first in row 1"),
        ([float("nan"), 1.0], "'timestamp' is empty in 1 row, first in row 0"),
        ([float("inf")], "infinite"),
        (["2020-01-01", "yesterday"], "'yesterday' does not fit the rest"),
        (["1.5", "12", "2020-01-01"], "'2020-01-01' does not fit the rest"),
        (["2020-01-01", "7", "2020-01-02"], "'7' does not fit the rest"),
        (["1", "nan"], "infinite or no number"),
        (["2020-01-01T00:00:00", "2020-01-01T00:00:00Z"], "'2020-01-01T00:00:00Z' does not fit the rest"),
        ([True], "has the type bool"),
        ([1e300, 0.5], "1e\\+300"),
        (np.array([2**63], dtype=np.uint64), "does not fit int64"),
    ],
)
def test_bad_timestamps_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        timestamps_as_integers(column(given))


def test_values_become_floats_and_nan_is_missing():
    assert values_as_floats(column([1, 5])).to_pylist() == [1.0, 5.0]
    assert values_as_floats(column([float("nan"), 2.0])).to_pylist() == [None, 2.0]
    with pytest.raises(ValueError, match="'value' cannot be read as numbers"):
        values_as_floats(column(["good"]))


@pytest.mark.parametrize(
    ("given", "per_second"),
    [
        ([0, 1700000000], 1),
        ([-5, 1_700_000_000_000], 10**3),
        ([1_700_000_000_000_000], 10**6),
        ([1_700_000_000_000_000_000], 10**9),
        ([1700000000.0, 1.0], 1),
        ([0.5, 1.0], 10**6),
        (["1970-01-01", "1970-01-02"], 10**6),
        (["1700000000000"], 10**3),
        (column([1, 2], pa.timestamp("ns")), 10**9),
        ([], 1),
    ],
)
def test_the_unit_of_timestamps(given, per_second):
    given = given if isinstance(given, pa.ChunkedArray) else column(given, None if given else pa.int64())
    assert timestamps_as_integers(given)[1] == per_second
