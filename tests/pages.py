"""Runs the code of a documentation page, all its blocks in one process and in the page's order.

What a reader would type runs, but for `accelerate launch`, which is left out before a script, and with settings that
make a training small where the page says nothing else.
"""

import functools
import os
import re
import runpy
import shlex
import sys
from pathlib import Path

import seqrec

LENGTHS = {"max_steps": 2, "num_train_epochs": 1}


def run_page(page, blocks, folder, settings):
    """Run the blocks of a page, and raise what they raise."""
    os.chdir(folder)
    make_small(settings)
    names = {"__name__": "__main__"}
    for language, code in blocks:
        if language == "python":
            exec(compile(code, page, "exec"), names)
        else:
            for line in code.replace("\\\n", " ").splitlines():
                if words := shlex.split(line, comments=True):
                    print("$", *words, flush=True)
                    run_command(words, settings)


def make_small(settings):
    """Have `seqrec.train` and `seqrec.prepare` take these settings where a page gives no others."""
    train, prepare = seqrec.train, seqrec.prepare

    @functools.wraps(train)
    def train_small(*data, **given):
        shorter = {name: length for name, length in LENGTHS.items() if name in given}
        return train(*data, **(smaller(settings, given) | given | shorter))

    @functools.wraps(prepare)
    def prepare_small(*data, **given):
        return prepare(*data, **({"min_interactions": settings["min_interactions"]} | given))

    seqrec.train, seqrec.prepare = train_small, prepare_small


def smaller(settings, given):
    """The settings that a run can take: one that goes on from a finished model has its shape and data."""
    course = ("num_threads", "disable_tqdm")
    return {name: settings[name] for name in course} if "base_model" in given else settings


def run_command(words, settings):
    """Do what a shell would do, in this process."""
    name, *rest = words
    if name == "make":
        targets = re.findall(r"^([\w-]+):", Path("Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        assert rest[0] in targets, f"no target {rest[0]!r}"
    elif name == "hf":
        from huggingface_hub.cli.hf import main

        finish(main, words)
    else:
        assert name == "python" or [name, rest[0]] == ["accelerate", "launch"], f"not a command of ours: {words}"
        script, *options = rest if name == "python" else rest[1:]
        if script == "scripts/train.py":
            options = train_options(options, settings)
        finish(functools.partial(runpy.run_path, script, run_name="__main__"), [script, *options])


def train_options(options, settings):
    """Put small settings between a config and what the page says; a config learns from the tables of the page."""
    config = options[:1] if not options[0].startswith("--") else []
    settings = smaller(settings, [option.removeprefix("--") for option in options])
    if config and "base_model" in Path(config[0]).read_text(encoding="utf-8"):
        steps = dict.fromkeys(("max_steps", "eval_steps", "save_steps", "per_device_train_batch_size"), 2)
        settings = smaller(settings, ["base_model"]) | steps | {"base_model": "runs/shop/model"}
    if config:
        settings = settings | {"interactions": "clicks.csv", "items": "items.csv"}
    small = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    return [*config, *small, *options[len(config) :]]


def finish(program, words):
    """Call what a command calls, with its words; it may exit, but not with an error."""
    before, sys.argv = sys.argv, words
    try:
        program()
    except SystemExit as end:
        assert not end.code, f"{words} ended with {end.code!r}"
    finally:
        sys.argv = before
