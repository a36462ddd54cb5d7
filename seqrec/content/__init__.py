"""Content of items as numbers: frozen vectors of texts, images and sounds, and attributes."""

from seqrec.content.attributes import AttributeValues, fit_attributes, read_attributes
from seqrec.content.bundled import DEFAULT_ENCODERS
from seqrec.content.templates import default_text_template, render_texts
from seqrec.content.vectors import ContentVectors, encode_content, loaded_encoder
from seqrec.content.whitening import half_whiten

__all__ = [
    "DEFAULT_ENCODERS",
    "AttributeValues",
    "ContentVectors",
    "default_text_template",
    "encode_content",
    "fit_attributes",
    "half_whiten",
    "loaded_encoder",
    "read_attributes",
    "render_texts",
]
