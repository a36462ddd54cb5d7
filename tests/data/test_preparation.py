import csv
import json
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pytest

from seqrec.data import PreparedData, histories_of, load_interactions, prepare

BENCH_SPLIT = Path(__file__).parents[3] / "shared" / "bench" / "ml100k_split.csv"


def log(text, **columns):
    """Interactions from words such as `u1:a`, with further columns beside them."""
    users, items = zip(*(word.split(":") for word in text.split()), strict=True)
    return pa.table({"user_id": users, "item_id": items, **columns})


def histories(split):
    return dict(zip(split["user_id"], split["history"], strict=True))


def targets(split):
    return dict(zip(split["user_id"], split["targets"], strict=True))


def test_splits_of_a_small_log_by_hand():
    prepared = prepare(
        log("v:a u:b v:c u:a v:b u:c w:c u:d w:a", timestamp=[9, 1, 3, 2, 5, 3, 1, 4, 2]), min_interactions=1
    )
    dataset = prepared.dataset
    assert histories(dataset["train"]) == {"v": ["c"], "u": ["b", "a"], "w": ["c", "a"]}
    assert targets(dataset["train"]) == {"v": [], "u": [], "w": []}
    assert histories(dataset["validation"]) == {"v": ["c"], "u": ["b", "a"]}
    assert targets(dataset["validation"]) == {"v": ["b"], "u": ["c"]}
    assert histories(dataset["test"]) == {"v": ["c", "b"], "u": ["b", "a", "c"]}
    assert targets(dataset["test"]) == {"v": ["a"], "u": ["d"]}
    assert dataset["test"]["timestamps"][:] == [[3, 5], [1, 2, 3]]
    assert prepared.report["split"]["num_users_only_in_train"] == 1
    # in train: a twice, c twice, b once, d never
    assert prepared.items.to_dict() == {"item_id": ["a", "c", "b", "d"], "count": [2, 2, 1, 0]}


def test_without_a_split_everything_is_for_training(tmp_path):
    prepared = prepare(log("u1:a u1:b u1:c u2:c u3:b"), min_interactions=1, split="none")
    assert histories(prepared.dataset["train"]) == {"u1": ["a", "b", "c"], "u2": ["c"], "u3": ["b"]}
    assert len(prepared.dataset["validation"]) == len(prepared.dataset["test"]) == 0
    assert prepared.items["count"][:] == [2, 2, 1]
    prepared.save(tmp_path / "data")
    assert histories(PreparedData.load(tmp_path / "data").dataset["train"]) == histories(prepared.dataset["train"])


def test_row_types_are_the_contract():
    features = prepare(log("u:a u:b u:c", timestamp=[1, 2, 3]), min_interactions=1).dataset["train"].features
    assert features == datasets.Features(
        user_id=datasets.Value("string"),
        history=datasets.List(datasets.Value("string")),
        targets=datasets.List(datasets.Value("string")),
        timestamps=datasets.List(datasets.Value("int64")),
    )


def test_equal_times_keep_the_order_of_the_source():
    tied = log("u:c u:a u:d u:b", timestamp=[5, 5, 1, 5])
    assert histories(prepare(tied, min_interactions=1).dataset["test"]) == {"u": ["d", "c", "a"]}


def test_without_times_the_order_is_that_of_the_rows():
    prepared = prepare(log("u:c v:x u:a v:y u:c u:b v:x"), min_interactions=1)
    assert histories(prepared.dataset["test"]) == {"u": ["c", "a", "c"], "v": ["x", "y"]}
    assert "timestamps" not in prepared.dataset["test"].column_names
    assert [step["name"] for step in prepared.report["steps"]] == ["min_interactions"]
    assert prepared.report["order"] == ["row"]


def test_duplicates_are_equal_user_item_and_time():
    doubled = log("u:a u:a u:a u:b u:b", timestamp=[1, 1, 2, 3, 4])
    assert histories(prepare(doubled, min_interactions=1).dataset["test"]) == {"u": ["a", "a", "b"]}
    kept = prepare(doubled, min_interactions=1, drop_duplicates=False)
    assert histories(kept.dataset["test"]) == {"u": ["a", "a", "a", "b"]}
    assert [step["name"] for step in kept.report["steps"]] == ["min_interactions"]


def test_k_core_goes_on_until_both_sides_hold():
    # d has one event; without it u3 has one; without u3 c has one; without c u2 has one; u1 and u4 share a and b
    chain = log("u1:a u1:b u4:a u4:b u2:a u2:c u3:c u3:d")
    prepared = prepare(chain, min_interactions=2)
    assert sorted(prepared.dataset["train"]["user_id"]) == ["u1", "u4"]
    assert sorted(prepared.items["item_id"]) == ["a", "b"]
    assert prepared.report["num_interactions"] == 4


def test_min_value_filters_before_the_core_and_missing_values_do_not_count():
    rated = log("u:a u:b u:c u:d", value=[4.0, 3.9, None, 5.0])
    assert histories(prepare(rated, min_interactions=1, min_value=4).dataset["train"]) == {"u": ["a", "d"]}


def test_report_counts_by_hand():
    rated = log("u:a u:b u:b u:c v:a v:b v:z", timestamp=[1, 2, 2, 3, 1, 2, 3], value=[5, 5, 5, 1, 5, 5, 5])
    content = pa.table({"item_id": ["a", "q", "a"], "title": ["A", "Q", "A"]})
    report = prepare(rated, content, min_interactions=2, min_value=2).report
    before = [{"num_users": 2, "num_items": 4, "num_interactions": 7}]
    after_value = {"num_users": 2, "num_items": 3, "num_interactions": 6}
    after_duplicates = {"num_users": 2, "num_items": 3, "num_interactions": 5}
    after_core = {"num_users": 2, "num_items": 2, "num_interactions": 4}
    assert report["steps"] == [
        {"name": "min_value", "before": before[0], "after": after_value},
        {"name": "drop_duplicates", "before": after_value, "after": after_duplicates},
        {"name": "min_interactions", "before": after_duplicates, "after": after_core},
    ]
    assert {name: value for name, value in report["settings"].items() if value is not None} == {
        "split": "leave_one_out",
        "min_interactions": 2,
        "min_value": 2,
        "drop_duplicates": True,
        "cold_item_fraction": 0.0,
    }
    assert report["content"] == {
        "num_rows": 3,
        "num_equal_rows_merged": 1,
        "num_rows_without_interactions": 1,  # q
        "num_items_without_row": 1,  # b
        "num_interactions_without_row": 2,
    }
    assert (report["num_users"], report["num_items"], report["num_interactions"]) == (2, 2, 4)
    assert report["source"]["num_interactions"] == 7


def test_the_source_hash_sees_every_cell_and_nothing_else():
    base = log("u:a u:bc v:a", timestamp=[1, 2, 3])

    def source(table):
        return prepare(table, min_interactions=1).report["source"]["sha256"]

    assert source(base) == source(pa.concat_tables([base.slice(0, 1), base.slice(1)]).append_column("x", [[1, 2, 3]]))
    assert source(base) != source(log("u:a u:bc v:a", timestamp=[1, 2, 4]))
    assert source(base) != source(log("u:ab u:c v:a", timestamp=[1, 2, 3]))


def test_content_follows_its_item_whatever_its_type():
    content = pa.table(
        {
            "item_id": ["x", "b", "a"],
            "poster": [b"x", b"\xff", None],
            "tags": [[], ["t"], ["s", None]],
            "maker": [None, {"name": "n", "years": [1995]}, {"name": None, "years": []}],
        }
    )
    items = prepare(log("u:a u:b u:c u:b"), content, min_interactions=1).items
    assert items.to_list() == [
        {"item_id": "a", "count": 1, "poster": None, "tags": ["s", None], "maker": {"name": None, "years": []}},
        {"item_id": "b", "count": 1, "poster": b"\xff", "tags": ["t"], "maker": {"name": "n", "years": [1995]}},
        {"item_id": "c", "count": 0, "poster": None, "tags": None, "maker": None},
    ]


def test_items_that_contradict_themselves_are_refused():
    content = pa.table({"item_id": ["a", "b", "a"], "title": ["A", "B", "Z"], "year": [1, 2, 1]})
    with pytest.raises(ValueError, match=r"Item 'a' has several rows that differ in \['title'\]"):
        prepare(log("u:a u:b u:c"), content, min_interactions=1)


def test_items_of_another_world_are_refused():
    with pytest.raises(ValueError, match=r"None of the 3 items .* among the 1 rows .* 'a' .* '00a'"):
        prepare(log("u:a u:b u:c"), pa.table({"item_id": ["00a"]}), min_interactions=1)


def test_a_content_column_may_not_take_our_name():
    content = pa.table({"item_id": ["a"], "count": [3]})
    with pytest.raises(ValueError, match="column 'count', which the catalogue uses"):
        prepare(log("u:a u:b u:c"), content, min_interactions=1)
    renamed = prepare(log("u:a u:b u:c"), content, min_interactions=1, column_mapping={"count": "stock"})
    assert renamed.items.column_names == ["item_id", "count", "stock"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_interactions": 3}, "No interaction is left of 4 .*min_interactions left 0.*Lower min_interactions"),
        ({"min_interactions": 0}, "min_interactions=0; expected at least 1"),
        ({"min_value": 3}, "min_value=3 needs the column 'value'"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        prepare(log("u:a u:b v:a v:b"), **settings)


def test_no_rows_at_all():
    empty = pa.table({"user_id": pa.array([], pa.string()), "item_id": pa.array([], pa.string())})
    with pytest.raises(ValueError, match="columns but no rows"):
        prepare(empty, min_interactions=1)


def test_save_and_load_round_trip(toy_prepared, tmp_path):
    folder = tmp_path / "deep" / "prepared"
    toy_prepared.save(folder)
    loaded = PreparedData.load(folder)
    for name in ("train", "validation", "test"):
        assert loaded.dataset[name].to_list() == toy_prepared.dataset[name].to_list()
        assert loaded.dataset[name].features == toy_prepared.dataset[name].features
    assert loaded.items.to_list() == toy_prepared.items.to_list()
    assert loaded.report == toy_prepared.report
    assert datasets.load_from_disk(folder)["test"].num_rows == 12
    assert [path.name for path in folder.parent.iterdir()] == ["prepared"]


def test_a_saved_folder_is_replaced_and_a_foreign_one_left_alone(toy_prepared, tmp_path):
    toy_prepared.save(tmp_path / "prepared")
    prepare(log("u:a u:b u:c"), min_interactions=1).save(tmp_path / "prepared")
    assert PreparedData.load(tmp_path / "prepared").report["num_users"] == 1
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("dear")
    with pytest.raises(ValueError, match="thesis.txt"):
        toy_prepared.save(tmp_path / "mine")
    with pytest.raises(ValueError, match=r"not a prepared data set: \['preparation.json'.*scripts/prepare\.py"):
        PreparedData.load(tmp_path / "mine")


def test_the_report_holds_no_user_and_no_path(toy_interactions, tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text("\n".join(map(json.dumps, toy_interactions.to_pylist())))
    prepared = prepare(path, min_interactions=3)
    prepared.save(tmp_path / "prepared")
    same = prepare(toy_interactions, min_interactions=3).report["source"]
    assert prepared.report["source"] == {**same, "name": "log.jsonl"}
    for file in (tmp_path / "prepared").rglob("*.json"):
        assert str(tmp_path) not in file.read_text()
        assert "u07" not in file.read_text()


def test_the_toy_world_is_whole(toy_prepared):
    assert (toy_prepared.report["num_users"], toy_prepared.report["num_items"]) == (12, 15)
    assert {"1500", "15001", "a [MASK] b"} <= set(toy_prepared.items["item_id"])


def test_histories_of_every_user_in_order():
    table = histories_of(load_interactions(log("v:a u:b v:c u:a v:b", timestamp=[9, 1, 3, 2, 3])))
    assert table.to_pylist() == [
        {"user_id": "v", "history": ["c", "b", "a"], "timestamps": [3, 3, 9]},
        {"user_id": "u", "history": ["b", "a"], "timestamps": [1, 2]},
    ]


def test_many_tied_events_keep_a_total_order():
    random = np.random.default_rng(0)
    users, items, times = (
        random.integers(0, 500, 50_000),
        random.integers(0, 300, 50_000),
        random.integers(0, 9, 50_000),
    )
    table = pa.table({"user_id": users, "item_id": items, "timestamp": times})
    order = np.lexsort((np.arange(len(users)), times, users))
    expected = {}
    for row in order:
        expected.setdefault(str(users[row]), []).append(str(items[row]))
    found = histories_of(load_interactions(table))
    assert dict(zip(found["user_id"].to_pylist(), found["history"].to_pylist(), strict=True)) == expected


@pytest.mark.network
@pytest.mark.skipif(not BENCH_SPLIT.is_file(), reason="the reference split is not beside this checkout")
def test_movielens_100k_gives_the_reference_split():
    prepared = prepare("movielens-100k", min_interactions=5)
    report = prepared.report
    assert (report["num_users"], report["num_items"], report["num_interactions"]) == (943, 1349, 99287)
    with BENCH_SPLIT.open() as file:
        expected = {
            row["user_id"]: (row["train_valid_sequence"].split(), [row["test_item"]]) for row in csv.DictReader(file)
        }
    test = prepared.dataset["test"]
    assert {row["user_id"]: (row["history"], row["targets"]) for row in test} == expected
    validation = {row["user_id"]: row["history"] + row["targets"] for row in prepared.dataset["validation"]}
    assert validation == {user: sequence for user, (sequence, _) in expected.items()}
    assert histories(prepared.dataset["train"]) == histories(prepared.dataset["validation"])


def test_more_text_than_an_arrow_array_can_address(toy_interactions, toy_prepared, monkeypatch):
    monkeypatch.setattr("seqrec.data.histories.MAX_STRING_BYTES", 100)
    long = prepare(toy_interactions, min_interactions=3).dataset
    for split in ("train", "validation", "test"):
        assert long[split]["history"][:] == toy_prepared.dataset[split]["history"][:]
    assert long["train"].features["history"].feature.dtype == "large_string"


def test_data_that_ask_nobody_are_saved_and_loaded(tmp_path):
    prepared = prepare(log("u:a v:b w:c"), min_interactions=1)
    prepared.save(tmp_path / "prepared")
    loaded = PreparedData.load(tmp_path / "prepared")
    assert [len(loaded.dataset[name]) for name in ("train", "validation", "test")] == [3, 0, 0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"split": "by_user"}, "split='by_user'; expected one of leave_one_out, global_time, none"),
        ({"time_fraction": 0.1}, "time_fraction=0.1 belongs to split: global_time"),
        ({"split": "global_time", "time_fraction": 0.5}, "time_fraction=0.5; expected above 0 and below 0.5"),
        (
            {"split": "global_time"},
            r"split='global_time' needs the column 'timestamp', but .*\['user_id', 'item_id'\]",
        ),
        ({"burst_seconds": 3}, "burst_seconds=3 needs the column 'timestamp'"),
        ({"burst_seconds": float("nan")}, "burst_seconds=nan; expected a number of seconds above 0"),
        ({"max_daily_interactions": 9}, "max_daily_interactions=9 needs the column 'timestamp'"),
        ({"max_daily_interactions": 0}, "max_daily_interactions=0; expected at least 1"),
    ],
)
def test_settings_of_time_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        prepare(log("u:a u:b u:c"), min_interactions=1, **settings)


def test_seconds_are_counted_in_the_unit_of_the_timestamps():
    times = [0, 4_000, 1_700_000_000_000]
    kept = prepare(log("u:a u:a u:b", timestamp=times), min_interactions=1, burst_seconds=4)
    assert kept.report["ticks_per_second"] == 1000
    assert kept.report["num_interactions"] == 2


def test_a_type_that_datasets_cannot_hold_is_refused():
    content = pa.table({"item_id": ["a"], "key": pa.array([b"0123456789abcdef"], pa.uuid())})
    with pytest.raises(ValueError, match="column 'key' of the type extension.*Convert or leave out"):
        prepare(log("u:a u:b u:c"), content, min_interactions=1)
