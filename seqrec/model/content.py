"""What items are, beside who took them: frozen content vectors and attributes, brought to the width of the model."""

from abc import ABC, abstractmethod

import torch
from torch import nn

from .configuration_seqrec import ATTRIBUTES, SeqRecConfig

Rows = tuple[torch.Tensor, ...]  # what a modality stores of some items, in the order of its STORED


class StoredContent(nn.Module, ABC):
    """One modality of all tokens: what is stored of each, and how it becomes a vector.

    An item without this content gets a learned vector that says so, the same for all such items.
    """

    STORED: tuple[str, ...]  # names of the buffers with one row a token
    present: torch.Tensor  # (vocab,), False where an item has no such content

    def __init__(self, config: SeqRecConfig) -> None:
        super().__init__()
        self.missing = nn.Parameter(torch.zeros(config.vector_size))
        self.register_buffer("present", torch.zeros(config.vocab_size, dtype=torch.bool))

    def rows(self, tokens: torch.Tensor | slice) -> Rows:
        """Return what is stored of these tokens."""
        return tuple(getattr(self, name)[tokens] for name in self.STORED)

    @torch.no_grad()
    def put(self, tokens: torch.Tensor | slice, rows: Rows) -> None:
        """Store the rows of these tokens, as `prepare` made them."""
        for name, values in zip(self.STORED, rows, strict=True):
            getattr(self, name)[tokens] = values.to(getattr(self, name))

    @torch.no_grad()
    def resize(self, vocab_size: int) -> None:
        """Make room for more tokens, whose content is missing until it is put, or forget the last ones."""
        for name in self.STORED:
            old = getattr(self, name)
            new = old.new_zeros(vocab_size, *old.shape[1:])
            new[: len(old)] = old[:vocab_size]
            setattr(self, name, new)

    def forward(self, rows: Rows) -> torch.Tensor:
        """Return the vectors (count, width) of rows as `rows` or `prepare` give them."""
        *content, present = rows
        return torch.where(present[:, None], self.project(*content), self.missing)

    @abstractmethod
    def project(self, *content: torch.Tensor) -> torch.Tensor:
        """Return the vectors (count, width) of content that is there."""


class ContentProjection(StoredContent):
    """Frozen vectors of one modality.

    `features` are an encoder's vectors after the fitted `mean` and `rotation`; new items pass through the same two.
    """

    STORED = ("features", "present")
    features: torch.Tensor  # (vocab, kept)
    mean: torch.Tensor  # (width,)
    rotation: torch.Tensor  # (width, kept)
    longest: torch.Tensor  # (), length of the longest fitted features

    def __init__(self, config: SeqRecConfig, width: int, kept: int) -> None:
        super().__init__(config)
        self.register_buffer("features", torch.zeros(config.vocab_size, kept, dtype=torch.float16))
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("rotation", torch.eye(width, kept))
        self.register_buffer("longest", torch.tensor(torch.finfo(torch.float16).max))
        self.projection = nn.Linear(kept, config.vector_size, bias=False)
        self.scales = config.content_scales
        self.encoder: nn.Module | None = None  # tokens (count,) to vectors (count, width), where it is trained, too

    def rows(self, tokens: torch.Tensor | slice) -> Rows:
        """Return what is stored of these tokens; in training, what an encoder that learns makes of them."""
        features, present = super().rows(tokens)
        if self.encoder is None or not self.training:
            return features, present
        return self.features_of(self.encoder(tokens)) * present[:, None], present

    @torch.no_grad()
    def fit(self, mean: torch.Tensor, rotation: torch.Tensor) -> None:
        """Keep what turns vectors into features: `mean` (width,) and `rotation` (width, kept)."""
        self.mean.copy_(mean)
        self.rotation.copy_(rotation)

    @torch.no_grad()
    def prepare(self, vectors: torch.Tensor, present: torch.Tensor) -> Rows:
        """Turn an encoder's vectors (count, width) and which of them are there (count,) into rows.

        Features longer than any that training saw are shortened to that length: a model cannot know what they mean,
        and at their full length they would lead every list, or none.
        """
        present = present.to(self.mean.device)
        features = self.shortened(self.features_of(vectors) * present[:, None])
        return features.to(self.features.dtype), present

    def shortened(self, features: torch.Tensor) -> torch.Tensor:
        """Return features (count, kept) that are no longer than any that training saw."""
        lengths = features.norm(dim=1, keepdim=True).clamp(min=1e-12)
        return features * (self.longest / lengths).clamp(max=1)

    def features_of(self, vectors: torch.Tensor) -> torch.Tensor:
        """Return what an encoder's vectors (count, width) are after the fitted mean and rotation (count, kept)."""
        return (vectors.to(self.mean) - self.mean) @ self.rotation

    def project(self, *content: torch.Tensor) -> torch.Tensor:
        """Project features (count, kept)."""
        vectors = self.projection(content[0].to(self.projection.weight.dtype))
        if self.scales == [1.0] * len(self.scales):
            return vectors
        parts = vectors.chunk(len(self.scales), dim=-1)
        return torch.cat([part * scale for part, scale in zip(parts, self.scales, strict=True)], dim=-1)


class AttributeEmbeddings(StoredContent):
    """Categories out of one vocabulary, whose embeddings are averaged, and standardised numbers."""

    STORED = ("values", "numbers", "known", "present")
    values: torch.Tensor  # (vocab, values an item), numbered from 1; 0 is none
    numbers: torch.Tensor  # (vocab, numbers), 0 where unknown
    known: torch.Tensor  # (vocab, numbers)
    largest: torch.Tensor  # (numbers,), of each fitted number, aside from its sign

    def __init__(self, config: SeqRecConfig, num_values: int, most_values: int, num_numbers: int) -> None:
        super().__init__(config)
        self.config = config
        self.register_buffer("largest", torch.full((num_numbers,), torch.finfo(torch.float32).max))
        self.register_buffer("values", torch.zeros(config.vocab_size, most_values, dtype=torch.int32))
        self.register_buffer("numbers", torch.zeros(config.vocab_size, num_numbers))
        self.register_buffer("known", torch.zeros(config.vocab_size, num_numbers, dtype=torch.bool))
        self.embedding = nn.Embedding(num_values + 1, config.vector_size, padding_idx=0)
        self.projection = nn.Linear(2 * num_numbers, config.vector_size, bias=False) if num_numbers else None

    @torch.no_grad()
    def prepare(self, values: torch.Tensor, numbers: torch.Tensor, known: torch.Tensor) -> Rows:
        """Turn values (count, any), numbers (count, numbers) and which of those are known into rows.

        Numbers further from the mean than any that training saw count as that far, as features do.
        """
        device = self.numbers.device
        values = nn.functional.pad(values, (0, max(0, self.values.shape[1] - values.shape[1]))).to(device)
        known = known.to(device)
        numbers = numbers.to(device).clamp(-self.largest, self.largest) * known
        return values, numbers, known, (values != 0).any(dim=1) | known.any(dim=1)

    @torch.no_grad()
    def put(self, tokens: torch.Tensor | slice, rows: Rows) -> None:
        """Store the rows of these tokens, after making room for as many values as the longest of them has."""
        width = rows[0].shape[1]
        if width > self.values.shape[1]:
            self.values = nn.functional.pad(self.values, (0, width - self.values.shape[1]))
            sizes = self.config.content_sizes or {}
            self.config.content_sizes = sizes | {ATTRIBUTES: [sizes[ATTRIBUTES][0], width, sizes[ATTRIBUTES][2]]}
        super().put(tokens, rows)

    def project(self, *content: torch.Tensor) -> torch.Tensor:
        """Sum the mean of the values' embeddings (count, values) and the projected numbers (count, numbers)."""
        values, numbers, known = content
        count = (values != 0).sum(dim=1, keepdim=True).clamp(min=1)
        vectors = self.embedding(values).sum(dim=1) / count
        if self.projection is None:
            return vectors
        weight = self.projection.weight
        return vectors + self.projection(torch.cat([numbers.to(weight.dtype), (~known).to(weight.dtype)], dim=1))


def build_content(config: SeqRecConfig) -> nn.ModuleDict:
    """Return one module a modality of `content_sizes`."""
    return nn.ModuleDict(
        {
            modality: (AttributeEmbeddings if modality == ATTRIBUTES else ContentProjection)(config, *sizes)
            for modality, sizes in (config.content_sizes or {}).items()
        }
    )
