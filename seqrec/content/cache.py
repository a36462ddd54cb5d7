"""Vectors on disk: each under the content that it was made of, one file an encoder in one version."""

import hashlib
import json
import logging
import sqlite3
import zlib
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from seqrec.fetching import cache_dir

MADE_BY = 2  # counts up when our own part of making vectors changes
KEYS_AT_ONCE = 500  # in one query
TABLE = "CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, vector BLOB, checksum INTEGER)"
PATIENCE_S = 60.0  # while another process writes

logger = logging.getLogger(__name__)


def fingerprint(parts: Iterable[str | None]) -> str:
    """Return a sha256 of the parts, in which neither a border nor a missing part can be mistaken.

    >>> fingerprint(["a", "bc"]) == fingerprint(["ab", "c"]) or fingerprint([None]) == fingerprint(["None"])
    False
    """
    digest = hashlib.sha256()
    for part in parts:
        digest.update(json.dumps(part).encode() + b"\n")
    return digest.hexdigest()


def content_key(content: bytes) -> bytes:
    """Return what a content is kept under."""
    return hashlib.sha256(content).digest()


class VectorStore:
    """The vectors of one encoder, whatever catalogue asks for them; a damaged or unwritable file costs time alone.

    Args:
        modality: What is encoded.
        encoder: Name of the encoder.
        revision: Its version.
    """

    def __init__(self, modality: str, encoder: str, revision: str) -> None:
        name = fingerprint([str(MADE_BY), modality, encoder, revision])
        self.path: Path | None = cache_dir() / "content" / f"{name}.sqlite"

    def get(self, keys: Sequence[bytes]) -> dict[bytes, np.ndarray]:
        """Return the vectors, float32, that are here and whole."""
        if self.path is None or not self.path.is_file():
            return {}
        try:
            return self._read(keys)
        except sqlite3.Error as error:
            logger.warning("The cached content vectors in %s are damaged (%s); they are made again.", self.path, error)
            self._remove()
            return {}

    def put(self, keys: Sequence[bytes], vectors: np.ndarray) -> None:
        """Keep vectors (len(keys), width)."""
        if self.path is None:
            return
        blobs = [np.ascontiguousarray(vector, dtype="<f4").tobytes() for vector in vectors]
        rows = [(key, blob, zlib.crc32(key + blob)) for key, blob in zip(keys, blobs, strict=True)]
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self.path, timeout=PATIENCE_S)) as file, file:
                file.execute(TABLE)
                file.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?)", rows)
        except (sqlite3.Error, OSError) as error:
            logger.warning("Content vectors cannot be kept in %s (%s), so they will be made again.", self.path, error)
            self.path = None

    def _read(self, keys: Sequence[bytes]) -> dict[bytes, np.ndarray]:
        assert self.path is not None
        found, num_damaged = {}, 0
        with closing(sqlite3.connect(self.path, timeout=PATIENCE_S)) as file:
            for start in range(0, len(keys), KEYS_AT_ONCE):
                asked = keys[start : start + KEYS_AT_ONCE]
                places = ", ".join("?" * len(asked))
                for key, blob, checksum in file.execute(
                    f"SELECT key, vector, checksum FROM vectors WHERE key IN ({places})", asked
                ):
                    if zlib.crc32(key + blob) == checksum:
                        found[key] = np.frombuffer(blob, dtype="<f4")
                    else:
                        num_damaged += 1
        if num_damaged:
            logger.warning("%d cached content vectors in %s are damaged; they are made again.", num_damaged, self.path)
        return found

    def _remove(self) -> None:
        assert self.path is not None
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            logger.warning("The damaged file %s cannot be removed (%s); nothing is kept.", self.path, error)
            self.path = None
