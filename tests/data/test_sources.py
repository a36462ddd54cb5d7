import gzip

import datasets
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from seqrec.data import PreparedData, load_interactions, load_items, load_tables, prepare
from seqrec.data.reading import read_table

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


TABLES = {
    "pandas": pd.DataFrame,
    "pandas with an index": lambda rows: pd.DataFrame(rows, index=range(5, 5 + len(rows["item_id"]))),
    "pandas categories": lambda rows: pd.DataFrame(rows).astype({"item_id": "category"}),
    "polars": pl.DataFrame,
    "polars categories": lambda rows: pl.DataFrame(rows).cast({"item_id": pl.Categorical}),
    "pyarrow reader": lambda rows: pa.table(rows).to_reader(),
    "pyarrow chunks": lambda rows: pa.concat_tables([pa.table(rows).slice(0, 7), pa.table(rows).slice(7)]),
    "datasets": datasets.Dataset.from_dict,
    "duckdb": lambda rows: pytest.importorskip("duckdb").from_arrow(pa.table(rows)),
    "wide": lambda rows: pa.table({**rows, "note": [None] * len(rows["item_id"])}),
}


@pytest.mark.parametrize("kind", TABLES)
def test_every_kind_of_table_gives_the_same_prepared_data(kind, toy_interactions, toy_items, toy_prepared):
    assert load_interactions(TABLES[kind](ROWS)).to_pydict() == ROWS
    interactions, items = (TABLES[kind](table.to_pydict()) for table in (toy_interactions, toy_items))
    prepared = prepare(interactions, items, min_interactions=3)
    assert prepared.report["source"]["sha256"] == toy_prepared.report["source"]["sha256"]
    for name, rows in toy_prepared.dataset.items():
        assert prepared.dataset[name].to_list() == rows.to_list()
    assert [{**row, "note": None} for row in prepared.items] == [{**row, "note": None} for row in toy_prepared.items]


def test_images_and_sounds_of_a_dataset_stay_as_they_are_stored(toy_interactions, tmp_path):
    pixels = bytes.fromhex("89504e47")
    features = datasets.Features(
        item_id=datasets.Value("string"), poster=datasets.Image(decode=True), theme=datasets.Audio(decode=False)
    )
    rows = {"item_id": ["d04", "d05"], "poster": [{"bytes": pixels, "path": None}, None], "theme": [None, None]}
    prepared = prepare(toy_interactions, datasets.Dataset.from_dict(rows, features), min_interactions=3)
    prepared.save(tmp_path / "prepared")
    items = {row["item_id"]: row for row in PreparedData.load(tmp_path / "prepared").items}
    assert items["d04"]["poster"] == {"bytes": pixels, "path": None}
    assert items["d05"]["poster"] is None


def test_other_columns_are_not_read(tmp_path):
    wide = pa.table({**ROWS, "review": ["x" * 1000] * 3, "when": [1, 2, 3]})
    pa.parquet.write_table(wide, tmp_path / "log.parquet")
    pa.csv.write_csv(wide, tmp_path / "log.csv")
    for source in (tmp_path / "log.parquet", tmp_path / "log.csv", datasets.Dataset(wide)):
        table = read_table(source, columns={"user_id", "item_id", "timestamp"})
        assert table.column_names == wide.column_names
        assert table["review"].null_count == 3
        mapped = load_interactions(source, {"timestamp": "before", "when": "timestamp", "review": "text"})
        assert mapped["timestamp"].to_pylist() == [1, 2, 3]


def test_compressed_text_and_a_cell_longer_than_a_block(tmp_path):
    (tmp_path / "log.csv.gz").write_bytes(gzip.compress(CSV.encode()))
    (tmp_path / "log.jsonl.gz").write_bytes(gzip.compress(JSONL.encode()))
    for name in ("log.csv.gz", "log.jsonl.gz"):
        (tmp_path / f"LOUD-{name.upper()}").write_bytes((tmp_path / name).read_bytes())
        assert load_interactions(tmp_path / f"LOUD-{name.upper()}").to_pydict() == ROWS
        assert load_interactions(tmp_path / name).to_pydict() == ROWS
    path = write(tmp_path / "items.csv", f"item_id,title\n1,{'x' * 3_000_000}\n")
    assert len(load_items(path)["title"][0].as_py()) == 3_000_000


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
        ("a.csv", "user_id,item_id\n", "columns but no rows"),
        ("a.csv", "user_id,item_id,item_id\n1,2,3\n", r"\['item_id'\] occur twice"),
        ("a.csv.gz", "user_id,item_id\n1,2\n", "incorrect header check"),
        ("a.parquet", "", "expected a whole .parquet file"),
        ("a.jsonl", "", "Empty JSON"),
    ],
)
def test_unreadable_files_are_refused_with_a_sentence(tmp_path, name, text, message):
    with pytest.raises(ValueError, match=message):
        prepare(write(tmp_path / name, text), min_interactions=1)


def test_a_file_in_another_encoding_is_refused(tmp_path):
    with pytest.raises(ValueError, match="begins like UTF-16") as refused:
        load_items(write(tmp_path / "items.csv", "item_id,title\n1,x\n", encoding="utf-16"))
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("name", ["items.csv", "items.jsonl", "items.csv.gz"])
def test_the_line_that_is_no_utf8_is_named(tmp_path, name):
    rows = (
        ["1,tea", "2,café"]
        if "csv" in name
        else ['{"item_id": "1", "title": "tea"}', '{"item_id": "2", "title": "é"}']
    )
    content = "\n".join(["item_id,title", *rows] if "csv" in name else rows).encode("latin-1")
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    with pytest.raises(ValueError, match=rf"line {3 if 'csv' in name else 2} is no UTF-8: b'.*\\xe9") as refused:
        load_items(str(path))
    assert str(refused.value).isprintable()


def test_things_that_are_no_source(tmp_path):
    for source, message in [
        (tmp_path, "is a folder"),
        (tmp_path / "no.csv", "There is no file"),
        ([tmp_path / "no.csv"], "There is no file"),
        ("movielens-99k", "names no data set"),
        ("owner/name", "the Hub gave no data set"),
        ([], "list of paths is empty"),
        ([{"user_id": 1}], "Cannot read a table from a list"),
        (datasets.DatasetDict(), "Cannot read a table from a DatasetDict"),
        (pd.DataFrame({"user_id": [1, "b"], "item_id": [1, 2]}), "DataFrame cannot be read"),
        (pd.DataFrame([[1, 2]], columns=["user_id", "user_id"]), "DataFrame cannot be read .*different names"),
        (pl.LazyFrame(ROWS), r"Cannot read a table from a LazyFrame; .* Call its collect\(\) first"),
        (datasets.Dataset.from_dict(ROWS).to_iterable_dataset(), "from a IterableDataset; .* without streaming=True"),
    ]:
        with pytest.raises(ValueError, match=message):
            load_interactions(source)
