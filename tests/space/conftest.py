"""The demo's page, served by a process of its own, and its parts in this one."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def demo_model(tmp_path_factory) -> Path:
    """The folder of a small model that knows items by their genres, too, and so new ones without an encoder."""
    import seqrec
    from tests.conftest import TOY_SETTINGS, toy_interactions_table, toy_items_table

    path = tmp_path_factory.mktemp("demo") / "run"
    settings = {**TOY_SETTINGS, "attributes": ["genres"]}
    seqrec.train(toy_interactions_table(), toy_items_table(), output_dir=path, **settings)
    return path / "model"


@pytest.fixture(scope="session")
def address(demo_model) -> Iterator[str]:
    """Where the page is served."""
    with served(demo_model) as url:
        yield url


class served:
    """The page of a model, for as long as the `with` lasts."""

    def __init__(self, model: Path, folder: Path = ROOT / "space", python: str = sys.executable) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        own = {"MODEL_ID": str(model), "GRADIO_SERVER_PORT": str(self.port), "GRADIO_ANALYTICS_ENABLED": "0"}
        self.command, self.environment = [python, str(folder / "app.py")], {**os.environ, **own}

    def __enter__(self) -> str:
        self.process = subprocess.Popen(
            self.command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        url = f"http://127.0.0.1:{self.port}"
        for _ in range(600):
            if self.process.poll() is not None:
                raise RuntimeError(self.process.stdout.read())
            try:
                urllib.request.urlopen(url, timeout=1).read()
                return url
            except OSError:
                time.sleep(0.2)
        raise TimeoutError("the page did not come up within two minutes")

    def __exit__(self, *error: object) -> None:
        self.process.terminate()
        self.process.wait(timeout=20)
