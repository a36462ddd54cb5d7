"""The code of every page in docs/ runs, block after block, beside tables, an encoder and finished runs."""

import contextlib
import json
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

RUNNER = """
import json, os, sys, traceback
import datasets, faiss, peft, torch, transformers
import seqrec.recommender, seqrec.training

for line in sys.stdin:
    job = json.loads(line)
    pid = os.fork()
    if not pid:
        log = os.open(job["log"], os.O_WRONLY | os.O_CREAT)
        os.dup2(log, 1), os.dup2(log, 2)
        os.chdir(job["folder"])
        try:
            exec(compile(job["program"], job["page"], "exec"), {"__name__": "__main__"})
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""
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


@pytest.fixture(scope="module")
def runner(tmp_path_factory):
    """A process that has imported what pages import, and forks for each."""
    environment = {**os.environ, "HF_HOME": str(tmp_path_factory.mktemp("home"))}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment}
    with subprocess.Popen([sys.executable, "-c", RUNNER], **pipes) as process:
        yield process
        process.stdin.close()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_code_of_a_page_runs(page, shop, runner):
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    if not blocks:
        pytest.skip("a page without code")
    job = {"program": "\n".join(blocks), "page": page.name, "folder": str(shop), "log": str(shop / "log.txt")}
    runner.stdin.write(json.dumps(job) + "\n")
    runner.stdin.flush()
    assert runner.stdout.readline().strip() == "0", (shop / "log.txt").read_text()
