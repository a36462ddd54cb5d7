"""What is taken right after what: a Markov chain over items, of low rank, beside the encoders."""

import torch
from torch import nn

from .configuration_seqrec import SeqRecConfig
from .neighbours import ContentNeighbours, Nearest

DECAY = 0.7  # weight of an item of the history, for each item that is newer
NEWEST = 20  # items of a history that count


class Transitions(nn.Module):
    """Two vectors an item, whose products say how often one follows the other in training.

    They are counted, not learned (`seqrec.counting`): what encoders learn and what is counted err differently, so that
    their sum is better than either. Fossil (He and McAuley, ICDM 2016) adds such a chain that is learned. An item that
    training never saw is followed by what follows its neighbours, and follows what they follow.
    """

    before: torch.Tensor  # (trained tokens, size), of an item in the history
    after: torch.Tensor  # (trained tokens, size), of an item that may follow

    def __init__(self, config: SeqRecConfig) -> None:
        super().__init__()
        self.mask_token_id = config.mask_token_id
        for name in ("before", "after"):
            table = torch.zeros(config.num_trained, config.transition_size, dtype=torch.float16)
            self.register_buffer(name, table)

    @torch.no_grad()
    def put(self, before: torch.Tensor, after: torch.Tensor) -> None:
        """Store the vectors of all trained tokens."""
        self.before.copy_(before)
        self.after.copy_(after)

    def of_histories(
        self, input_ids: torch.Tensor, read: torch.Tensor, neighbours: ContentNeighbours | None
    ) -> torch.Tensor:
        """Return the vectors (batch, size) of histories: the sum of their newest items', the newest weighing most.

        Args:
            input_ids: (batch, length) tokens, oldest first.
            read: (batch, length), which of them are read.
            neighbours: Of tokens that training never saw.
        """
        counted = read.bool() & (input_ids != self.mask_token_id)
        newer = counted.flip(1).cumsum(1).flip(1) - counted.long()  # counted places to the right of each
        weights = DECAY**newer * (counted & (newer < NEWEST))
        vectors = self._vectors(self.before, input_ids[:, -NEWEST - 1 :].flatten(), neighbours)
        vectors = vectors.view(len(input_ids), -1, vectors.shape[-1])  # (batch, newest, size)
        return (weights[:, -NEWEST - 1 :, None] * vectors).sum(dim=1)

    def of_items(self, tokens: torch.Tensor, neighbours: ContentNeighbours | None) -> torch.Tensor:
        """Return the vectors (count, size) of tokens (count,) as items that may follow."""
        return self._vectors(self.after, tokens, neighbours)

    def of_new_items(self, nearest: Nearest) -> torch.Tensor:
        """Return the vectors (items, size) of items that may follow and are not in the catalogue."""
        return _placed(self.after, nearest)

    def _vectors(
        self, table: torch.Tensor, tokens: torch.Tensor, neighbours: ContentNeighbours | None
    ) -> torch.Tensor:
        trained = tokens < len(table)
        vectors = table[torch.where(trained, tokens, 0)].float() * trained[:, None]
        if neighbours is None or bool(trained.all()):
            return vectors
        new = ~trained
        vectors[new] = _placed(table, neighbours.of(tokens[new]))
        return vectors


def _placed(table: torch.Tensor, nearest: Nearest) -> torch.Tensor:
    """The vectors (items, size) of new items among their neighbours."""
    own = torch.zeros(len(nearest.tokens), table.shape[1], device=table.device)
    return ContentNeighbours.place(own, nearest, table[nearest.tokens].float())
