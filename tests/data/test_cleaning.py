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
