"""The encoder's blocks: attention over one history, then a feed-forward layer."""

import torch
from torch import nn
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer

from .attention import Bias, SeqRecAttention, take_places
from .configuration_seqrec import SeqRecConfig

LOWEST = -(2**63)  # of int64


class Dropout(nn.Dropout):
    """`nn.Dropout` that draws four places with one random number on a CPU, where drawing takes most of its time.

    There, the probability is rounded to a multiple of 2^-16, and what is kept is scaled by exactly that.
    """

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the input with places set to zero and the others scaled, in training."""
        if not self.training or not 0 < self.p < 1 or hidden.device.type != "cpu":
            return super().forward(hidden)
        dropped = min(round(self.p * 2**16), 2**16 - 1)
        drawn = torch.empty(-(-hidden.numel() // 4), dtype=torch.int64).random_(LOWEST, None)
        kept = drawn.view(torch.int16)[: hidden.numel()].view(hidden.shape) >= dropped - 2**15
        return hidden * kept.to(hidden.dtype).mul_(2**16 / (2**16 - dropped))


class SeqRecLayer(GradientCheckpointingLayer):
    """One block, normalised before its branches (`pre`) or after each sum (`post`)."""

    def __init__(self, config: SeqRecConfig) -> None:
        super().__init__()
        self.post_norm = config.norm == "post"
        self.attention = SeqRecAttention(config)
        self.attention_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.feed_forward = nn.Sequential(
            nn.Linear(config.hidden_size, config.intermediate_size),
            ACT2FN[config.hidden_act],
            nn.Linear(config.intermediate_size, config.hidden_size),
        )
        self.feed_forward_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = Dropout(config.hidden_dropout_prob)

    def forward(
        self,
        hidden: torch.Tensor,
        blocked: torch.Tensor,
        distances: torch.Tensor | None = None,
        places: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return the next states (batch, length, hidden), or those of these places (batch, count) alone.

        The bias comes in its two parts, as gradient checkpointing looks for tensors among the arguments only.
        """
        bias = Bias(blocked, distances)
        read = hidden if self.post_norm else self.attention_norm(hidden)
        mixed = self.dropout(self.attention(read, bias, places)[0])
        hidden = mixed + (hidden if places is None else take_places(hidden, places))
        if self.post_norm:
            hidden = self.attention_norm(hidden)
            return self.feed_forward_norm(hidden + self.dropout(self.feed_forward(hidden)))
        return hidden + self.dropout(self.feed_forward(self.feed_forward_norm(hidden)))
