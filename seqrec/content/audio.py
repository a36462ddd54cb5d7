"""Sounds: a sound file becomes one unit vector, made by a frozen network."""

import io
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

import numpy as np
import torch
from scipy.signal import resample_poly
from transformers import ASTFeatureExtractor, AutoFeatureExtractor, FeatureExtractionMixin, PreTrainedModel

from seqrec.content import musicnn  # noqa: F401 (transformers hears of it)
from seqrec.content.encoders import Encoded, Encoder, load_beside, load_network, shared_features
from seqrec.content.sources import EncoderSource
from seqrec.extras import require

SECONDS = 30  # of a sound that are read
SHORTEST = 0.1  # seconds; what is shorter is repeated, since networks over samples need some
HIGHEST_RATE = 768_000  # samples a second; above that, a damaged header


class AudioEncoder(Encoder):
    """A frozen network whose pooled or mean state, at length 1, stands for a sound.

    Attributes:
        name: Hub id, or the base name of the local folder.
        revision: The version of its weights.
    """

    modality = "audio"

    def __init__(self, model: PreTrainedModel, extractor: FeatureExtractionMixin, name: str, revision: str) -> None:
        """Keep a loaded model and its feature extractor; `from_pretrained` is the usual way here."""
        self.model = model
        self.extractor = extractor
        self.name = name
        self.revision = revision
        self._rate = int(getattr(extractor, "sampling_rate"))  # noqa: B009 (its type does not tell)
        self._width = len(self._vector(np.zeros(self._rate, np.float32)))

    @classmethod
    def from_source(cls, source: EncoderSource) -> Self:
        """Load an encoder that `find_encoder` has found."""
        require("soundfile", "audio")  # before a download
        model, place = load_network(source)
        return cls(model, load_beside(source, AutoFeatureExtractor, place), source.name, source.revision)

    @property
    def width(self) -> int:
        """Numbers in one vector."""
        return self._width

    @property
    def reads(self) -> str:
        """How much of a content is read, for a notice."""
        return f"{SECONDS} seconds"

    def encode(self, contents: Sequence[bytes], advance: Callable[[int], object] = int) -> Encoded:
        """Turn sounds into vectors of length 1.

        Args:
            contents: The bytes of sound files; one that is longer than 30 seconds is cut.
            advance: Called with 1 after each sound.
        """
        vectors = np.zeros((len(contents), self.width), np.float32)
        unreadable: dict[int, str] = {}
        num_cut = 0
        for row, content in enumerate(contents):
            try:
                samples, is_cut = _read_samples(content, self._rate)
                vectors[row] = _unit(self._vector(samples))
                num_cut += is_cut
            except _NoSoundError as error:
                unreadable[row] = f"not a sound: {error}"
            advance(1)
        return Encoded(vectors, unreadable, num_cut)

    @torch.inference_mode()
    def _vector(self, samples: np.ndarray) -> np.ndarray:
        """The mean vector (width,) of the pieces of a sound."""
        pieces = [self._piece_vectors(piece) for piece in _pieces(samples, _longest_piece(self.extractor, self._rate))]
        return torch.cat(pieces).mean(dim=0).float().cpu().numpy()

    def _piece_vectors(self, samples: np.ndarray) -> torch.Tensor:
        """Vectors (1, width) of a sound, or more where the feature extractor makes its own pieces of it."""
        is_padded = bool(self.model.config.is_encoder_decoder)  # such as Whisper, which always reads 30 seconds
        options = {"return_attention_mask": True} if is_padded else {}
        extract: Any = self.extractor
        batch = extract(samples, sampling_rate=self._rate, return_tensors="pt", **options).to(self.model.device)
        vectors = shared_features(self.model, "audio", batch)
        if vectors is not None:
            return vectors
        network = self.model.get_encoder() if is_padded else self.model
        output = network(**batch)
        if getattr(output, "pooler_output", None) is not None:
            return output.pooler_output
        states = output.last_hidden_state  # (1, frames, width)
        if is_padded and "attention_mask" in batch:
            mask = batch["attention_mask"]  # (1, spectra): longer than the states, which convolutions shorten
            states = states[:, : max(math.ceil(int(mask.sum()) * states.shape[1] / mask.shape[1]), 1)]
        return states.mean(dim=1)


class _NoSoundError(ValueError):
    """A file that holds no sound."""


def _read_samples(content: bytes, rate: int) -> tuple[np.ndarray, bool]:
    """The beginning of a sound file as (num_samples,) float32 of one channel, and whether there is more of it."""
    soundfile = require("soundfile", "audio")
    try:
        with soundfile.SoundFile(io.BytesIO(content)) as file:
            own_rate = int(file.samplerate)
            if not 0 < own_rate <= HIGHEST_RATE:
                raise _NoSoundError(f"{own_rate:,} samples a second")
            limit = SECONDS * own_rate
            channels = file.read(limit + 1, dtype="float32", always_2d=True)  # one more tells whether there is more
    except soundfile.SoundFileError as error:
        raise _NoSoundError(getattr(error, "error_string", "no known format")) from error
    if not len(channels):
        raise _NoSoundError("it has no samples")
    samples = channels[:limit].mean(axis=1)
    if not np.isfinite(samples).all():
        raise _NoSoundError("its samples are not all finite numbers")
    shared = math.gcd(rate, own_rate)
    samples = resample_poly(samples, rate // shared, own_rate // shared).astype(np.float32)
    return np.resize(samples, max(len(samples), math.ceil(SHORTEST * rate))), len(channels) > limit


def _longest_piece(extractor: FeatureExtractionMixin, rate: int) -> int | None:
    """Samples after which an extractor drops the rest of a sound, or, as that of CLAP does, takes a part by chance."""
    if isinstance(extractor, ASTFeatureExtractor):
        return extractor.max_length * rate // 100
    longest: int | None = getattr(extractor, "nb_max_samples", None)
    return longest


def _pieces(samples: np.ndarray, longest: int | None) -> Iterator[np.ndarray]:
    """Cut a sound where an extractor would; a rest of less than half a piece is left out."""
    if longest is None or len(samples) <= longest:
        yield samples
        return
    for start in range(0, len(samples) - longest // 2, longest):
        yield samples[start : start + longest]


def _unit(vector: np.ndarray) -> np.ndarray:
    """The vector at length 1."""
    length = float(np.linalg.norm(vector.astype(np.float64)))
    if not math.isfinite(length) or length == 0:
        raise _NoSoundError("the encoder finds no finite vector for it")
    return vector / np.float32(length)
