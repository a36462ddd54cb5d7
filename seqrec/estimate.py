"""What a run will cost, from two measured steps and a first ranking."""

import time
from dataclasses import dataclass

import numpy as np
import torch

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
