"""Train seqrec on settings as `scripts/train.py` takes them, and measure it as the scripts of its peers do theirs.

    python benchmarks/systems/seqrec_run.py [CONFIG.yaml] [--name value ...]
    python benchmarks/systems/seqrec_run.py [CONFIG.yaml] [--name value ...] --curve FOLDER [--target 0.1]

Items are ids alone, on the CPU. The first form times the steps of an epoch. With `--curve`, each epoch is followed by
validation (NDCG@10 over all items, seen ones excluded), until it passes the target or the settings end the training.
Prints one JSON line; seconds are [wall, CPU] of this process.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import transformers
from measuring import Curve, StepClock, clock, print_answer

from seqrec.building import build_model
from seqrec.data.collation import TrainingWindows
from seqrec.data_source import load_data
from seqrec.item_content import ItemContent
from seqrec.machine import keep_freed_memory, share_cores
from seqrec.model import chunked_attention
from seqrec.settings import Arguments, parse_command_line
from seqrec.trainer import SeqRecTrainer
from seqrec.training_run import build_trainer

ALWAYS = "--text_encoder none --use_cpu true --save_strategy no --load_best_model_at_end false --disable_tqdm true"


class Ticking(transformers.TrainerCallback):
    """Notes the time of each step."""

    def __init__(self) -> None:
        self.steps = StepClock()

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        """Note the time before the first one."""
        self.steps.start()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        """Note the time after each."""
        self.steps.tick()


class Validated(transformers.TrainerCallback):
    """Adds every epoch to a curve, and ends the training when it passes the target.

    Args:
        curve: The curve.
        target: The NDCG@10 to pass.
        start: The clock before the training was prepared.
    """

    def __init__(self, curve: Curve, target: float, start: np.ndarray) -> None:
        self.curve = curve
        self.target = target
        self.start = start
        self.trained = start

    def on_epoch_end(self, *args: Any, **kwargs: Any) -> None:
        """Note the time between training and validation."""
        self.trained = clock()

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Add the epoch."""
        value = kwargs["metrics"]["eval_ndcg@10"]
        self.curve.add(value, self.start, self.trained, clock())
        control.should_training_stop = control.should_training_stop or value > self.target
        self.start = clock()


def main(arguments: Arguments, curve: Path | None, target: float) -> None:
    """Measure what is asked for."""
    training = arguments.training
    share_cores(training.num_threads)
    keep_freed_memory()
    transformers.set_seed(training.seed)
    prepared = load_data(arguments)
    start = clock()
    trainer = build_trainer(build_model(arguments, prepared, ItemContent()), prepared, training)
    if curve:
        validated = Validated(Curve(curve), target, start)
        trainer.add_callback(validated)
        with chunked_attention(trainer.ranker):
            trainer.train()
        print_answer({"rows": validated.curve.rows})
    else:
        ticking = Ticking()
        trainer.add_callback(ticking)
        with chunked_attention(trainer.ranker):
            trainer.train()
        print_answer(ticking.steps.speed(interactions_after_first_step(trainer)))


def interactions_after_first_step(trainer: SeqRecTrainer) -> float:
    """Return how many interactions all steps but the first read, by their share of the epoch's windows."""
    windows, batch = trainer.windows, trainer.args.per_device_train_batch_size
    num_windows = min(trainer.state.global_step * batch, len(windows)) - batch
    return interactions_read(windows) * num_windows / len(windows)


def interactions_read(windows: TrainingWindows) -> int:
    """Return how many interactions an epoch reads; an item at the cut of two windows counts once.

    A lone [MASK] that a window brings along (the query of an empty history) is none.
    """
    segments = [input_ids for index in range(len(windows)) for input_ids, _ in windows[index]]
    places = sum(len(input_ids) for input_ids in segments if input_ids.tolist() != [windows.mask_token_id])
    asked_last = len(np.unique(windows.rows)) if windows.objective == "shifted" else 0
    return places + asked_last


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--curve", type=Path, help="the curve goes to this folder")
    parser.add_argument("--target", type=float, default=1.0, help="the NDCG@10 to pass")
    options, words = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        task = "--eval_strategy epoch" if options.curve else "--eval_strategy no --num_train_epochs 1"
        settings = [*words, *ALWAYS.split(), *task.split(), "--output_dir", folder]
        main(parse_command_line(settings), options.curve, options.target)
