"""SeqRec: a Transformer over a user's history that scores every item of the catalogue as the next one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers.utils.generic import ModelOutput

from .attention import asked_places
from .configuration_seqrec import ATTRIBUTES, SeqRecConfig
from .content import Rows
from .embeddings import newest_read
from .encoder import SeqRecModel, SeqRecPreTrainedModel
from .losses import Softmax, sample_candidates, softmax_cross_entropy
from .ranking import Catalogue, Ranking, best_items, ranks_of
from .transitions import Transitions

ITEMS_AT_ONCE = 2**16  # item vectors are made so many at a time where no gradient needs them whole


@dataclass
class NextItemOutput(ModelOutput):
    """What `SeqRecForNextItem` returns.

    Args:
        loss: Mean cross-entropy of the asked positions, with `labels` only.
        logits: (batch, vocab_size), every item as the next one, special tokens at -inf; without `labels` only.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None


class SeqRecForNextItem(SeqRecPreTrainedModel):
    """The recommender: states times item vectors, over exactly the asked positions.

    Several encoders side by side are a deep ensemble (Lakshminarayanan et al., NIPS 2017): each learns by a loss of
    its own over its part of the vectors, and the products of all parts add up to the scores.
    """

    def __init__(self, config: SeqRecConfig) -> None:
        super().__init__(config)
        self.model = SeqRecModel(config)
        self.transitions = Transitions(config) if config.transition_size else None
        self.softmax = Softmax()
        self._item_cache: tuple[list[Any], torch.Tensor, Catalogue] | None = None
        self.post_init()

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        num_items_in_batch: torch.Tensor | int | None = None,
        **kwargs: Any,
    ) -> NextItemOutput:
        """Score every item as the next one, or learn from labels.

        Args:
            input_ids: (batch, length) tokens, oldest first. Where the model reads a [MASK], it is the last token.
            attention_mask: (batch, length), 0 for padding, on either side; packed histories as in `SeqRecModel`.
            labels: (batch, length), the item each place asks for, -100 elsewhere. With it, `loss` alone is returned.
            num_items_in_batch: Asked positions over all processes and accumulated batches; this batch's by default.
            **kwargs: What `Trainer` and transformers' output capturing pass on.

        Raises:
            ValueError: If a model that reads a [MASK] is asked for scores and a history does not end in one.
        """
        if labels is None:
            scores = self.encode_history(input_ids, attention_mask) @ self.encode_items().T  # (batch, vocab)
            return NextItemOutput(logits=scores.masked_fill(~self.model.items.rankable(), float("-inf")))
        asked = labels != -100
        inputs_embeds, items, places, log_inclusion = self._looked_up(input_ids, labels[asked])
        chosen, asked = asked_places(asked)
        hidden = self.model(input_ids, attention_mask, inputs_embeds, chosen, **kwargs).last_hidden_state
        states = self._scaled_states(hidden[asked]).chunk(self.config.ensemble_size, dim=-1)  # of (targets, hidden)
        of_items = self._scaled_items(items).chunk(self.config.ensemble_size, dim=-1)  # of (items, hidden)
        losses = [
            softmax_cross_entropy(
                states_part,
                items_part,
                places,
                chunk_size=self.softmax.chunk_size,
                dtype=self.softmax.dtype,
                log_inclusion=log_inclusion,
            )
            for states_part, items_part in zip(states, of_items, strict=True)
        ]
        total = torch.stack(losses).mean()
        count = asked.sum() if num_items_in_batch is None else torch.as_tensor(num_items_in_batch)
        return NextItemOutput(loss=total / count.clamp(min=1))

    def _looked_up(
        self, input_ids: torch.Tensor, targets: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """The vectors of a batch (batch, length, width) and of the items its softmax runs over (items, width).

        Besides, the row of each target among those items (targets,), and of a sample its `log_inclusion` (items,).
        """
        config, first = self.config, self.config.num_special_tokens
        if self.softmax.sampling is None or not self.training:
            vectors = self.model.items(slice(config.num_trained if self.training else config.vocab_size))
            return nn.functional.embedding(input_ids, vectors), vectors[first:], targets - first, None
        candidates, log_inclusion, places = sample_candidates(targets, self.softmax.sampling, first)
        tokens, rows = torch.unique(torch.cat([input_ids.flatten(), candidates]), return_inverse=True)
        read = nn.functional.embedding(rows, self.model.items(tokens))
        inputs_embeds, items = read.split([input_ids.numel(), len(candidates)])
        return inputs_embeds.view(*input_ids.shape, -1), items, places, log_inclusion

    def train(self, mode: bool = True) -> "SeqRecForNextItem":
        """Switch to training or, by `eval()`, to ranking; item vectors are made anew, as weights may have changed."""
        self._item_cache = None  # fused optimizers change weights without counting their version up
        return super().train(mode)

    def encode_history(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Return one vector a history (batch, width), whose dot products with `encode_items()` are the scores.

        A history without any known item is encoded as a lone [MASK], the model's answer to an empty history.
        """
        input_ids, attention_mask = self._newest(input_ids, attention_mask)
        if self.config.appends_mask and (input_ids[:, -1] != self.config.mask_token_id).any():
            raise ValueError(
                f"This bidirectional model reads a [MASK] (token {self.config.mask_token_id}) at the end of each "
                "history, and one is missing here. Tokenize with the model's own tokenizer, which appends it."
            )
        inputs_embeds = nn.functional.embedding(input_ids, self._item_vectors()[0])
        place = torch.full_like(input_ids[:, :1], input_ids.shape[1] - 1)
        if self.config.asks_before_mask and input_ids.shape[1] > 1:
            place = place - attention_mask[:, -2:-1]  # a lone [MASK] has nothing before it
        hidden = self.model(input_ids, attention_mask, inputs_embeds, place).last_hidden_state
        states = self._scaled_states(hidden[:, 0])
        if self.transitions is None:
            return states
        followed = self.transitions.of_histories(input_ids, attention_mask, self.model.items.neighbours)
        return torch.cat([states, (self.config.transition_weight * followed).to(states.dtype)], dim=1)

    def encode_items(self) -> torch.Tensor:
        """Return one vector a token (vocab, width); the model's own, kept between calls: copy before changing it."""
        return self._item_vectors()[1].vectors

    @torch.no_grad()
    def encode_new_items(self, rows: Mapping[str, Rows]) -> torch.Tensor:
        """Return one vector an item (items, width), as `encode_items` would if they were in the catalogue.

        Args:
            rows: What each modality would store of them, as its `prepare` gives it.
        """
        vectors, following = self.model.items.encode(rows), None
        if self.transitions is not None:
            nearest = self.model.items.nearest_to(rows)
            nothing = vectors.new_zeros(len(vectors), self.config.transition_size)  # of items without neighbours
            following = nothing if nearest is None else self.transitions.of_new_items(nearest)
        return self._scored_items(vectors, following, first_new=0)

    def _item_vectors(self) -> tuple[torch.Tensor, Catalogue]:
        """Token vectors as histories and as scores read them; without gradients kept until a weight changes."""
        items = self.model.items
        if torch.is_grad_enabled():
            vectors = items()
            return vectors, Catalogue(self._scored_items(vectors, self._following()), items.rankable())
        tensors = [*items.parameters(), *self.buffers()]
        version = [(t.data_ptr(), t.dtype, t.device, -1 if t.is_inference() else t._version) for t in tensors]
        if self._item_cache is None or self._item_cache[0] != version:
            starts = range(0, self.config.vocab_size, ITEMS_AT_ONCE)
            vectors = torch.cat([items(slice(start, start + ITEMS_AT_ONCE)) for start in starts])
            scored = self._scored_items(vectors, self._following())
            self._item_cache = version, vectors, Catalogue(scored, items.rankable())
        return self._item_cache[1:]

    def _following(self) -> torch.Tensor | None:
        """What is counted of all tokens (vocab, size) as items that may follow."""
        if self.transitions is None:
            return None
        tokens = torch.arange(self.config.vocab_size, device=self.transitions.after.device)
        return self.transitions.of_items(tokens, self.model.items.neighbours)

    @torch.no_grad()
    def resize_catalogue(self, vocab_size: int) -> None:
        """Make room for more items, or forget the last ones; a new one is not ranked before its content is put.

        The id table keeps the size it was trained with, so nothing random is added.
        """
        config = self.config
        config.num_trained_tokens = min(config.num_trained, vocab_size)
        self.model.items.resize(vocab_size)
        config.vocab_size = vocab_size
        self._item_cache = None

    @torch.no_grad()
    def content_vectors(self, modality: str) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Return the items' content features (items, width) and which items have any (items,); None without."""
        if modality not in (self.config.content_sizes or {}) or modality == ATTRIBUTES:
            return None
        content, first = self.model.items.content[modality], self.config.num_special_tokens
        return content.features[first:].float(), content.present[first:]

    @torch.no_grad()
    def rank(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        k: int = 10,
        exclude_seen: bool = True,
        candidates: torch.Tensor | None = None,
        exclude: torch.Tensor | None = None,
    ) -> Ranking:
        """Return the k best items of each history, in bounded memory however large the catalogue is.

        Args:
            input_ids: (batch, length) tokens, as in `forward`.
            attention_mask: (batch, length), 0 for padding.
            k: Length of the lists; shorter only where the catalogue is.
            exclude_seen: Leave out the items of `input_ids`, also those older than what the encoder reads.
            candidates: (count,) token ids to choose from; the whole catalogue by default.
            exclude: (batch, count) token ids to leave out of each list; special tokens are ignored.
        """
        queries = self.encode_history(input_ids, attention_mask)
        left_out = [ids for ids in (input_ids if exclude_seen else None, exclude) if ids is not None]
        best = best_items(queries, self._item_vectors()[1], left_out, k, candidates)
        no_item = best.scores == float("-inf")
        return Ranking(best.token_ids.masked_fill(no_item, self.config.pad_token_id), best.scores)

    @torch.no_grad()
    def target_ranks(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None,
        targets: torch.Tensor,
        exclude_seen: bool = True,
        exclude: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return the rank of each target over the catalogue (batch,), 1 is best; ties count against the model.

        A target that is no item of the catalogue, is excluded, or scores NaN ranks behind all of it.

        Args:
            input_ids: (batch, length) tokens, as in `forward`.
            attention_mask: (batch, length), 0 for padding.
            targets: (batch,) token ids.
            exclude_seen: Leave out the items of `input_ids`.
            exclude: (batch, count) token ids to leave out of each list.
        """
        queries = self.encode_history(input_ids, attention_mask)
        left_out = [ids for ids in (input_ids if exclude_seen else None, exclude) if ids is not None]
        ranks, ranked = ranks_of(queries, self._item_vectors()[1], left_out, targets)
        num_items = self.config.vocab_size - self.config.num_special_tokens - self.model.items.removed.sum()
        return torch.where(ranked, ranks, num_items + 1)

    def _newest(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The newest places of histories that are read, and which those are."""
        if input_ids.shape[1] == 0:
            input_ids = input_ids.new_full((len(input_ids), 1), self.config.pad_token_id)
            attention_mask = None
        read = self.model.is_read(input_ids)
        if attention_mask is not None:
            read = read & attention_mask.bool()
        return newest_read(input_ids, read, self.config.max_position_embeddings, self.config.mask_token_id)

    def _scaled_states(self, states: torch.Tensor) -> torch.Tensor:
        """States (count, width) as they meet item vectors: unit length over the temperature under cosine."""
        return states if self.config.similarity == "dot" else self._unit(states) / self.config.temperature

    def _scaled_items(self, vectors: torch.Tensor) -> torch.Tensor:
        """Item vectors (count, width) as the loss has them meet states."""
        return vectors if self.config.similarity == "dot" else self._unit(vectors)

    def _scored_items(
        self, vectors: torch.Tensor, following: torch.Tensor | None, first_new: int | None = None
    ) -> torch.Tensor:
        """Item vectors (count, width) as scores read them, with what is counted of them (count, size) beside.

        Training saw none from `first_new` on, by default of the whole catalogue.
        """
        scored = self._scaled_items(vectors)
        if following is not None:
            scored = torch.cat([scored, following.to(scored.dtype)], dim=1)
        if self.config.new_item_scale == 1:
            return scored
        first_new = self.config.num_trained if first_new is None else first_new
        return torch.cat([scored[:first_new], scored[first_new:] * self.config.new_item_scale])

    def _unit(self, vectors: torch.Tensor) -> torch.Tensor:
        """Vectors (count, width) with each encoder's part at unit length."""
        parts = vectors.unflatten(-1, (self.config.ensemble_size, -1))
        return nn.functional.normalize(parts, dim=-1).flatten(-2)


SeqRecConfig.register_for_auto_class()
SeqRecForNextItem.register_for_auto_class("AutoModel")
