"""Folders and files that are either whole or not there."""

import ctypes
import json
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

AT_FDCWD, RENAME_EXCHANGE = -100, 2  # of Linux's renameat2


@contextmanager
def written_whole(folder: str | Path, names: Collection[str]) -> Iterator[Path]:
    """Give an empty folder to fill, which takes the name `folder` when the `with` ends without an error.

    Args:
        folder: The final place; an older folder there is replaced.
        names: What a folder of this kind may hold. One that holds anything else is somebody's and stays.

    Raises:
        ValueError: Something else stands there already.
    """
    folder = Path(folder)
    if folder.is_file():
        raise ValueError(f"{str(folder)!r} is a file; expected a new or empty folder. Choose another name.")
    foreign = sorted({path.name for path in folder.glob("*")} - set(names))
    if foreign:
        raise ValueError(
            f"{str(folder)!r} holds {foreign[0]!r}, which would be lost; expected a new or empty folder, or one to be "
            "replaced. Choose another one, or empty it."
        )
    folder = Path(os.path.realpath(folder))  # a link stays one
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as staging:
        complete = Path(staging) / "new"
        complete.mkdir()
        yield complete
        try:
            complete.rename(folder)
        except OSError:  # an older folder stands there
            if not _exchange(complete, folder):
                _replace(folder, complete, aside=Path(f"{staging}-old"))


def _exchange(one: Path, other: Path) -> bool:
    """Swap two folders, so that both names are there at any moment; say whether the system can (Linux does)."""
    rename: Any = getattr(ctypes.CDLL(None), "renameat2", None)
    paths = AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other)
    return rename is not None and rename(*paths, RENAME_EXCHANGE) == 0


def _replace(folder: Path, new: Path, aside: Path) -> None:
    """Rename twice; a folder that cannot be replaced comes back, or stays under the other name, and is never lost."""
    folder.rename(aside)
    try:
        new.rename(folder)
    except OSError:
        aside.rename(folder)
        raise
    shutil.rmtree(aside)


@contextmanager
def written_whole_file(path: str | Path) -> Iterator[Path]:
    """Give the name of a file to write, which takes the place of `path` when the `with` ends without an error.

    The folders above it are made.
    """
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".new-") as staging:
        temporary = Path(staging) / path.name
        yield temporary
        temporary.replace(path)


def read_json(path: str | Path) -> dict[str, Any]:
    """Return the object in a JSON file; an absent file is an empty one.

    Raises:
        ValueError: The file holds something else.
    """
    path = Path(path)
    if not path.is_file():
        return {}
    try:
        return parse_json(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{str(path)!r} {error}. Make it again.") from None


def parse_json(content: bytes) -> dict[str, Any]:
    """Return the object that the bytes of a file hold as JSON.

    Raises:
        ValueError: It holds something else, or a number that JSON does not have.
    """
    try:
        value = json.loads(content.decode("utf-8"), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"holds a {type(value).__name__}, expected an object")
    return value


def _no_number(constant: str) -> None:
    raise ValueError(f"{constant} is no number of JSON")


def write_json(path: str | Path, content: dict[str, Any]) -> None:
    """Write an object as JSON, in one step: a reader never sees half of it.

    Raises:
        ValueError: A number that JSON cannot hold (NaN).
    """
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with written_whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
