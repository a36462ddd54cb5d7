"""Items that training never saw, placed by the trained items whose content is nearest."""

from typing import NamedTuple

import torch
from torch import nn

from .configuration_seqrec import SeqRecConfig

NUM_NEIGHBOURS = 10
SHARPNESS = 0.05  # of the weights: a cosine that is 0.05 nearer weighs e times as much
ROWS_AT_ONCE = 1024


class Nearest(NamedTuple):
    """The trained items nearest to each item."""

    tokens: torch.Tensor  # (items, neighbours), 0 where there are none
    closeness: torch.Tensor  # (items, neighbours), mean cosine of their content


class ContentNeighbours(nn.Module):
    """For each token after the trained ones, its nearest trained items: found once, when its content is put.

    An item without an embedding of its own knows nothing of who takes it. A projection of its content, learned from
    trained items, says too little and too softly: lists hardly ever hold such items. So it stands where its nearest
    trained items stand (weighted by how near they are, as in item-based collaborative filtering) and is as long as
    they are. What this gives on Amazon Beauty: LOG.md, "item content".
    """

    tokens: torch.Tensor  # (vocab, neighbours)
    closeness: torch.Tensor  # (vocab, neighbours)

    def __init__(self, config: SeqRecConfig) -> None:
        super().__init__()
        self.register_buffer("tokens", torch.zeros(config.vocab_size, NUM_NEIGHBOURS, dtype=torch.int32))
        self.register_buffer("closeness", torch.zeros(config.vocab_size, NUM_NEIGHBOURS, dtype=torch.float16))

    @torch.no_grad()
    def put(self, tokens: torch.Tensor | slice, nearest: Nearest) -> None:
        """Store the neighbours of these tokens."""
        self.tokens[tokens] = nearest.tokens.to(self.tokens)
        self.closeness[tokens] = nearest.closeness.to(self.closeness)

    def of(self, tokens: torch.Tensor) -> Nearest:
        """Return the stored neighbours of tokens (items,)."""
        return Nearest(self.tokens[tokens].long(), self.closeness[tokens])

    @torch.no_grad()
    def resize(self, vocab_size: int) -> None:
        """Make room for more tokens, or forget the last ones."""
        for name in ("tokens", "closeness"):
            old = getattr(self, name)
            new = old.new_zeros(vocab_size, NUM_NEIGHBOURS)
            new[: len(old)] = old[:vocab_size]
            setattr(self, name, new)

    @staticmethod
    def place(own: torch.Tensor, nearest: Nearest, trained: torch.Tensor) -> torch.Tensor:
        """Return the vectors (items, width) of new items.

        Args:
            own: (items, width), what their content alone gives; it stays where an item has no neighbours.
            nearest: Their neighbours.
            trained: (items, neighbours, width), the vectors of these.
        """
        there = nearest.tokens > 0
        weights = (nearest.closeness.float() / SHARPNESS).masked_fill(~there, -1e4).softmax(dim=1).to(own)
        middle = (weights[..., None] * trained).sum(dim=1)
        length = (weights * trained.norm(dim=2)).sum(dim=1, keepdim=True)
        placed = nn.functional.normalize(middle, dim=1) * length
        return torch.where(there.any(dim=1, keepdim=True), placed, own)


@torch.no_grad()
def nearest_trained(new: list[torch.Tensor], trained: list[torch.Tensor], first: int) -> Nearest:
    """Find the trained items whose content is nearest, by the mean cosine over the modalities that an item has.

    Args:
        new: (items, features) of each modality, zeros where an item has none.
        trained: (trained items, features) of each modality.
        first: Token of the first trained item.
    """
    units = [nn.functional.normalize(features.float(), dim=1) for features in trained]
    there = torch.stack([unit.any(dim=1) for unit in units]).any(dim=0).nonzero()[:, 0]  # those with content
    units = [unit[there] for unit in units]
    num_found = min(NUM_NEIGHBOURS, len(there))
    tokens = torch.zeros(len(new[0]), NUM_NEIGHBOURS, dtype=torch.long, device=units[0].device)
    closeness = torch.zeros(len(new[0]), NUM_NEIGHBOURS, device=units[0].device)
    for start in range(0, len(new[0]), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        parts = [nn.functional.normalize(features[rows].float(), dim=1) for features in new]
        present = torch.stack([part.any(dim=1) for part in parts]).sum(dim=0)  # (rows,)
        cosines = sum((part @ unit.T for part, unit in zip(parts, units, strict=True)), start=torch.zeros(()))
        best = (cosines / present.clamp(min=1)[:, None]).topk(num_found, dim=1)
        found = present[:, None] > 0
        tokens[rows, :num_found] = (there[best.indices] + first) * found
        closeness[rows, :num_found] = best.values * found
    return Nearest(tokens, closeness.half())  # as they are stored
