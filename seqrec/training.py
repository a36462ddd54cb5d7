"""From interactions to a finished model folder: one run, or two where the final model learns from everything."""

import copy
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seqrec.data.reading import Tabular
from seqrec.data_source import is_prepared, load_data, source_of, to_read_twice
from seqrec.recommender import Recommender
from seqrec.run_folder import RunFolder
from seqrec.settings import Arguments, parse_settings
from seqrec.training_run import speaking, train_once

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
        **settings: Fields of `DataArguments`, `SeqRecConfig`, `SeqRecTrainingArguments` and `LoraArguments`, as in a
            config file.

    Returns:
        The recommender, as `Recommender.from_pretrained(output_dir + "/model")` gives it.

    Raises:
        ValueError: If a setting or the data cannot be used; the message says what to do.
    """
    own = {"output_dir": str(output_dir), "column_mapping": column_mapping}
    return run(parse_settings({**settings, **own}), interactions, items)


def run(arguments: Arguments, interactions: Tabular | None = None, items: Tabular | None = None) -> Recommender:
    """Train by parsed settings; tables that are given replace those the settings name."""
    if not arguments.training.refit:
        return train_once(arguments, interactions, items)
    with speaking():
        return _refit(arguments, to_read_twice(interactions), to_read_twice(items))


def _refit(arguments: Arguments, interactions: Tabular | None, items: Tabular | None) -> Recommender:
    """Choose in a first run, in `validated/`, how long to train; then train so long on everything."""
    _check_refit(arguments, interactions)
    run_folder = RunFolder(arguments.training.output_dir or "runs/seqrec")
    validated = RunFolder(run_folder.path / "validated")
    first = _changed(arguments, output_dir=str(validated.path), refit=False)
    final = _changed(arguments)
    final.data.split, final.data.time_fraction, final.data.cold_item_fraction = "none", None, 0.0
    resume = arguments.training.resume_from_checkpoint
    if resume is None:
        for folder in (run_folder, validated):
            folder.find_checkpoint(None)  # an interrupted run is not thrown away
        if arguments.training.should_save:
            run_folder.forget()
    elif run_folder.state.is_file():
        run_folder.find_checkpoint(resume)  # says that it is finished
    if validated.state.is_file() and resume is not None:
        with arguments.training.main_process_first(desc="preparing data"):
            prepared = load_data(first, interactions, items)
        validated.check_finished(prepared, first.training.course(), arguments.model)
    else:
        logger.info("refit       1 of 2: a run with held-out items, to choose how long to train")
        train_once(first, interactions, items)
    if run_folder.last_checkpoint() is None:
        final.training.resume_from_checkpoint = None
    logger.info("refit       2 of 2: on everything, for %g epochs", validated.best_epoch())
    return train_once(final, interactions, items, validated)


def _check_refit(arguments: Arguments, interactions: Tabular | None) -> None:
    """Refuse what the two runs of a refit could not agree on."""
    data, training = arguments.data, arguments.training
    if data.split == "none" or is_prepared(source_of(arguments, interactions)):
        raise ValueError(
            "refit=True holds items out first, to choose how long to train, and nothing then: it takes interactions "
            "that are not split yet, and no split='none'. Name those, or leave refit out."
        )
    if training.max_steps > 0:
        raise ValueError(
            f"refit=True trains for as many epochs as the validated run, and max_steps={training.max_steps} would be "
            "fewer of them on more data. Leave max_steps out and set num_train_epochs."
        )
    if training.resume_from_checkpoint not in (None, "last"):
        raise ValueError(
            f"resume_from_checkpoint={training.resume_from_checkpoint!r} names a checkpoint, and a refit has those of "
            "two runs. Give --resume_from_checkpoint alone: it finds the right one."
        )


def _changed(arguments: Arguments, **settings: Any) -> Arguments:
    """The same arguments but for some settings of training."""
    changed = arguments._replace(data=copy.copy(arguments.data), training=copy.copy(arguments.training))
    for name, value in settings.items():
        setattr(changed.training, name, value)
    return changed
