"""A run that is killed with SIGKILL and resumed ends with the weights of one that was left alone."""

import json
import random
import shutil
import signal
import subprocess
import sys

import pytest

RUNNER = '''
"""Forks a training run for each line of JSON on stdin; kills it where or when the line says, and reports."""
import json, os, shutil, signal, sys, threading, time
from pathlib import Path

import torch, transformers
import seqrec, seqrec.trainer, seqrec.training
from seqrec.model import SeqRecForNextItem
from seqrec.model_folder import ModelFolder
from seqrec.trainer import SeqRecTrainer

PLACES = {
    "step": (SeqRecForNextItem, "forward"),
    "evaluation": (SeqRecForNextItem, "target_ranks"),
    "checkpoint": (SeqRecTrainer, "_save_optimizer_and_scheduler"),
    "state": (transformers.TrainerState, "save_to_json"),
    "optimizer": (torch, "save"),
    "rotation": (shutil, "rmtree"),
    "best": (SeqRecTrainer, "_load_best_model"),
    "model": (ModelFolder, "save"),
}

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def arm(place, call):
    """Kill this process in the given call of a function: half a file is written, or half a folder removed."""
    owner, name = PLACES[place]
    real, calls = getattr(owner, name), [0]

    def deadly(*args, **kwargs):
        calls[0] += place != "rotation" or "checkpoint-" in str(args[0])  # other folders are removed, too
        if calls[0] != call:
            return real(*args, **kwargs)
        if place in ("state", "optimizer"):
            real(*args, **kwargs)
            path = Path(args[1])
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        if place == "rotation":
            for path in sorted(Path(args[0]).iterdir())[:3]:
                path.unlink()
        die()

    setattr(owner, name, deadly)

def watch(pid, course, delay):
    """Kill the run some time after its training began."""
    while not course.is_file():
        time.sleep(0.001)
    time.sleep(delay)
    os.kill(pid, signal.SIGKILL)

for line in sys.stdin:
    job = json.loads(line)
    course = Path(job["settings"]["output_dir"]) / "logs" / "course.json"
    pid = os.fork()
    if not pid:
        os.dup2(2, 1)  # stdout belongs to the reports
        if job["place"]:
            arm(job["place"], job["call"])
        try:
            seqrec.train(**job["settings"])
        except ValueError as error:
            print(error, file=sys.stderr, flush=True)
            os._exit(2)
        os._exit(0)
    if job["delay"] is not None:
        threading.Thread(target=watch, args=(pid, course, job["delay"]), daemon=True).start()
    started = None
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if started is None and course.is_file():
            started = time.monotonic()
        if ended:
            break
        time.sleep(0.001)
    seconds = time.monotonic() - (started or time.monotonic())
    print(json.dumps({"status": os.waitstatus_to_exitcode(status), "seconds": seconds}), flush=True)
'''


class Runs:
    """Training runs in processes of their own, all with equal settings."""

    def __init__(self, settings, folder):
        self.settings, self.folder = settings, folder
        self.runner = subprocess.Popen(
            [sys.executable, "-c", RUNNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self, name, place=None, call=1, delay=None, **settings):
        """Run, and return how it ended: the exit code, or minus the signal."""
        settings = {**self.settings, **settings, "output_dir": str(self.folder / name)}
        job = {"settings": settings, "place": place, "call": call, "delay": delay}
        self.runner.stdin.write(json.dumps(job) + "\n")
        self.runner.stdin.flush()
        return json.loads(self.runner.stdout.readline())

    def end_of(self, name):
        """What a finished run ends with: the weights, byte by byte, and the log without times."""
        folder = self.folder / name
        log = json.loads((folder / "logs" / "trainer_state.json").read_text())
        evaluations = [entry["eval_ndcg@10"] for entry in log["log_history"] if "eval_ndcg@10" in entry]
        metrics = json.loads((folder / "model" / "metrics.json").read_text())
        weights = (folder / "model" / "model.safetensors").read_bytes()
        return weights, evaluations, log["best_global_step"], metrics["validation"]

    def check_killed_and_resumed(self, name, **kill):
        """Kill a run, resume it, compare; a moment after the end of the run kills nothing."""
        ended = self(name, **kill)["status"]
        if (self.folder / name / "logs" / "trainer_state.json").is_file():
            return False
        assert ended == -signal.SIGKILL
        assert self(name, resume_from_checkpoint="last")["status"] == 0
        assert self.end_of(name) == self.end_of("whole")
        shutil.rmtree(self.folder / name)
        return True


@pytest.fixture(scope="module")
def runs(toy_file_settings, tmp_path_factory):
    long_enough = {"num_train_epochs": 30, "early_stopping_patience": 4, "save_total_limit": 1}
    runs = Runs({**toy_file_settings, **long_enough, "item_dropout_prob": 0.3}, tmp_path_factory.mktemp("runs"))
    assert runs("whole")["status"] == 0
    yield runs
    runs.runner.stdin.close()
    runs.runner.wait()


def test_the_whole_run_stops_early(runs):
    evaluations, best = runs.end_of("whole")[1:3]
    assert 5 < len(evaluations) < 30
    assert 0 < best < 3 * (len(evaluations) - 3)


@pytest.mark.parametrize(("place", "call"), [("step", 17), ("checkpoint", 4), ("evaluation", 5)])
def test_a_killed_run_resumes_to_the_same_weights(runs, place, call):
    assert runs.check_killed_and_resumed("killed", place=place, call=call)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "call"),
    [("step", 3), ("state", 2), ("optimizer", 7), ("rotation", 1), ("rotation", 3), ("best", 1), ("model", 1)],
)
def test_a_run_killed_at_a_delicate_place_resumes_to_the_same_weights(runs, place, call, record_property):
    assert runs.check_killed_and_resumed("killed", place=place, call=call)
    record_property("measured", f"a run killed in call {call} of its {place} ended with the weights of a whole one")


@pytest.mark.slow
def test_twenty_random_kills(runs, record_property):
    seconds = runs("timed")["seconds"]
    draw = random.Random()
    moments = [draw.uniform(0, seconds) for _ in range(60)]
    killed = 0
    for number, moment in enumerate(moments):
        killed += runs.check_killed_and_resumed(f"killed-{number}", delay=moment)
        if killed == 20:
            break
    record_property("measured", f"{killed} of 20 runs killed at a random moment ended with the weights of a whole one")
    assert killed == 20, "too many runs ended before their moment came"


def test_patience_that_changed_is_refused(runs, capfd):
    assert runs("patience", place="step", call=8)["status"] == -signal.SIGKILL
    assert runs("patience", resume_from_checkpoint="last", early_stopping_patience=9)["status"] == 2


def test_a_run_that_moved_finds_its_best_checkpoint(runs):
    assert runs("before", place="checkpoint", call=8)["status"] == -signal.SIGKILL
    (runs.folder / "before").rename(runs.folder / "after")
    assert runs("after", resume_from_checkpoint="last")["status"] == 0
    assert runs.end_of("after") == runs.end_of("whole")
