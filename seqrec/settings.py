"""Settings of a run, from a flat YAML file, the command line or keyword arguments, to three dataclasses."""

import dataclasses
import difflib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import yaml
from transformers import HfArgumentParser

from seqrec.arguments import DATA_SOURCE, DataArguments, ModelArguments, SeqRecTrainingArguments

_CLASSES: tuple[Any, ...] = (DataArguments, ModelArguments, SeqRecTrainingArguments)


class Arguments(NamedTuple):
    """Settings of a run."""

    data: DataArguments
    model: Any  # ModelArguments: the settable fields of SeqRecConfig
    training: SeqRecTrainingArguments


class _Parser(HfArgumentParser):
    """A parser whose mistakes are exceptions, so that a keyword argument and a command line read the same."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(message[0].upper() + message[1:])


def parse_settings(settings: Mapping[str, Any]) -> Arguments:
    """Return the settings of a run from `{name: value}`, as they stand in a flat YAML file.

    Raises:
        ValueError: If a name is unknown or a value has the wrong type.
    """
    for name in settings:
        _check_known(str(name))
    return _parse(_to_argv(settings))


def _parse(argv: list[str]) -> Arguments:
    """Parse command-line words that name every setting in full."""
    parser = _Parser(list(_CLASSES), allow_abbrev=False)
    *parsed, unknown = parser.parse_args_into_dataclasses(
        argv, return_remaining_strings=True, look_for_args_file=False
    )
    for word in unknown:
        _check_known(word.lstrip("-").split("=")[0].replace("-", "_"))
    if unknown:
        raise ValueError(f"The words {unknown} belong to no setting; write settings as `--name value`.")
    return Arguments(*parsed)


def _check_known(name: str) -> None:
    """Raise if there is no setting of this name, and say which one may be meant."""
    known = sorted(setting.name for cls in _CLASSES for setting in dataclasses.fields(cls) if setting.init)
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else "see `python scripts/train.py --help` for all of them."
        raise ValueError(f"Unknown setting {name!r}: {hint}")


def parse_command_line(argv: Sequence[str]) -> Arguments:
    """Return the settings of `[CONFIG.yaml] [--name value ...]`; what is said later wins.

    A `--dataset` or `--interactions` on the command line replaces the data of the config and all that is about it.

    Raises:
        ValueError: If the config cannot be read, a name is unknown or a value has the wrong type.
        SystemExit: After `--help`.
    """
    settings: dict[str, Any] = {}
    rest = list(argv)
    if rest and not rest[0].startswith("-"):
        settings = read_config(rest.pop(0))
    parse_settings(settings)  # the config alone must be right: its mistakes are named as its own
    if {word.split("=")[0] for word in rest} & {"--interactions", "--dataset"}:
        settings = {name: value for name, value in settings.items() if name not in DATA_SOURCE}
    return _parse([*_to_argv(settings), *rest])


def read_config(path: str | Path) -> dict[str, Any]:
    """Read a flat YAML file of settings.

    Raises:
        ValueError: If it is missing, not YAML, or not flat.
    """
    try:
        settings = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"There is no config {str(path)!r}; see the folder configs/ for those that ship.") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"The config {str(path)!r} cannot be read as YAML: {error}") from None
    if not isinstance(settings, dict):
        raise ValueError(f"The config {str(path)!r} must be lines of `name: value`, but holds {settings!r:.80}.")
    return settings


def _to_argv(settings: Mapping[str, Any]) -> list[str]:
    """Settings as command-line words; None keeps a default of None and means `none` elsewhere."""
    defaults = {setting.name: setting.default for cls in _CLASSES for setting in dataclasses.fields(cls)}
    argv: list[str] = []
    for name, value in settings.items():
        if value is None:
            argv += [] if defaults.get(name) is None else [f"--{name}=none"]
        elif isinstance(value, Mapping):
            argv += [f"--{name}", json.dumps(dict(value))]
        elif isinstance(value, list | tuple):
            argv += [f"--{name}", *map(str, value)]
        else:
            argv += [f"--{name}={value}"]
    return argv
