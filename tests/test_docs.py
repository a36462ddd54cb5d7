"""The code of README and of every page in docs/ runs, block after block, beside tables and finished runs."""

import contextlib
import re
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pytest
from PIL import Image

import seqrec
from tests.conftest import toy_interactions_table, toy_items_table
from tests.forks import Forks
from tests.hub.conftest import TOKEN, serve

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(python|bash)\n(.*?)^```", re.MULTILINE | re.DOTALL)
ON_THE_HUB = ["publishing"]
DEMO = "http://127.0.0.1:7860"  # code that asks it runs in tests/space
SMALL = {
    **{"min_interactions": 3, "hidden_size": 16, "num_attention_heads": 2, "max_position_embeddings": 6},
    **{"num_train_epochs": 1, "num_threads": 1, "disable_tqdm": True},
}
ITEMS = toy_items_table()
SKUS = {item: f"sku-{number}" for number, item in enumerate(ITEMS["item_id"].to_pylist(), start=1)}
FILMS = {item: f"film-{number}" for number, item in enumerate(SKUS, start=1)}
MOVIELENS = dict(zip(SKUS, ("1", "183", "181", "50", *map(str, range(1000, 1011))), strict=True))

pytestmark = pytest.mark.network  # the encoders of texts and images are those that a reader gets


def with_ids(table, ids):
    """The same table with item ids of another shop."""
    column = pa.array([ids[item] for item in table["item_id"].to_pylist()])
    return table.set_column(table.column_names.index("item_id"), "item_id", column)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with the tables of three shops, runs on them, and what a clone has."""
    folder = tmp_path_factory.mktemp("docs")
    clicks = toy_interactions_table()
    tables = {
        "clicks": with_ids(clicks, SKUS),
        "newer": with_ids(clicks, SKUS),
        "items": with_ids(ITEMS, SKUS),
        "log": with_ids(clicks, SKUS).rename_columns(["customer", "sku", "when"]),
        "catalogue": with_looks(with_ids(ITEMS, SKUS), folder / "photos"),
        "views": with_ids(clicks, FILMS),
        "films": with_ids(ITEMS, FILMS),
    }
    for name, table in tables.items():
        pyarrow.csv.write_csv(table, folder / f"{name}.csv")
    for name in ("configs", "scripts", "seqrec", "space", "Makefile", "pyproject.toml"):
        (folder / name).symlink_to(ROOT / name)
    with contextlib.chdir(folder):
        seqrec.train("clicks.csv", "items.csv", output_dir="runs/shop", **SMALL)
        seqrec.train(with_ids(clicks, MOVIELENS), with_ids(ITEMS, MOVIELENS), output_dir="runs/demo", **SMALL)
        seqrec.train("clicks.csv", "items.csv", output_dir="runs/without-ids", **SMALL, use_item_ids=False)
        again = {"base_model": "runs/without-ids/model", "lora": "sequence_encoder", "num_threads": 1}
        seqrec.train("views.csv", "films.csv", output_dir="runs/films", **again, num_train_epochs=1)
    return folder


def with_looks(items, folder):
    """The same items with a brand, a colour, a price and a photo."""
    folder.mkdir()
    for number in range(len(items)):
        Image.new("RGB", (40, 30), (number * 16, 80, 120)).save(folder / f"{number}.png")
    numbers = range(len(items))
    columns = {
        "brand": [f"Brand {'ab'[number % 2]}" for number in numbers],
        "colour": [("red", "blue")[number % 2] for number in numbers],
        "price": [number + 0.5 for number in numbers],
        "photo": [f"{number}.png" for number in numbers],
    }
    for name, values in columns.items():
        items = items.append_column(name, pa.array(values))
    return items


@pytest.fixture
def place(finished, tmp_path):
    """A copy of that folder, which a page may change."""
    return shutil.copytree(finished, tmp_path / "place", symlinks=True)


@pytest.fixture(scope="module")
def with_hub(tmp_path_factory):
    """Forks that have a Hub on this machine."""
    with serve() as server:
        here = {"HF_ENDPOINT": server.url, "HF_TOKEN": TOKEN, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
        with Forks(tmp_path_factory.mktemp("forks"), here) as made:
            yield made


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_code_of_a_page_runs(page, place, request):
    blocks = [block for block in BLOCK.findall(page.read_text(encoding="utf-8")) if f'{DEMO}"' not in block[1]]
    if not blocks:
        pytest.skip("a page without code")
    run = request.getfixturevalue("with_hub" if page.stem in ON_THE_HUB else "forks")
    done = run("tests.pages.run_page", page=page.name, blocks=blocks, folder=str(place), settings=SMALL)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_nothing_to_type_is_passed_off_as_text(page):
    """Blocks are python, bash, or text, which is what is printed, files or layers."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```(\S*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    languages = {language for language, _ in blocks}
    assert text.count("\n```") == 2 * len(blocks) and languages <= {"python", "bash", "text"}
    typed = re.compile(r"^(\$ |import |from \w+ import |\.venv/|python |accelerate |make )", re.MULTILINE)
    assert not [block for language, block in blocks if language == "text" and typed.search(block)]
