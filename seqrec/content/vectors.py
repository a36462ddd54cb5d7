"""From columns of items to content vectors: the one way of training and of items that come later."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, LargeList, List
from tqdm.auto import tqdm

from seqrec.adapter_files import Adapter
from seqrec.content.cache import VectorStore, content_key
from seqrec.content.encoders import Encoder, load_encoder
from seqrec.content.media import Media, media_cells
from seqrec.content.sources import EncoderSource, find_encoder
from seqrec.content.templates import render_texts

TEXTS_AT_ONCE, FILES_AT_ONCE = 1024, 32  # that are in memory, and encoded before their vectors are kept
NAMED_AT_MOST = 5  # items in a message
ENCODED = ("text", "image", "audio")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ContentVectors:
    """The content of items in one modality, row by row.

    Attributes:
        vectors: (num_items, width) float32; zeros where an item has no content.
        present: (num_items,) booleans.
        origin: How to make such vectors again: `encoder` and `revision` with a `template` (text) or a `column` (image,
            audio), the hash of an `adapter` where there is one, or the `column` alone that holds finished vectors.
    """

    vectors: np.ndarray
    present: np.ndarray
    origin: dict[str, Any]


def encode_content(
    items: Dataset,
    modality: str,
    origin: Mapping[str, Any],
    encoder: str | None = None,
    media_folder: str | Path | None = None,
    adapter: Adapter | None = None,
) -> ContentVectors:
    """Return the vectors of items in one modality; what was encoded before comes from the cache.

    Args:
        items: Rows with `item_id` and the columns that `origin` names.
        modality: `text`, `image`, `audio`, or any other name for finished vectors.
        origin: As in `ContentVectors`; without a revision, the version that is there.
        encoder: Where the encoder is, if not under its name: the folder of one that was local.
        media_folder: What relative paths of images and audio start from; the working directory by default.
        adapter: What training changed in the encoder.

    Raises:
        ValueError: A content cannot be read, or is no vector of the right width; the message names the items. Or the
            template does not fit the items, or the encoder's folder holds no such model.
        OSError: The Hub does not answer, or does not have the encoder.
    """
    if modality not in ENCODED:
        return _finished_vectors(items, dict(origin))
    contents: Sequence[str | Media | None]
    if modality == "text":
        contents = render_texts(items, origin["template"])
    else:
        column = items.with_format("arrow")[:][origin["column"]]
        contents = media_cells(column, origin["column"], items["item_id"][:], media_folder)
    present = np.array([content is not None for content in contents], dtype=bool)
    if not present.any():  # and no encoder is needed
        return ContentVectors(np.zeros((len(contents), 1), np.float32), present, dict(origin))
    source = replace(find_encoder(encoder or origin["encoder"], origin.get("revision")), adapter=adapter)
    vectors, unreadable = _vectors(modality, source, contents)
    if unreadable:
        ids = items["item_id"][:]
        some = ", ".join(f"{ids[row]!r} ({why})" for row, why in list(unreadable.items())[:NAMED_AT_MOST])
        raise ValueError(
            f"The {modality} of {len(unreadable)} of {len(ids)} items cannot be read: {some}. Repair it, or leave "
            "their cells empty: an item may lack content. The others are in the cache and will not be encoded again."
        )
    made = {"encoder": source.name, "revision": source.revision}
    made |= {} if adapter is None else {"adapter": adapter.sha256}
    how = {"template": origin["template"]} if modality == "text" else {"column": origin["column"]}
    return ContentVectors(vectors, present, made | how)


@lru_cache(maxsize=len(ENCODED))
def loaded_encoder(modality: str, source: EncoderSource) -> Encoder:
    """Return an encoder, which stays in memory for the next call; `loaded_encoder.cache_clear()` lets it go."""
    return load_encoder(modality, source)


def _vectors(
    modality: str, source: EncoderSource, contents: Sequence[str | Media | None]
) -> tuple[np.ndarray, dict[int, str]]:
    """Vectors (num_contents, width), and why some contents could not be read."""
    keys: dict[int, bytes] = {}
    unreadable: dict[int, str] = {}
    for row, content in enumerate(contents):
        if content is not None:
            try:
                keys[row] = content_key(_bytes_of(content))
            except (OSError, ValueError) as error:
                unreadable[row] = _reason(error)
    first_row = {key: row for row, key in reversed(keys.items())}  # equal contents are encoded once
    store = VectorStore(modality, source.name, source.version)
    found = store.get(list(first_row))
    rows = [row for key, row in first_row.items() if key not in found]
    reasons: dict[bytes, str] = {}
    if rows or not found:
        encoder = loaded_encoder(modality, source)
        width = encoder.width
        rows.sort(key=lambda row: (-len(contents[row]), row) if modality == "text" else (0, row))  # type: ignore[arg-type]
        _encode(encoder, rows, contents, keys, store, found, reasons)
    else:
        width = len(next(iter(found.values())))
    vectors = np.zeros((len(contents), width), np.float32)
    for row, key in keys.items():
        if key in reasons:
            unreadable[row] = reasons[key]
        else:
            vectors[row] = found[key]
    return vectors, dict(sorted(unreadable.items()))


def _encode(
    encoder: Encoder,
    rows: list[int],
    contents: Sequence[str | Media | None],
    keys: Mapping[int, bytes],
    store: VectorStore,
    found: dict[bytes, np.ndarray],
    reasons: dict[bytes, str],
) -> None:
    """Encode the contents of rows into `found`, and say in `reasons` what could not be read."""
    num_cut = 0
    label = f"Encoding {encoder.modality} ({encoder.name})"
    with tqdm(total=len(rows), desc=label, unit="item", disable=None) as bar:
        at_once = TEXTS_AT_ONCE if encoder.modality == "text" else FILES_AT_ONCE
        for start in range(0, len(rows), at_once):
            chunk = rows[start : start + at_once]
            encoded = encoder.encode([_input_of(contents[row]) for row in chunk], advance=bar.update)
            num_cut += encoded.num_cut
            reasons |= {keys[chunk[place]]: why for place, why in encoded.unreadable.items()}
            good = [place for place in range(len(chunk)) if place not in encoded.unreadable]
            store.put([keys[chunk[place]] for place in good], encoded.vectors[good])
            found |= {keys[chunk[place]]: encoded.vectors[place] for place in good}
    if num_cut:
        message = "%d of %d contents (%s) are longer than the %s that %s reads; their ends were cut off."
        logger.warning(message, num_cut, len(rows), encoder.modality, encoder.reads, encoder.name)


def _bytes_of(content: str | Media) -> bytes:
    return content.encode() if isinstance(content, str) else content.read()


def _input_of(content: str | Media | None) -> Any:
    """What an encoder reads; a file that has gone in the meantime is empty."""
    if not isinstance(content, Media):
        return content
    try:
        return content.read()
    except OSError:
        return b""


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, UnicodeEncodeError):
        return "no Unicode text: read its file as UTF-8"
    if isinstance(error, ValueError):
        return f"no path: {error}"
    return (error.strerror or type(error).__name__).lower() + (f": {error.filename!s:.120}" if error.filename else "")


def _finished_vectors(items: Dataset, origin: dict[str, Any]) -> ContentVectors:
    """Vectors out of a column of lists of numbers."""
    name, ids = origin["column"], items["item_id"][:]
    feature = items.features[name]
    if not isinstance(feature, List | LargeList) and feature.dtype != "null":
        raise ValueError(f"The column {name!r} of vector_columns is of the type {feature}; expected lists of numbers.")
    cells = items.with_format(None)[name][:]
    present = np.array([cell is not None and len(cell) > 0 for cell in cells], dtype=bool)
    width = origin.get("width") or next((len(cell) for cell in cells if cell is not None and len(cell)), 0)
    vectors = np.zeros((len(ids), width), np.float32)
    for row in np.flatnonzero(present):
        vectors[row] = _vector(name, cells[row], ids[row], width)
    return ContentVectors(vectors, present, {"column": name, "width": width})


def _vector(name: str, cell: Sequence[Any], item: str, width: int) -> np.ndarray:
    """One finished vector, checked."""
    wrong: Callable[[str], ValueError] = lambda what: ValueError(  # noqa: E731
        f"The vector of item {item!r} in the column {name!r} {what}; expected {width} finite numbers. Make it again, "
        "or leave it empty."
    )
    if len(cell) != width:
        raise wrong(f"has {len(cell)} numbers")
    try:
        if any(isinstance(number, str | bytes) for number in cell):
            raise TypeError
        with np.errstate(over="ignore"):  # too large a number becomes infinity, which is refused below
            vector = np.asarray(cell, dtype=np.float32)
        if vector.ndim != 1:
            raise TypeError
    except (TypeError, ValueError):
        raise wrong("holds something else than numbers") from None
    if not np.isfinite(vector).all():
        raise wrong("holds NaN or infinity")
    return vector
