import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import seqrec

ROOT = Path(__file__).parent.parent
HEAVY = ("torch", "transformers", "datasets", "numpy", "pyarrow", "polars")


def test_importing_seqrec_imports_nothing_heavy():
    code = f"import sys, seqrec; dir(seqrec); seqrec.__version__; print(*[m for m in {HEAVY} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert run.stdout.split() == []


@pytest.mark.parametrize("name", seqrec.__all__)
def test_every_public_name_is_there(name):
    assert name in dir(seqrec)
    assert getattr(seqrec, name).__name__ == name


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(AttributeError, match="'Recomender'.*Recommender"):
        seqrec.Recomender  # noqa: B018


def test_the_version_is_the_one_that_is_installed():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert seqrec.__version__ == project["version"]
