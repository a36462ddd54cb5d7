"""Folders and files that are either whole or not there."""

import json
import os
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


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
    foreign = [folder.name] if folder.is_file() else sorted({path.name for path in folder.glob("*")} - set(names))
    if foreign:
        raise ValueError(
            f"{str(folder)!r} holds {foreign[0]!r}, which would be lost; expected a new or empty folder, or one to be "
            "replaced. Choose another one, or empty it."
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
