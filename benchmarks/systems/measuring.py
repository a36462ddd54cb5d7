"""What the scripts of all systems share; as each has an environment of its own, with the help of NumPy only."""

import argparse
import json
import resource
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np


def peer_parser(description: str | None) -> argparse.ArgumentParser:
    """Return the parser of what every peer takes."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--histories", type=Path, required=True)
    parser.add_argument("--model", choices=["sasrec", "bert4rec"], required=True)
    parser.add_argument("--length", type=int, default=50)
    parser.add_argument("--batch_size", type=int, default=256)
    parser.add_argument("--hidden_size", type=int, default=64)
    parser.add_argument("--heads", type=int, default=2)
    parser.add_argument("--dropout", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=0)
    task = parser.add_mutually_exclusive_group(required=True)
    task.add_argument("--steps", type=int, help="time this many steps")
    task.add_argument("--curve", type=Path, help="train to the best validation NDCG@10; the curve goes to this folder")
    parser.add_argument("--epochs", type=int, default=200, help="of a curve, at most")
    parser.add_argument("--patience", type=int, default=10, help="epochs without a better value that end a curve")
    return parser


def read_histories(path: Path) -> tuple[list[list[int]], np.ndarray]:
    """Return the training histories, and each one's validation item (-1 for none)."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [row["items"] for row in rows], np.array([row["target"] for row in rows])


def items_read(options: argparse.Namespace) -> int:
    """Return how many items of a history a peer trains on, at most: SASRec also reads the one it is asked for last."""
    return options.length + (options.model == "sasrec")


def clock() -> np.ndarray:
    """Return wall and CPU seconds of this process."""
    return np.array([time.perf_counter(), time.process_time()])


class StepClock:
    """The time before the first step, and after each."""

    def __init__(self) -> None:
        self.marks: list[np.ndarray] = []

    def start(self) -> None:
        """Note the time before the first step; a later call does nothing."""
        self.marks = self.marks or [clock()]

    def tick(self) -> None:
        """Note the time after a step."""
        self.marks.append(clock())

    def speed(self, interactions: float) -> dict[str, Any]:
        """Return the speed of all steps but the first, which pays for what is set up once.

        Args:
            interactions: What these steps read, all together.
        """
        seconds = self.marks[-1] - self.marks[1]
        num_steps = len(self.marks) - 2
        return {
            "steps": num_steps,
            "first_step_seconds": (self.marks[1] - self.marks[0]).tolist(),
            "step_seconds": (seconds / num_steps).tolist(),
            "interactions_per_second": (interactions / seconds).tolist(),
        }

    def peer_speed(self, histories: Sequence[Sequence[int]], options: argparse.Namespace) -> dict[str, Any]:
        """Return the speed of a peer, whose steps all have the same shape and so stand for an average one."""
        read = [min(len(history), items_read(options)) for history in histories]
        return self.speed(sum(read) / len(read) * options.batch_size * (len(self.marks) - 2))


class Curve:
    """A validation curve: one line an epoch in FOLDER/curve.jsonl, kept after each.

    Args:
        folder: Where it goes.
        resumed: Go on with the rows that are there, not anew.
    """

    def __init__(self, folder: Path, resumed: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "curve.jsonl"
        lines = self.path.read_text().splitlines() if resumed and self.path.exists() else []
        self.rows: list[dict[str, Any]] = [json.loads(line) for line in lines]

    def add(self, value: float, start: np.ndarray, trained: np.ndarray, validated: np.ndarray) -> None:
        """Write down an epoch.

        Args:
            value: Its NDCG@10.
            start: The clock before the epoch.
            trained: The clock after its last step.
            validated: The clock after its validation.
        """
        seconds = {"train_seconds": (trained - start).tolist(), "validation_seconds": (validated - trained).tolist()}
        self.rows.append({"epoch": len(self.rows) + 1, "ndcg@10": value, **seconds})
        self.path.write_text("".join(json.dumps(row) + "\n" for row in self.rows))
        print(json.dumps(self.rows[-1]), flush=True)

    def is_over(self, options: argparse.Namespace) -> bool:
        """Whether all epochs are done, or the last ones brought nothing better."""
        values = [row["ndcg@10"] for row in self.rows]
        waited = len(values) - 1 - int(np.argmax(values)) if values else 0
        return len(values) >= options.epochs or waited >= options.patience


def print_answer(answer: dict[str, Any]) -> None:
    """Print what a script found, with the most memory it held, as one line of JSON."""
    print(json.dumps({**answer, "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10}))
