"""Two processes on the CPU learn and measure what one does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.csv
import pytest

import seqrec

ROOT = Path(__file__).parent.parent
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "item_dropout_prob": 0.0}


def launch(num_processes, settings, cwd):
    """Run scripts/train.py under accelerate, as the README says it, and return the finished process."""
    words = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    launcher = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", "--cpu", "--quiet"]
    environment = {name: value for name, value in os.environ.items() if name not in ("MASTER_ADDR", "MASTER_PORT")}
    return subprocess.run(
        [*launcher, "--num_processes", str(num_processes), str(ROOT / "scripts" / "train.py"), *words],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment,
        check=False,
    )


def run_of(num_processes, settings, cwd):
    """The log of a run: the loss of every step, the metrics of every evaluation; and its metrics.json."""
    output_dir = cwd / f"run-{num_processes}"
    finished = launch(num_processes, {**settings, "output_dir": output_dir}, cwd)
    assert finished.returncode == 0, finished.stderr
    assert f"{num_processes} process(es) on cpu" in finished.stderr
    log = json.loads((output_dir / "logs" / "trainer_state.json").read_text())["log_history"]
    losses = [entry["loss"] for entry in log if "loss" in entry]
    evaluations = [
        {name: value for name, value in entry.items() if name.startswith(("eval_ndcg", "eval_hr", "eval_mrr"))}
        for entry in log
        if "eval_ndcg@10" in entry
    ]
    return losses, evaluations, json.loads((output_dir / "model" / "metrics.json").read_text())


def check_equal_runs(settings, cwd):
    one, two = (
        run_of(processes, {**settings, "per_device_train_batch_size": 4 // processes}, cwd) for processes in (1, 2)
    )
    assert len(one[0]) >= 12 and len(one[1]) == 3
    assert two[0] == pytest.approx(one[0], rel=1e-5)
    assert two[1] == [pytest.approx(metrics, abs=1e-9) for metrics in one[1]]
    assert two[2]["validation"] == one[2]["validation"]
    assert two[2]["validation"]["num_users"] == 13
    return max(abs(a - b) / b for a, b in zip(two[0], one[0], strict=True))


@pytest.fixture
def settings(toy_interactions, toy_settings, tmp_path):
    """13 users, so that neither the last step of an epoch nor the users to rank divide by two."""
    import pyarrow as pa

    more = toy_interactions.filter(pa.compute.equal(toy_interactions["user_id"], "u01")).to_pylist()
    extra = pa.Table.from_pylist([{**row, "user_id": "u13"} for row in more])
    pyarrow.csv.write_csv(pa.concat_tables([toy_interactions, extra]), tmp_path / "clicks.csv")
    every_step = {"logging_strategy": "steps", "logging_steps": 1, "softmax_dtype": "float32"}
    return {**toy_settings, **every_step, **NO_DROPOUT, "interactions": tmp_path / "clicks.csv"}


def test_two_processes_are_one(settings, tmp_path):
    check_equal_runs({**settings, "max_position_embeddings": 10}, tmp_path)


@pytest.mark.slow
def test_two_processes_are_one_bidirectional_in_chunks(settings, tmp_path, record_property):
    more = {"attention": "bidirectional", "softmax_chunk_size": 3, "mask_query": "neighbours"}
    furthest = check_equal_runs({**settings, **more}, tmp_path)
    record_property("measured", f"two processes: no loss of a step further than {furthest:.0e} from one process's")


def test_a_mistake_is_said_once(settings, tmp_path):
    finished = launch(2, {**settings, "min_interactions": 1000, "output_dir": tmp_path / "run"}, tmp_path)
    assert finished.returncode != 0
    assert finished.stderr.count("No interaction is left") == 1
    assert "Traceback" not in finished.stderr


@pytest.mark.slow
def test_two_processes_adapt_as_one(settings, tmp_path):
    seqrec.train(**{**settings, "output_dir": str(tmp_path / "base"), "interactions": str(settings["interactions"])})
    of_the_run = ("min_interactions", "num_train_epochs", "num_threads", "logging_strategy", "logging_steps")
    kept = {name: settings[name] for name in (*of_the_run, "softmax_dtype", "interactions", "disable_tqdm")}
    base = {"base_model": tmp_path / "base" / "model", "lora": "sequence_encoder", "learning_rate": 0.01}
    check_equal_runs({**kept, **base}, tmp_path)
