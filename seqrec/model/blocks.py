"""The encoder's blocks: attention over one history, then a feed-forward layer."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from .configuration_seqrec import SeqRecConfig


def eager_attention_forward(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor,
    scaling: float,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention written out, by the signature of transformers' attention interface (which passes the extras)."""
    weights = torch.matmul(query, key.transpose(2, 3)) * scaling + attention_mask  # (batch, heads, length, length)
    weights = nn.functional.softmax(weights, dim=-1, dtype=torch.float32).to(query.dtype)
    dropped = nn.functional.dropout(weights, p=dropout, training=module.training)
    return torch.matmul(dropped, value).transpose(1, 2).contiguous(), weights


class AttentionBias(nn.Module):
    """What is added to attention logits: who may see whom, and a learned bias per head and distance."""

    def __init__(self, config: SeqRecConfig) -> None:
        super().__init__()
        self.causal = config.attention == "causal"
        self.longest = config.max_position_embeddings
        self.distances = (
            nn.Embedding(2 * self.longest - 1, config.num_attention_heads) if config.relative_position_bias else None
        )

    def forward(self, segments: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """Return (batch, heads or 1, length, length) from the history of each place (batch, length), 0 for padding."""
        length = segments.shape[1]
        places = torch.arange(length, device=segments.device)
        distance = places[:, None] - places[None, :]  # (length, length), positive towards the past
        allowed = segments[:, None, :, None] == segments[:, None, None, :]  # padding sees padding: no empty softmax
        if self.causal:
            allowed = allowed & (distance >= 0)
        blocked = torch.zeros(allowed.shape, dtype=dtype, device=segments.device)
        blocked.masked_fill_(~allowed, torch.finfo(dtype).min)
        if self.distances is None:
            return blocked
        index = distance.clamp(1 - self.longest, self.longest - 1) + self.longest - 1
        return blocked + self.distances(index).permute(2, 0, 1).to(dtype)


class SeqRecAttention(nn.Module):
    """Multi-head self-attention within a history."""

    is_causal = False  # the mask says it

    def __init__(self, config: SeqRecConfig) -> None:
        super().__init__()
        self.config = config
        self.head_size = config.hidden_size // config.num_attention_heads
        self.query_key_value = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        self.output = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, hidden: torch.Tensor, attention_bias: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the mixed states (batch, length, hidden) and, from eager attention, its weights."""
        batch, length, _ = hidden.shape
        heads = self.query_key_value(hidden).view(batch, length, 3, -1, self.head_size)
        query, key, value = heads.permute(2, 0, 3, 1, 4)  # each (batch, heads, length, head_size)
        attend: Callable[..., tuple[torch.Tensor, torch.Tensor | None]] = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention_forward
        )
        mixed, weights = attend(
            self,
            query,
            key,
            value,
            attention_bias,
            scaling=self.head_size**-0.5,
            dropout=self.config.attention_probs_dropout_prob if self.training else 0.0,
        )
        return self.output(mixed.reshape(batch, length, -1)), weights


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
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, hidden: torch.Tensor, attention_bias: torch.Tensor) -> torch.Tensor:
        """Return the next states (batch, length, hidden)."""
        if self.post_norm:
            hidden = self.attention_norm(hidden + self.dropout(self.attention(hidden, attention_bias)[0]))
            return self.feed_forward_norm(hidden + self.dropout(self.feed_forward(hidden)))
        hidden = hidden + self.dropout(self.attention(self.attention_norm(hidden), attention_bias)[0])
        return hidden + self.dropout(self.feed_forward(self.feed_forward_norm(hidden)))
