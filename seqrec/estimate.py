"""What a run will cost, from two measured steps."""

import resource
import sys
import time
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedModel

from seqrec.data.collation import TrainingWindows, collate_windows

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


def estimate_run(model: PreTrainedModel, windows: TrainingWindows, batch_size: int) -> Estimate:
    """Take training steps on the largest batch, with a learning rate of zero, and leave the model as it was.

    Args:
        model: The model, on its device.
        windows: The training data.
        batch_size: Windows a step, of one process.
    """
    lengths = windows.lengths()
    largest = np.argsort(-lengths, kind="stable")[:batch_size]
    batch = collate_windows([windows[int(index)] for index in largest])
    batch = {name: tensor.to(model.device) for name, tensor in batch.items()}
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=0.0, weight_decay=0.0)
    was_training = model.training
    seconds = 0.0
    with torch.random.fork_rng(enabled=True):
        model.train()
        for _ in range(NUM_MEASURED_STEPS):
            start = time.perf_counter()
            model(**batch).loss.backward()
            optimizer.step()
            model.zero_grad()
            _wait_for(model.device)
            seconds = time.perf_counter() - start
    model.train(was_training)
    return Estimate(
        step_seconds=seconds,
        epoch_seconds=seconds * lengths.sum() / lengths[largest].sum(),
        peak_memory_mb=peak_memory_mb(model.device),
    )


def peak_memory_mb(device: torch.device) -> float:
    """Return the most memory so far, in MiB: of the device if it has its own, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    unit = 2**20 if sys.platform == "darwin" else 2**10  # ru_maxrss is in bytes on macOS, in KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
