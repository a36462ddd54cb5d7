"""The folder that goes up to a Space: complete, and it starts where nothing else is."""

import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from huggingface_hub import metadata_load

from tests.space.conftest import ROOT, served


def make(path, model_id="owner/name"):
    command = [sys.executable, "scripts/publish.py", "--space", str(path), model_id]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_model_that_is_not_on_the_hub_is_refused(tmp_path):
    done = make(tmp_path / "space", "runs/demo/model")
    assert done.returncode == 2 and "no id of the Hub" in done.stderr and not (tmp_path / "space").exists()


@pytest.mark.network
def test_the_folder_names_its_model_and_holds_no_path(tmp_path):
    done = make(tmp_path / "space")
    assert done.returncode == 0, done.stderr
    names = {path.name for path in (tmp_path / "space").iterdir()}
    assert {"app.py", "README.md", "requirements.txt", "style.css", "model.txt"} < names
    assert [name for name in names if name.endswith(".whl")] and not any(name.startswith("__") for name in names)
    front = metadata_load(tmp_path / "space" / "README.md")
    assert front["models"] == ["owner/name"] and front["sdk"] == "gradio" and front["app_file"] == "app.py"
    asked = (tmp_path / "space" / "requirements.txt").read_text()
    assert f"gradio[mcp]=={front['sdk_version']}" in asked and "torch>=" in asked and "file:" not in asked
    texts = [path.read_bytes() for path in (tmp_path / "space").iterdir() if path.suffix != ".whl"]
    assert not any(str(ROOT).encode() in text or str(Path.home()).encode() in text for text in texts)


@pytest.mark.slow
@pytest.mark.network
def test_it_starts_in_a_fresh_environment(tmp_path, demo_model, record_property):
    assert make(tmp_path / "space").returncode == 0
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    install = [python, "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt"]
    subprocess.run([*install, "-r", tmp_path / "space" / "requirements.txt"], check=True)
    with served(demo_model, tmp_path / "space", python) as url:
        assert b"What comes next" in urllib.request.urlopen(url).read()
