"""Cells of image and audio columns: files on disk, or bytes."""

import errno
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

URL_START = ("http://", "https://", "s3://", "gs://", "hf://", "ftp://", "data:")


class Media(NamedTuple):
    """An image or a sound that is not read yet: a file, or its bytes."""

    path: Path | None
    data: bytes | None = None

    def read(self) -> bytes:
        """Return the bytes of the file.

        Raises:
            OSError: There is no such file, or it may not be read.
        """
        if self.data is not None:
            return self.data
        path = Path(str(self.path))
        if path.exists() and not path.is_file():
            raise OSError(errno.EINVAL, "not a file", str(path))  # a pipe would never end
        return path.read_bytes()


def media_cells(
    column: pa.ChunkedArray | Sequence[Any], name: str, item_ids: Sequence[str], folder: str | Path | None
) -> list[Media | None]:
    """Return what each cell stands for, None where it is empty.

    Args:
        column: Paths, bytes, or structs of both, as the Image and Audio features of `datasets` store them.
        name: The column, for messages.
        item_ids: Whose cells these are, for messages.
        folder: What relative paths start from; no path may lead out of it. The working directory by default, and then
            any path is good.

    Raises:
        ValueError: A cell is something else, an address on the net, or a path that leads out of the folder; or there
            is no such folder.
    """
    if folder is not None:
        folder = Path(folder).expanduser()
        if not folder.is_dir():
            raise ValueError(
                f"media_folder={str(folder)!r} is no folder. Name the one that holds the files of {name!r}."
            )
    cells = column.to_pylist() if isinstance(column, pa.Array | pa.ChunkedArray) else column
    return [
        _media(cell, f"The cell of item {item!r} in the column {name!r}", folder)
        for item, cell in zip(item_ids, cells, strict=True)
    ]


def _media(cell: Any, where: str, folder: Path | None) -> Media | None:
    if isinstance(cell, dict) and cell.keys() <= {"bytes", "path", "sampling_rate"}:
        cell = cell.get("bytes") or cell.get("path")
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return None
    if isinstance(cell, bytes | bytearray):
        return Media(None, bytes(cell)) if cell else None
    if not isinstance(cell, str):
        raise ValueError(f"{where} holds {type(cell).__name__}; expected the path of a file, or its bytes.")
    if not cell.strip():
        return None
    if cell.lower().startswith(URL_START):
        raise ValueError(f"{where} is the address {cell:.80}; expected a file. Download it, and name it instead.")
    return Media(_path(cell, where, folder))


def _path(cell: str, where: str, folder: Path | None) -> Path:
    """The file that a path means."""
    if folder is None:
        return Path(cell)
    try:
        inside = (folder / cell).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a path with a zero in it
        raise ValueError(f"{where} is {cell!r:.120}, which is no path ({error}). Repair it, or empty it.") from None
    if not inside.is_relative_to(folder.resolve()):
        raise ValueError(
            f"{where} is {cell!r:.120}, which leads out of media_folder={str(folder)!r}. Move the file there."
        )
    return inside
