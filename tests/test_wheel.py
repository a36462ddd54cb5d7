"""The built wheel alone, in a fresh environment and an empty folder: no clone, nothing optional."""

import hashlib
import json
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pyarrow.csv
import pytest

import seqrec

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "seqrec"
OPTIONAL = ("implicit", "matplotlib", "tensorboard", "duckdb", "pytest")

pytestmark = [pytest.mark.slow, pytest.mark.network]

PROGRAM = """
import json, sys
import seqrec
from seqrec.baselines import ItemKNN, Popularity

columns = {"Kunde": "user_id", "Artikel-Nr.": "item_id", "wann?": "timestamp"}
settings = json.loads(sys.argv[1])
recommender = seqrec.train("clicks.csv", "items.csv", column_mapping=columns, output_dir="runs/shop", **settings)
table = recommender.recommend_users("clicks.csv", k=10, column_mapping=columns)
table.to_parquet("top10.parquet")
again = seqrec.Recommender.from_pretrained("runs/shop/model")
assert again.recommend([["1500", "d05"], []], k=10) == recommender.recommend([["1500", "d05"], []], k=10)
data = seqrec.PreparedData.load("runs/shop/data")
train, test = data.dataset["train"], data.dataset["test"]
rankers = {"seqrec": again, "popularity": Popularity(train, again.items), "item-kNN": ItemKNN(train, again.items)}
results = {name: ranker.evaluate(test, k=(5, 10)) for name, ranker in rankers.items()}
ndcg = {name: result["exclude_seen"]["ndcg@10"] for name, result in results.items()}
print(json.dumps({"file": seqrec.__file__, "users": len(set(table["user_id"])), "ndcg": ndcg}))
"""

PIPELINE = """
from transformers import pipeline

print(pipeline("next-item", model="runs/shop/model", trust_remote_code=True)({"history": ["d05"]}))
"""


def run(*command, **options):
    """Run a command; if it fails, show all it said."""
    ran = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **options)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel as `make wheel` builds it, from the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "uv", "build", "--out-dir", folder, ROOT)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def wheel_python(wheel, second_python, tmp_path_factory):
    """The interpreter of an environment with the wheel and what it asks for, laid over the second environment."""
    folder = tmp_path_factory.mktemp("wheel") / "venv"
    run(sys.executable, "-m", "venv", folder)
    below, own = (
        Path(sysconfig.get_path("purelib", "venv", {"base": str(base), "platbase": str(base)}))
        for base in (Path(second_python).parent.parent, folder)
    )
    (own / "second_environment.pth").write_text(f"{below}\n")
    python = folder / "bin" / "python"
    run(python, "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt", wheel)
    return python


@pytest.fixture
def shop(tmp_path, toy_interactions, toy_items):
    """An empty folder but for two tables with column names that are theirs."""
    interactions = toy_interactions.rename_columns(["Kunde", "Artikel-Nr.", "wann?"])
    pyarrow.csv.write_csv(interactions, tmp_path / "clicks.csv")
    pyarrow.csv.write_csv(toy_items.rename_columns(["Artikel-Nr.", "Titel", "Sorte"]), tmp_path / "items.csv")
    return tmp_path


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if ".dist-info/" not in name}
        about = {name.partition(".dist-info/")[2] for name in archive.namelist()} - {""}
    files = [path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert inside == {str(path.relative_to(ROOT)) for path in files}
    assert "seqrec/py.typed" in inside
    assert about == {"METADATA", "WHEEL", "RECORD", "licenses/LICENSE"}


def test_the_sdist_builds_the_same_wheel_as_the_clone(wheel, tmp_path):
    run(sys.executable, "-m", "uv", "build", "--wheel", "--out-dir", tmp_path, ROOT)
    hashes = {hashlib.sha256(path.read_bytes()).hexdigest() for path in (wheel, tmp_path / wheel.name)}
    assert len(hashes) == 1


def test_the_environment_is_sound_and_has_nothing_optional(wheel_python, tmp_path):
    run(wheel_python, "-m", "pip", "check", cwd=tmp_path)
    code = f"from importlib.util import find_spec; print(*[name for name in {OPTIONAL} if find_spec(name)])"
    assert run(wheel_python, "-c", code, cwd=tmp_path).stdout.split() == []
    version = run(wheel_python, "-c", "import seqrec; print(seqrec.__version__)", cwd=tmp_path).stdout.strip()
    assert version == seqrec.__version__


@pytest.mark.parametrize("text_encoder", ["none", "sentence-transformers/all-MiniLM-L6-v2"])
def test_from_a_csv_to_lists_and_metrics(wheel_python, second_python, shop, toy_settings, text_encoder):
    settings = json.dumps(toy_settings | {"text_encoder": text_encoder})
    answer = json.loads(run(wheel_python, "-c", PROGRAM, settings, cwd=shop).stdout.splitlines()[-1])
    assert not Path(answer["file"]).is_relative_to(ROOT)
    assert answer["users"] == 12
    assert {name: 0 <= value <= 1 for name, value in answer["ndcg"].items()} == dict.fromkeys(answer["ndcg"], True)
    assert (shop / "top10.parquet").is_file()

    evaluated = run(wheel_python, ROOT / "scripts" / "evaluate.py", "runs/shop", cwd=shop)
    assert ("content-kNN" in evaluated.stdout) == (text_encoder != "none")
    assert f"`{wheel_python} -m pip install matplotlib`" in evaluated.stderr
    assert "Traceback" not in evaluated.stderr

    assert "item_id" in run(second_python, "-c", PIPELINE, cwd=shop).stdout
