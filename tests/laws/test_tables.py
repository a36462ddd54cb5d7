"""Laws of preparation: whatever the table."""

from collections import Counter

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import strategies as st

from seqrec.data import prepare
from seqrec.data.columns import SPECIAL_TOKENS

IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6).filter(
    lambda i: i not in SPECIAL_TOKENS
)


@st.composite
def logs(draw):
    """An interaction table as a list of rows, with times and values or without, and the settings to prepare it."""
    users, items = draw(st.lists(IDS, min_size=1, max_size=5)), draw(st.lists(IDS, min_size=1, max_size=5))
    columns = {"user_id": st.sampled_from(users), "item_id": st.sampled_from(items)}
    if draw(st.booleans()):
        columns["timestamp"] = st.integers(-2, 3)
    if draw(st.booleans()):
        columns["value"] = st.one_of(st.none(), st.sampled_from([1.0, 2.5, 4.0]))
    rows = draw(st.lists(st.fixed_dictionaries(columns), min_size=1, max_size=40))
    least = draw(st.sampled_from([None, 2.0])) if "value" in columns else None
    return rows, {
        "min_interactions": draw(st.integers(1, 3)),
        "min_value": least,
        "drop_duplicates": draw(st.booleans()),
    }


def kept_rows(rows, min_interactions, min_value, drop_duplicates):
    """The rule of cleaning, written naively."""
    rows = [row for row in rows if min_value is None or (row["value"] is not None and row["value"] >= min_value)]
    if drop_duplicates and rows and "timestamp" in rows[0]:
        rows = list({(row["user_id"], row["item_id"], row["timestamp"]): row for row in reversed(rows)}.values())[::-1]
    while True:
        counts = [Counter(row[side] for row in rows) for side in ("user_id", "item_id")]
        left = [r for r in rows if min(counts[0][r["user_id"]], counts[1][r["item_id"]]) >= min_interactions]
        if len(left) == len(rows):
            return rows
        rows = left


def prepared_data_is_what_the_rules_say(world, case):
    rows, rules = case
    numbered = [{**row, "row": number} for number, row in enumerate(rows)]
    expected = sorted(kept_rows(numbered, **rules), key=lambda row: (row.get("timestamp", 0), row["row"]))
    table = pa.table({name: pa.array([row[name] for row in rows], FIELDS[name]) for name in rows[0]})
    if not expected:
        with pytest.raises(ValueError, match=r"No interaction is left of .*; expected"):
            prepare(table, **rules)
        return
    prepared = prepare(table, **rules)
    histories = {}
    for row in expected:
        histories.setdefault(row["user_id"], []).append(row["item_id"])
    asked = {user: items for user, items in histories.items() if len(items) >= 3}
    shown = {user: items[:-2] if user in asked else items for user, items in histories.items()}
    splits = {name: {row["user_id"]: row for row in prepared.dataset[name]} for name in prepared.dataset}
    assert {user: row["history"] for user, row in splits["train"].items()} == shown
    for name, cut in (("validation", -2), ("test", -1)):
        found = {user: (row["history"], row["targets"]) for user, row in splits[name].items()}
        assert found == {user: (items[:cut], [items[cut]]) for user, items in asked.items()}
    counts = Counter(item for items in shown.values() for item in items)
    catalogue = sorted({row["item_id"] for row in expected}, key=lambda item: (-counts[item], item))
    assert prepared.items["item_id"][:] == catalogue
    assert prepared.items["count"][:] == [counts[item] for item in catalogue]
    assert (
        prepared.report["num_interactions"]
        == len(expected)
        == prepared.report["steps"][-1]["after"]["num_interactions"]
    )


FIELDS = {"user_id": pa.string(), "item_id": pa.string(), "timestamp": pa.int64(), "value": pa.float64()}
CELLS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 2**70),
    st.floats(),
    st.text(max_size=4),
    st.sampled_from([*SPECIAL_TOKENS, "2024-05-01", "2024-05-01T10:00:00Z", "1e9", "", " 7 ", "NaN"]),
    st.binary(max_size=3),
    st.dates(),
    st.datetimes(),
    st.lists(st.integers(), max_size=2),
)
KINDS = [st.integers(0, 3), st.floats(), st.text(max_size=2), st.sampled_from(["a", "b"]), st.datetimes(), CELLS]


@st.composite
def odd_tables(draw):
    """A pandas table with the right names and anything under them."""
    names = draw(st.lists(st.sampled_from([*FIELDS, "other", "", "user_id "]), unique=True, max_size=5))
    names = draw(st.sampled_from([names, ["user_id", "item_id"], list(FIELDS)]))
    length = draw(st.integers(0, 8))
    kinds = {name: draw(st.sampled_from(KINDS)) for name in names}
    columns = {name: draw(st.lists(kind, min_size=length, max_size=length)) for name, kind in kinds.items()}
    return pd.DataFrame({name: pd.Series(values, dtype=object).infer_objects() for name, values in columns.items()})


def an_odd_table_is_prepared_or_refused(world, table):
    try:
        prepared = prepare(table, min_interactions=1)
    except ValueError as error:
        world.assert_speaks(error)
        return
    events = sum(len(row["history"]) for row in prepared.dataset["train"])
    events += sum(len(prepared.dataset[name]) for name in ("validation", "test"))
    assert (
        events
        == prepared.report["num_interactions"]
        == sum(prepared.items["count"]) + events - sum(len(row["history"]) for row in prepared.dataset["train"])
    )
    assert set(prepared.dataset["train"]["user_id"]) == {
        user for name in prepared.dataset for user in prepared.dataset[name]["user_id"]
    }


LAWS = {
    prepared_data_is_what_the_rules_say: (logs(), 180),
    an_odd_table_is_prepared_or_refused: (odd_tables(), 170),
}


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_it_holds(law, holds):
    holds(law, *LAWS[law])
