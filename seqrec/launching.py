"""All the processes that `accelerate launch --cpu --num_processes N` was asked for."""

import os
import re
import socket
import sys
from argparse import Namespace
from collections.abc import Callable

import psutil
from torch.multiprocessing.spawn import ProcessExitedException, start_processes

LAUNCHER = re.compile(r"^launch$|accelerate-launch$|accelerate.commands.launch(\.py)?$")
STARTED = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")  # by torchrun, or one of the MPIs


def launch(main: Callable[[], None]) -> None:
    """Call `main` in this process, or in each of the CPU processes that accelerate was asked for and did not start.

    Without MPI, `accelerate launch --cpu --num_processes 2` starts a single process and says nothing
    (https://github.com/huggingface/accelerate/issues/2741). Here that process starts them all, for torch.distributed
    with gloo, and waits; when one fails the others are stopped, and this process exits with its code.

    Args:
        main: Importable, so that a new process can find it.

    Raises:
        ValueError: Several processes were asked for, and it cannot be seen how many.
    """
    if os.environ.get("ACCELERATE_USE_CPU") != "True" or "MASTER_PORT" not in os.environ or _started():
        main()
        return
    arguments = _launcher_arguments(psutil.Process().parent())
    num_processes = arguments.num_processes
    if arguments.main_process_port is None:
        os.environ["MASTER_PORT"] = str(_free_port())  # two runs at a time on one machine
    try:
        start_processes(_one_process, (num_processes, main), num_processes, start_method="spawn")
    except ProcessExitedException as error:
        sys.exit(error.exit_code if error.exit_code > 0 else 1)


def _started() -> bool:
    return any(name in os.environ for name in STARTED)


def _launcher_arguments(launcher: psutil.Process | None) -> Namespace:
    """Read the command line of `accelerate launch`, which keeps the number of processes nowhere else."""
    from accelerate.commands.launch import launch_command_parser

    words = launcher.cmdline() if launcher else []
    command = next((place for place, word in enumerate(words) if LAUNCHER.search(word)), None)
    if command is None:
        raise ValueError(
            f"MASTER_PORT={os.environ['MASTER_PORT']!r} asks for several CPU processes, but no `accelerate launch` "
            "started this one. Unset it, or start them with torchrun --nproc_per_node N."
        )
    arguments = launch_command_parser().parse_args(words[command + 1 :])
    if arguments.num_machines not in (None, 1) or arguments.num_processes is None:
        raise ValueError(
            "`accelerate launch --cpu` does not say how many processes this machine runs. Give --num_processes N for "
            "one machine, or start them with torchrun."
        )
    return arguments


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _one_process(index: int, num_processes: int, main: Callable[[], None]) -> None:
    """Tell torch.distributed which process this is, and run."""
    own = {"RANK": index, "LOCAL_RANK": index, "WORLD_SIZE": num_processes, "LOCAL_WORLD_SIZE": num_processes}
    os.environ.update({name: str(value) for name, value in own.items()})
    main()
