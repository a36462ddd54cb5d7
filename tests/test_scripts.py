"""The commands of README, as a user types them, on the toy world."""

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pyarrow.csv
import pyarrow.parquet
import pytest

ROOT = Path(__file__).parent.parent


def run_script(name, *words):
    """Run a script in a process that starts from nothing; `forks.script` needs a twentieth of the time."""
    command = [sys.executable, str(ROOT / "scripts" / name), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder in which the toy world was prepared and trained with the scripts alone."""
    folder = tmp_path_factory.mktemp("shop")
    clicks = [(f"c{user}", f"s{(user * 3 + step) % 12}", 100 + step) for user in range(10) for step in range(7)]
    columns = dict(zip(("customer", "sku", "when"), map(list, zip(*clicks, strict=True)), strict=True))
    pyarrow.csv.write_csv(pyarrow.table(columns), folder / "clicks.csv")
    titles = {"sku": [f"s{number}" for number in range(12)], "title": [f"Thing {number}" for number in range(12)]}
    pyarrow.csv.write_csv(pyarrow.table(titles), folder / "items.csv")
    (folder / "toy.yaml").write_text(
        "dataset: movielens-100k\nmin_interactions: 2\ntext_encoder: none\nhidden_size: 16\nintermediate_size: 32\n"
        "num_train_epochs: 2\nmax_position_embeddings: 6\nnum_threads: 1\nper_device_train_batch_size: 4\n"
    )
    mapping = json.dumps({"customer": "user_id", "sku": "item_id", "when": "timestamp"})
    files = ["--interactions", folder / "clicks.csv", "--items", folder / "items.csv", "--column_mapping", mapping]
    run = run_script(
        "train.py", folder / "toy.yaml", *files, "--output_dir", folder / "run", "--learning_rate", "1e-3"
    )
    assert run.returncode == 0, run.stderr
    assert "10 users, 12 items, 70 interactions" in run.stderr
    return folder


def test_evaluate_fills_metrics_plots_and_the_table(trained):
    run = run_script("evaluate.py", trained / "run", "--top_k_output", trained / "top.csv")
    assert run.returncode == 0, run.stderr
    metrics = json.loads((trained / "run" / "model" / "metrics.json").read_text())
    assert {"popularity", "item-kNN"} <= set(metrics["baselines"])
    for name in ("seqrec", "popularity", "item-kNN", "NDCG@10", "coverage@10", "novelty@10", "head (", "short ("):
        assert name in run.stdout
    for ranker in (metrics["test"], *metrics["baselines"].values()):
        assert ranker["cohorts"]["head"]["num_users"] + ranker["cohorts"]["tail"]["num_users"] == 10
        assert 0 < ranker["lists"]["coverage@10"] <= 1
    assert f"{metrics['test']['exclude_seen']['ndcg@10']:.4f}" in run.stdout
    assert metrics["validation"] and metrics["train"]
    for name in ("training.png", "comparison.png"):
        assert (trained / "run" / "plots" / name).read_bytes().startswith(b"\x89PNG")
    assert len((trained / "top.csv").read_text().splitlines()) == 11


def test_two_runs_are_compared_user_by_user_and_nothing_is_recorded(toy_run, forks):
    run, other = toy_run("causal"), toy_run("bidirectional")
    before = (run / "model" / "metrics.json").read_text()
    compared = forks.script("evaluate.py", run, "--against", other, "--k", "5")
    assert compared.returncode == 0, compared.stderr
    lines = compared.stdout.splitlines()
    assert [line.split()[0] for line in lines if "@5 " in line] == ["NDCG@5", "HR@5", "MRR@5"]
    assert "12 users" in compared.stdout and lines[-1].startswith("NDCG@5: ")
    assert (run / "model" / "metrics.json").read_text() == before


def test_what_cannot_be_compared_or_written_is_one_sentence(toy_run, trained, tmp_path):
    main = runpy.run_path(str(ROOT / "scripts" / "evaluate.py"))["main"]
    run = toy_run("causal")
    for against, top_k_output, said in (
        (run, None, "differs in nothing from itself"),
        (trained / "run", None, "not tested on the same rows"),
        (tmp_path, None, "Give the folder that scripts/train.py wrote"),
        (None, tmp_path / "top.csv", "'a [MASK] b' has a space in it"),
    ):
        with pytest.raises((ValueError, OSError), match=re.escape(said)):
            main(run, k=[10], split="test", baselines=[], against=against, top_k_output=top_k_output)
    assert list(tmp_path.iterdir()) == []


def test_recommend_for_a_history_of_titles_and_ids(trained, forks):
    run = run_script("recommend.py", trained / "run" / "model", "--history", "Thing 3", "s5", "--k", "4")
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert len(lines) == 4
    assert all("Thing" in line for line in lines)
    assert not any(line.endswith((" Thing 3", " Thing 5")) for line in lines)
    empty = forks.script("recommend.py", trained / "run" / "model", "--history", "--k", "2")
    assert len(empty.stdout.splitlines()) == 2


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl"])
def test_recommend_for_every_user_of_a_table(trained, ending, tmp_path, forks):
    output = tmp_path / f"top.{ending}"
    mapping = json.dumps({"customer": "user_id", "sku": "item_id", "when": "timestamp"})
    words = ["--interactions", trained / "clicks.csv", "--column_mapping", mapping, "--output", output, "--k", "3"]
    run = forks.script("recommend.py", trained / "run" / "model", *words)
    assert run.returncode == 0, run.stderr
    assert output.stat().st_size > 0
    if ending == "parquet":
        table = pyarrow.parquet.read_table(output)
        assert table.column_names == ["user_id", "item_id", "rank", "score"]
        assert table.num_rows == 30


@pytest.mark.parametrize(
    ("script", "words", "said"),
    [
        ("train.py", ["nowhere.yaml"], "no config 'nowhere.yaml'"),
        ("train.py", ["--lerning_rate", "1"], "did you mean 'learning_rate'"),
        ("train.py", ["--interactions", "nowhere.csv"], "nowhere.csv"),
        ("evaluate.py", ["nowhere"], "nowhere"),
        ("recommend.py", ["nowhere/model", "--history", "x"], "nowhere/model"),
        ("recommend.py", ["x", "--interactions", "a.csv", "--output", "a.xls"], "a.xls"),
        ("recommend.py", ["x", "--history", "1", "--output", "a.csv"], "--output goes with --interactions"),
        ("recommend.py", ["x", "--interactions", "a.csv", "--output", "a.csv", "--column_mapping", "[1]"], "x"),
        (
            "recommend.py",
            ["x", "--interactions", "a.csv", "--output", "no/such/a.csv"],
            "there is no folder 'no/such'",
        ),
        ("recommend.py", ["x", "--interactions", "a.csv", "--output", "a.CSV"], "a.CSV"),
        ("train.py", ["--hidden_size", "0"], "hidden_size=0"),
        ("train.py", ["--interactions", "a.csv", "--output_dir", "/proc/no/such"], "a.csv"),
        ("prepare.py", ["--interactions", "a.csv", "--output_dir", "o", "--column_mapping", "[1]"], "column_mapping"),
        ("prepare.py", ["--interactions", "nowhere.csv", "--output_dir", "out"], "nowhere.csv"),
    ],
)
def test_a_mistake_ends_in_one_sentence(script, words, said, tmp_path, forks):
    run = forks.script(script, *words, cwd=tmp_path)
    assert run.returncode == 2
    assert said in run.stderr
    assert "Traceback" not in run.stderr


def test_unknown_titles_are_answered_with_near_ones(trained, forks):
    run = forks.script("recommend.py", trained / "run" / "model", "--history", "Thong 3")
    assert run.returncode == 2
    assert "Thing 3" in run.stderr
    assert "Traceback" not in run.stderr


def test_every_config_that_ships_is_a_valid_one():
    from seqrec.settings import parse_command_line

    configs = sorted((ROOT / "configs").glob("*.yaml"))
    assert configs
    for config in configs:
        parse_command_line([str(config)])
        assert f"configs/{config.name}" in config.read_text(), "the header names the command"
