import subprocess
import sys
from pathlib import Path

import pytest

from seqrec.data import PreparedData

ROOT = Path(__file__).parents[2]


@pytest.fixture
def shop(tmp_path):
    """A shop's two CSV files under its own column names."""
    clicks = [f"c{customer},{sku:03d},{10 * customer + sku}" for customer in range(4) for sku in range(3)]
    (tmp_path / "clicks.csv").write_text("\n".join(["customer,sku,when", *clicks]))
    (tmp_path / "items.csv").write_text("sku,name\n000,Lamp\n001,Chair\n")
    return tmp_path


MAPPING = '{"customer": "user_id", "sku": "item_id", "when": "timestamp", "name": "title"}'


def test_files_become_a_folder_and_a_table(shop):
    command = [sys.executable, "scripts/prepare.py", "--interactions", "clicks.csv", "--items", "items.csv"]
    words = ["--column_mapping", MAPPING, "--min_interactions", "2", "--output_dir", "prepared"]
    (shop / "scripts").symlink_to(ROOT / "scripts")
    environment = {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    run = subprocess.run([*command, *words], cwd=shop, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[:4] == [
        "                           users       items   interactions",
        "source                         4           3             12",
        "drop_duplicates                4           3             12",
        "min_interactions               4           3             12",
    ]
    assert "1 items have no content" in run.stdout
    assert PreparedData.load(shop / "prepared").items["title"][:] == ["Lamp", "Chair", None]


def test_two_cuts_in_time_and_cleaning_are_told(shop, forks):
    run = forks.script(
        "prepare.py",
        *("--interactions", shop / "clicks.csv", "--column_mapping", MAPPING.replace(', "name": "title"', "")),
        *("--split", "global_time", "--time_fraction", 0.25, "--burst_seconds", 5, "--max_daily_interactions", 50),
        *("--min_interactions", 1, "--output_dir", shop / "prepared"),
    )
    assert run.returncode == 0, run.stderr
    names = [line.split()[0] for line in run.stdout.splitlines()[1:6]]
    assert names == ["source", "max_daily_interactions", "drop_duplicates", "burst_seconds", "min_interactions"]
    sentence = "global_time: 1 users are asked for their first item of the test period, 1 of them are new there; "
    assert f"{sentence}validation begins at 20, test begins at 30" in run.stdout
    assert PreparedData.load(shop / "prepared").report["split"]["name"] == "global_time"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--interactions", "none.csv"], "error: There is no file 'none.csv'"),
        (["--dataset", "none"], "error: There is no file 'none'"),
        (
            ["--interactions", "clicks.csv", "--column_mapping", "{sku: item_id}"],
            "column_mapping must be a JSON object",
        ),
        (["--interactions", "clicks.csv", "--column_mapping", "[]"], "must map column names to column names"),
        (["--dataset", "movielens-1m", "--dataset_files", "clicks.csv"], "There is no file 'clicks.csv' to take"),
        (
            ["--dataset", "movielens-1m", "--dataset_files", "README.md"],
            "a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264",
        ),
        (["--interactions", "x.csv", "--split", "random"], "invalid choice: 'random'"),
        ([], "one of the arguments --dataset --interactions is required"),
    ],
)
def test_mistakes_end_in_a_sentence(tmp_path, arguments, sentence, forks):
    run = forks.script("prepare.py", *arguments, "--output_dir", tmp_path / "prepared")
    assert run.returncode == 2
    assert sentence in run.stderr
    assert "Traceback" not in run.stderr
    assert not (tmp_path / "prepared").exists()
