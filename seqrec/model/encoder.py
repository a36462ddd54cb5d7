"""The encoders: a history of tokens in, one state a place out."""

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutput
from transformers.utils.output_capturing import capture_outputs

from .attention import AttentionBias, SeqRecAttention, take_places
from .blocks import SeqRecLayer
from .configuration_seqrec import SeqRecConfig
from .content import StoredContent
from .embeddings import HistoryEmbeddings, ItemEmbeddings, positions_from_newest


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


class SeqRecPreTrainedModel(PreTrainedModel):
    """Initial weights and what the encoder supports."""

    config: SeqRecConfig
    config_class = SeqRecConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ["SeqRecLayer"]
    _supports_sdpa = True
    _can_record_outputs = {"hidden_states": SeqRecLayer, "attentions": SeqRecAttention}

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, AttentionBias) and module.distances is not None:
            init.zeros_(module.distances.weight)
        if isinstance(module, StoredContent):
            init.zeros_(module.missing)


class SeqRecModel(SeqRecPreTrainedModel):
    """The encoders: a history of tokens in, one state a place out, theirs side by side."""

    def __init__(self, config: SeqRecConfig) -> None:
        super().__init__(config)
        self.items = ItemEmbeddings(config)
        self.encoders = nn.ModuleList([Encoder(config) for _ in range(config.ensemble_size)])
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        """Return the id embedding, one row a token."""
        return self.items.ids

    @capture_outputs  # type: ignore[untyped-decorator]
    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        places: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> BaseModelOutput:
        """Encode histories.

        Args:
            input_ids: (batch, length) tokens, oldest first.
            attention_mask: (batch, length), 0 for padding. Several histories may share a row: number them 1, 2, ...;
                none sees another, and positions count within each.
            inputs_embeds: (batch, length, width), the item vector of each token where the caller has them already;
                `width` is that of all encoders together.
            places: (batch, count), the only places whose states are wanted, as (batch, count, width): the last layer
                then leaves out the others.
            **kwargs: `output_hidden_states` and `output_attentions`, read by transformers' output capturing: of
                several encoders one after the other.
        """
        segments = self._segments(input_ids, attention_mask)  # (batch, length), 0 where nothing is read
        vectors = self.items(input_ids) if inputs_embeds is None else inputs_embeds
        positions = positions_from_newest(segments)
        parts = zip(self.encoders, vectors.chunk(len(self.encoders), dim=-1), strict=True)
        states = [encoder(part, input_ids, segments, positions, places) for encoder, part in parts]
        return BaseModelOutput(last_hidden_state=torch.cat(states, dim=-1))  # (batch, length or count, width)

    def _segments(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
        """The history of each place; what cannot be read and what is older than the window count as nothing."""
        segments = torch.ones_like(input_ids) if attention_mask is None else attention_mask.to(input_ids.dtype)
        segments = segments * self.is_read(input_ids)
        return segments * (positions_from_newest(segments) < self.config.max_position_embeddings)

    def is_read(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Say of each token whether it is read: not padding, unknown, or an item of which nothing is known."""
        read = (input_ids != self.config.pad_token_id) & (input_ids != self.config.unk_token_id)
        return read & self.items.has_vector(input_ids)
