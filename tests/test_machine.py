"""Threads and memory of a process."""

import os
import subprocess
import sys

import pytest
import torch

from seqrec.machine import share_cores


def test_threads_come_from_the_machine_not_the_launcher(monkeypatch):
    before = torch.get_num_threads()
    try:
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
        monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")
        monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
        assert share_cores(None) == 4
        assert torch.get_num_threads() == 4
        monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
        assert share_cores(None) == 2
        assert share_cores(1) == 1
    finally:
        torch.set_num_threads(before)


FAULTS = """
import resource, sys, torch
from seqrec.machine import keep_freed_memory
kept = keep_freed_memory() if sys.argv[1] == "keep" else False
def step():
    return [torch.ones(1 << 22) for _ in range(16)]  # blocks of 16 MB
for _ in range(3):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc")
def test_blocks_are_taken_from_the_system_once():
    faults = {}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    for word in ("keep", *["leave"] * 8):  # whether freed blocks stay by themselves is a matter of where they lie
        command = [sys.executable, "-c", FAULTS, word]
        answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split()
        assert answer[0] == str(word == "keep")
        faults[word] = int(answer[1])
        if word == "leave" and faults[word]:
            break
    assert faults["keep"] < faults["leave"] / 10


def test_what_the_user_has_set_stays(monkeypatch):
    from seqrec.machine import keep_freed_memory

    monkeypatch.setenv("MALLOC_ARENA_MAX", "2")
    assert keep_freed_memory() is False
