"""From a catalogue to content vectors: the one call that training and `add_items` make."""

import logging
from dataclasses import dataclass

import numpy as np
from datasets import Dataset

from seqrec.content.cache import cached_vectors, fingerprint
from seqrec.content.encoders import TextEncoder
from seqrec.content.sources import DEFAULT_TEXT_ENCODER, find_encoder
from seqrec.content.templates import default_text_template, render_texts

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ContentVectors:
    """The content of a catalogue in one modality, row by row.

    Attributes:
        vectors: (num_items, width) float32; zeros where an item has no content.
        present: (num_items,) booleans.
        encoder: Hub id, or the base name of a local folder.
        revision: The encoder's version: a commit on the Hub, or `sha256:` and the hash of its weights.
        template: How an item's text was put together.
    """

    vectors: np.ndarray
    present: np.ndarray
    encoder: str
    revision: str
    template: str


def encode_text(
    items: Dataset, template: str | None = None, encoder: str = DEFAULT_TEXT_ENCODER, revision: str | None = None
) -> ContentVectors | None:
    """Return the text vectors of a catalogue, from the cache if they were made before; None if no item has a text.

    Args:
        items: The catalogue.
        template: Words and `{column}` fields; None joins all text columns.
        encoder: Hub id or folder of the text encoder.
        revision: The version of the encoder that is wanted; None takes what is there.

    Raises:
        ValueError: The template does not fit the items, or the encoder's folder holds no such model.
        OSError: The Hub does not answer, or does not have the encoder.
    """
    template = template or default_text_template(items)
    if template is None:
        return None
    texts = render_texts(items, template)
    present = np.array([text is not None for text in texts], dtype=bool)
    if not present.any():
        logger.warning("No item has a text under the template %r; the items stay without text.", template)
        return None
    source = find_encoder(encoder, revision)
    unique = sorted({text for text in texts if text is not None})  # the order of the catalogue plays no part
    key = fingerprint([source.name, source.revision, *unique])
    unique_vectors = cached_vectors(key, len(unique), lambda: TextEncoder.from_source(source).encode(unique))
    row_of = {text: row for row, text in enumerate(unique)}
    vectors = np.zeros((len(texts), unique_vectors.shape[1]), np.float32)
    vectors[present] = unique_vectors[[row_of[text] for text in texts if text is not None]]
    return ContentVectors(vectors, present, source.name, source.revision, template)
