"""Start a system in its own environment, on given cores; a peer's environment is made when it is missing."""

import json
import os
import subprocess
import sys
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from seqrec.fetching import cache_dir

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
TORCH = "torch==2.13.0"
PEERS = {"rectools": "rectools[torch]==0.19.0", "replay": "replay-rec[torch]==0.22.0"}


def measure(system: str, words: Sequence[str], cores: Collection[int]) -> dict[str, Any]:
    """Run `SYSTEM_run.py` in a process of its own that may use these cores only, and return what it answers."""
    python = sys.executable if system == "seqrec" else peer_python(system)
    command = [str(python), str(HERE / f"{system}_run.py"), *words]
    print(f"cores {sorted(cores)}:", *command, file=sys.stderr, flush=True)
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": str(len(cores))},
        preexec_fn=partial(os.sched_setaffinity, 0, cores),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def peer_python(peer: str) -> Path:
    """Return the Python of a peer's environment; it is made in the cache folder the first time."""
    folder = cache_dir() / "peers" / peer
    python = folder / "bin" / "python"
    if not any(folder.glob(f"lib/python*/site-packages/{peer}")):
        call([sys.executable, "-m", "venv", "--clear", str(folder)])
        for requirement in (TORCH, PEERS[peer]):
            call([str(python), "-m", "pip", "install", "--disable-pip-version-check", requirement])
    return python


def call(command: Sequence[str]) -> None:
    """Run a command and say which."""
    print(*command, file=sys.stderr, flush=True)
    subprocess.run(command, cwd=ROOT, stdout=sys.stderr, check=True)


def export_histories(source: Sequence[str], path: Path) -> None:
    """Write the histories of a data set for the peers, where that is not done.

    In a process of its own, as a child's peak memory counts from that of the process that starts it.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        call([sys.executable, str(HERE / "histories.py"), str(path), *source])
