"""Vectors on disk, kept under a fingerprint of everything that they depend on."""

import hashlib
import json
import logging
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from seqrec.fetching import cache_dir
from seqrec.folders import written_whole_file

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


def cached_vectors(key: str, num_rows: int, make: Callable[[], np.ndarray]) -> np.ndarray:
    """Return the vectors kept under a key, making and keeping them the first time.

    Args:
        key: A fingerprint of all that the vectors depend on.
        num_rows: How many vectors there must be.
        make: Makes the (num_rows, width) float32 vectors.
    """
    path = cache_dir() / "content" / f"{key}.safetensors"
    if path.is_file():
        try:
            return _load(path, num_rows)
        except (SafetensorError, ValueError, OSError) as error:
            logger.warning("The cached content vectors in %s are damaged (%s); they are made again.", path, error)
    vectors = make()
    with written_whole_file(path) as temporary:
        save_file({"vectors": vectors}, temporary, metadata={"sha256": _sha256(vectors)})
    return vectors


def _load(path: Path, num_rows: int) -> np.ndarray:
    with safe_open(path, framework="numpy") as file:
        vectors: np.ndarray = file.get_tensor("vectors")
        checksum = (file.metadata() or {}).get("sha256")
    if len(vectors) != num_rows or checksum != _sha256(vectors):
        raise ValueError(f"{len(vectors)} vectors, expected {num_rows}, or not the bytes that were written")
    return vectors


def _sha256(vectors: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(vectors).data).hexdigest()
