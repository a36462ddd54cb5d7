"""One encoder: a history of item vectors in, one state a place out."""

import torch
from torch import nn

from .attention import AttentionBias, take_places
from .blocks import SeqRecLayer
from .configuration_seqrec import SeqRecConfig
from .embeddings import HistoryEmbeddings


class Encoder(nn.Module):
    """The Transformer over a history, between item vectors and the states that are scored against them."""

    def __init__(self, config: SeqRecConfig) -> None:
        super().__init__()
        self.embeddings = HistoryEmbeddings(config)
        self.attention_bias = AttentionBias(config)
        self.layers = nn.ModuleList([SeqRecLayer(config) for _ in range(config.num_hidden_layers)])
        self.final_norm = (
            nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps) if config.norm == "pre" else nn.Identity()
        )

    def forward(
        self,
        inputs_embeds: torch.Tensor,
        input_ids: torch.Tensor,
        segments: torch.Tensor,
        positions: torch.Tensor,
        places: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return the states (batch, length, hidden), or those of these places (batch, count) alone.

        Args:
            inputs_embeds: (batch, length, hidden), the vector of each token.
            input_ids: (batch, length).
            segments: (batch, length), the history of each place, 0 where nothing is read.
            positions: (batch, length), counted from the newest place of each history.
            places: (batch, count), where the others are not wanted: the last layer then leaves them out.
        """
        hidden = self.embeddings(inputs_embeds, input_ids, segments, positions)
        bias = self.attention_bias(segments, hidden)
        for number, layer in enumerate(self.layers, start=1):
            hidden = layer(hidden, *bias, places if number == len(self.layers) else None)
        if places is not None and not len(self.layers):
            hidden = take_places(hidden, places)
        return self.final_norm(hidden)
