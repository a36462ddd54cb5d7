"""MusiCNN, a small network that tags music, as a transformers model: it says how a sound sounds in 200 numbers.

Pons et al., "End-to-end learning for music audio tagging at scale" (ISMIR 2018), with the weights trained on
MagnaTagATune that the package `musicnn` publishes (ISC licence). Only the checkpoint in its wheel is read; neither the
package's code nor TensorFlow is needed. To import this module tells the Auto classes of transformers about the model.
"""

import functools
import math
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub.dataclasses import strict
from torch import nn
from torch.nn import functional
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModel,
    BatchFeature,
    PreTrainedConfig,
    PreTrainedModel,
    SequenceFeatureExtractor,
)
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function
from transformers.modeling_outputs import BaseModelOutputWithPooling

CHECKPOINT = "musicnn/MTT_musicnn/"  # in the wheel musicnn==0.1.0
WINDOW, HOP = 512, 256  # samples of a spectrum, and from one to the next
TIMBRE_FRAMES = 7
FLOAT32 = 1  # the number of this type in TensorFlow's protocol


@strict
class MusicnnConfig(PreTrainedConfig):
    """Shape of a MusiCNN.

    Args:
        num_mel_bins: Frequencies of a spectrum.
        timbre_channels: Channels of each of the two filters over seven frames and most frequencies.
        timbre_heights: Frequencies that each of the two spans.
        rhythm_channels: Channels of each filter over time alone.
        rhythm_frames: Frames that each of these spans.
        middle_channels: Channels of each of the three layers over the frames of all filters.
        hidden_size: Numbers that stand for a piece of sound.
    """

    model_type = "musicnn"

    num_mel_bins: int = 96
    timbre_channels: int = 204
    timbre_heights: list[int] | tuple[int, ...] = (38, 67)
    rhythm_channels: int = 51
    rhythm_frames: list[int] | tuple[int, ...] = (128, 64, 32)
    middle_channels: int = 64
    hidden_size: int = 200


class MusicnnFeatureExtractor(SequenceFeatureExtractor):
    """Cuts a sound into pieces of three seconds and makes a log-mel spectrogram of each."""

    model_input_names = ["input_features"]

    def __init__(
        self,
        feature_size: int = 96,
        sampling_rate: int = 16_000,
        padding_value: float = 0.0,
        num_frames: int = 187,
        **kwargs: Any,
    ) -> None:
        """Keep the number of frequencies and of frames in a piece."""
        super().__init__(feature_size, sampling_rate, padding_value, **kwargs)
        self.num_frames = num_frames

    def __call__(
        self,
        raw_speech: np.ndarray,
        sampling_rate: int | None = None,
        return_tensors: str | None = None,
        **_: Any,
    ) -> BatchFeature:
        """Turn one sound into its pieces, `input_features` (num_pieces, num_frames, feature_size).

        Args:
            raw_speech: (num_samples,); repeated where it is shorter than a piece. What is left after the last whole
                piece is not read.
            sampling_rate: Of the samples, to be sure.
            return_tensors: `pt` for torch tensors.

        Raises:
            ValueError: The sound has another sampling rate.
        """
        if sampling_rate not in (None, self.sampling_rate):
            raise ValueError(f"The sound has {sampling_rate} samples a second, expected {self.sampling_rate}.")
        samples = np.asarray(raw_speech, np.float32)
        shortest = (self.num_frames - 1) * HOP
        if len(samples) < shortest:
            samples = np.resize(samples, shortest)
        power = spectrogram(
            samples,
            window_function(WINDOW, "hann"),
            frame_length=WINDOW,
            hop_length=HOP,
            power=2.0,
            pad_mode="constant",
            mel_filters=_mel_filters(self.feature_size, self.sampling_rate),
        )  # (feature_size, frames)
        log_mel = np.log10(10_000 * power.T + 1).astype(np.float32)
        num_pieces = len(log_mel) // self.num_frames
        pieces = log_mel[: num_pieces * self.num_frames].reshape(num_pieces, self.num_frames, self.feature_size)
        return BatchFeature({"input_features": pieces}, tensor_type=return_tensors)


@functools.cache
def _mel_filters(num_mel_bins: int, sampling_rate: int) -> np.ndarray:
    return mel_filter_bank(
        WINDOW // 2 + 1, num_mel_bins, 0.0, sampling_rate / 2, sampling_rate, norm="slaney", mel_scale="slaney"
    )


class MusicnnFilter(nn.Module):
    """A convolution that keeps the number of frames, ReLU and batch normalisation, then the loudest frequency."""

    def __init__(self, in_channels: int, out_channels: int, num_frames: int, height: int) -> None:
        """Make a filter over `num_frames` frames and `height` frequencies."""
        super().__init__()
        before = (num_frames - 1) // 2
        self.padding = (0, 0, before, num_frames - 1 - before)
        self.convolution = nn.Conv2d(in_channels, out_channels, (num_frames, height))
        self.norm = nn.BatchNorm2d(out_channels, eps=1e-3)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """From (pieces, in_channels, frames, frequencies) to (pieces, out_channels, frames)."""
        states = functional.relu(self.convolution(functional.pad(states, self.padding)))
        return self.norm(states).amax(dim=3)


class MusicnnModel(PreTrainedModel):
    """A MusiCNN up to its last layer but one; the layer after that names tags and is left out."""

    config_class = MusicnnConfig
    config: MusicnnConfig
    base_model_prefix = "musicnn"
    main_input_name = "input_features"

    def __init__(self, config: MusicnnConfig) -> None:
        """Make a network of random weights; `from_pretrained` is the usual way here."""
        super().__init__(config)
        self.input_norm = nn.BatchNorm2d(1, eps=1e-3)
        timbre = [MusicnnFilter(1, config.timbre_channels, TIMBRE_FRAMES, high) for high in config.timbre_heights]
        rhythm = [MusicnnFilter(1, config.rhythm_channels, frames, 1) for frames in config.rhythm_frames]
        self.front = nn.ModuleList(timbre + rhythm)
        front_channels = config.timbre_channels * len(timbre) + config.rhythm_channels * len(rhythm)
        middle = config.middle_channels
        self.middle = nn.ModuleList(
            MusicnnFilter(channels, middle, TIMBRE_FRAMES, 1) for channels in (front_channels, middle, middle)
        )
        pooled = 2 * (front_channels + middle * len(self.middle))
        self.pooled_norm = nn.BatchNorm1d(pooled, eps=1e-3)
        self.dense = nn.Linear(pooled, config.hidden_size)
        self.norm = nn.BatchNorm1d(config.hidden_size, eps=1e-3)
        self.post_init()

    def forward(self, input_features: torch.Tensor, **_: Any) -> BaseModelOutputWithPooling:
        """Describe pieces of sound.

        Args:
            input_features: (pieces, frames, num_mel_bins) log-mel spectrograms.

        Returns:
            `last_hidden_state` (pieces, frames, channels) and `pooler_output` (pieces, hidden_size).
        """
        spectra = self.input_norm(input_features[:, None])
        states = torch.cat([layer(spectra) for layer in self.front], dim=1)  # (pieces, channels, frames)
        parts = [states]
        for place, layer in enumerate(self.middle):
            change = layer(states[..., None])
            states = states + change if place else change
            parts.append(states)
        all_states = torch.cat(parts, dim=1)
        pooled = torch.stack([all_states.amax(dim=2), all_states.mean(dim=2)], dim=2).flatten(1)
        vectors = self.norm(functional.relu(self.dense(self.pooled_norm(pooled))))
        return BaseModelOutputWithPooling(last_hidden_state=all_states.transpose(1, 2), pooler_output=vectors)


AutoConfig.register("musicnn", MusicnnConfig, exist_ok=True)
AutoModel.register(MusicnnConfig, MusicnnModel, exist_ok=True)
AutoFeatureExtractor.register(MusicnnConfig, MusicnnFeatureExtractor, exist_ok=True)


def save_from_wheel(wheel: Path, folder: Path) -> None:
    """Write the model folder of the network whose TensorFlow checkpoint a wheel of `musicnn` holds.

    Raises:
        ValueError: The wheel holds no such checkpoint, or it is damaged.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            index = archive.read(f"{CHECKPOINT}.index")
            data = archive.read(f"{CHECKPOINT}.data-00000-of-00001")
        with torch.random.fork_rng(devices=[]):  # the weights it starts from are nobody's business
            model = MusicnnModel(MusicnnConfig())
        model.load_state_dict(_state(_checkpoint_tensors(index, data), model))
    except (zipfile.BadZipFile, KeyError, IndexError, RuntimeError, ValueError) as error:
        raise ValueError(
            f"The file {wheel} does not hold the checkpoint {CHECKPOINT} of musicnn==0.1.0: {error}"
        ) from error
    model.save_pretrained(folder)
    MusicnnFeatureExtractor().save_pretrained(folder)


def _state(tensors: dict[str, torch.Tensor], model: MusicnnModel) -> dict[str, torch.Tensor]:
    """Give TensorFlow's tensors the names and the order of axes that our network has."""
    filters = [f"front.{place}" for place in range(len(model.front))]
    filters += [f"middle.{place}" for place in range(len(model.middle))]
    norms = ["input_norm", *(f"{name}.norm" for name in filters), "pooled_norm", "norm"]
    state = model.state_dict()  # for what TensorFlow does not have, how often a norm was trained
    for place, name in enumerate(filters):
        kernel = tensors[_numbered("conv2d", place) + "/kernel"]  # (frames, frequencies, in, out)
        if name.startswith("middle"):
            kernel = kernel.transpose(1, 2)  # (frames, in, 1, out): there, channels lie where frequencies did
        state[f"{name}.convolution.weight"] = kernel.permute(3, 2, 0, 1).contiguous()
        state[f"{name}.convolution.bias"] = tensors[_numbered("conv2d", place) + "/bias"]
    for place, name in enumerate(norms):
        theirs = _numbered("batch_normalization", place)
        state[f"{name}.weight"] = tensors[f"{theirs}/gamma"]
        state[f"{name}.bias"] = tensors[f"{theirs}/beta"]
        state[f"{name}.running_mean"] = tensors[f"{theirs}/moving_mean"]
        state[f"{name}.running_var"] = tensors[f"{theirs}/moving_variance"]
    state["dense.weight"] = tensors["dense/kernel"].T.contiguous()
    state["dense.bias"] = tensors["dense/bias"]
    return state


def _numbered(name: str, place: int) -> str:
    """The name that TensorFlow gives the layer at a place among its like."""
    return f"{name}_{place}" if place else name


@dataclass
class _Reader:
    """A place in bytes of the encodings that LevelDB tables and protocol buffers share."""

    data: bytes
    place: int = 0

    def __bool__(self) -> bool:
        return self.place < len(self.data)

    def take(self, size: int) -> bytes:
        start = self.place
        self.place += size
        return self.data[start : self.place]

    def varint(self) -> int:
        """A number in groups of seven bits, the lowest first; the high bit says that more follow."""
        value = shift = 0
        while True:
            byte = self.data[self.place]
            self.place += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def fields(self) -> Iterator[tuple[int, int | bytes]]:
        """The number and the value of each field of a protocol buffer message."""
        while self:
            number, kind = divmod(self.varint(), 8)
            if kind == 0:
                yield number, self.varint()
            else:
                yield number, self.take({1: 8, 2: self.varint() if kind == 2 else 0, 5: 4}[kind])


def _checkpoint_tensors(index: bytes, data: bytes) -> dict[str, torch.Tensor]:
    """All float32 tensors of a TensorFlow checkpoint in one shard, by name.

    Its index is a LevelDB table: a footer says where the block is that says where the blocks are. These map the name
    of a tensor to a message with its type (field 1), shape (2), and offset (4) and size (5) in the shard.
    """
    footer = _Reader(index[-48:])
    footer.varint(), footer.varint()  # the block about the table itself
    tensors = {}
    for _, handle in _block_entries(index, footer):
        for name, value in _block_entries(index, _Reader(handle)):
            entry: dict[int, Any] = dict(_Reader(value).fields()) if name else {}  # no name: the header
            if entry.get(1) != FLOAT32:
                continue
            dimensions = [field for number, field in _Reader(entry.get(2, b"")).fields() if number == 2]
            shape = [int(dict(_Reader(bytes(field)).fields()).get(1, 0)) for field in dimensions]
            values = np.frombuffer(data, "<f4", count=math.prod(shape), offset=entry.get(4, 0))
            tensors[name.decode()] = torch.from_numpy(values.reshape(shape).copy())
    return tensors


def _block_entries(table: bytes, handle: _Reader) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of the block that a handle, offset and size, points to."""
    start, size = handle.varint(), handle.varint()
    if table[start + size] != 0:
        raise ValueError("The index of the checkpoint is compressed, expected a plain one.")
    num_restarts = int.from_bytes(table[start + size - 4 : start + size], "little")
    block = _Reader(table[start : start + size - 4 * (num_restarts + 1)])
    key = b""
    while block:
        num_shared, num_new, length = block.varint(), block.varint(), block.varint()
        key = key[:num_shared] + block.take(num_new)
        yield key, block.take(length)
