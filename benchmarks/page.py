"""How soon the demo answers, from the question to the lists with their reasons, by its API and on two cores.

    python benchmarks/page.py runs/movielens-1m/model [--asked 30]

Starts the page for a model folder, then asks for ten items after random histories of several lengths. One person asks
at a time. Prints the first answer, and median and 95th percentile of the others, in milliseconds.
"""

import argparse
import random
import time
from pathlib import Path

import numpy as np
from gradio_client import Client

from seqrec import Recommender
from tests.space.conftest import served

LENGTHS = (0, 3, 10, 100, 500)


def main(model: Path, asked: int) -> None:
    """Ask, and print how long each length took."""
    items = Recommender.from_pretrained(model).items["item_id"][:]
    draw = random.Random(0)
    start = time.perf_counter()
    with served(model) as address:
        print(f"{model}: {len(items):,} items, the page is there after {time.perf_counter() - start:.1f} s")
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


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a model folder")
    parser.add_argument("--asked", type=int, default=30, help="questions of each length, after the first")
    main(**vars(parser.parse_args()))
