"""This process on this machine: its threads, and how it takes and counts memory."""

import ctypes
import os
import resource
import sys

import torch

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # of glibc's mallopt
KEPT_BYTES = 2**31 - 1
LARGEST_KEPT_BYTES = 2**25  # larger blocks go back to the system at once


def share_cores(num_threads: int | None) -> int:
    """Give this process its share of the cores, whatever OMP_NUM_THREADS says, and return it.

    Args:
        num_threads: Threads of this process; by default, the cores over the processes of this machine.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    threads = num_threads or max(1, cores // processes)
    torch.set_num_threads(threads)
    return threads


def keep_freed_memory() -> bool:
    """Let glibc keep freed blocks up to 32 MB for the next step, instead of giving and taking pages at every one.

    A training step frees and takes the same blocks again; without this, a fifth of a step on a CPU is the operating
    system clearing pages. Return False where there is no glibc.
    """
    if not sys.platform.startswith("linux") or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    options = (
        (M_MMAP_THRESHOLD, LARGEST_KEPT_BYTES),
        (M_TRIM_THRESHOLD, KEPT_BYTES),
        (M_TOP_PAD, 2 * LARGEST_KEPT_BYTES),
    )
    return all([mallopt(option, value) == 1 for option, value in options])


def device_name(device: torch.device) -> str:
    """Say in words what one process computes on."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{threads} {device.type.upper()} thread{'s' * (threads > 1)}" if device.type == "cpu" else str(device)


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 natively, and so faster than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return False


def peak_memory_mb(device: torch.device) -> float:
    """Return the most memory so far, in MiB: of the device if it has its own, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    unit = 2**20 if sys.platform == "darwin" else 2**10  # ru_maxrss is in bytes on macOS, in KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
