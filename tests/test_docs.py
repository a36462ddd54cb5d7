"""The code of every page in docs/ runs, block after block, beside tables, an encoder and finished runs."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pytest

import seqrec
from tests.conftest import TOY_SETTINGS, toy_interactions_table, toy_items_table

PAGES = sorted((Path(__file__).parent.parent / "docs").glob("*.md"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory, bert_folder):
    """A folder with the tables of two shops, an encoder of texts, and runs with and without ids."""
    folder = tmp_path_factory.mktemp("docs")
    shutil.copytree(bert_folder, folder / "encoders" / "tiny-bert")
    interactions, items = toy_interactions_table(), toy_items_table()
    films, views = (_renamed(table) for table in (items, interactions))
    for name, table in {
        "clicks": interactions,
        "newer": interactions,
        "items": items,
        "films": films,
        "views": views,
    }.items():
        pyarrow.csv.write_csv(table, folder / f"{name}.csv")
    with contextlib.chdir(folder):
        settings = {**TOY_SETTINGS, "num_train_epochs": 1}
        seqrec.train("clicks.csv", "items.csv", output_dir="runs/shop", **settings, attributes=["genres"])
        settings["text_encoder"] = "encoders/tiny-bert"
        seqrec.train("clicks.csv", "items.csv", output_dir="runs/with-texts", **settings)
        del settings["transition_size"]
        seqrec.train("clicks.csv", "items.csv", output_dir="runs/without-ids", **settings, use_item_ids=False)
    return folder


def _renamed(table):
    """The same table with item ids of another shop."""
    ids = pa.array([f"f-{item}" for item in table["item_id"].to_pylist()])
    return table.set_column(table.column_names.index("item_id"), "item_id", ids)


@pytest.fixture
def shop(finished, tmp_path):
    """A copy of that folder, which a page may change."""
    return shutil.copytree(finished, tmp_path / "shop")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_code_of_a_page_runs(page, shop):
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    if not blocks:
        pytest.skip("a page without code")
    environment = {**os.environ, "HF_HOME": str(shop / "home")}
    program = "\n".join(blocks)
    done = subprocess.run([sys.executable, "-c", program], cwd=shop, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
