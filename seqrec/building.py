"""From settings, prepared data and item content to an untrained model."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from datasets import Dataset, Value

from seqrec.arguments import SeqRecTrainingArguments
from seqrec.data import PreparedData
from seqrec.data.columns import SPECIAL_TOKENS
from seqrec.data_arguments import DataArguments
from seqrec.item_content import ItemContent, fit_content
from seqrec.machine import multiplies_bfloat16
from seqrec.model import Sampling, SeqRecConfig, SeqRecForNextItem, Softmax
from seqrec.model_folder import ModelFolder
from seqrec.settings import Arguments
from seqrec.tokenization import build_tokenizer


def build_model(arguments: Arguments, prepared: PreparedData, content: ItemContent) -> ModelFolder:
    """Return the untrained model with its tokenizer and catalogue.

    Raises:
        ValueError: If items have nothing to be known by, or the model does not fit into memory.
    """
    try:
        return _build(arguments, prepared, content)
    except (RuntimeError, MemoryError) as error:
        reason = " ".join(str(error).split()) or "out of memory"
        raise ValueError(
            f"The model cannot be built: {reason:.200}. Choose a smaller hidden_size, "
            "intermediate_size, ensemble_size or max_position_embeddings."
        ) from error


def _build(arguments: Arguments, prepared: PreparedData, content: ItemContent) -> ModelFolder:
    """The same, where memory suffices."""
    items = prepared.items
    sizes = content.sizes(arguments.data.content_components)
    asked = not arguments.model.use_item_ids or arguments.model.id_dropout_prob or arguments.model.fusion == "gate"
    if asked and not sizes:
        raise ValueError(
            "use_item_ids=False, id_dropout_prob and fusion='gate' need content, and none of the items' is used; "
            f"their columns are {items.column_names}. Pass items with texts, or name image_column, audio_column, "
            "attributes or vector_columns."
        )
    scales = arguments.model.content_scale or [1.0]
    if scales != [1.0] and not content.vectors:
        raise ValueError(
            f"content_scale={scales} is about vectors of content, and the items have none. "
            "Leave it out, or pass items with texts, images, sounds or vectors."
        )
    if not arguments.model.use_item_ids and (
        arguments.model.id_dropout_prob or arguments.training.id_start != "random"
    ):
        raise ValueError(
            f"id_dropout_prob={arguments.model.id_dropout_prob:g} and id_start={arguments.training.id_start!r} are "
            "about item ids, and use_item_ids=False leaves them out. Leave those settings out, too."
        )
    num_trained = int((np.asarray(items.with_format("numpy")["count"][:]) > 0).sum()) if sizes else len(items)
    shown = shown_columns(items, but=_media_columns(arguments.data))
    asked_for = dataclasses.asdict(arguments.model)
    if content.vectors and arguments.model.use_item_ids and not asked_for["content_scale"]:
        asked_for["content_scale"] = usual_content_scale(arguments.model.ensemble_size)
    config = SeqRecConfig(
        vocab_size=len(SPECIAL_TOKENS) + len(items),
        num_trained_tokens=len(SPECIAL_TOKENS) + num_trained,
        **asked_for,
        content_sizes=sizes or None,
        content_encoders=content.origins or None,
        display_columns=shown,
    )
    model = SeqRecForNextItem(config)
    model.softmax = softmax_of(arguments.training, items["count"][:num_trained])
    fit_content(model, content)
    model.to(device=arguments.training.device)  # type: ignore[call-arg]
    tokenizer = build_tokenizer(items["item_id"][:], config)
    catalogue = items.select_columns(["item_id", *shown, "count"])
    return ModelFolder(model, tokenizer, catalogue, preparation=prepared.report)


def usual_content_scale(ensemble_size: int) -> list[float]:
    """How loud content starts beside ids where nothing is asked for: chosen with texts, on Beauty and MovieLens.

    >>> usual_content_scale(1), usual_content_scale(2), usual_content_scale(3)
    ([5.0], [20.0, 1.0], [20.0, 4.5, 1.0])
    """
    return [5.0] if ensemble_size == 1 else np.geomspace(20, 1, ensemble_size).round(1).tolist()


def shown_columns(items: Dataset, but: list[str]) -> list[str]:
    """Return the columns of texts that recommendations show, without some that are none for people."""
    texts = [name for name, column in items.features.items() if column == Value("string")]
    return [name for name in texts if name not in ("item_id", *but)]


def _media_columns(data: DataArguments) -> list[str]:
    """Columns that hold paths of this machine."""
    return [column for column in (data.image_column, data.audio_column) if column is not None]


def softmax_of(training: SeqRecTrainingArguments, item_counts: Sequence[int]) -> Softmax:
    """Return how the loss is computed, over items that are so often in training."""
    counts = torch.tensor(item_counts, dtype=torch.float64)
    frequencies = (counts / counts.sum()).to(training.device)
    narrow = training.softmax_dtype == "bfloat16" or (
        training.softmax_dtype == "auto" and multiplies_bfloat16(training.device)
    )
    dtype = torch.bfloat16 if narrow else torch.float32
    return Softmax(
        chunk_size=training.softmax_chunk_size,
        dtype=dtype,
        sampling=Sampling(training.softmax_samples, frequencies) if training.softmax_samples else None,
    )
