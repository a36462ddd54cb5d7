"""How soon the demo answers, from the question to the lists with their reasons, by its API and on two cores.

    python benchmarks/page.py runs/movielens-1m/model [--asked 30]

Starts the page for a model folder, then asks for ten items after random histories of several lengths. One person asks
at a time. Prints the first answer, and median and 95th percentile of the others, in milliseconds.
"""

import argparse
import os
import random
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from gradio_client import Client

from seqrec import Recommender

PAGE = Path(__file__).parent.parent / "space" / "app.py"
LENGTHS = (0, 3, 10, 100, 500)
LONGEST_START = 120


def main(model: Path, asked: int) -> None:
    """Ask, and print how long each length took."""
    items = Recommender.from_pretrained(model).items["item_id"][:]
    draw = random.Random(0)
    with served(model) as (address, seconds):
        print(f"{model}: {len(items):,} items, the page is there after {seconds:.1f} s")
        client = Client(address, verbose=False)
        for length in LENGTHS:
            waits = [answered(client, draw.sample(items, min(length, len(items)))) for _ in range(asked + 1)]
            first, others = waits[0], waits[1:]
            middle, late = np.percentile(others, [50, 95])
            print(f"history of {length:>3}: first {first:4.0f} ms, median {middle:4.0f}, 95 % within {late:4.0f}")


def answered(client: Client, history: list[str]) -> float:
    """Milliseconds from a history to its list."""
    start = time.perf_counter()
    client.predict(history, 10, api_name="/recommend")
    return (time.perf_counter() - start) * 1000


@contextmanager
def served(model: Path) -> Iterator[tuple[str, float]]:
    """Serve the page, and return its address and how long that took."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {"MODEL_ID": str(model), "GRADIO_SERVER_PORT": str(port), "GRADIO_ANALYTICS_ENABLED": "0"}
    start = time.perf_counter()
    page = subprocess.Popen([sys.executable, PAGE], env=os.environ | own, stdout=subprocess.DEVNULL)
    try:
        address = f"http://127.0.0.1:{port}"
        while True:
            try:
                urllib.request.urlopen(address, timeout=1).read()
                break
            except OSError:
                if page.poll() is not None or time.perf_counter() - start > LONGEST_START:
                    raise
                time.sleep(0.05)
        yield address, time.perf_counter() - start
    finally:
        page.terminate()
        page.wait(timeout=20)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a model folder")
    parser.add_argument("--asked", type=int, default=30, help="questions of each length, after the first")
    main(**vars(parser.parse_args()))
