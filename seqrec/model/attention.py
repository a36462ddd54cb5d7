"""Self-attention within a history: who sees whom, a learned bias by distance, and how it is computed."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, AttentionInterface, PreTrainedModel

from .configuration_seqrec import SeqRecConfig

CHUNKED = "seqrec_chunked"
"""Name of the attention that trains fastest on a CPU, for `model.set_attn_implementation`."""
WEIGHTS_AT_ONCE = 2**20  # attention weights of a chunk: 2 to 4 MB, which stay in a core's cache


class Bias(NamedTuple):
    """What is added to attention logits."""

    blocked: torch.Tensor  # (batch, 1, length, length), 0 or the lowest number
    distances: torch.Tensor | None  # (heads, length, length), learned; or (batch, heads, count, length)

    def summed(self) -> torch.Tensor:
        """Return both as one tensor (batch, heads or 1, length, length)."""
        return self.blocked if self.distances is None else self.blocked + self.distances

    def of(self, places: torch.Tensor) -> "Bias":
        """Return the bias for these places' queries (batch, count) alone."""
        blocked = take_places(self.blocked[:, 0], places)[:, None]
        if self.distances is None:
            return Bias(blocked, None)
        distances = self.distances.transpose(0, 1)[places]  # (batch, count, heads, length)
        return Bias(blocked, distances.transpose(1, 2).contiguous())


def take_places(hidden: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Return the vectors (batch, count, width) at these places (batch, count) of (batch, length, width)."""
    return hidden.gather(1, places[..., None].expand(-1, -1, hidden.shape[-1]))


def asked_places(asked: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor]:
    """Choose the places whose states the last layer must compute.

    Args:
        asked: (batch, length) bool.

    Returns:
        Places (batch, count), each row's asked ones first, and which of them are asked (batch, count). Where leaving
        the others out would save little: None and `asked` as it was.

    >>> asked_places(torch.tensor([[False, True, False, False], [False, False, False, False]]))
    (tensor([[1], [0]]), tensor([[ True], [False]]))
    """
    counts = asked.sum(dim=1)
    most = int(counts.max()) if len(counts) else 0
    if not 0 < most <= asked.shape[1] // 2:
        return None, asked
    places = asked.byte().argsort(dim=1, descending=True, stable=True)[:, :most]
    return places, torch.arange(most, device=asked.device) < counts[:, None]


class AttentionBias(nn.Module):
    """What is added to attention logits: who may see whom, and a learned bias per head and distance."""

    def __init__(self, config: SeqRecConfig) -> None:
        super().__init__()
        self.causal = config.attention == "causal"
        self.longest = config.max_position_embeddings
        self.distances = (
            nn.Embedding(2 * self.longest - 1, config.num_attention_heads) if config.relative_position_bias else None
        )

    def forward(self, segments: torch.Tensor, hidden: torch.Tensor) -> Bias:
        """Return the bias for the history of each place (batch, length), 0 for padding; of the products' type."""
        length, device = segments.shape[1], hidden.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
        places = torch.arange(length, device=segments.device)
        distance = places[:, None] - places[None, :]  # (length, length), positive towards the past
        allowed = segments[:, None, :, None] == segments[:, None, None, :]  # padding sees padding: no empty softmax
        if self.causal:
            allowed = allowed & (distance >= 0)
        blocked = torch.zeros(allowed.shape, dtype=dtype, device=segments.device)
        blocked.masked_fill_(~allowed, torch.finfo(dtype).min)
        if self.distances is None:
            return Bias(blocked, None)
        index = distance.clamp(1 - self.longest, self.longest - 1) + self.longest - 1
        return Bias(blocked, self.distances(index).permute(2, 0, 1).to(dtype).contiguous())


class _ChunkedAttention(torch.autograd.Function):
    """Attention, a few rows at a time, so that what lies between two matrix products is still in the cache."""

    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,  # (batch, heads, count, size)
        key: torch.Tensor,  # (batch, heads, length, size), multiplied by the scaling
        value: torch.Tensor,
        blocked: torch.Tensor,  # (batch, 1, count, length)
        distances: torch.Tensor | None,  # (heads, length, length) or (batch, heads, count, length)
    ) -> torch.Tensor:
        mixed = torch.empty_like(query)
        weights = query.new_empty(*query.shape[:-1], key.shape[2])
        shared = distances is not None and distances.dim() == 3
        with torch.autocast(query.device.type, enabled=False):
            for rows in _chunks(weights):
                q, k, v, out = (part[rows].flatten(0, 1) for part in (query, key, value, mixed))
                logits = torch.bmm(q, k.transpose(1, 2)).view(-1, *weights.shape[1:])
                logits += blocked[rows]
                if distances is not None:
                    logits += distances if shared else distances[rows]
                torch.softmax(logits, dim=-1, out=weights[rows])
                torch.bmm(weights[rows].flatten(0, 1), v, out=out)
        ctx.save_for_backward(query, key, value, weights, mixed)
        ctx.shape = None if distances is None else distances.shape
        return mixed

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, key, value, weights, mixed = ctx.saved_tensors
        grads = [torch.empty_like(part) for part in (query, key, value)]
        distances = None if ctx.shape is None else query.new_zeros(ctx.shape, dtype=torch.float32)
        with torch.autocast(query.device.type, enabled=False):
            grad = grad.contiguous()
            mean = (grad * mixed).sum(dim=-1, keepdim=True)  # of each logit's gradients, under the weights
            for rows in _chunks(weights):
                q, k, v, w, g, m = (part[rows].flatten(0, 1) for part in (query, key, value, weights, grad, mean))
                to_query, to_key, to_value = (part[rows].flatten(0, 1) for part in grads)
                torch.bmm(w.transpose(1, 2), g, out=to_value)
                logits = torch.bmm(g, v.transpose(1, 2)).sub_(m).mul_(w)  # their gradients
                torch.bmm(logits, k, out=to_query)
                torch.bmm(logits.transpose(1, 2), q, out=to_key)
                if distances is not None:
                    logits = logits.view(-1, *weights.shape[1:])
                    if distances.dim() == 3:
                        distances += logits.sum(dim=0)
                    else:
                        distances[rows] = logits
        return *grads, None, None if distances is None else distances.to(query.dtype)


def _chunks(weights: torch.Tensor) -> Iterator[slice]:
    step = max(1, WEIGHTS_AT_ONCE // max(1, math.prod(weights.shape[1:])))
    return (slice(start, start + step) for start in range(0, len(weights), step))


def chunked_attention_forward(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: Bias,
    scaling: float,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attention in chunks of rows, by the signature of transformers' attention interface; without dropout."""
    if dropout > 0:
        raise ValueError(f"{CHUNKED} attention has no dropout, not {dropout}; use sdpa.")
    parts = (part.contiguous() for part in (query, key * scaling, value))
    mixed = _ChunkedAttention.apply(*parts, *attention_mask)
    return mixed.transpose(1, 2), None


AttentionInterface.register(CHUNKED, chunked_attention_forward)


@contextmanager
def chunked_attention(model: PreTrainedModel) -> Iterator[None]:
    """Let a model attend in chunks inside the `with`, where it can: on a CPU, without dropout of attention weights."""
    usual = model.config._attn_implementation
    if model.device.type != "cpu" or model.config.attention_probs_dropout_prob or usual != "sdpa":
        yield
        return
    model.config._attn_implementation = CHUNKED  # of this model alone: an encoder of content in it has its own config
    try:
        yield
    finally:
        model.config._attn_implementation = usual


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


class SeqRecAttention(nn.Module):
    """Multi-head self-attention within a history."""

    is_causal = False  # the mask says it

    def __init__(self, config: SeqRecConfig) -> None:
        super().__init__()
        self.config = config
        self.head_size = config.hidden_size // config.num_attention_heads
        self.query_key_value = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        self.output = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(
        self, hidden: torch.Tensor, bias: Bias, places: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the mixed states (batch, length or count, hidden) and, from eager attention, its weights."""
        parts = self._query_key_value(hidden, places)
        bias = bias if places is None else bias.of(places)
        query, key, value = (part.unflatten(-1, (-1, self.head_size)).transpose(1, 2) for part in parts)
        implementation = self.config._attn_implementation
        attend: Callable[..., tuple[torch.Tensor, torch.Tensor | None]] = ALL_ATTENTION_FUNCTIONS.get_interface(
            implementation, eager_attention_forward
        )
        mixed, weights = attend(
            self,
            query,
            key,
            value,
            bias if implementation == CHUNKED else bias.summed(),
            scaling=self.head_size**-0.5,
            dropout=self.config.attention_probs_dropout_prob if self.training else 0.0,
        )
        return self.output(mixed.flatten(2)), weights

    def _query_key_value(self, hidden: torch.Tensor, places: torch.Tensor | None) -> tuple[torch.Tensor, ...]:
        """Queries (batch, length or count, hidden), of these places alone where some are given; keys and values."""
        layer: Any = self.query_key_value
        if getattr(layer, "disable_adapters", False):  # of peft: the layer alone, to the last bit
            layer = layer.base_layer
        if places is None or type(layer) is not nn.Linear:  # with an adapter around it, it is more than a weight
            query, key, value = layer(hidden).chunk(3, dim=-1)
            return query if places is None else take_places(query, places), key, value
        width, (weight, added) = hidden.shape[-1], (layer.weight, layer.bias)
        asking = nn.functional.linear(take_places(hidden, places), weight[:width], added[:width])
        return asking, *nn.functional.linear(hidden, weight[width:], added[width:]).chunk(2, dim=-1)
