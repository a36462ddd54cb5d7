"""One run: from prepared data to a finished model folder."""

import dataclasses
import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import transformers
from datasets import Dataset
from transformers.trainer_utils import IntervalStrategy

from seqrec.adapter_card import adapter_card
from seqrec.arguments import SeqRecTrainingArguments
from seqrec.building import build_model
from seqrec.card import versions
from seqrec.counting import count_transitions
from seqrec.data import PreparedData
from seqrec.data.collation import Objective, TrainingWindows
from seqrec.data.reading import Tabular
from seqrec.data_source import load_data
from seqrec.estimate import describe_run, estimate_run
from seqrec.evaluation import PROTOCOL, dataset_ranks
from seqrec.folders import read_json
from seqrec.item_content import load_content
from seqrec.lora import LoraRun, start_lora
from seqrec.machine import device_name, keep_freed_memory, peak_memory_mb, share_cores
from seqrec.metrics.ranking import ndcg_at_k
from seqrec.model import SeqRecConfig, chunked_attention
from seqrec.model_folder import ModelFolder, without_file_bars
from seqrec.recommender import Recommender
from seqrec.run_folder import RunFolder
from seqrec.settings import Arguments
from seqrec.starting import start_from_cooccurrence
from seqrec.tokenization import tokenize
from seqrec.trainer import SeqRecTrainer, StopAtEpoch

logger = logging.getLogger(__name__)

TRANSITION_WEIGHTS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)


def train_once(
    arguments: Arguments,
    interactions: Tabular | None = None,
    items: Tabular | None = None,
    validated: RunFolder | None = None,
) -> Recommender:
    """Train by parsed settings; tables that are given replace those the settings name.

    Args:
        arguments: The settings.
        interactions: As in `seqrec.train`.
        items: The same.
        validated: A finished run that was validated; this one then ends at the epoch where that one was best.
    """
    training = arguments.training
    run_folder = RunFolder(training.output_dir or "runs/seqrec")
    training.output_dir = str(run_folder.checkpoints)
    threads = share_cores(training.num_threads)
    keep_freed_memory()
    transformers.set_seed(training.seed)
    with speaking(), _environment("TENSORBOARD_LOGGING_DIR", str(run_folder.logs)):
        with training.main_process_first(desc="preparing data and content"):
            checkpoint = run_folder.find_checkpoint(training.resume_from_checkpoint)
            prepared = load_data(arguments, interactions, items)
            folder, lora = _begin(arguments, prepared)
        trainer = build_trainer(
            folder, prepared if lora is None else lora.prepared, training, finished=lora is not None
        )
        epochs = trainer.planned_epochs()
        if validated is not None:
            epochs = validated.best_epoch()
            trainer.add_callback(StopAtEpoch(epochs))
        with chunked_attention(folder.model):
            estimate = estimate_run(trainer)
        course = training.course() | ({} if lora is None else lora.course())
        if checkpoint is not None:
            run_folder.check_same(checkpoint, prepared, folder.model.config, course)
        if training.should_save:
            if checkpoint is None:
                run_folder.start(prepared, course)
            else:
                run_folder.drop_half_written()
            for line in describe_run(prepared, trainer, epochs, threads, estimate):
                logger.info(line)
        trainer.accelerator.wait_for_everyone()
        if training.process_index:
            torch.manual_seed(training.seed + training.process_index)  # other dropout than the first process has
        if lora is not None:
            trainer.refresh, lora.before = lora.refresh, _validated(folder, prepared)
        start = time.perf_counter()
        with chunked_attention(folder.model):
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        seconds = time.perf_counter() - start
        return _finish(trainer, folder, prepared, run_folder, seconds, validated, lora)


def _begin(arguments: Arguments, prepared: PreparedData) -> tuple[ModelFolder, LoraRun | None]:
    """The model to train: a new one, or a finished one with an adapter."""
    if arguments.lora.lora is not None:
        lora = start_lora(arguments, prepared)
        return lora.folder, lora
    return build_model(arguments, prepared, load_content(arguments.data, prepared.items)), None


def _validated(folder: ModelFolder, prepared: PreparedData) -> dict[str, Any]:
    """What a model reaches on validation."""
    validation = prepared.dataset["validation"]
    return Recommender(folder).evaluate(validation) if len(validation) else {}


def build_trainer(
    folder: ModelFolder, prepared: PreparedData, training: SeqRecTrainingArguments, finished: bool = False
) -> SeqRecTrainer:
    """Return the trainer of a model on prepared data.

    Args:
        folder: The model.
        prepared: The data.
        training: Its settings.
        finished: The model has learned already, so nothing of it starts from counts.

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
    if training.id_start == "cooccurrence" and config.use_item_ids and not finished:
        start_from_cooccurrence(folder.model, windows, training.seed)
    if not finished:
        count_transitions(folder.model, windows, training.seed)
    validation = tokenized["validation"]
    if not len(validation):
        if prepared.report["split"]["name"] != "none":
            logger.warning("No user has three interactions, so nothing is validated: training runs to its last epoch.")
        training.eval_strategy, training.load_best_model_at_end = IntervalStrategy.NO, False
    if training.eval_strategy == IntervalStrategy.NO:
        return SeqRecTrainer(folder.model, training, windows, None)
    longest_first = np.argsort([-len(tokens) for tokens in validation["input_ids"]], kind="stable")
    return SeqRecTrainer(folder.model, training, windows, validation.select(longest_first))


def _objective(config: SeqRecConfig, training: SeqRecTrainingArguments) -> Objective:
    """The objective that was asked for, or the usual one of the attention; checked against it."""
    reads_newest = config.attention == "bidirectional" and config.mask_query == "newest"
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


def weigh_transitions(recommender: Recommender, validation: Dataset) -> None:
    """Choose by what the counted transitions are multiplied: the best NDCG@10 on validation, the least on a tie."""
    config, found = recommender.model.config, {}
    for weight in TRANSITION_WEIGHTS:
        config.transition_weight = weight
        found[weight] = float(ndcg_at_k(dataset_ranks(recommender, validation), 10).mean())
    config.transition_weight = max(found, key=lambda weight: found[weight])
    logger.info("transitions weigh %g, of %s", config.transition_weight, {w: round(v, 4) for w, v in found.items()})


def _finish(
    trainer: SeqRecTrainer,
    folder: ModelFolder,
    prepared: PreparedData,
    run_folder: RunFolder,
    seconds: float,
    validated: RunFolder | None,
    lora: LoraRun | None,
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
    learned = sum(weights.numel() for weights in folder.model.parameters() if weights.requires_grad)
    adapter = None if lora is None else lora.finish()
    recommender = Recommender(folder)
    validation = prepared.dataset["validation"]
    if validated is not None:
        folder.model.config.transition_weight = SeqRecConfig.from_pretrained(validated.model).transition_weight
    elif folder.model.transitions is not None and len(validation) and lora is None:
        weigh_transitions(recommender, validation)
    folder.metrics = {
        "dataset": prepared.report["source"]["name"],
        "split": prepared.report["split"]["name"],
        "num_items": len(recommender.items),
        "num_users": prepared.report["num_users"],
        "protocol": PROTOCOL,
        "validation": _validated(folder, prepared),
        "train": {
            "seconds": round(seconds, 1),
            "epochs": trainer.state.epoch,
            "interactions_per_second": round(int(trainer.num_targets) / seconds),
            "resumed_at_step": trainer.resumed_at_step,
            "device": device_name(trainer.args.device),
            "versions": versions(),
            "peak_memory_mb": round(peak_memory_mb(trainer.args.device)),
            "parameters": learned,
            "seed": trainer.args.seed,
        },
    }
    if validated is not None:
        chosen = read_json(validated.model / "metrics.json")
        folder.metrics["validation"] = chosen["validation"]
        folder.metrics["train"]["refit"] = {"validated_on": chosen["split"], "epochs": validated.best_epoch()}
    if lora is not None:
        folder.metrics["train"]["lora"] = lora.record()
    if trainer.args.should_save:
        if lora is not None and adapter is not None:
            card = adapter_card(adapter.base_model, folder.metrics, of_text=lora.settings.lora == "text_encoder")
            dataclasses.replace(adapter, card=card.encode()).save(run_folder.adapter)
        recommender.save_pretrained(run_folder.model)
        run_folder.finish(trainer.state)
        logger.info("the model is in %s", run_folder.model)
    trainer.accelerator.wait_for_everyone()
    return recommender


@contextmanager
def speaking() -> Iterator[None]:
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
