"""Content of items (so far: text) as frozen vectors."""

from seqrec.content.encoders import TextEncoder
from seqrec.content.sources import DEFAULT_TEXT_ENCODER
from seqrec.content.templates import default_text_template, render_texts
from seqrec.content.vectors import ContentVectors, encode_text
from seqrec.content.whitening import half_whiten

__all__ = [
    "DEFAULT_TEXT_ENCODER",
    "ContentVectors",
    "TextEncoder",
    "default_text_template",
    "encode_text",
    "half_whiten",
    "render_texts",
]
