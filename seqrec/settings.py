"""Settings of a run, from a flat YAML file, the command line or keyword arguments, to four dataclasses."""

import dataclasses
import difflib
import json
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import yaml
from transformers import HfArgumentParser

from seqrec.arguments import LoraArguments, ModelArguments, SeqRecTrainingArguments
from seqrec.data_arguments import DATA_SOURCE, DataArguments
from seqrec.model import SeqRecConfig

LONGEST_MESSAGE = 300
_CLASSES: tuple[Any, ...] = (DataArguments, ModelArguments, SeqRecTrainingArguments, LoraArguments)


class Arguments(NamedTuple):
    """Settings of a run."""

    data: DataArguments
    model: Any  # ModelArguments: the settable fields of SeqRecConfig
    training: SeqRecTrainingArguments
    lora: LoraArguments
    given: frozenset[str] = frozenset()
    """Names of the settings that were said, not left at their default."""


class _Parser(HfArgumentParser):
    """A parser whose mistakes are exceptions, so that a keyword argument and a command line read the same."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(message[0].upper() + message[1:LONGEST_MESSAGE])


class _FlatLoader(yaml.SafeLoader):
    """YAML of plain values, each said once: no tags, no aliases (which can stand for gigabytes), no name twice."""

    def fetch_alias(self) -> None:
        raise yaml.YAMLError("an alias (*name) stands for something elsewhere; write it out")

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        double = [name for name in names if names.count(name) > 1]
        if double:
            raise yaml.YAMLError(f"{double[0]!r} stands in it twice; keep one of the two")
        return super().construct_mapping(node, deep)


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
    given = frozenset(word[2:].split("=")[0].replace("-", "_") for word in argv if word.startswith("--"))
    try:
        *parsed, unknown = parser.parse_args_into_dataclasses(
            argv, return_remaining_strings=True, look_for_args_file=False
        )
        if not parsed[1].use_item_ids and "transition_size" not in given:
            parsed[1].transition_size = 0  # what is counted belongs to ids
        SeqRecConfig(**dataclasses.asdict(parsed[1]), content_sizes={"any": [1, 1]})  # what there is, data will say
    except ValueError:
        raise
    except Exception as error:  # transformers and the config check in their own ways
        reason = " ".join(str(error.__cause__ or error).split())
        raise ValueError(f"These settings cannot be used: {reason:.{LONGEST_MESSAGE}}") from error
    for word in unknown:
        _check_known(word.lstrip("-").split("=")[0].replace("-", "_"))
    if unknown:
        raise ValueError(f"The words {unknown} belong to no setting; write settings as `--name value`.")
    data, model, training, lora = parsed
    return Arguments(data, model, training, lora, given)


def _check_known(name: str) -> None:
    """Raise if there is no setting of this name, and say which one may be meant."""
    known = sorted(setting.name for cls in _CLASSES for setting in dataclasses.fields(cls) if setting.init)
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else "see `python scripts/train.py --help` for all of them."
        raise ValueError(f"Unknown setting {name!r:.80}: {hint}")


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
        ValueError: If it is missing, not YAML, not flat, or says something twice.
    """
    try:
        settings = yaml.load(Path(path).read_text(encoding="utf-8-sig"), _FlatLoader)
    except FileNotFoundError:
        raise ValueError(f"There is no config {str(path)!r}; see the folder configs/ for those that ship.") from None
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"The config {str(path)!r} cannot be read as YAML: {reason:.{LONGEST_MESSAGE}}") from None
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
            argv += [f"--{name}={_as_json(name, value)}"]
        elif isinstance(value, list | tuple):
            nested = [item for item in value if isinstance(item, Mapping | list | tuple)]
            if nested:
                raise ValueError(f"{name} has {nested[0]!r:.80} in its list; expected plain values. Write them flat.")
            argv += [f"--{name}", *map(str, value)]
        else:
            argv += [f"--{name}={value}"]
    return argv


def _as_json(name: str, value: Mapping[Any, Any]) -> str:
    try:
        return json.dumps(dict(value))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{name}={value!r:.80} cannot be written as JSON ({error}); use plain values.") from None
