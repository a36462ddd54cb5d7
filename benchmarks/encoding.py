"""What each modality costs: CPU-seconds per 1,000 items on one core, with the encoders that need no Hub.

    python benchmarks/encoding.py --texts FILE [--template '{title}. {categories}'] --images FILE [--column poster]

Sounds are those of `sounds.py`, four seconds long. Nothing is read from the cache of vectors or written to it.
"""

import argparse
import time
from collections.abc import Sequence
from typing import Any

import torch
from datasets import Dataset
from sounds import pieces

from seqrec.content import DEFAULT_ENCODERS, render_texts
from seqrec.content.encoders import load_encoder
from seqrec.content.sources import find_encoder
from seqrec.data import load_items
from seqrec.machine import keep_freed_memory

NUM_ITEMS = 480


def main(texts: str, template: str, images: str, column: str) -> None:
    """Encode some items of each kind."""
    torch.set_num_threads(1)
    keep_freed_memory()  # as training does
    say("text", render_texts(Dataset(load_items(texts)), template))
    say("image", load_items(images)[column].to_pylist())
    say("audio", pieces()["sound"].to_pylist())


def say(modality: str, contents: Sequence[Any]) -> None:
    """Time one encoder after it is loaded and warm."""
    encoder = load_encoder(modality, find_encoder(DEFAULT_ENCODERS[modality]))
    there = [content for content in contents if content is not None]
    some = there[:: max(1, len(there) // NUM_ITEMS)]
    encoder.encode(some[:8])
    start = time.process_time()
    encoder.encode(some)
    cost = (time.process_time() - start) / len(some) * 1000
    print(f"{modality}: {cost:.1f} CPU-s per 1,000 items ({len(some)} encoded), {encoder.width} numbers", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", required=True)
    parser.add_argument("--template", default="{title}. {categories}")
    parser.add_argument("--images", required=True)
    parser.add_argument("--column", default="poster")
    arguments = parser.parse_args()
    main(arguments.texts, arguments.template, arguments.images, arguments.column)
