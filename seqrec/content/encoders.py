"""Encoders: a text becomes one unit vector, made by a frozen transformer."""

import json
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from tqdm.auto import tqdm
from transformers import AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils.hub import cached_file

from seqrec.content.sources import DEFAULT_TEXT_ENCODER, LENGTH_FILE, EncoderSource, find_encoder

BATCH_SIZE = 32
LONGEST_TEXT = 512  # tokens, where neither the tokenizer nor the model says

logger = logging.getLogger(__name__)


class TextEncoder:
    """A frozen transformer whose mean token state, at length 1, stands for a text.

    Attributes:
        name: Hub id, or the base name of the local folder.
        revision: The version of its weights.
        max_length: Tokens of a text that are read.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str, revision: str, max_length: int
    ) -> None:
        """Keep a loaded model and its tokenizer; `from_pretrained` is the usual way here."""
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.name = name
        self.revision = revision
        self.max_length = max_length

    @classmethod
    def from_pretrained(cls, name: str = DEFAULT_TEXT_ENCODER, revision: str | None = None) -> "TextEncoder":
        """Load an encoder by Hub id or from a folder; the default one needs no Hub.

        Raises:
            ValueError: The folder holds no model, or other weights than the revision says.
            OSError: The Hub does not answer, or does not have it.
        """
        return cls.from_source(find_encoder(name, revision))

    @classmethod
    def from_source(cls, source: EncoderSource) -> "TextEncoder":
        """Load an encoder that `find_encoder` has found."""
        location = source.fetch()
        revision = source.revision if location == source.name else None
        model = AutoModel.from_pretrained(
            location, revision=revision or "main", dtype=torch.float32, use_safetensors=True
        )
        tokenizer = AutoTokenizer.from_pretrained(location, revision=revision or "main")
        max_length = _max_length(location, revision, tokenizer, model)
        accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        return cls(model.to(accelerator or "cpu"), tokenizer, source.name, source.revision, max_length)

    @property
    def width(self) -> int:
        """Numbers in one vector."""
        return int(self.model.config.hidden_size)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Turn texts into vectors of length 1.

        A text longer than `max_length` tokens is cut; one notice counts such texts.

        Returns:
            (num_texts, width) float32.
        """
        vectors = np.zeros((len(texts), self.width), np.float32)
        num_cut = 0
        longest_first = sorted(range(len(texts)), key=lambda index: -len(texts[index]))
        with tqdm(total=len(texts), desc=f"Encoding texts ({self.name})", unit="text", disable=None) as bar:
            for start in range(0, len(texts), BATCH_SIZE):
                rows = longest_first[start : start + BATCH_SIZE]
                vectors[rows], cut = self._encode_batch([texts[row] for row in rows])
                num_cut += cut
                bar.update(len(rows))
        if num_cut:
            logger.warning(
                "%d of %d texts are longer than the %d tokens that %s reads; their ends were cut off.",
                num_cut,
                len(texts),
                self.max_length,
                self.name,
            )
        return vectors

    @torch.inference_mode()
    def _encode_batch(self, texts: list[str]) -> tuple[np.ndarray, int]:
        """Vectors (num_texts, width) of one batch, and how many of its texts were cut."""
        batch = self.tokenizer(texts, padding=True, truncation=True, max_length=self.max_length, return_tensors="pt")
        num_cut = sum(bool(encoding.overflowing) for encoding in batch.encodings or [])
        batch = batch.to(self.model.device)
        hidden = self.model(**batch).last_hidden_state  # (num_texts, length, width)
        mask = batch["attention_mask"][..., None]
        mean = (hidden * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
        return functional.normalize(mean, dim=-1).float().cpu().numpy(), num_cut


def _max_length(
    location: str, revision: str | None, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel
) -> int:
    """The tokens an encoder reads: what sentence-transformers wrote beside it, else what tokenizer and model can."""
    path = cached_file(location, LENGTH_FILE, revision=revision, _raise_exceptions_for_missing_entries=False)
    stated: Any = None
    if path is not None:
        with open(path, encoding="utf-8") as file:
            stated = json.load(file).get("max_seq_length")
    limits = (stated, tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", None))
    known = [int(limit) for limit in limits if limit and limit < 1_000_000]
    return min(known, default=LONGEST_TEXT)
