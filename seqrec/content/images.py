"""Images: an image file becomes one unit vector, made by a frozen network."""

import io
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
import torch
from torch.nn import functional
from transformers import AutoImageProcessor, BaseImageProcessor, PreTrainedModel

from seqrec.content import efficientnet  # noqa: F401 (transformers hears of it)
from seqrec.content.encoders import Encoded, Encoder, load_beside, load_network, shared_features
from seqrec.content.sources import EncoderSource
from seqrec.extras import require

FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")  # none that runs a program
IMAGES_AT_ONCE = 8  # more go through a convolution more slowly than one by one, as they leave the cache
WITH_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
UNKNOWN_RANGE = ("I", "F")  # of their numbers

Image = Any  # of Pillow, which is optional


class ImageEncoder(Encoder):
    """A frozen network whose pooled or mean state, at length 1, stands for an image.

    Attributes:
        name: Hub id, or the base name of the local folder.
        revision: The version of its weights.
    """

    modality = "image"

    def __init__(self, model: PreTrainedModel, processor: BaseImageProcessor, name: str, revision: str) -> None:
        """Keep a loaded model and its image processor; `from_pretrained` is the usual way here."""
        self.model = model
        model.to(memory_format=torch.channels_last)  # type: ignore[call-arg]
        self.processor = processor
        self.name = name
        self.revision = revision
        self._width = self._vectors([require("PIL.Image", "image").new("RGB", (32, 32))]).shape[1]

    @classmethod
    def from_source(cls, source: EncoderSource) -> Self:
        """Load an encoder that `find_encoder` has found."""
        require("PIL.Image", "image")  # before a download
        model, place = load_network(source)
        processor = load_beside(source, AutoImageProcessor, place, backend="pil")  # the same vectors on any machine
        return cls(model, processor, source.name, source.revision)

    @property
    def width(self) -> int:
        """Numbers in one vector."""
        return self._width

    @property
    def reads(self) -> str:
        """How much of a content is read, for a notice."""
        return "first frame"

    def encode(self, contents: Sequence[bytes], advance: Callable[[int], object] = int) -> Encoded:
        """Turn images into vectors of length 1.

        Args:
            contents: The bytes of image files; of several frames, the first is read.
            advance: Called with the number of images after each batch.
        """
        vectors = np.zeros((len(contents), self.width), np.float32)
        unreadable: dict[int, str] = {}
        for start in range(0, len(contents), IMAGES_AT_ONCE):
            rows, images = [], []
            for row, content in enumerate(contents[start : start + IMAGES_AT_ONCE], start):
                try:
                    images.append(_read_image(content))
                    rows.append(row)
                except _NoImageError as error:
                    unreadable[row] = f"not an image: {error}"
            if rows:
                vectors[rows] = self._vectors(images)
            advance(min(IMAGES_AT_ONCE, len(contents) - start))
        return Encoded(vectors, unreadable)

    @torch.inference_mode()
    def _vectors(self, images: Sequence[Image]) -> np.ndarray:
        """Unit vectors (images, width)."""
        process: Any = self.processor
        batch = process(list(images), return_tensors="pt").to(self.model.device)
        vectors = shared_features(self.model, "image", batch)
        if vectors is None:
            output = self.model(**batch)
            vectors = getattr(output, "pooler_output", None)
            if vectors is None:
                states = output.last_hidden_state  # (images, tokens, width) or (images, width, rows, columns)
                vectors = states.mean(dim=1) if states.dim() == 3 else states.mean(dim=(2, 3))
            vectors = vectors.flatten(1)  # ResNet pools to (images, width, 1, 1)
        return functional.normalize(vectors.float(), dim=1).cpu().numpy()


class _NoImageError(ValueError):
    """A file that holds no image."""


def _read_image(content: bytes) -> Image:
    """The first frame of an image file as RGB, upright, on white where it is transparent."""
    pillow, operations = require("PIL.Image", "image"), require("PIL.ImageOps", "image")
    if not content:
        raise _NoImageError("it is empty")
    pillow.init()
    formats = [name for name in FORMATS if name in pillow.OPEN]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd metadata
            warnings.simplefilter("error", pillow.DecompressionBombWarning)
            with pillow.open(io.BytesIO(content), formats=formats) as file:
                file.load()
                return _rgb(operations.exif_transpose(file))
    except _NoImageError:
        raise
    except Exception as error:  # Pillow's decoders fail in many ways on damaged files
        raise _NoImageError(_reason(error)) from error


def _rgb(image: Image) -> Image:
    """The colours of an image of any mode."""
    pillow = require("PIL.Image", "image")
    if image.mode in UNKNOWN_RANGE:
        raise _NoImageError(f"its pixels are of Pillow's mode {image.mode!r}, expected colours or shades of grey")
    if image.mode.startswith("I;16"):
        return pillow.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in WITH_ALPHA or "transparency" in image.info:
        layer = image.convert("RGBA")
        white = pillow.new("RGBA", layer.size, "white")
        return pillow.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")


def _reason(error: Exception) -> str:
    """Pillow's message, without the address of the object that it could not identify."""
    message = str(error)
    return "no known format" if "cannot identify image file" in message else message or type(error).__name__
