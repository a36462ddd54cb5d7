"""Items to vectors, and a history to the encoder's input."""

from collections.abc import Mapping
from typing import cast

import torch
from torch import nn

from .blocks import Dropout
from .configuration_seqrec import SeqRecConfig
from .content import ContentProjection, Rows, StoredContent, build_content
from .neighbours import ContentNeighbours, Nearest, nearest_trained

ALL = slice(None)


class ItemEmbeddings(nn.Module):
    """One vector a token: id embedding plus content. The only place where content joins.

    The id table ends with the items that training saw; those after it have content alone, and stand where the trained
    items stand that theirs is like (`ContentNeighbours`).
    """

    removed: torch.Tensor  # (vocab,), True for items that are not ranked any more

    def __init__(self, config: SeqRecConfig) -> None:
        super().__init__()
        self.config = config
        self.ids = nn.Embedding(config.num_id_rows, config.vector_size)
        self.content = build_content(config)
        self.register_buffer("removed", torch.zeros(config.vocab_size, dtype=torch.bool))
        compared = any(isinstance(part, ContentProjection) for part in self._parts())
        self.neighbours = ContentNeighbours(config) if config.use_item_ids and compared else None
        num_sources = len(self.content) + config.use_item_ids
        width = num_sources * config.hidden_size
        gated = config.fusion == "gate" and num_sources > 1
        self.gates = nn.ModuleList([nn.Linear(width, width) for _ in range(config.ensemble_size * gated)])

    def forward(self, tokens: torch.Tensor | slice = ALL) -> torch.Tensor:
        """Return the vectors (..., width) of tokens of any shape, or (count, width) of a stretch of them, or of all.

        Where ids are dropped in training, one draw serves a whole call.
        """
        if isinstance(tokens, torch.Tensor) and tokens.dim() != 1:
            return self(tokens.flatten()).unflatten(0, tokens.shape)
        vectors, numbers = self._own(tokens), self._numbers(tokens)
        if self.neighbours is None or self.training or not (numbers >= self.config.num_trained).any():
            return vectors
        placed = self._placed(vectors, self.neighbours.of(numbers))
        return torch.where((numbers >= self.config.num_trained)[:, None], placed, vectors)

    def _placed(self, own: torch.Tensor, nearest: Nearest) -> torch.Tensor:
        """The vectors (count, width) of new items among their neighbours."""
        assert self.neighbours is not None
        tokens, places = torch.unique(nearest.tokens, return_inverse=True)
        return self.neighbours.place(own, nearest, self._own(tokens)[places])

    def _own(self, tokens: torch.Tensor | slice) -> torch.Tensor:
        """The vectors (count, width) that the id table and content give."""
        numbers = self._numbers(tokens)
        is_item = numbers >= self.config.num_special_tokens
        has_id = numbers < len(self.ids.weight)
        ids = self._id_rows(tokens, has_id)
        if self.training and self.config.id_dropout_prob > 0:
            dropped = torch.rand(len(numbers), device=numbers.device) < self.config.id_dropout_prob
            has_id = has_id & ~(dropped & is_item)
            ids = ids * has_id[:, None]
        if not len(self.content):
            return ids
        return self._fuse(ids, has_id, is_item, [part(part.rows(tokens)) for part in self._parts()])

    def encode(self, rows: Mapping[str, Rows]) -> torch.Tensor:
        """Return the vectors (count, width) of items that are not in the catalogue, by the rows of each modality."""
        contents = [part(rows[modality]) for modality, part in self.content.items()]
        is_item = torch.ones(len(contents[0]), dtype=torch.bool, device=contents[0].device)
        own = self._fuse(torch.zeros_like(contents[0]), ~is_item, is_item, contents)
        nearest = self.nearest_to(rows)
        return own if nearest is None else self._placed(own, nearest)

    @torch.no_grad()
    def place(self, tokens: torch.Tensor) -> None:
        """Find the neighbours of those of the tokens (count,) that training never saw, by their stored content.

        Where trained items are among the tokens, those are found anew whose neighbours they are, or should be.
        """
        if self.neighbours is None:
            return
        tokens = tokens.to(self.removed.device)
        new, changed = tokens[tokens >= self.config.num_trained], tokens[tokens < self.config.num_trained]
        if len(changed) and len(new) < self.config.vocab_size - self.config.num_trained:
            new = torch.cat([new, self._beside(changed)]).unique()
        nearest = self.nearest_to({modality: part.rows(new) for modality, part in self._compared().items()})
        if nearest is not None:
            self.neighbours.put(new, nearest)

    def _beside(self, changed: torch.Tensor) -> torch.Tensor:
        """New items to which changed trained items (count,) are neighbours, or nearer than their neighbours."""
        assert self.neighbours is not None
        new = torch.arange(self.config.num_trained, self.config.vocab_size, device=changed.device)
        had = self.neighbours.of(new)
        compared = self._compared().values()
        near = nearest_trained(
            [part.features[new] for part in compared], [part.features[changed] for part in compared], 0
        )
        closer = near.closeness.amax(dim=1) > had.closeness.masked_fill(had.tokens == 0, -1).amin(dim=1)
        return new[closer | torch.isin(had.tokens, changed).any(dim=1)]

    def nearest_to(self, rows: Mapping[str, Rows]) -> Nearest | None:
        """Return the trained items whose content is nearest to rows; None where none are placed by neighbours."""
        first, end = self.config.num_special_tokens, self.config.num_trained
        compared = self._compared()
        if self.neighbours is None or end == first:
            return None
        new = [rows[modality][0] for modality in compared]
        return nearest_trained(new, [part.features[first:end] for part in compared.values()], first)

    def _compared(self) -> dict[str, ContentProjection]:
        """Modalities whose vectors can be compared."""
        return {name: part for name, part in self.content.items() if isinstance(part, ContentProjection)}

    def has_vector(self, token_ids: torch.Tensor) -> torch.Tensor:
        """Say of tokens of any shape whether anything is known of them: an id embedding, or content."""
        known = token_ids < len(self.ids.weight)
        for part in self._parts():
            known = known | part.present[token_ids]
        return known

    def rankable(self) -> torch.Tensor:
        """Say of all tokens (vocab,) whether they are items that lists may hold."""
        numbers = self._numbers(ALL)
        return (numbers >= self.config.num_special_tokens) & self.has_vector(numbers) & ~self.removed

    @torch.no_grad()
    def resize(self, vocab_size: int) -> None:
        """Make room for more tokens, or forget the last ones; the id table stays as it is."""
        self.removed = torch.cat([self.removed, self.removed.new_zeros(max(0, vocab_size - len(self.removed)))])
        self.removed = self.removed[:vocab_size].clone()
        for part in self._parts():
            part.resize(vocab_size)
        if self.neighbours is not None:
            self.neighbours.resize(vocab_size)

    def _numbers(self, tokens: torch.Tensor | slice) -> torch.Tensor:
        if isinstance(tokens, slice):
            return torch.arange(*tokens.indices(len(self.removed)), device=self.removed.device)
        return tokens

    def _id_rows(self, tokens: torch.Tensor | slice, has_id: torch.Tensor) -> torch.Tensor:
        """Id embeddings (count, width), zero where there are none."""
        table = self.ids.weight
        if isinstance(tokens, slice):
            rows = table[tokens]
            return nn.functional.pad(rows, (0, 0, 0, len(has_id) - len(rows))) if len(rows) < len(has_id) else rows
        return self.ids(torch.where(has_id, tokens, 0)) * has_id[:, None]

    def _parts(self) -> list[StoredContent]:
        return cast(list[StoredContent], list(self.content.values()))

    def _fuse(
        self, ids: torch.Tensor, has_id: torch.Tensor, is_item: torch.Tensor, contents: list[torch.Tensor]
    ) -> torch.Tensor:
        """Join all sources, each (count, width), of tokens; special tokens have no content."""
        contents = [vectors * is_item[:, None] for vectors in contents]
        if not len(self.gates):
            return sum(contents, start=ids)
        sources = ([ids] if self.config.use_item_ids else []) + contents
        stacked = torch.stack(sources, dim=1)  # (count, sources, width)
        there = is_item[:, None].expand(-1, len(sources)).clone()
        if self.config.use_item_ids:
            there[:, 0] = has_id
        parts = zip(self.gates, stacked.chunk(len(self.gates), dim=-1), strict=True)
        logits = torch.cat([gate(part.flatten(1)).view_as(part) for gate, part in parts], dim=-1)
        absent = ~there & there.any(dim=1, keepdim=True)  # where there is nothing, a softmax over nothing would be NaN
        weights = logits.masked_fill(absent[..., None], float("-inf")).softmax(dim=1)
        joined = (weights * stacked).sum(dim=1) * there.sum(dim=1, keepdim=True)  # equal weights give the sum
        return torch.where(is_item[:, None], joined, ids)


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


def newest_read(
    input_ids: torch.Tensor, read: torch.Tensor, longest: int, mask_token_id: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Move what is read to the right end, cut off what is too old, and put a [MASK] where nothing is read.

    >>> newest_read(torch.tensor([[7, 8, 9], [7, 8, 9]]), torch.tensor([[True, True, False], [False] * 3]), 2, 2)
    (tensor([[7, 8],
            [8, 2]]), tensor([[1, 1],
            [0, 1]]))
    """
    order = read.long().argsort(dim=1, stable=True)[:, -longest:]
    input_ids, read = input_ids.gather(1, order), read.gather(1, order)
    input_ids[:, -1] = torch.where(read[:, -1], input_ids[:, -1], mask_token_id)
    read[:, -1] = True
    return input_ids, read.long()


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
        if self.config.appends_mask and self.config.mask_query in ("previous", "neighbours"):
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
