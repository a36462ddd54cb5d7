import json

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seqrec.data import PreparedData, prepare
from seqrec.data_source import load_data


@pytest.fixture
def by_time(toy_interactions, toy_items):
    return prepare(toy_interactions, toy_items, min_interactions=3, split="global_time", time_fraction=0.2)


def changed(prepared, folder, split, change):
    """Save prepared data with one split rebuilt by hand, as somebody with `datasets` would."""
    prepared.save(folder)
    rows = [change(row, number) for number, row in enumerate(prepared.dataset[split].to_list())]
    table = pa.Table.from_pylist(rows, schema=prepared.dataset[split].data.table.schema)
    splits = {**prepared.dataset, split: datasets.Dataset(table)}
    datasets.DatasetDict(splits).save_to_disk(folder)
    return folder


def longer(row, number, by=1):
    """Row 5 shows one more event, of the newest time."""
    if number != 5:
        return row
    return {**row, "history": [*row["history"], *["1500"] * by], "timestamps": [*row["timestamps"], *[9999] * by]}


def test_global_time_end_to_end_by_hand():
    log = pa.table({"user_id": list("aabbaacb"), "item_id": list("xyxzxzxx"), "timestamp": [1, 2, 3, 4, 5, 7, 8, 9]})
    prepared = prepare(log, min_interactions=1, split="global_time", time_fraction=0.25)
    asked = {
        name: [(row["user_id"], row["history"], row["targets"]) for row in prepared.dataset[name]]
        for name in prepared.dataset
    }
    assert asked == {
        "train": [("a", ["x", "y"], []), ("b", ["x", "z"], [])],
        "validation": [("a", ["x", "y"], ["x"])],
        "test": [("b", ["x", "z"], ["x"]), ("c", [], ["x"])],
    }
    split = prepared.report["split"]
    assert (split["name"], split["validation"]["cut"], split["test"]["cut"]) == ("global_time", 5, 8)
    assert split["test"]["num_users_without_history"] == 1
    assert prepared.report["settings"]["time_fraction"] == 0.25
    assert prepared.items.to_dict() == {"item_id": ["x", "y", "z"], "count": [2, 1, 1]}


def test_what_prepare_makes_is_whole_in_both_splits(by_time, toy_prepared, tmp_path):
    for number, prepared in enumerate((by_time, toy_prepared)):
        prepared.save(tmp_path / str(number))
        assert PreparedData.load(tmp_path / str(number)).report == prepared.report


@pytest.mark.parametrize(
    ("split", "change", "sentence"),
    [
        ("train", longer, r"Row 5 of train, 7 events long, is not where row 5 of validation begins, 6 events long"),
        ("validation", longer, r"Row 5 of train, 6 events long, is not where row 5 of validation begins, 7 events"),
        ("test", longer, r"Row 5 of test shows 8 events and row 5 of validation, of the same user, 6; expected"),
        (
            "train",
            lambda row, number: {**row, "history": ["d12", *row["history"][1:]]} if number == 3 else row,
            r"Row 3 of train, 6 events long, is not where row 3 of validation begins, 6 events long",
        ),
        (
            "test",
            lambda row, number: {**row, "history": [*row["history"][:-1], row["targets"][0]]} if number == 2 else row,
            r"Row 2 of test shows 7 events .*expected the validation history and then its target in test",
        ),
        ("train", lambda row, number: {**row, "user_id": "u01"}, "Row 1 of train is another one of the user of row 0"),
        ("test", lambda row, number: {**row, "targets": []}, "Row 0 of test has 0 targets"),
        ("test", lambda row, number: {**row, "timestamps": [1]}, "Row 0 of test has not one time for each event"),
        (
            "train",
            lambda row, number: {**row, "timestamps": row["timestamps"][::-1]},
            r"Row 0 of train shows an event that is older than the one before it; expected the oldest first",
        ),
    ],
)
def test_a_changed_leave_one_out_folder_is_refused(toy_prepared, tmp_path, split, change, sentence):
    folder = changed(toy_prepared, tmp_path / "prepared", split, change)
    with pytest.raises(ValueError, match=rf"may not be used: {sentence}.*Prepare the source again") as refused:
        PreparedData.load(folder)
    assert "u0" not in str(refused.value)  # no user id


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_events_after_the_cut_are_refused(by_time, tmp_path, split):
    cut = by_time.report["split"]["validation" if split == "train" else split]["cut"]
    folder = changed(by_time, tmp_path / "prepared", split, longer)
    with pytest.raises(ValueError, match=rf"Row 5 of {split} shows an event at or after {cut}, .*its time is 9999"):
        PreparedData.load(folder)


def test_a_train_split_of_later_events_is_refused_before_training(toy_interactions, by_time, tmp_path):
    """The usual mistake: train is made anew from all events, validation and test stay."""
    everything = prepare(toy_interactions, min_interactions=3).dataset["test"].to_list()
    whole = {row["user_id"]: row["history"] for row in everything}
    times = {row["user_id"]: row["timestamps"] for row in everything}

    def rebuilt(row, number):
        return {**row, "history": whole[row["user_id"]], "timestamps": times[row["user_id"]]}

    from seqrec.settings import parse_settings

    folder = changed(by_time, tmp_path / "prepared", "train", rebuilt)
    with pytest.raises(ValueError, match="of train shows an event at or after"):
        load_data(parse_settings({"dataset": str(folder)}))


def test_a_folder_that_cannot_be_checked_is_refused(by_time, tmp_path):
    without = datasets.DatasetDict({name: rows.remove_columns("timestamps") for name, rows in by_time.dataset.items()})
    PreparedData(without, by_time.items, by_time.report).save(tmp_path / "a")
    with pytest.raises(ValueError, match="global_time cannot be checked: timestamps of train is missing"):
        PreparedData.load(tmp_path / "a")
    report = {**by_time.report, "split": {"name": "by_feeling"}}
    PreparedData(by_time.dataset, by_time.items, report).save(tmp_path / "b")
    with pytest.raises(ValueError, match="'by_feeling'; expected one of leave_one_out, global_time, none"):
        PreparedData.load(tmp_path / "b")
    PreparedData(by_time.dataset, by_time.items, {}).save(tmp_path / "c")
    with pytest.raises(ValueError, match=r"preparation.json' says nothing right of 'source'"):
        PreparedData.load(tmp_path / "c")


@pytest.mark.parametrize("name", ["train/data-00000-of-00001.arrow", "items.parquet", "train/state.json"])
def test_a_damaged_folder_is_refused(toy_prepared, tmp_path, name):
    toy_prepared.save(tmp_path / "prepared")
    path = tmp_path / "prepared" / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"prepared' is damaged \(.*scripts/prepare.py"):
        PreparedData.load(tmp_path / "prepared")


def test_with_global_time_too_test_goes_on_with_what_validation_asked_for(by_time, tmp_path):
    validation, test = by_time.dataset["validation"].to_list(), by_time.dataset["test"].to_list()
    number, row = next((n, row) for n, row in enumerate(test) if row["user_id"] == validation[0]["user_id"])
    shown = len(validation[0]["history"])  # the target of validation comes next
    history, times = row["history"], row["timestamps"]
    other = [*history[:shown], history[0], *history[shown + 1 :]]
    for name, change in (
        ("cut", {"history": history[:shown], "timestamps": times[:shown]}),
        ("other", {"history": other}),
    ):
        folder = changed(
            by_time, tmp_path / name, "test", lambda row, of, change=change: row | change if of == number else row
        )
        with pytest.raises(ValueError, match=rf"Row {number} of test shows .* then its target in test\. Prepare"):
            PreparedData.load(folder)


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        ("history", ["a"] * 12, "of the type string; expected lists of string"),
        ("history", [["a", None]] * 12, "lacks a value"),
        ("targets", [[1]] * 12, "of the type list<item: int64>; expected lists of string"),
        ("timestamps", [["1"]] * 12, "of the type list<item: string>; expected lists of int64"),
        ("timestamps", ["1"] * 12, "of the type string; expected lists of int64"),
        ("timestamps", [[1, None]] * 12, "lacks a value"),
        ("user_id", list(range(12)), "of the type int64; expected string"),
    ],
)
def test_columns_of_other_types_are_refused(toy_prepared, tmp_path, column, values, said):
    table = toy_prepared.dataset["test"].data.table
    table = table.set_column(table.column_names.index(column), column, pa.array(values))
    splits = datasets.DatasetDict({**toy_prepared.dataset, "test": datasets.Dataset(table)})
    PreparedData(splits, toy_prepared.items, toy_prepared.report).save(tmp_path / "prepared")
    with pytest.raises(ValueError, match=f"The column '{column}' of test .*{said}.*Prepare the source again"):
        PreparedData.load(tmp_path / "prepared")


@pytest.mark.parametrize("text", ["[]", "null", '"x"', "3", '{"features": [1]}'])
@pytest.mark.parametrize("name", ["train/dataset_info.json", "train/state.json", "dataset_dict.json"])
def test_json_of_another_shape_is_refused(toy_prepared, tmp_path, name, text):
    toy_prepared.save(tmp_path / "prepared")
    (tmp_path / "prepared" / name).write_text(text)
    with pytest.raises(ValueError, match=r"prepared' (is damaged|may not be used).* with scripts/prepare\.py\.$"):
        PreparedData.load(tmp_path / "prepared")


@pytest.mark.parametrize(
    ("entry", "value", "said"),
    [
        ("split", {"name": "global_time", "validation": 3}, "the cut of train is missing"),
        ("split", {"name": "global_time", "validation": {"cut": "1"}}, "the cut of train is missing"),
        ("split", {"name": []}, r"names the split \[\]"),
        ("source", {}, "says nothing right of 'source'"),
        ("steps", [], "says nothing right of 'steps'"),
        ("steps", [{"name": "a", "before": 3, "after": {}}], "says nothing right of 'steps'"),
        ("num_interactions", None, "says nothing right of 'num_interactions'"),
    ],
)
def test_a_report_of_another_shape_is_refused(by_time, tmp_path, entry, value, said):
    by_time.save(tmp_path / "prepared")
    path = tmp_path / "prepared" / "preparation.json"
    path.write_text(json.dumps({**by_time.report, entry: value}))
    with pytest.raises(ValueError, match=f"{said}.* again with scripts/prepare"):
        PreparedData.load(tmp_path / "prepared")


@pytest.mark.parametrize("items", [{"count": [1]}, {"item_id": [1], "count": [1]}, {"item_id": ["a"]}])
def test_a_catalogue_of_other_columns_is_refused(toy_prepared, tmp_path, items):
    toy_prepared.save(tmp_path / "prepared")
    pq.write_table(pa.table(items), tmp_path / "prepared" / "items.parquet")
    with pytest.raises(
        ValueError, match=r"items\.parquet' has the columns .*; expected 'item_id' as text and 'count'"
    ):
        PreparedData.load(tmp_path / "prepared")
