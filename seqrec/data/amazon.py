"""Amazon reviews of 2014, the 5-core files of one category, read into interactions and items."""

import ast
import gzip
import html
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.json

BLOCK_BYTES = 16 << 20
ASIN = re.compile(rb"'asin': '([^']+)'")
LICENCE = """\
The Amazon review data of 2014 were collected by Julian McAuley (https://cseweb.ucsd.edu/~jmcauley/datasets/amazon/)
for research. They came without a licence text: texts and images belong to their authors and to Amazon. Publications
cite: R. He and J. McAuley. 2016. Ups and Downs: Modeling the Visual Evolution of Fashion Trends with One-Class
Collaborative Filtering. WWW. And: J. McAuley, C. Targett, J. Shi, A. van den Hengel. 2015. Image-based
Recommendations on Styles and Substitutes. SIGIR."""
EVENT = "A review of a product, whatever its stars: who reviews it has bought or tried it, as a rule."


def read_2014(reviews: Path, metadata: Path) -> tuple[pa.Table, pa.Table]:
    """Read the reviews, one JSON object a line, and the metadata, one Python literal a line.

    Args:
        reviews: `reviews_CATEGORY_5.json.gz`, in whose order events of one time stay.
        metadata: `meta_CATEGORY.json.gz`; only items with a review are read from it.

    Returns:
        Interactions with `value` (stars) and `timestamp` (seconds); items with `title` and `categories`, the first
        path of them from the general to the special. HTML entities of both are resolved.

    Raises:
        ValueError: A line of the metadata is not a literal.
    """
    fields = {"reviewerID": pa.string(), "asin": pa.string(), "overall": pa.float64(), "unixReviewTime": pa.int64()}
    with gzip.open(reviews) as lines:
        table = pyarrow.json.read_json(
            lines,
            read_options=pyarrow.json.ReadOptions(block_size=BLOCK_BYTES),
            parse_options=pyarrow.json.ParseOptions(
                explicit_schema=pa.schema(list(fields.items())), unexpected_field_behavior="ignore"
            ),
        )
    interactions = table.select(list(fields)).rename_columns(["user_id", "item_id", "value", "timestamp"])
    return interactions, _items(metadata, set(interactions["item_id"].unique().to_pylist()))


def _items(metadata: Path, wanted: set[str]) -> pa.Table:
    rows = []
    with gzip.open(metadata) as lines:
        for number, line in enumerate(lines, start=1):
            found = ASIN.search(line)
            if found is not None and found[1].decode() in wanted:
                rows.append(_item(line, f"{metadata.name}, line {number}"))
    columns = {name: pa.string() for name in ("item_id", "title", "categories")}
    return pa.Table.from_pylist(rows, schema=pa.schema(list(columns.items())))


def _item(line: bytes, place: str) -> dict[str, Any]:
    """One item; the line is never run, only read as a literal."""
    try:
        fields = ast.literal_eval(line.decode("utf-8"))
        path = (fields.get("categories") or [[]])[0]
        return {
            "item_id": fields["asin"],
            "title": html.unescape(fields["title"]) if fields.get("title") else None,
            "categories": html.unescape(" > ".join(path)) or None,
        }
    except (ValueError, SyntaxError, KeyError, TypeError, AttributeError, RecursionError, MemoryError) as error:
        raise ValueError(
            f"{place} cannot be read ({type(error).__name__}); expected a Python literal with 'asin', 'title' and "
            "'categories', as in the file of 2014. Take the original file."
        ) from error
