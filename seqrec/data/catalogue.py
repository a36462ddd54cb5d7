"""The catalogue: the items that are left, in token order, with what is known about each."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets.features.features import generate_from_arrow_type

from seqrec.data.splits import IntArray

OWN_COLUMNS = ("item_id", "count", "score")  # the last is what recommendations show


def build_catalogue(
    item_ids: pa.Array, train_counts: IntArray, total_counts: IntArray, content: pa.Table | None
) -> tuple[pa.Table, dict[str, int]]:
    """Return one row an item that has an interaction, in token order, and how well the content covers them.

    Token order is: count in train descending, then item_id. An item without a row of content has missing values there.

    >>> table, _ = build_catalogue(pa.array(["a", "b", "c"]), np.array([1, 0, 2]), np.array([2, 1, 2]), content=None)
    >>> table.to_pydict()
    {'item_id': ['c', 'a', 'b'], 'count': [2, 1, 0]}

    Args:
        item_ids: The external id of each item number.
        train_counts: Interactions in train of each item number.
        total_counts: Interactions in all splits of each item number; an item with none is left out.
        content: `item_id` and content columns.

    Raises:
        ValueError: An id has two rows of content that differ, a content column has a name that is taken,
            or content and interactions have no id in common.
    """
    kept = np.flatnonzero(total_counts)
    table = pa.table({"item_id": item_ids.take(pa.array(kept)), "count": train_counts[kept]})
    order = pc.sort_indices(table, sort_keys=[("count", "descending"), ("item_id", "ascending")])
    table = table.take(order)
    if content is None:
        return table, {}
    taken = [name for name in content.column_names if name in OWN_COLUMNS[1:]]
    if taken:
        raise ValueError(
            f"Items have a column {taken[0]!r}, which the catalogue uses itself; expected other content columns. "
            f"Rename it, e.g. column_mapping={{'{taken[0]}': 'their_{taken[0]}'}}."
        )
    for field in content.schema:
        try:
            generate_from_arrow_type(field.type)
        except ValueError as error:
            raise ValueError(
                f"Items have a column {field.name!r} of the type {field.type}, which `datasets` cannot hold; expected "
                "text, numbers, dates, bytes, or lists of them. Convert or leave out that column."
            ) from error
    distinct, num_merged = merge_equal_rows(content)
    rows = pc.index_in(table["item_id"], value_set=distinct["item_id"])
    for name in distinct.column_names:
        if name not in OWN_COLUMNS:
            table = table.append_column(name, distinct[name].take(rows))
    without_row = np.asarray(rows.is_null())
    if without_row.all():
        raise ValueError(
            f"None of the {table.num_rows} items that people took is among the {content.num_rows} rows of items; "
            f"expected the same ids in both. They are written like {table['item_id'][0].as_py()!r} there and like "
            f"{next(iter(content['item_id'].to_pylist()), None)!r} here: make them equal."
        )
    totals = total_counts[kept][order.to_numpy()]
    return table, {
        "num_rows": content.num_rows,
        "num_equal_rows_merged": num_merged,
        "num_rows_without_interactions": distinct.num_rows - int((~without_row).sum()),
        "num_items_without_row": int(without_row.sum()),
        "num_interactions_without_row": int(totals[without_row].sum()),
    }


def merge_equal_rows(content: pa.Table) -> tuple[pa.Table, int]:
    """Return items with one row an id, and how many rows were the same as an earlier one.

    Raises:
        ValueError: Two rows of one id differ.
    """
    codes = content["item_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    _, first_rows, row_counts = np.unique(codes, return_index=True, return_counts=True)
    num_repeats = content.num_rows - len(first_rows)
    if not num_repeats:
        return content, 0
    repeated = np.flatnonzero(row_counts[codes] > 1)
    first: dict[str, Any] = {}
    for row in content.take(repeated).to_pylist():
        earlier = first.setdefault(row["item_id"], row)
        differing = [name for name in row if repr(row[name]) != repr(earlier[name])]  # repr, because NaN is not itself
        if differing:
            raise ValueError(
                f"Item {row['item_id']!r} has several rows that differ in {differing}; expected one row an item. "
                "Keep the right one of them."
            )
    return content.take(np.sort(first_rows)), num_repeats
