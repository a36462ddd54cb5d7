"""Item content between tables and model: read for a catalogue, fitted once, made again for items that come later."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset

from seqrec.adapter_files import Adapter
from seqrec.content import (
    AttributeValues,
    ContentVectors,
    encode_content,
    fit_attributes,
    half_whiten,
    loaded_encoder,
    read_attributes,
)
from seqrec.content.templates import fields_of
from seqrec.data_arguments import DataArguments
from seqrec.model import SeqRecForNextItem
from seqrec.model.configuration_seqrec import ATTRIBUTES
from seqrec.model.content import AttributeEmbeddings, ContentProjection, Rows

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ItemContent:
    """What is known of items, row by row.

    Attributes:
        vectors: By modality.
        attributes: None where there are none.
    """

    vectors: dict[str, ContentVectors] = field(default_factory=dict)
    attributes: AttributeValues | None = None

    @property
    def origins(self) -> dict[str, dict[str, Any]]:
        """How each modality is made, for items that come later."""
        origins = {modality: content.origin for modality, content in self.vectors.items()}
        return origins | ({ATTRIBUTES: self.attributes.origin} if self.attributes is not None else {})

    def present(self) -> np.ndarray:
        """Say of each item whether anything is known of it, (num_items,)."""
        parts = [content.present for content in self.vectors.values()]
        return np.logical_or.reduce(parts if self.attributes is None else [*parts, self.attributes.present])

    def sizes(self, num_components: int) -> dict[str, list[int]]:
        """Return the `content_sizes` of a model of these items, with so many features of each modality at most."""
        widths = {modality: content.vectors.shape[1] for modality, content in self.vectors.items()}
        sizes = {modality: [width, min(width, num_components)] for modality, width in widths.items()}
        if self.attributes is not None:
            most = max(1, self.attributes.values.shape[1])
            sizes[ATTRIBUTES] = [self.attributes.num_values, most, self.attributes.numbers.shape[1]]
        return sizes


def load_content(data: DataArguments, items: Dataset) -> ItemContent:
    """Read the content of a catalogue that settings ask for; a modality that no item of training has is left out.

    Raises:
        ValueError: A column or a content cannot be used.
        OSError: An encoder cannot be had.
    """
    vectors = {}
    trained = np.asarray(items.with_format("numpy")["count"][:]) > 0
    for modality, origin in data.content_origins(items).items():
        content = encode_content(items, modality, origin, media_folder=data.media_folder)
        if content.present[trained].any():
            vectors[modality] = content
        else:
            logger.warning("No item of training has any %s (%s), so it is left out.", modality, origin)
    loaded_encoder.cache_clear()
    attributes = None
    if data.attributes:
        attributes = read_attributes(items, fit_attributes(items, data.attributes, trained))
    return ItemContent(vectors, attributes)


def read_content(
    items: Dataset,
    origins: Mapping[str, Mapping[str, Any]],
    encoders: Mapping[str, str] | None = None,
    media_folder: str | Path | None = None,
    text_adapter: Adapter | None = None,
) -> ItemContent:
    """Read the content of items that come later, as `origins` (`content_encoders` of a config) say.

    Args:
        items: Rows with `item_id`; a column that is not there is empty in all of them.
        origins: How each modality is made.
        encoders: Where the encoders of some modalities are, if not under their names.
        media_folder: What relative paths of images and audio start from.
        text_adapter: What training changed in the encoder of texts.

    Raises:
        ValueError: A content cannot be used.
        OSError: An encoder cannot be had.
    """
    absent = sorted({name for origin in origins.values() for name in columns_of(origin)} - set(items.column_names))
    for name in absent:
        items = items.add_column(name, [None] * len(items))
    adapters = {"text": text_adapter}
    vectors = {
        modality: encode_content(
            items, modality, origin, (encoders or {}).get(modality), media_folder, adapters.get(modality)
        )
        for modality, origin in origins.items()
        if modality != ATTRIBUTES
    }
    attributes = read_attributes(items, origins[ATTRIBUTES]) if ATTRIBUTES in origins else None
    return ItemContent(vectors, attributes)


def columns_of(origin: Mapping[str, Any]) -> list[str]:
    """Return the columns of items that a modality is made of.

    >>> columns_of({"encoder": "some/model", "template": "{title}. {genres}"})
    ['title', 'genres']
    """
    if "template" in origin:
        return fields_of(origin["template"])
    return [origin["column"]] if "column" in origin else [*origin["categories"], *origin["numbers"]]


def fit_content(model: SeqRecForNextItem, content: ItemContent) -> None:
    """Fit what brings content to a model, on the items that training knows, and store the content of all items."""
    first, num_trained = model.config.num_special_tokens, model.config.num_trained
    trained = np.arange(first, model.config.vocab_size) < num_trained
    for modality, of_items in content.vectors.items():
        part: ContentProjection = model.model.items.content[modality]
        mean, rotation = half_whiten(of_items.vectors, of_items.present & trained, part.rotation.shape[1])
        part.fit(torch.from_numpy(mean), torch.from_numpy(np.ascontiguousarray(rotation)))
        features, present = part.prepare(torch.from_numpy(of_items.vectors), torch.from_numpy(of_items.present))
        lengths = features[torch.from_numpy(of_items.present & trained)].float().norm(dim=1)
        part.longest.copy_(lengths.max())
    if content.attributes is not None and content.attributes.numbers.size:
        table: AttributeEmbeddings = model.model.items.content[ATTRIBUTES]
        table.largest.copy_(torch.from_numpy(np.abs(content.attributes.numbers[trained]).max(axis=0)))
    put_rows(model, content_rows(model, content), torch.arange(first, model.config.vocab_size))


def put_rows(model: SeqRecForNextItem, rows: Mapping[str, Rows], tokens: torch.Tensor) -> None:
    """Store the content of these tokens, row by row, in the modalities that are given, and what follows from it."""
    for modality, of_tokens in rows.items():
        model.model.items.content[modality].put(tokens, of_tokens)
    model.model.items.place(tokens)


def content_rows(model: SeqRecForNextItem, content: ItemContent) -> dict[str, Rows]:
    """Return what each modality of a model stores of items.

    Raises:
        ValueError: Vectors are of another width than the model was trained with.
    """
    rows: dict[str, Rows] = {}
    for modality, of_items in content.vectors.items():
        part: ContentProjection = model.model.items.content[modality]
        width = len(part.mean)
        vectors = of_items.vectors if of_items.present.any() else np.zeros((len(of_items.present), width), np.float32)
        if vectors.shape[1] != width:
            raise ValueError(
                f"The {modality} vectors of the new items have {vectors.shape[1]} numbers, and the model was trained "
                f"with {width}. Make them with the encoder of training."
            )
        rows[modality] = part.prepare(torch.from_numpy(vectors), torch.from_numpy(of_items.present))
    if content.attributes is not None:
        table: AttributeEmbeddings = model.model.items.content[ATTRIBUTES]
        arrays = (content.attributes.values, content.attributes.numbers, content.attributes.known)
        rows[ATTRIBUTES] = table.prepare(*map(torch.from_numpy, arrays))
    return rows
