"""From interactions to a finished model folder."""

import copy
import logging
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import torch
import transformers
from transformers.trainer_utils import IntervalStrategy

from seqrec.arguments import SeqRecTrainingArguments
from seqrec.building import build_model
from seqrec.data import PreparedData, prepare
from seqrec.data.collation import Objective, TrainingWindows
from seqrec.data.reading import Tabular
from seqrec.estimate import describe_run, estimate_run
from seqrec.evaluation import PROTOCOL
from seqrec.folders import read_json
from seqrec.item_content import load_content
from seqrec.machine import keep_freed_memory, peak_memory_mb, share_cores
from seqrec.model import SeqRecConfig, chunked_attention
from seqrec.model_folder import ModelFolder, without_file_bars
from seqrec.recommender import Recommender
from seqrec.run_folder import RunFolder
from seqrec.settings import Arguments, parse_settings
from seqrec.starting import start_from_cooccurrence
from seqrec.tokenization import tokenize
from seqrec.trainer import SeqRecTrainer, StopAtEpoch

logger = logging.getLogger(__name__)


def train(
    interactions: Tabular | None = None,
    items: Tabular | None = None,
    column_mapping: Mapping[str, str] | None = None,
    output_dir: str | Path = "runs/seqrec",
    **settings: Any,
) -> Recommender:
    """Train a recommender and write its run folder; `scripts/train.py` is this call.

    Args:
        interactions: Anything that `seqrec.data.load_interactions` reads, or a folder that `PreparedData.save` wrote.
        items: Anything that `seqrec.data.load_items` reads; without it, items are their ids alone.
        column_mapping: Their column name to ours, for both tables.
        output_dir: The run folder: `model/` when finished, beside it `data/`, `checkpoints/` and `logs/`.
        **settings: Fields of `DataArguments`, `SeqRecConfig` and `SeqRecTrainingArguments`, as in a config file.

    Returns:
        The recommender, as `Recommender.from_pretrained(output_dir + "/model")` gives it.

    Raises:
        ValueError: If a setting or the data cannot be used; the message says what to do.
    """
    own = {"output_dir": str(output_dir), "column_mapping": column_mapping}
    return run(parse_settings({**settings, **own}), interactions, items)


def run(arguments: Arguments, interactions: Tabular | None = None, items: Tabular | None = None) -> Recommender:
    """Train by parsed settings; tables that are given replace those the settings name.

    With `refit`, a first run in `validated/` chooses how long to train and is measured; the final one then trains so
    long on everything, by the same schedule.
    """
    if not arguments.training.refit:
        return _run(arguments, interactions, items)
    if arguments.data.split == "none" or _is_prepared(_source(arguments, interactions)):
        raise ValueError(
            "refit=True holds items out first, to choose how long to train, and nothing then: it takes interactions "
            "that are not split yet, and no split='none'. Name those, or leave refit out."
        )
    run_folder = RunFolder(arguments.training.output_dir or "runs/seqrec")
    validated = RunFolder(run_folder.path / "validated")
    resume = arguments.training.resume_from_checkpoint
    final = _changed(arguments, resume_from_checkpoint=resume if run_folder.last_checkpoint() else None)
    final.data.split, final.data.time_fraction, final.data.cold_item_fraction = "none", None, 0.0
    everything = load_data(final, interactions, items)  # before anything is trained, as it may be refused
    if not (resume and validated.state.is_file()):
        _run(_changed(arguments, output_dir=str(validated.path), refit=False), interactions, items)
    return _run(final, interactions, items, everything, validated)


def _changed(arguments: Arguments, **settings: Any) -> Arguments:
    """The same arguments but for some settings of training."""
    changed = arguments._replace(data=copy.copy(arguments.data), training=copy.copy(arguments.training))
    for name, value in settings.items():
        setattr(changed.training, name, value)
    return changed


def _run(
    arguments: Arguments,
    interactions: Tabular | None,
    items: Tabular | None,
    prepared: PreparedData | None = None,
    validated: RunFolder | None = None,
) -> Recommender:
    """Train once: with validation, or as long as another run was best that was validated."""
    training = arguments.training
    run_folder = RunFolder(training.output_dir or "runs/seqrec")
    training.output_dir = str(run_folder.checkpoints)
    threads = share_cores(training.num_threads)
    keep_freed_memory()
    transformers.set_seed(training.seed)
    with _speaking(), _environment("TENSORBOARD_LOGGING_DIR", str(run_folder.logs)):
        with training.main_process_first(desc="preparing data and content"):
            checkpoint = run_folder.find_checkpoint(training.resume_from_checkpoint)
            prepared = prepared or load_data(arguments, interactions, items)
            content = load_content(arguments.data, prepared.items)
        folder = build_model(arguments, prepared, content)
        trainer = build_trainer(folder, prepared, training)
        if validated is not None:
            trainer.add_callback(StopAtEpoch(validated.best_epoch()))
        with chunked_attention(folder.model):
            estimate = estimate_run(trainer)
        if checkpoint is not None:
            run_folder.check_same(checkpoint, prepared, folder.model.config, training.course())
        if training.should_save:
            if checkpoint is None:
                run_folder.start(prepared, training.course())
            else:
                run_folder.drop_half_written()
            for line in describe_run(prepared, trainer, threads, estimate):
                logger.info(line)
        trainer.accelerator.wait_for_everyone()
        if training.process_index:
            torch.manual_seed(training.seed + training.process_index)  # other dropout than the first process has
        start = time.perf_counter()
        with chunked_attention(folder.model):
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        seconds = time.perf_counter() - start
        return _finish(trainer, folder, prepared, run_folder, seconds, validated)


def load_data(arguments: Arguments, interactions: Tabular | None = None, items: Tabular | None = None) -> PreparedData:
    """Prepare the named, passed or already prepared data.

    Raises:
        ValueError: If no data is named, or it cannot be used.
    """
    data, source = arguments.data, _source(arguments, interactions)
    catalogue = items if items is not None else data.items
    if _is_prepared(source):
        return _load_prepared(Path(source), arguments, catalogue)
    return prepare(
        source,
        catalogue,
        column_mapping=data.mapping(),
        dataset_files=data.dataset_files or (),
        **data.preparation(),
    )


def _source(arguments: Arguments, interactions: Tabular | None) -> Tabular:
    """What the interactions are read from, passed or named."""
    named = arguments.data.interactions or arguments.data.dataset
    if interactions is not None and named is not None:
        raise ValueError(f"Interactions are passed and {named!r} is named in the settings; leave one of them out.")
    source = named if interactions is None else interactions
    if source is None:
        raise ValueError(
            "No data is named. Pass `--interactions FILE` (with columns user_id and item_id), "
            "or `dataset: movielens-100k` for a named data set."
        )
    return source


def _is_prepared(source: Tabular) -> TypeGuard[str | Path]:
    """Whether a source is a folder that `PreparedData.save` wrote."""
    return isinstance(source, str | Path) and Path(source).is_dir()


def _load_prepared(folder: Path, arguments: Arguments, catalogue: Tabular | None) -> PreparedData:
    """Load prepared data; settings that say something else than it was prepared with are an error."""
    prepared = PreparedData.load(folder)
    used = prepared.report["settings"]
    asked = {name: value for name, value in arguments.data.preparation().items() if name in arguments.given}
    ignored = [f"{name}={value!r}" for name, value in asked.items() if name not in used or used[name] != value]
    ignored += ["items"] * (catalogue is not None)
    ignored += [name for name in ("column_mapping", "dataset_files") if getattr(arguments.data, name) is not None]
    if ignored:
        raise ValueError(
            f"{str(folder)!r} is already prepared with {used}, so {ignored[0]} has no effect on it. Leave it out, or "
            "prepare the source again with it."
        )
    return prepared


def build_trainer(folder: ModelFolder, prepared: PreparedData, training: SeqRecTrainingArguments) -> SeqRecTrainer:
    """Return the trainer of a model on prepared data.

    Raises:
        ValueError: If the objective does not fit the model.
    """
    tokenized = tokenize(prepared.dataset, folder.tokenizer)
    config = folder.model.config
    windows = TrainingWindows(
        tokenized["train"]["input_ids"],
        objective=_objective(config, training),
        window=config.max_position_embeddings,
        mask_token_id=config.mask_token_id,
        appends_mask=config.appends_mask,
        asks_before_mask=config.asks_before_mask,
        mask_probability=training.mask_probability,
        seed=training.seed,
    )
    if not len(windows):
        raise ValueError("No training history has two interactions, so there is nothing to learn; pass more data.")
    if training.dataloader_drop_last and len(windows) < training.per_device_train_batch_size * training.world_size:
        raise ValueError(
            f"dataloader_drop_last leaves out all {len(windows)} windows, as they are fewer than one step takes "
            f"({training.per_device_train_batch_size * training.world_size}). Leave it out, or take smaller batches."
        )
    if training.id_start == "cooccurrence" and config.use_item_ids:
        start_from_cooccurrence(folder.model, windows, training.seed)
    validation = tokenized["validation"]
    if not len(validation):
        logger.warning("No item is held out to validate: training runs to its last epoch.")
        training.eval_strategy, training.load_best_model_at_end = IntervalStrategy.NO, False
    if training.eval_strategy == IntervalStrategy.NO:
        return SeqRecTrainer(folder.model, training, windows, None)
    longest_first = np.argsort([-len(tokens) for tokens in validation["input_ids"]], kind="stable")
    return SeqRecTrainer(folder.model, training, windows, validation.select(longest_first))


def _objective(config: SeqRecConfig, training: SeqRecTrainingArguments) -> Objective:
    """The objective that was asked for, or the usual one of the attention; checked against it."""
    reads_newest = config.attention == "bidirectional" and not config.appends_mask
    if training.objective is None:
        usual: Objective = "last_item" if reads_newest else "cloze"
        return "shifted" if config.attention == "causal" else usual
    if training.objective == {"causal": "cloze", "bidirectional": "shifted"}[config.attention]:
        raise ValueError(
            f"objective={training.objective!r} does not fit attention={config.attention!r}: shifted would let "
            "bidirectional attention see the answer, and cloze hides what causal attention cannot look around. "
            "Leave `objective` out, or use last_item."
        )
    if reads_newest and training.objective != "last_item":
        raise ValueError(
            f"objective={training.objective!r} does not fit mask_query={config.mask_query!r}, which reads the newest "
            "item's own state and no [MASK]. Leave `objective` out, or choose another mask_query."
        )
    return training.objective


def _finish(
    trainer: SeqRecTrainer,
    folder: ModelFolder,
    prepared: PreparedData,
    run_folder: RunFolder,
    seconds: float,
    validated: RunFolder | None,
) -> Recommender:
    """Measure the best model on validation and write the model folder."""
    if not trainer.args.load_best_model_at_end:
        trainer.keep_average()
    lost = [name for name, weights in folder.model.named_parameters() if not torch.isfinite(weights).all()]
    if lost:
        raise ValueError(
            f"Training ended in weights that are no numbers ({len(lost)} of them, first {lost[0]!r}). Take a lower "
            f"learning_rate than {trainer.args.learning_rate:g}, or a lower max_grad_norm."
        )
    recommender = Recommender(folder)
    validation = prepared.dataset["validation"]
    measured = recommender.evaluate(validation) if len(validation) else {}
    folder.metrics = {
        "dataset": prepared.report["source"]["name"],
        "split": prepared.report["split"]["name"],
        "num_items": prepared.report["num_items"],
        "num_users": prepared.report["num_users"],
        "protocol": PROTOCOL,
        "validation": measured if validated is None else read_json(validated.model / "metrics.json")["validation"],
        "train": {
            "seconds": round(seconds, 1),
            "epochs": trainer.state.epoch,
            "interactions_per_second": round(int(trainer.num_targets) / seconds),
            "resumed_at_step": trainer.resumed_at_step,
            "peak_memory_mb": round(peak_memory_mb(trainer.args.device)),
            "parameters": sum(parameter.numel() for parameter in folder.model.parameters()),
            "seed": trainer.args.seed,
            "refit": validated is not None,
        },
    }
    if trainer.args.should_save:
        recommender.save_pretrained(run_folder.model)
        run_folder.finish(trainer.state)
        logger.info("the model is in %s", run_folder.model)
    trainer.accelerator.wait_for_everyone()
    return recommender


@contextmanager
def _speaking() -> Iterator[None]:
    """Let a run speak on stderr, unless the program has set up logging of its own."""
    package = logging.getLogger("seqrec")
    handler = None
    if not package.handlers and not logging.getLogger().handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(message)s"))
        package.addHandler(handler)
        package.setLevel(logging.INFO)
    try:
        with without_file_bars():
            yield
    finally:
        if handler is not None:
            package.removeHandler(handler)
            package.setLevel(logging.NOTSET)


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """Set an environment variable for a while, unless the user has."""
    ours = os.environ.setdefault(name, value) is value
    try:
        yield
    finally:
        if ours:
            os.environ.pop(name, None)
