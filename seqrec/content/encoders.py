"""Encoders: one content becomes one unit vector, made by a network; here, of texts."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from safetensors import SafetensorError
from torch.nn import functional
from transformers import AutoModel, AutoTokenizer, BatchEncoding, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils.hub import cached_file

from seqrec.adapters import merge_into
from seqrec.content.bundled import DEFAULT_ENCODERS, LENGTH_FILE
from seqrec.content.sources import EncoderSource, find_encoder

BATCH_SIZE = 32
LONGEST_TEXT = 512  # tokens, where neither the tokenizer nor the model says


@dataclass(frozen=True)
class Encoded:
    """What an encoder made of some contents.

    Attributes:
        vectors: (num_contents, width) float32; zeros where a content could not be read.
        unreadable: Why not, by the content's place.
        num_cut: Contents of which only the beginning was read.
    """

    vectors: np.ndarray
    unreadable: dict[int, str]
    num_cut: int = 0


class Encoder(ABC):
    """A frozen model that turns one kind of content into vectors.

    Attributes:
        modality: The kind: `text`, `image` or `audio`.
        name: Hub id, or the base name of the local folder.
        revision: The version of its weights.
    """

    modality: ClassVar[str]
    name: str
    revision: str

    @classmethod
    def from_pretrained(cls, name: str | None = None, revision: str | None = None) -> Self:
        """Load an encoder by Hub id or from a folder; the default one of the modality needs no Hub.

        Raises:
            ImportError: The package that reads such files is not installed.
            ValueError: The folder holds no model, or other weights than the revision says.
            OSError: The Hub does not answer, or does not have it.
        """
        return cls.from_source(find_encoder(name or DEFAULT_ENCODERS[cls.modality], revision))

    @classmethod
    @abstractmethod
    def from_source(cls, source: EncoderSource) -> Self:
        """Load an encoder that `find_encoder` has found."""

    @property
    @abstractmethod
    def width(self) -> int:
        """Numbers in one vector."""

    @property
    @abstractmethod
    def reads(self) -> str:
        """How much of a content is read, for a notice."""

    @abstractmethod
    def encode(self, contents: Sequence[Any], advance: Callable[[int], object] = int) -> Encoded:
        """Encode in batches of similar length; `advance` hears after each how many contents it had."""


def load_encoder(modality: str, source: EncoderSource) -> Encoder:
    """Return the encoder of a modality (`text`, `image` or `audio`) that `find_encoder` has found."""
    if modality == "image":
        from seqrec.content.images import ImageEncoder

        return ImageEncoder.from_source(source)
    if modality == "audio":
        from seqrec.content.audio import AudioEncoder

        return AudioEncoder.from_source(source)
    return TextEncoder.from_source(source)


def load_network(source: EncoderSource) -> tuple[PreTrainedModel, dict[str, str]]:
    """Load the network of an encoder onto the fastest device here.

    Returns:
        The model in evaluation mode, and what `from_pretrained` of its tokenizer or processor takes.

    Raises:
        ValueError: It is no model that transformers knows, or its weights are a pickle.
    """
    location = source.fetch()
    place = {"pretrained_model_name_or_path": location}
    if location == source.name:  # on the Hub
        place["revision"] = source.revision
    safe: Any = {"use_safetensors": True, "trust_remote_code": False, "output_loading_info": True}
    try:
        model, info = AutoModel.from_pretrained(**place, dtype=torch.float32, **safe)
    except (OSError, ValueError, SafetensorError) as error:
        raise ValueError(
            f"The encoder {source.name!r} cannot be loaded ({first_line(error)}). Give a model of transformers "
            "that is made for this modality and has its weights in safetensors."
        ) from error
    absent = sorted(info["missing_keys"])
    if absent and all(name.startswith("pooler.") for name in absent):
        model.pooler = None  # else one of random weights
    elif absent:
        raise ValueError(
            f"The weights of the encoder {source.name!r} lack {len(absent)} tensors that its config.json asks for, "
            f"first {absent[0]!r}. Save the model again."
        )
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return model.eval().to(accelerator or "cpu"), place


def load_beside(source: EncoderSource, auto_class: Any, place: Mapping[str, str], **options: Any) -> Any:
    """Load what prepares the input of an encoder's network: its tokenizer, image processor or feature extractor.

    Raises:
        ValueError: The encoder has none: it is made for another modality.
    """
    try:
        return auto_class.from_pretrained(**place, trust_remote_code=False, **options)
    except (OSError, ValueError) as error:
        what = {"AutoTokenizer": "a tokenizer", "AutoImageProcessor": "an image processor"}
        raise ValueError(
            f"The encoder {source.name!r} comes without {what.get(auto_class.__name__, 'a feature extractor')}, which "
            f"encoders of this modality need ({first_line(error)}). Give one that is made for it."
        ) from error


def first_line(error: Exception) -> str:
    """What an error of transformers says before it advises."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def shared_features(model: PreTrainedModel, modality: str, batch: Mapping[str, Any]) -> torch.Tensor | None:
    """Vectors (contents, width) of a model with one space for several modalities (CLIP, CLAP), None of another."""
    project = getattr(model, f"get_{modality}_features", None)
    if project is None:
        return None
    output = project(**batch)
    return output if isinstance(output, torch.Tensor) else output.pooler_output


class TextEncoder(Encoder):
    """A transformer whose mean token state, at length 1, stands for a text.

    Attributes:
        name: Hub id, or the base name of the local folder.
        revision: The version of its weights.
        max_length: Tokens of a text that are read.
    """

    modality = "text"

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str, revision: str, max_length: int
    ) -> None:
        """Keep a loaded model and its tokenizer; `from_pretrained` is the usual way here."""
        self.model = model
        self.tokenizer = tokenizer
        self.name = name
        self.revision = revision
        self.max_length = max_length
        self._width = self._encode_batch(["a"])[0].shape[1]

    @classmethod
    def from_source(cls, source: EncoderSource) -> Self:
        """Load an encoder that `find_encoder` has found."""
        model, place = load_network(source)
        if source.adapter is not None:
            merge_into(model, source.adapter)
        tokenizer = load_beside(source, AutoTokenizer, place)
        return cls(model, tokenizer, source.name, source.revision, _max_length(place, tokenizer, model))

    @property
    def width(self) -> int:
        """Numbers in one vector."""
        return self._width

    @property
    def reads(self) -> str:
        """How much of a content is read, for a notice."""
        return f"{self.max_length} tokens"

    def encode(self, contents: Sequence[str], advance: Callable[[int], object] = int) -> Encoded:
        """Turn texts into vectors of length 1.

        Args:
            contents: The texts; one that is longer than `max_length` tokens is cut.
            advance: Called with the number of texts after each batch.
        """
        vectors = np.zeros((len(contents), self.width), np.float32)
        unreadable = {row: "no Unicode text" for row, text in enumerate(contents) if not _is_unicode(text)}
        num_cut = 0
        longest_first = sorted(range(len(contents)), key=lambda row: -len(contents[row]))
        for start in range(0, len(contents), BATCH_SIZE):
            rows = longest_first[start : start + BATCH_SIZE]
            read = [row for row in rows if row not in unreadable]
            if read:
                vectors[read], cut = self._encode_batch([contents[row] for row in read])
                num_cut += cut
            advance(len(rows))
        return Encoded(vectors, unreadable, num_cut)

    @torch.inference_mode()
    def _encode_batch(self, texts: list[str]) -> tuple[np.ndarray, int]:
        """Vectors (num_texts, width) of one batch, and how many of its texts were cut."""
        batch = self.tokenizer(texts, padding=True, truncation=True, max_length=self.max_length, return_tensors="pt")
        num_cut = sum(bool(encoding.overflowing) for encoding in batch.encodings or [])
        return self.embed(batch).cpu().numpy(), num_cut

    def embed(self, batch: BatchEncoding) -> torch.Tensor:
        """Return the vectors (num_texts, width) of tokenized texts, float32, with gradients where those are wanted."""
        batch = batch.to(self.model.device)
        vectors = shared_features(self.model, "text", batch)
        if vectors is None:
            network = self.model.get_encoder() if self.model.config.is_encoder_decoder else self.model
            hidden = network(**batch).last_hidden_state  # (num_texts, length, width)
            mask = batch["attention_mask"][..., None]
            vectors = (hidden * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
        return functional.normalize(vectors, dim=-1).float()


def _max_length(place: Mapping[str, str], tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> int:
    """The tokens an encoder reads: what sentence-transformers wrote beside it, else what tokenizer and model can."""
    location = place["pretrained_model_name_or_path"]
    path = cached_file(
        location, LENGTH_FILE, revision=place.get("revision"), _raise_exceptions_for_missing_entries=False
    )
    stated: Any = None
    if path is not None:
        with open(path, encoding="utf-8") as file:
            stated = json.load(file).get("max_seq_length")
    limits = (stated, tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", None))
    known = [int(limit) for limit in limits if limit and limit < 1_000_000]
    return min(known, default=LONGEST_TEXT)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
