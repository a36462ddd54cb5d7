"""Time the softmax over the catalogue, forward and backward: plain autograd against chunks, float32 and bfloat16.

    python benchmarks/softmax.py [--num_threads 2] [--repeats 6]

Ratios in one run on one machine are what counts; the first column of each size is 1.
"""

import argparse
import time

import torch

from seqrec.model.losses import softmax_cross_entropy

SIZES = ((2500, 1349, 64), (2048, 12101, 64))  # positions, items, hidden: a step on MovieLens-100K and on Beauty
WAYS = {
    "plain float32": {"chunk_size": 0},
    "chunks of 128, float32": {"chunk_size": 128},
    "chunks of 128, bfloat16": {"chunk_size": 128, "dtype": torch.bfloat16},
}


def best_seconds(positions: int, items: int, hidden: int, way: dict, repeats: int) -> float:
    """Return the seconds of the fastest of several forward and backward passes."""
    states = torch.randn(positions, hidden, requires_grad=True)
    table = torch.randn(items, hidden, requires_grad=True)
    labels = torch.randint(items, (positions,))
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        softmax_cross_entropy(states, table, labels, **way).backward()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=6)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.num_threads)
    for size in SIZES:
        print("{:,} positions x {:,} items x {}".format(*size))
        plain = None
        for name, way in WAYS.items():
            seconds = best_seconds(*size, way, arguments.repeats)
            plain = plain or seconds
            print(f"  {name:<24}{1000 * seconds:8.1f} ms  {seconds / plain:6.2f}")
