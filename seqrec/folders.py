"""Folders and files that are either whole or not there."""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def written_whole(folder: str | Path, marker: str) -> Iterator[Path]:
    """Give an empty folder to fill, which takes the name `folder` when the `with` ends without an error.

    Args:
        folder: The final place; an older folder of the same kind there is replaced.
        marker: A file that every folder of this kind has.

    Raises:
        ValueError: Something else stands there already.
    """
    folder = Path(folder)
    if folder.exists() and not (folder / marker).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(
            f"{str(folder)!r} exists and has no {marker}; expected a new or empty folder, or one to be replaced. "
            "Choose another one, or empty it."
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as staging:
        complete = Path(staging) / "new"
        complete.mkdir()
        yield complete
        if folder.exists():
            folder.rename(Path(staging) / "old")
        complete.rename(folder)


def read_json(path: str | Path) -> dict[str, Any]:
    """Return the object in a JSON file; an absent file is an empty one.

    Raises:
        ValueError: The file holds something else.
    """
    path = Path(path)
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{str(path)!r} is not JSON: {error}. Make it again.") from None
    if not isinstance(content, dict):
        raise ValueError(f"{str(path)!r} holds a {type(content).__name__}, expected an object. Make it again.")
    return content


def write_json(path: str | Path, content: dict[str, Any]) -> None:
    """Write an object as JSON, in one step: a reader never sees half of it.

    Raises:
        ValueError: A number that JSON cannot hold (NaN).
    """
    path = Path(path)
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
