"""The code of every page in docs/ runs, block after block, beside a model in `runs/shop`."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import seqrec

PAGES = sorted((Path(__file__).parent.parent / "docs").glob("*.md"))


@pytest.fixture
def shop(toy_settings, toy_interactions, toy_items, tmp_path):
    """A folder with the run of a model that knows items by their genres, too."""
    settings = {**toy_settings, "num_train_epochs": 1, "attributes": ["genres"]}
    seqrec.train(toy_interactions, toy_items, output_dir=tmp_path / "runs" / "shop", **settings)
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_code_of_a_page_runs(page, shop):
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    if not blocks:
        pytest.skip("a page without code")
    environment = {**os.environ, "HF_HOME": str(shop / "home")}
    program = "\n".join(blocks)
    done = subprocess.run([sys.executable, "-c", program], cwd=shop, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
