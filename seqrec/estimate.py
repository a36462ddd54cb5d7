"""What a run will cost, from two measured steps and a first ranking."""

import time
from dataclasses import dataclass

import numpy as np
import torch

from seqrec.data import PreparedData
from seqrec.data.collation import collate_windows
from seqrec.machine import peak_memory_mb
from seqrec.trainer import SeqRecTrainer

NUM_MEASURED_STEPS = 2


@dataclass(frozen=True)
class Estimate:
    """Cost of a run.

    Args:
        step_seconds: Of the last measured step, at the largest batch.
        epoch_seconds: Of one pass over the data, evaluation not included.
        peak_memory_mb: Of the process (CPU) or the device after the measured steps, optimizer state included.
    """

    step_seconds: float
    epoch_seconds: float
    peak_memory_mb: float


def estimate_run(trainer: SeqRecTrainer) -> Estimate:
    """Take steps on the largest batch, with a learning rate of zero, and rank once; leave the model as it was.

    Args:
        trainer: The trainer, before it trains.
    """
    model, windows, device = trainer.ranker, trainer.windows, trainer.args.device
    lengths = windows.lengths()
    largest = np.argsort(-lengths, kind="stable")[: trainer.args.per_device_train_batch_size]
    batch = collate_windows([windows[int(index)] for index in largest])
    batch = {name: tensor.to(device) for name, tensor in batch.items()}
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=0.0, weight_decay=0.0, fused=True)
    was_training = model.training
    seconds = 0.0
    with torch.random.fork_rng(enabled=True):
        model.train()
        for _ in range(NUM_MEASURED_STEPS):
            start = time.perf_counter()
            with trainer.accelerator.autocast():  # in training, accelerate wraps `forward` in it
                loss = model(**batch).loss
            loss.backward()
            optimizer.step()
            model.zero_grad()
            _wait_for(device)
            seconds = time.perf_counter() - start
        if trainer.eval_dataset is not None:
            model.eval()
            ranked = next(iter(trainer.get_eval_dataloader()))
            model.target_ranks(**{name: tensor.to(device) for name, tensor in ranked.items()})
    model.train(was_training)
    return Estimate(
        step_seconds=seconds,
        epoch_seconds=seconds * lengths.sum() / lengths[largest].sum(),
        peak_memory_mb=peak_memory_mb(device),
    )


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def describe_run(
    prepared: PreparedData, trainer: SeqRecTrainer, epochs: float, threads: int, estimate: Estimate
) -> list[str]:
    """Return in lines what a run will do and what it will cost."""
    args, report, model = trainer.args, prepared.report, trainer.ranker
    config = model.config
    learned = sum(weights.numel() for weights in model.parameters() if weights.requires_grad)
    content = ", ".join(f"{name} {sizes}" for name, sizes in (config.content_sizes or {}).items())
    epoch_seconds = estimate.epoch_seconds / args.world_size
    minutes = epoch_seconds * epochs / 60
    source = report["steps"][0]["before"]
    cleaning = ", ".join(step["name"] for step in report["steps"])
    return [
        f"source      {source['num_users']:,} users, {source['num_items']:,} items, "
        f"{source['num_interactions']:,} interactions; cleaned by {cleaning}",
        f"data        {report['num_users']:,} users, {report['num_items']:,} items, "
        f"{report['num_interactions']:,} interactions left; {len(prepared.dataset['validation']):,} users to validate",
        f"model       {config.attention}, {config.ensemble_size} encoder(s) of {config.num_hidden_layers} blocks of "
        f"{config.hidden_size}, {learned:,} numbers to learn, item content: {content or 'none'}",
        f"training    {trainer.windows.objective} on {len(trainer.windows):,} windows, "
        f"{args.per_device_train_batch_size} a step, at most {epochs:.4g} epochs",
        f"machine     {args.world_size} process(es) on {args.device}, {threads} threads each, "
        f"softmax in {str(model.softmax.dtype).removeprefix('torch.')}",
        f"measured    {estimate.step_seconds * 1000:,.0f} ms the largest step, "
        f"{estimate.peak_memory_mb:,.0f} MB peak memory",
        f"estimate    {epoch_seconds:,.1f} s an epoch without evaluation, {minutes:,.1f} min for all of them",
    ]
