import datasets
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet
import pytest

from seqrec.data import load_interactions, load_items, load_tables

ROWS = {"user_id": ["007", "8", "8"], "item_id": ["1500", "a,b", "1500"], "timestamp": [3, 1, 2]}
CSV = 'user_id,item_id,timestamp,colour\n007,1500,3,red\n8,"a,b",1,\n8,1500,2,blue\n'
JSONL = """\
{"user_id": "007", "item_id": "1500", "timestamp": 3, "more": {"deep": [1]}}
{"user_id": "8", "item_id": "a,b", "timestamp": 1}
{"user_id": "8", "item_id": "1500", "timestamp": 2}
"""


def write(path, text, encoding="utf-8"):
    path.write_text(text, encoding=encoding)
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_csv_keeps_ids_as_they_are_written(tmp_path, encoding):
    assert load_interactions(write(tmp_path / "log.csv", CSV, encoding)).to_pydict() == ROWS


def test_tsv_jsonl_and_parquet_give_the_same_table(tmp_path):
    tsv = CSV.replace(",", "\t").replace('"a\tb"', "a,b")
    pa.parquet.write_table(pa.table(ROWS), tmp_path / "log.parquet")
    for path in (
        write(tmp_path / "log.tsv", tsv),
        write(tmp_path / "log.jsonl", JSONL),
        tmp_path / "log.parquet",
        str(tmp_path / "log.parquet"),
    ):
        assert load_interactions(path).to_pydict() == ROWS


def test_several_files_follow_each_other(tmp_path):
    second = write(tmp_path / "part-2.csv", "user_id,item_id\nb,y\n")
    first = write(tmp_path / "part-10.csv", "user_id,item_id\na,x\n")
    assert load_interactions([second, first])["user_id"].to_pylist() == ["b", "a"]
    assert load_interactions(f"{tmp_path}/part-*.csv")["user_id"].to_pylist() == ["a", "b"]  # by name
    assert load_interactions([f"{tmp_path}/part-1*.csv", second])["user_id"].to_pylist() == ["a", "b"]


def test_dates_in_jsonl_stay_what_they_are(tmp_path):
    lines = '{"user_id": 1, "item_id": "2020-01-01", "timestamp": "1970-01-01T00:00:01"}\n'
    assert load_interactions(write(tmp_path / "log.jsonl", lines)).to_pydict() == {
        "user_id": ["1"],
        "item_id": ["2020-01-01"],
        "timestamp": [1_000_000],
    }


@pytest.mark.parametrize(
    "as_table",
    [
        pa.table,
        pd.DataFrame,
        lambda rows: pd.DataFrame(rows, index=[5, 7, 9]),
        pl.DataFrame,
        datasets.Dataset.from_dict,
        lambda rows: pa.table(rows).to_reader(),
    ],
)
def test_tables_in_memory(as_table):
    assert load_interactions(as_table(ROWS)).to_pydict() == ROWS


def test_duckdb_tables():
    duckdb = pytest.importorskip("duckdb")
    assert load_interactions(duckdb.from_arrow(pa.table(ROWS))).to_pydict() == ROWS


def test_a_selection_of_a_dataset_keeps_its_order():
    dataset = datasets.Dataset.from_dict(ROWS).select([2, 0])
    assert load_interactions(dataset)["timestamp"].to_pylist() == [2, 3]


def test_whole_ids_with_a_missing_neighbour_column_in_pandas():
    frame = pd.DataFrame({"user_id": [1.0, 2.0], "item_id": [1500, 7], "value": [None, 4.0]})
    assert load_interactions(frame).to_pydict() == {
        "user_id": ["1", "2"],
        "item_id": ["1500", "7"],
        "value": [None, 4.0],
    }


def test_items_keep_their_content(tmp_path):
    content = {
        "item_id": [1500, 15001],
        "title": ["Heat", None],
        "poster": [b"\xff\xd8", None],
        "tags": [["a", "b"], []],
        "maker": [{"name": "x", "year": 1995}, {"name": None, "year": None}],
    }
    expected = {**content, "item_id": ["1500", "15001"]}
    pa.parquet.write_table(pa.table(content), tmp_path / "items.parquet")
    assert load_items(tmp_path / "items.parquet").to_pydict() == expected
    assert load_items(pl.DataFrame(content)).to_pydict() == expected
    assert load_items(datasets.Dataset.from_dict(content)).to_pydict() == expected


def test_csv_items_are_text_and_an_empty_field_is_missing(tmp_path):
    path = write(tmp_path / "items.csv", 'item_id,title,year\n07,NA,1995\n8,"two\nlines",\n')
    assert load_items(path).to_pydict() == {
        "item_id": ["07", "8"],
        "title": ["NA", "two\nlines"],
        "year": ["1995", None],
    }


def test_one_mapping_serves_both_tables():
    log = pa.table({"customer": [1], "sku": ["x"], "when": [5], "stars": [4]})
    items = pa.table({"sku": ["x"], "name": ["Heat"], "price": [9]})
    mapping = {"customer": "user_id", "sku": "item_id", "when": "timestamp", "stars": "value", "name": "title"}
    interactions, content = load_tables(log, items, mapping)
    assert interactions.to_pydict() == {"user_id": ["1"], "item_id": ["x"], "timestamp": [5], "value": [4.0]}
    assert content.to_pydict() == {"item_id": ["x"], "title": ["Heat"], "price": [9]}


def test_a_mapping_may_swap_two_columns():
    log = pa.table({"user_id": ["x"], "item_id": ["y"]})
    swapped = load_interactions(log, {"user_id": "item_id", "item_id": "user_id"})
    assert swapped.to_pydict() == {"user_id": ["y"], "item_id": ["x"]}


def test_a_wrong_mapping_names_the_columns_of_both_tables():
    log, items = pa.table({"customer": [1], "sku": ["x"]}), pa.table({"sku": ["x"], "name": ["Heat"]})
    with pytest.raises(ValueError, match=r"\['custmer'\].*\['customer', 'sku'\].*\['sku', 'name'\]"):
        load_tables(log, items, {"custmer": "user_id"})
    with pytest.raises(ValueError, match=r"several columns called \['item_id'\]"):
        load_tables(log, items, {"customer": "user_id", "sku": "item_id", "name": "item_id"})


def test_a_missing_column_is_named():
    with pytest.raises(
        ValueError, match=r"Interactions need .* but \['user_id'\] are missing from \['item_id', 'uid'\]"
    ):
        load_interactions(pa.table({"uid": [1], "item_id": ["x"]}))
    with pytest.raises(ValueError, match=r"Items need .* but \['item_id'\] are missing from \['name'\]"):
        load_items(pa.table({"name": ["Heat"]}))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "user_id,item_id\n1,2,3\n", "Expected 2 columns, got 3"),
        ("a.csv", "", "Empty CSV"),
        ("a.csv", "user_id,item_id\n1,\n", "'item_id' is empty in 1 row, first in row 0"),
        (
            "a.jsonl",
            '{"user_id": 1, "item_id": 1}\n{"user_id": "b", "item_id": 1}\n',
            "user_id.*each column of one type",
        ),
        ("a.jsonl", '{"user_id"\n', "cannot be read"),
        ("a.parquet", "hello", "cannot be read"),
        ("a.xlsx", "hello", "Cannot tell the format"),
    ],
)
def test_unreadable_files_are_refused_with_a_sentence(tmp_path, name, text, message):
    with pytest.raises(ValueError, match=message):
        load_interactions(write(tmp_path / name, text))


def test_a_file_in_another_encoding_is_refused(tmp_path):
    with pytest.raises(ValueError, match="UTF-8"):
        load_items(write(tmp_path / "items.csv", "item_id,title\n1,café\n", encoding="latin-1"))


def test_things_that_are_no_source(tmp_path):
    for source, message in [
        (tmp_path, "is a folder"),
        (tmp_path / "no.csv", "There is no file"),
        ([tmp_path / "no.csv"], "There is no file"),
        ("movielens-99k", "names no data set"),
        ("owner/name", "the Hub gave no data set"),
        ([], "list of paths is empty"),
        ([{"user_id": 1}], "Cannot read a table from an object of type list"),
        (datasets.DatasetDict(), "Cannot read a table from an object of type DatasetDict"),
        (pd.DataFrame({"user_id": [1, "b"], "item_id": [1, 2]}), "DataFrame cannot be read"),
    ]:
        with pytest.raises(ValueError, match=message):
            load_interactions(source)
