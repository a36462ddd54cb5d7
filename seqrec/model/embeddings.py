"""Items to vectors, and a history to the encoder's input."""

import torch
from torch import nn

from .blocks import Dropout
from .configuration_seqrec import SeqRecConfig


class ContentProjection(nn.Module):
    """Frozen content vectors of one modality, brought to the width of the model.

    `features` are the encoder's vectors after the fitted `mean` and `rotation`; new items pass through the same two.
    """

    features: torch.Tensor  # (vocab, width)
    present: torch.Tensor  # (vocab,)
    mean: torch.Tensor  # (width,)
    rotation: torch.Tensor  # (width, width)

    def __init__(self, config: SeqRecConfig, width: int) -> None:
        super().__init__()
        self.register_buffer("features", torch.zeros(config.vocab_size, width, dtype=torch.float16))
        self.register_buffer("present", torch.zeros(config.vocab_size, dtype=torch.bool))
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("rotation", torch.eye(width))
        self.projection = nn.Linear(width, config.hidden_size, bias=False)

    @torch.no_grad()
    def set_vectors(
        self, vectors: torch.Tensor, present: torch.Tensor, mean: torch.Tensor, rotation: torch.Tensor
    ) -> None:
        """Store the encoder's vectors of all tokens.

        Args:
            vectors: (vocab, width), as the encoder gave them.
            present: (vocab,), False where an item has no such content: it then contributes nothing.
            mean: (width,), subtracted.
            rotation: (width, width), applied to what is left.
        """
        self.mean.copy_(mean)
        self.rotation.copy_(rotation)
        self.present.copy_(present)
        self.features.copy_(((vectors - self.mean) @ self.rotation) * present[:, None])

    def forward(self, token_ids: torch.Tensor | None = None) -> torch.Tensor:
        """Return what content adds to each token's vector (vocab, hidden), or to those asked for (count, hidden)."""
        features = self.features if token_ids is None else self.features[token_ids]
        return self.projection(features.to(self.projection.weight.dtype))


class ItemEmbeddings(nn.Module):
    """One vector a token: id embedding plus projected content. The only place where content joins."""

    def __init__(self, config: SeqRecConfig) -> None:
        super().__init__()
        self.ids = nn.Embedding(config.vocab_size, config.hidden_size)
        self.content = nn.ModuleDict(
            {modality: ContentProjection(config, width) for modality, width in (config.content_sizes or {}).items()}
        )

    def forward(self, token_ids: torch.Tensor | None = None) -> torch.Tensor:
        """Return the vector of each token (vocab, hidden), or of those asked for (count, hidden)."""
        vectors = self.ids.weight if token_ids is None else self.ids(token_ids)
        for projection in self.content.values():
            vectors = vectors + projection(token_ids)
        return vectors


def positions_from_newest(segments: torch.Tensor) -> torch.Tensor:
    """Count the places of each history from its newest, which is 0.

    Args:
        segments: (batch, length), histories of a row numbered 1, 2, ... in order; 0 is not counted.

    >>> positions_from_newest(torch.tensor([[1, 1, 0, 1, 2, 2]])).tolist()
    [[2, 1, 1, 0, 1, 0]]
    """
    from_right = segments.flip(1)
    read = from_right > 0
    newer = read.cumsum(1) - read.long()  # read places to the right, in the whole row
    last = segments.max() + 1
    nearest = torch.where(read, from_right, last).cummin(1).values  # the history of the nearest read place
    nearest = torch.cat([last.expand_as(nearest[:, :1]), nearest[:, :-1]], dim=1)
    newest = torch.where(read & (nearest != from_right), newer, 0).cummax(1).values
    return (newer - newest).flip(1)


def nearest_visible(visible: torch.Tensor, segments: torch.Tensor) -> torch.Tensor:
    """Index of the nearest visible item before each place of the same history, -1 where there is none.

    Args:
        visible: (batch, length) bool.
        segments: (batch, length), the history each place belongs to, 0 for padding.

    >>> nearest_visible(torch.tensor([[True, False, False, True, False]]), torch.tensor([[1, 1, 1, 2, 2]])).tolist()
    [[-1, 0, 0, -1, 3]]
    """
    places = torch.arange(visible.shape[1], device=visible.device).expand_as(visible)
    latest = torch.where(visible, places, -1).cummax(dim=1).values
    before = torch.cat([torch.full_like(latest[:, :1], -1), latest[:, :-1]], dim=1)
    same = segments.gather(1, before.clamp(min=0)) == segments
    return torch.where(same, before, -1)


class HistoryEmbeddings(nn.Module):
    """The encoder's input: item vectors, what each [MASK] starts from, positions counted from the newest item."""

    def __init__(self, config: SeqRecConfig) -> None:
        super().__init__()
        self.config = config
        self.positions = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps) if config.norm == "post" else None
        self.dropout = Dropout(config.hidden_dropout_prob)

    def forward(
        self, inputs_embeds: torch.Tensor, input_ids: torch.Tensor, segments: torch.Tensor, positions: torch.Tensor
    ) -> torch.Tensor:
        """Return the encoder's input (batch, length, hidden).

        Args:
            inputs_embeds: (batch, length, hidden), the vector of each token of `input_ids`.
            input_ids: (batch, length).
            segments: (batch, length), the history of each place, 0 for padding.
            positions: (batch, length), counted from the newest place of each history.
        """
        hidden = inputs_embeds
        masked = input_ids == self.config.mask_token_id
        visible = (segments > 0) & ~masked
        if self.training and self.config.item_dropout_prob > 0:
            kept = torch.rand(visible.shape, device=hidden.device) >= self.config.item_dropout_prob
            hidden = hidden * (kept | ~visible)[..., None]
        if self.config.attention == "bidirectional" and self.config.mask_query != "plain":
            hidden = hidden + masked[..., None] * self._visible_neighbours(hidden, visible, segments)
        hidden = hidden + self.positions(positions.clamp(max=self.config.max_position_embeddings - 1))
        return self.dropout(hidden if self.norm is None else self.norm(hidden))

    def _visible_neighbours(self, hidden: torch.Tensor, visible: torch.Tensor, segments: torch.Tensor) -> torch.Tensor:
        """Mean of the nearest visible item on each asked side (batch, length, hidden); zero where there is none."""
        sides = [nearest_visible(visible, segments)]
        if self.config.mask_query == "neighbours":
            after = nearest_visible(visible.flip(1), segments.flip(1)).flip(1)
            sides.append(torch.where(after >= 0, visible.shape[1] - 1 - after, -1))
        total, count = torch.zeros_like(hidden), torch.zeros_like(hidden[..., :1])
        for index in sides:
            found = (index >= 0)[..., None]
            neighbour = hidden.gather(1, index.clamp(min=0)[..., None].expand_as(hidden))
            total, count = total + neighbour * found, count + found
        return total / count.clamp(min=1)
