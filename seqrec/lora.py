"""Runs that adapt a finished model by LoRA: its text encoder to its own data, its sequence encoder to other data."""

import dataclasses
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset, DatasetDict

from seqrec.adapter_files import Adapter
from seqrec.adapters import attach, detach, extract, weights_sha256
from seqrec.arguments import MODEL_SETTINGS
from seqrec.building import shown_columns, softmax_of
from seqrec.catalogue import add_items, replace_catalogue
from seqrec.content import render_texts
from seqrec.content.encoders import TextEncoder
from seqrec.content.sources import find_encoder
from seqrec.content.tuning import TunedTexts
from seqrec.content.vectors import ENCODED
from seqrec.data import PreparedData
from seqrec.item_content import columns_of, read_content
from seqrec.item_rows import Reading
from seqrec.model.content import ContentProjection
from seqrec.model_folder import ModelFolder
from seqrec.publishing import base_data
from seqrec.settings import Arguments

logger = logging.getLogger(__name__)

SEQUENCE_LAYERS = (
    r"model\.encoders\.\d+\.layers\.\d+\.(attention\.(query_key_value|output)|feed_forward\.(0|2))"
    r"|model\.items\.content\.\w+\.projection"
)
"""What `lora: sequence_encoder` adapts: every matrix of the blocks, and how content becomes item vectors."""
OTHER_NETWORKS = r".*(decoder|pooler|vision_model|visual|audio_model|audio_tower).*"
"""What `lora: text_encoder` leaves alone: other parts of a model than its encoder of texts."""
ITEMS_AT_ONCE = 1024  # that are encoded before their features are stored
OF_CONTENT = ("text_template", "image_column", "audio_column", "attributes", "vector_columns", "content_components")
"""Settings that say what content is made of, which a finished model says itself."""


def start_lora(arguments: Arguments, prepared: PreparedData) -> "LoraRun":
    """Load the base model, bring it to the data and put a new adapter around the layers that learn.

    Raises:
        ValueError: A setting or the data does not go with the base model, or it cannot be loaded.
    """
    _check(arguments)
    folder = ModelFolder.load(arguments.lora.base_model or "", arguments.lora.base_revision)
    kind = TextLora if arguments.lora.lora == "text_encoder" else SequenceLora
    return kind(folder, arguments, prepared)


def _check(arguments: Arguments) -> None:
    """Refuse settings that the base model has made already, or that do not go with it."""
    made = {*MODEL_SETTINGS, *OF_CONTENT, "id_start"} & arguments.given
    if made:
        raise ValueError(
            f"The base model says itself what {sorted(made)} are; expected settings of training alone beside "
            "base_model. Leave them out."
        )
    local_base = Path(arguments.lora.base_model or "").is_dir()
    if arguments.lora.base_revision is not None and local_base:
        raise ValueError(
            f"base_revision={arguments.lora.base_revision!r} is about the Hub, and base_model="
            f"{arguments.lora.base_model!r} is a folder here; leave it out."
        )
    if arguments.training.refit:
        raise ValueError("refit=True trains a model from the beginning, and lora goes on from one; leave it out.")
    if arguments.lora.lora == "text_encoder" and not arguments.training.softmax_samples:
        raise ValueError(
            "lora=text_encoder encodes the items of each step, which would be the whole catalogue without "
            "softmax_samples. Set how many items are sampled a step, e.g. softmax_samples=256."
        )


class LoraRun(ABC):
    """What differs in a run that adapts a finished model.

    Attributes:
        folder: The model on the catalogue of the data, with a new adapter around the layers that learn.
        prepared: The data as this model can learn from them.
        before: The validation metrics of the base model, once they are measured.
    """

    def __init__(self, folder: ModelFolder, arguments: Arguments, prepared: PreparedData) -> None:
        self.folder = folder
        self.prepared = prepared
        self.before: dict[str, Any] = {}
        self.settings = arguments.lora
        self.reading = Reading(encoders=self._encoders(arguments), media_folder=arguments.data.media_folder)
        self.base_sha256 = weights_sha256(folder.model)
        self.base_data = [folder.preparation.get("source", {}).get("name"), *base_data(folder.metrics)]
        self.wrapped = self._start(arguments, prepared)
        folder.preparation, folder.metrics = prepared.report, {}
        counts = dict(zip(prepared.items["item_id"][:], prepared.items["count"][:], strict=True))
        known = folder.items["item_id"][: self._num_trained()]
        folder.model.softmax = softmax_of(arguments.training, [counts.get(item, 0) for item in known])
        folder.model.to(device=arguments.training.device)  # type: ignore[call-arg]

    @abstractmethod
    def _start(self, arguments: Arguments, prepared: PreparedData) -> Any:
        """Bring the model to the data, and return the network with its new adapter."""

    @property
    def refresh(self) -> Callable[[], None] | None:
        """What has to happen before the model is evaluated with weights that have changed."""
        return None

    @abstractmethod
    def finish(self) -> Adapter:
        """Leave a model without adapter layers that answers as the trained one does, and return what was trained."""

    def record(self) -> dict[str, Any]:
        """Return what `metrics.json` says of the adapter, with what the base model reached on validation."""
        return {
            "of": self.settings.lora,
            "rank": self.settings.lora_rank,
            "alpha": self.settings.lora_alpha,
            "base_model": self.base_name,
            "base_revision": self.settings.base_revision,
            "base_data": self.base_data if self.folder.model.config.use_item_ids else [],
            "before": self.before,
        }

    def course(self) -> dict[str, Any]:
        """Return what may not change when the run is resumed: the settings, and the base model wherever it is."""
        settings = dataclasses.asdict(self.settings) | {"base_model": self.base_sha256}
        return {name: settings[name] for name in settings if name != "base_revision"}

    def _num_trained(self) -> int:
        config = self.folder.model.config
        return config.num_trained - config.num_special_tokens

    @property
    def base_name(self) -> str:
        """The Hub id of the base model, or the name of its run or folder: never a path."""
        name = self.settings.base_model or ""
        if not Path(name).is_dir():
            return name
        path = Path(name).resolve()
        return path.parent.name if path.name == "model" else path.name

    def _lora_config(self, layers: str, but: str | None = None) -> Any:
        from peft import LoraConfig

        settings = self.settings
        return LoraConfig(
            r=settings.lora_rank,
            lora_alpha=settings.lora_alpha,
            lora_dropout=settings.lora_dropout,
            target_modules=layers,
            exclude_modules=but,
        )

    def _encoders(self, arguments: Arguments) -> dict[str, str]:
        """Where the encoders of the model are, as far as settings say it."""
        modalities = self.folder.model.config.content_encoders or {}
        places = {name: getattr(arguments.data, f"{name}_encoder", None) for name in modalities}
        named = {name for name in ENCODED if f"{name}_encoder" in arguments.given}
        if unread := sorted(named - set(places)):
            raise ValueError(
                f"The base model reads {sorted(modalities)} of items, and {unread[0]}_encoder is set. Leave it out."
            )
        return {name: place for name, place in places.items() if place and name in named}


class SequenceLora(LoraRun):
    """Adapts the encoder of histories, and the projection of content, to other data: a newer period, another shop.

    A model with item ids keeps its catalogue: what it does not know is added by its content, is ranked so, and is left
    out of what the adapter learns from. A model without takes the catalogue of the data.
    """

    def _start(self, arguments: Arguments, prepared: PreparedData) -> Any:
        if self.folder.model.config.use_item_ids:
            self._meet_new_items(prepared.items)
            known = set(self.folder.items["item_id"][: self._num_trained()])
            splits = {**prepared.dataset, "train": _only(prepared.dataset["train"], known)}
            self.prepared = dataclasses.replace(prepared, dataset=DatasetDict(splits))
        else:
            self._take_catalogue(prepared.items)
        return attach(self.folder.model, self._lora_config(SEQUENCE_LAYERS))

    def _meet_new_items(self, items: Dataset) -> None:
        """Add the items that the model does not rank and has something to rank by; removed ones come back."""
        folder, config = self.folder, self.folder.model.config
        removed = folder.model.model.items.removed[config.num_special_tokens :].tolist()
        ids, had = items["item_id"][:], dict(zip(folder.items["item_id"][:], removed, strict=True))
        absent = np.array([had.get(item, True) for item in ids])
        if not set(ids) & set(had):
            raise ValueError(
                f"The base model knows none of the {len(ids)} items of the data, and it keeps its item ids. Take one "
                "that was trained with use_item_ids: false, or data of its own items."
            )
        if not absent.any():
            return
        rows = items.select(np.flatnonzero(absent)).remove_columns("count")
        rankable = np.array([item in had for item in rows["item_id"][:]])
        if config.content_sizes:
            rankable |= read_content(rows, config.content_encoders or {}, **self._where()).present()
        if rankable.any():
            add_items(folder, rows.select(np.flatnonzero(rankable)).with_format("arrow")[:], self.reading)
        logger.warning(
            "%d of %d items are new to the base model: %d are ranked by their content and not learned from, %d have "
            "none that it reads, and are left out.",
            *(len(rows), len(ids), rankable.sum(), (~rankable).sum()),
        )

    def _where(self) -> dict[str, Any]:
        return {
            "encoders": self.reading.encoders,
            "media_folder": self.reading.media_folder,
            "text_adapter": self.folder.text_adapter,
        }

    def _take_catalogue(self, items: Dataset) -> None:
        """Rank the items of the data instead of the model's own."""
        folder, config = self.folder, self.folder.model.config
        origins = config.content_encoders or {}
        content = read_content(items, origins, **self._where())
        if not content.present().any():
            columns = sorted({name for origin in origins.values() for name in columns_of(origin)})
            raise ValueError(
                f"The base model reads the columns {columns} of items, and none of these items has any of them; they "
                f"have {items.column_names}. Rename yours with column_mapping."
            )
        config.display_columns = shown_columns(items, but=[origin.get("column", "") for origin in origins.values()])
        counts = np.asarray(items.with_format("numpy")["count"][:])
        replace_catalogue(folder, items, content)
        config.num_trained_tokens = config.num_special_tokens + int((counts > 0).sum())

    def finish(self) -> Adapter:
        """Extract the adapter and add it to the weights."""
        adapter = extract(self.wrapped, self.base_name, self.settings.base_revision)
        detach(self.wrapped, merge=True)
        return adapter


class TextLora(LoraRun):
    """Trains an adapter of the text encoder with the ranking loss, on the data of the model itself; the rest stays."""

    def _start(self, arguments: Arguments, prepared: PreparedData) -> Any:
        folder, config = self.folder, self.folder.model.config
        if folder.items["item_id"][:] != prepared.items["item_id"][:]:
            raise ValueError(
                f"lora=text_encoder goes on with the data of the base model, which knows {len(folder.items)} items, "
                f"and these data have other ones ({len(prepared.items)}). Take its data, or lora=sequence_encoder."
            )
        origin = (config.content_encoders or {}).get("text")
        if origin is None or "encoder" not in origin or "adapter" in origin:
            raise ValueError(
                f"The base model reads {sorted(config.content_encoders or {})} of items, the text as {origin}; "
                "expected texts by an encoder without an adapter. Train one with item texts first."
            )
        place = (self.reading.encoders or {}).get("text", origin["encoder"])
        encoder = TextEncoder.from_source(find_encoder(place, origin["revision"]))
        wrapped = attach(encoder.model, self._lora_config("all-linear", OTHER_NETWORKS))
        texts = render_texts(prepared.items, origin["template"])
        there = self._part().present[config.num_special_tokens :].tolist()
        has_text = [text is not None for text in texts]
        if there != has_text:
            raise ValueError(
                f"{sum(has_text)} of these items have a text, and {sum(there)} of the base model's, or not the same "
                "ones. Take the items that it was trained with."
            )
        folder.model.requires_grad_(False)  # a finished ranker loses by sampled steps more than it gains (LOG.md)
        self._part().encoder = TunedTexts(encoder, [None] * config.num_special_tokens + texts)
        return wrapped

    def _part(self) -> ContentProjection:
        part: ContentProjection = self.folder.model.model.items.content["text"]
        return part

    @property
    def refresh(self) -> Callable[[], None] | None:
        """Encode all items with the encoder as it is now."""
        return self._encode_all

    @torch.no_grad()
    def _encode_all(self) -> None:
        part = self._part()
        encoder = part.encoder
        assert encoder is not None
        training = encoder.training
        encoder.eval()
        for tokens in part.present.nonzero().flatten().split(ITEMS_AT_ONCE):
            part.features[tokens] = part.features_of(encoder(tokens)).to(part.features.dtype)
        encoder.train(training)
        first, end = self.folder.model.config.num_special_tokens, self.folder.model.config.num_trained
        part.longest.copy_(part.features[first:end].float().norm(dim=1).max())
        part.features[end:] = part.shortened(part.features[end:].float()).to(part.features.dtype)
        self.folder.model.model.items.place(torch.arange(end, self.folder.model.config.vocab_size))

    def finish(self) -> Adapter:
        """Encode all items once more, so that serving costs what it did, and keep the adapter for items that come."""
        self._encode_all()
        part, config = self._part(), self.folder.model.config
        origin = (config.content_encoders or {})["text"]
        adapter = extract(self.wrapped, origin["encoder"], origin["revision"])
        part.encoder = None
        self.folder.model.requires_grad_(True)
        config.content_encoders = (config.content_encoders or {}) | {"text": origin | {"adapter": adapter.sha256}}
        self.folder.text_adapter = adapter
        return adapter


def _only(train: Dataset, known: set[str]) -> Dataset:
    """Histories without the items that a model cannot learn from."""
    in_memory = {"keep_in_memory": True, "load_from_cache_file": False}
    return train.map(lambda row: {"history": [item for item in row["history"] if item in known]}, **in_memory)
