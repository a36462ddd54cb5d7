"""A Hub data set's name, through the real client in a process of its own."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

ROOT = Path(__file__).parents[2]
ROWS = {
    "user_id": ["007", "8", "8"],
    "item_id": ["1500", "a,b", "1500"],
    "timestamp": [3, 1, 2],
    "note": ["", "x", "y"],
}
CSV = b"user_id,item_id,timestamp,note\nu7,1500,3,\n"
PROGRAM = """
import json, sys
from seqrec.data import load_interactions
for name in sys.argv[1:]:
    try:
        print(json.dumps(load_interactions(name).to_pydict()))
    except Exception as error:
        print(json.dumps([type(error).__name__, str(error)]))
"""


def parquet():
    buffer = io.BytesIO()
    pa.parquet.write_table(pa.table(ROWS), buffer)
    return buffer.getvalue()


def load(names, home, **environment):
    """What `load_interactions` gives for each name in a fresh process: columns, or the error's type and words."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, *names],
        cwd=ROOT,
        env={**inherited, "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1", **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    return [json.loads(line) for line in run.stdout.splitlines()]


@pytest.fixture
def server(hub):
    datasets = {"owner/clicks": {"data/train.parquet": parquet()}, "owner/text": {"train.csv": CSV}, "owner/none": {}}
    with hub(datasets, private=("owner/secret", "owner/gated")) as server:
        yield server


def test_a_name_gives_its_table_and_what_gives_none_ends_in_a_sentence(server, tmp_path):
    names = ["owner/clicks", "owner/text", "owner/none", "owner/secret", "owner/gated", "owner/unknown"]
    clicks, text, *refused = load(names, tmp_path, HF_ENDPOINT=server.url)
    assert clicks == {name: ROWS[name] for name in ("user_id", "item_id", "timestamp")}
    assert text == {"user_id": ["u7"], "item_id": ["1500"], "timestamp": [3]}
    for name, (kind, words) in zip(names[2:], refused, strict=True):
        assert kind == "ValueError"
        assert words.startswith(f"{name!r} is no file here, and the Hub gave no data set of that name (")
        assert words.endswith("has a split 'train'. A private one needs `hf auth login`.")
    assert "doesn't contain any data files" in refused[0][1]
    assert "cannot be accessed" in refused[1][1]
    assert "authenticated" in refused[2][1]
    assert "doesn't exist on the Hub" in refused[3][1]


def test_a_server_that_does_not_answer_and_no_network_end_in_a_sentence(tmp_path):
    nobody = load(["owner/clicks"], tmp_path, HF_ENDPOINT="http://127.0.0.1:9")
    offline = load(["owner/clicks"], tmp_path, HF_HUB_OFFLINE="1")
    for (kind, words), reason in ((nobody[0], "on the Hub"), (offline[0], "OfflineModeIsEnabled")):
        assert (kind, reason in words) == ("ValueError", True)
        assert "expected a path, or a data set that can be reached" in words


def test_what_was_loaded_once_needs_no_server(hub, tmp_path):
    with hub({"owner/clicks": {"clicks.parquet": parquet()}}) as server:
        assert load(["owner/clicks"], tmp_path, HF_ENDPOINT=server.url)[0]["user_id"] == ROWS["user_id"]
    assert load(["owner/clicks"], tmp_path, HF_HUB_OFFLINE="1")[0]["user_id"] == ROWS["user_id"]
