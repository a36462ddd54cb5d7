"""The folder that `evaluate.load` takes, in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import seqrec.metrics
from seqrec.metrics import evaluate_lists

FOLDER = Path(seqrec.metrics.__file__).parent / "next_item"
PROGRAM = """
import json, sys
import evaluate
lists, targets = json.load(sys.stdin)
metric = evaluate.load(sys.argv[1])
whole = metric.compute(predictions=lists, references=targets, k=[1, 10], seed=3)
metric.add(prediction=lists[0], reference=targets[0])
metric.add_batch(predictions=lists[1:], references=targets[1:])
print(json.dumps([whole, metric.compute(k=10)]))
"""


def test_it_gives_what_evaluate_lists_gives_at_once_and_piece_by_piece(tmp_path):
    lists = [[f"i{(7 * user + place) % 30}" for place in range(user % 13)] for user in range(1, 40)]
    targets = [[f"i{(5 * user + place) % 31}" for place in range(1 + user % 3)] for user in range(1, 40)]
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(FOLDER)],
        env={**inherited, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"},
        input=json.dumps([lists, targets]),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    whole, pieces = json.loads(done.stdout.splitlines()[-1])
    assert whole == evaluate_lists(lists, targets, k=[1, 10], seed=3)
    assert pieces == evaluate_lists(lists, targets, k=[10])


def test_the_folder_is_that_of_a_space():
    head = (FOLDER / "README.md").read_text(encoding="utf-8").split("---\n")[1]
    assert "sdk: gradio" in head and "app_file: app.py" in head
    assert {path.name for path in FOLDER.iterdir() if path.is_file()} == {
        *("next_item.py", "app.py", "README.md", "requirements.txt")
    }
