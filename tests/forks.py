"""A process that has imported what takes seconds to import, and forks for each thing that is asked of it.

A line of its standard input is a job, `{"function", "arguments", "streams"}`, a line of its standard output the exit
status of the fork. What a fork prints goes into the two files of `streams`.
"""

import importlib
import json
import os
import runpy
import subprocess
import sys
import traceback
from itertools import count
from pathlib import Path

ROOT = Path(__file__).parent.parent
IMPORTED = ("datasets", "faiss", "peft", "torch", "transformers", "seqrec.recommender", "seqrec.training")


class Forks:
    """That process; `forks("module.function", **arguments)` calls one of our functions in a fork.

    Args:
        folder: Where what forks print is kept.
        environment: Of the process.
    """

    def __init__(self, folder, environment):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        own = {"HF_HOME": str(folder / "home"), "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen([sys.executable, __file__], env=os.environ | own | environment, **pipes)
        self.folder, self.numbers = folder, count()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.stdin.close()
        self.process.wait(timeout=60)
        self.process.stdout.close()

    def __call__(self, function, **arguments):
        number = next(self.numbers)
        streams = [self.folder / f"{number}.{name}" for name in ("stdout", "stderr")]
        job = {"function": function, "arguments": arguments, "streams": list(map(str, streams))}
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        status = int(self.process.stdout.readline())
        return subprocess.CompletedProcess(arguments, status, *(stream.read_text() for stream in streams))

    def script(self, name, *words, cwd=ROOT):
        """Run a script of scripts/, as a command would, and return what a finished process is."""
        return self(
            "tests.forks.run_script", path=str(ROOT / "scripts" / name), words=list(map(str, words)), cwd=str(cwd)
        )


def run_script(path, words, cwd="."):
    """Be the process of a script."""
    os.chdir(cwd)
    sys.argv = [path, *words]
    runpy.run_path(path, run_name="__main__")


def status_of(function, arguments):
    """Call a function, and return what the exit status of its process would be."""
    module, _, name = function.rpartition(".")
    try:
        getattr(importlib.import_module(module), name)(**arguments)
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def serve():
    """Do the jobs, each in a fork."""
    for module in IMPORTED:
        importlib.import_module(module)
    for line in sys.stdin:
        job = json.loads(line)
        if not (process := os.fork()):
            for stream, path in enumerate(job["streams"], start=1):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), stream)
            status = status_of(job["function"], job["arguments"])
            sys.stdout.flush(), sys.stderr.flush()
            os._exit(status)
        print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)


if __name__ == "__main__":
    serve()
