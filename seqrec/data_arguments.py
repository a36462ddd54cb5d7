"""What is read, how it is cleaned, and which content of items is used."""

import json
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from datasets import Dataset

from seqrec.content import DEFAULT_ENCODERS, default_text_template
from seqrec.model.configuration_seqrec import ATTRIBUTES

DATA_SOURCE = (
    *("dataset", "dataset_files", "interactions", "items", "column_mapping"),
    *("text_template", "image_column", "audio_column", "media_folder", "attributes", "vector_columns"),
)
"""Settings that are about one source of data, and fall with it."""
PREPARATION_SETTINGS = (
    "split",
    "time_fraction",
    "min_interactions",
    "min_value",
    "drop_duplicates",
    "burst_seconds",
    "max_daily_interactions",
    "cold_item_fraction",
)


@dataclass
class DataArguments:
    """What is read, and how it is cleaned."""

    dataset: str | None = field(
        default=None,
        metadata={"help": "A named data set, a Hub data set, or a folder written by scripts/prepare.py."},
    )
    interactions: list[str] | None = field(
        default=None, metadata={"help": "Files (CSV, TSV, JSONL, Parquet) or globs; replaces `dataset`."}
    )
    items: list[str] | None = field(default=None, metadata={"help": "Files of the catalogue, with an item_id column."})
    column_mapping: str | None = field(
        default=None, metadata={"help": 'Their column to ours, as JSON: {"customer": "user_id", "sku": "item_id"}.'}
    )
    dataset_files: list[str] | None = field(
        default=None, metadata={"help": "Files of a named data set that are here already, e.g. ml-1m.zip."}
    )
    split: Literal["leave_one_out", "global_time", "none"] = field(
        default="leave_one_out", metadata={"help": "Each user's last items, two cuts in time, or nothing held out."}
    )
    time_fraction: float | None = field(
        default=None,
        metadata={"help": "With global_time: share of the interactions, the newest, that make the test period (0.1)."},
    )
    min_interactions: int = field(
        default=5, metadata={"help": "Every user and every item keeps at least this many interactions (k-core)."}
    )
    min_value: float | None = field(
        default=None, metadata={"help": "Interactions whose `value` is lower are left out, e.g. 4 of 5 stars."}
    )
    drop_duplicates: bool = field(
        default=True, metadata={"help": "Count an interaction once that stands twice with the same timestamp."}
    )
    burst_seconds: float | None = field(
        default=None, metadata={"help": "Events of a user with the same item as so many seconds before are left out."}
    )
    max_daily_interactions: int | None = field(
        default=None, metadata={"help": "Users with more events than this within any 24 hours are left out."}
    )
    cold_item_fraction: float = field(
        default=0.0,
        metadata={"help": "Share of the items that are taken out of training whole, to measure how new items rank."},
    )
    text_encoder: str | None = field(
        default=DEFAULT_ENCODERS["text"],
        metadata={"help": "Hub id or folder of the encoder of item texts; `none` for ids alone."},
    )
    text_template: str | None = field(
        default=None, metadata={"help": "Item text, e.g. '{title}. {genres}'; all text columns by default."}
    )
    image_column: str | None = field(
        default=None, metadata={"help": "Column with the items' images (paths or bytes); without it, none are read."}
    )
    image_encoder: str = field(
        default=DEFAULT_ENCODERS["image"], metadata={"help": "Hub id or folder of the encoder of images."}
    )
    audio_column: str | None = field(
        default=None, metadata={"help": "Column with the items' sounds (paths or bytes); without it, none are read."}
    )
    audio_encoder: str = field(
        default=DEFAULT_ENCODERS["audio"], metadata={"help": "Hub id or folder of the encoder of sounds."}
    )
    media_folder: str | None = field(
        default=None, metadata={"help": "Folder of image and audio files; the working directory by default."}
    )
    attributes: list[str] | None = field(
        default=None,
        metadata={"help": "Columns of categories and numbers, e.g. genres price; price:number says what it is."},
    )
    vector_columns: list[str] | None = field(
        default=None, metadata={"help": "Columns of finished vectors (lists of numbers), each a modality of its own."}
    )
    content_components: int = field(
        default=384, metadata={"help": "Directions kept of each modality's vectors, the loudest ones."}
    )

    def __post_init__(self) -> None:
        self.mapping()
        if self.text_encoder is not None and self.text_encoder.lower() in ("none", ""):
            self.text_encoder = None
        for name in ("min_interactions", "content_components"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1.")
        if self.dataset is not None and self.interactions is not None:
            raise ValueError(
                f"Both dataset={self.dataset!r} and interactions={self.interactions!r} are named; expected one. "
                "Leave one of them out."
            )

    def preparation(self) -> dict[str, Any]:
        """Return the settings of `seqrec.data.prepare`."""
        return {name: getattr(self, name) for name in PREPARATION_SETTINGS}

    def content_origins(self, items: Dataset) -> dict[str, dict[str, Any]]:
        """Return how the vectors of each modality that is asked for are made of a catalogue's columns.

        Raises:
            ValueError: A column is missing, or its name cannot be that of a modality.
        """
        origins: dict[str, dict[str, Any]] = {}
        media = [column for column in (self.image_column, self.audio_column) if column is not None]
        if self.text_encoder is not None:
            others = items.remove_columns(set(media) & set(items.features))
            if template := self.text_template or default_text_template(others):
                origins["text"] = {"encoder": self.text_encoder, "template": template}
        for modality, column in (("image", self.image_column), ("audio", self.audio_column)):
            if column is not None:
                _require(items, column, f"{modality}_column")
                origins[modality] = {"encoder": getattr(self, f"{modality}_encoder"), "column": column}
        for column in self.vector_columns or ():
            _require(items, column, "vector_columns")
            taken = column in (*DEFAULT_ENCODERS, ATTRIBUTES) or hasattr(torch.nn.ModuleDict(), column)
            if taken or not column.isidentifier():
                raise ValueError(
                    f"vector_columns names {column!r}; expected a name of letters, digits and _ that no modality "
                    f"and nothing in torch's ModuleDict has. Rename it with column_mapping."
                )
            if column in origins:
                raise ValueError(f"vector_columns names the column {column!r} twice; name it once.")
            origins[column] = {"column": column}
        return origins

    def mapping(self) -> dict[str, str] | None:
        """Return `column_mapping`, parsed."""
        return None if self.column_mapping is None else parse_mapping(self.column_mapping)


def parse_mapping(text: str) -> dict[str, str]:
    """Read a column mapping, a JSON object of strings.

    >>> parse_mapping('{"sku": "item_id"}')
    {'sku': 'item_id'}

    Raises:
        ValueError: If it is something else.
    """
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(
            f'column_mapping must be a JSON object like {{"sku": "item_id"}}, not {text!r}: {error}'
        ) from None
    if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
        raise ValueError(f"column_mapping must map column names to column names, not {text!r}.")
    return value


def _require(items: Dataset, column: str, setting: str) -> None:
    if column not in items.features:
        raise ValueError(
            f"{setting} names the column {column!r}, but the items have {items.column_names}. Name one of them, or "
            "rename yours with column_mapping."
        )
