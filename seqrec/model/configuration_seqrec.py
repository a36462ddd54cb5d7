"""The shape of a sequential recommender."""

import math
from typing import Any, Literal

import transformers

if int(transformers.__version__.split(".")[0]) < 5:
    raise ImportError(
        f"This model needs transformers 5 or newer, and {transformers.__version__} is installed: "
        "python -m pip install --upgrade transformers"
    )

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig
from transformers.activations import ACT2FN

ATTRIBUTES = "attributes"  # the modality of categories and numbers, which no encoder makes
MOST_PARTS = 256  # blocks of an encoder, and encoders: more would fill the memory before anything refuses them
MOST_DIRECTIONS = 4096
LOUDEST = 1000


@strict
class SeqRecConfig(PreTrainedConfig):
    """Shape of a sequential recommender: no learning rate, no paths.

    Args:
        vocab_size: Items plus the special tokens.
        hidden_size: Width of item vectors and states, in each encoder.
        ensemble_size: Encoders whose scores add up, each with item vectors of its own.
        num_hidden_layers: Transformer blocks.
        num_attention_heads: Attention heads of a block; must divide `hidden_size`.
        intermediate_size: Width of the feed-forward layer.
        hidden_act: Activation of the feed-forward layer, a name of `transformers.activations`.
        attention: `causal` sees the past only (SASRec); `bidirectional` reads an appended [MASK] (BERT4Rec).
        norm: Where a block normalises: `pre` (before each branch, and once at the end) or `post` (after each sum).
        max_position_embeddings: Tokens the encoder looks at, the newest ones.
        relative_position_bias: Whether attention logits get a learned bias per head and distance.
        mask_query: What bidirectional attention predicts from: the state of a [MASK] that starts from its own vector
            alone (`plain`), plus the nearest visible item before it (`previous`), or plus the mean of the nearest
            visible items on both sides (`neighbours`); the state of the place before a [MASK] (`shifted`); or the
            newest item's own state, without any [MASK] (`newest`, which learns by `last_item` alone).
        similarity: `dot` product of state and item vector, or `cosine` divided by `temperature`.
        temperature: Divisor of cosine scores; unused by `dot`.
        transition_size: Width of what is counted beside what encoders learn: which items follow which; 0 for nothing,
            as where items have no ids.
        transition_weight: By what that is multiplied before it is added to the scores; training chooses it on
            validation, where there is any.
        use_item_ids: Whether trained items have an embedding of their own, beside their content.
        num_trained_tokens: Tokens that training saw, special ones included; those after them have content alone.
            All of them by default.
        content_sizes: Sizes of each modality: `[width, kept features]` of vectors, e.g. `{"text": [384, 256]}`, and
            `{"attributes": [known values, values an item, numbers]}`; empty for ids alone.
        content_encoders: How the content of each modality is made from the columns of an item.
        content_scale: How loud vectors of content are when training starts, beside item ids: one number, or one for
            each encoder of an ensemble. The louder, the longer items that mean the same stay together. Training takes
            5 by default, and for the encoders of an ensemble 20 to 1: those that differ in kind add most.
        fusion: How content joins an item's vector: `sum`, or `gate`, weights for each dimension and source that a
            learned layer reads from all of them.
        id_dropout_prob: Probability that training switches an item's own embedding off for a step, so that content
            alone learns to carry an item.
        new_item_scale: By what the scores of items are multiplied that training never saw: more than 1 brings them
            higher where scores are positive, as those of the best items are.
        display_columns: Columns of `items.parquet` that recommendations show.
        hidden_dropout_prob: Dropout of the input and of both branches of a block.
        attention_probs_dropout_prob: Dropout of the attention weights.
        item_dropout_prob: Probability that training hides an input item altogether.
        initializer_range: Standard deviation of initial weights.
        layer_norm_eps: Added to variances.
        pad_token_id: Padding.
        unk_token_id: An item outside the catalogue; the model skips it.
        mask_token_id: The place to predict.
    """

    model_type = "seqrec"

    vocab_size: int = 1000
    hidden_size: int = 64
    ensemble_size: int = 1
    num_hidden_layers: int = 2
    num_attention_heads: int = 1
    intermediate_size: int = 256
    hidden_act: str = "gelu"
    attention: Literal["causal", "bidirectional"] = "causal"
    norm: Literal["pre", "post"] = "pre"
    max_position_embeddings: int = 200
    relative_position_bias: bool = True
    mask_query: Literal["plain", "previous", "neighbours", "shifted", "newest"] = "neighbours"
    similarity: Literal["dot", "cosine"] = "cosine"
    temperature: float = 0.05
    transition_size: int = 0
    transition_weight: float = 1.0
    use_item_ids: bool = True
    num_trained_tokens: int | None = None
    content_sizes: dict[str, list[int]] | None = None
    content_encoders: dict[str, dict[str, Any]] | None = None
    content_scale: list[float] | None = None
    fusion: Literal["sum", "gate"] = "sum"
    id_dropout_prob: float = 0.0
    new_item_scale: float = 1.0
    display_columns: list[str] | None = None
    hidden_dropout_prob: float = 0.2
    attention_probs_dropout_prob: float = 0.0
    item_dropout_prob: float = 0.0
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-8
    pad_token_id: int = 0
    unk_token_id: int = 1
    mask_token_id: int = 2
    tie_word_embeddings: bool = False  # scores read the item vectors directly: there is no second table to tie

    def validate_sizes(self) -> None:
        """Every count is positive, and every head gets the same whole number of channels."""
        positive = (
            "hidden_size",
            "ensemble_size",
            "num_attention_heads",
            "intermediate_size",
            "max_position_embeddings",
        )
        for name in positive:
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1.")
        if self.appends_mask and self.max_position_embeddings < 2:
            raise ValueError(
                f"max_position_embeddings={self.max_position_embeddings} leaves no place for a history beside its "
                "[MASK]. Take 2 at least."
            )
        if not 0 <= self.num_hidden_layers <= MOST_PARTS or self.ensemble_size > MOST_PARTS:
            raise ValueError(
                f"num_hidden_layers={self.num_hidden_layers} and ensemble_size={self.ensemble_size} must be at most "
                f"{MOST_PARTS} each, and not negative."
            )
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size={self.hidden_size} cannot be shared by num_attention_heads={self.num_attention_heads}; "
                "choose a multiple."
            )
        if not 0 <= self.transition_size <= MOST_DIRECTIONS or (self.transition_size and not self.use_item_ids):
            raise ValueError(
                f"transition_size={self.transition_size} must be at least 0 and at most {MOST_DIRECTIONS}, and 0 "
                "where use_item_ids is false: what is counted belongs to the items of training."
            )
        if self.vocab_size <= self.num_special_tokens:
            raise ValueError(
                f"vocab_size={self.vocab_size} leaves no item beside {self.num_special_tokens} special tokens."
            )

        if not self.num_special_tokens <= self.num_trained <= self.vocab_size:
            raise ValueError(
                f"num_trained_tokens={self.num_trained_tokens} must be at least {self.num_special_tokens} and at most "
                f"vocab_size={self.vocab_size}."
            )

    def validate_content(self) -> None:
        """Every modality has a name and sizes, and an item has something to be known by."""
        for modality, sizes in (self.content_sizes or {}).items():
            whole = len(sizes) == (3 if modality == ATTRIBUTES else 2) and min(sizes) >= 0 and max(sizes) >= 1
            if not whole or not modality.isidentifier() or (modality != ATTRIBUTES and not 1 <= sizes[1] <= sizes[0]):
                raise ValueError(
                    f"content_sizes={{{modality!r}: {sizes}}} must be a name and [width, kept features], or for "
                    f"{ATTRIBUTES!r} [known values, values an item, numbers]."
                )
        scales = self.content_scale or [1.0]
        if len(scales) not in (1, self.ensemble_size) or not all(0 < scale <= LOUDEST for scale in scales):
            raise ValueError(
                f"content_scale={self.content_scale} must be one number above 0 and at most {LOUDEST}, or one for "
                f"each encoder (ensemble_size={self.ensemble_size})."
            )
        if not self.use_item_ids and not self.content_sizes:
            raise ValueError("use_item_ids=False leaves nothing to know items by, as they have no content. Give some.")
        if self.id_dropout_prob and not self.content_sizes:
            raise ValueError(
                f"id_dropout_prob={self.id_dropout_prob} leaves nothing to know an item by, as items have no content. "
                "Give some, or leave it out."
            )

    def validate_probabilities(self) -> None:
        """Dropouts are probabilities below one, and what divides is not so small that nothing finite is left."""
        for name in ("hidden_dropout_prob", "attention_probs_dropout_prob", "item_dropout_prob", "id_dropout_prob"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 0 and below 1.")
        for name, least in {
            "temperature": 1e-6,
            "layer_norm_eps": 1e-12,
            "initializer_range": 0.0,
            "new_item_scale": 0.0,
            "transition_weight": 0.0,
        }.items():
            if not least <= getattr(self, name) < math.inf:
                raise ValueError(f"{name}={getattr(self, name)} must be a number of at least {least:g}.")

    def validate_activation(self) -> None:
        """The activation is one that transformers has."""
        if self.hidden_act not in ACT2FN:
            raise ValueError(f"hidden_act={self.hidden_act!r} is unknown; choose one of {', '.join(sorted(ACT2FN))}.")

    @property
    def appends_mask(self) -> bool:
        """Whether a history is read with a [MASK] after its newest item."""
        return self.attention == "bidirectional" and self.mask_query != "newest"

    @property
    def asks_before_mask(self) -> bool:
        """Whether a [MASK] is predicted from the state of the place before it."""
        return self.attention == "bidirectional" and self.mask_query == "shifted"

    @property
    def num_special_tokens(self) -> int:
        """Tokens before the first item: their ids are the lowest."""
        return max(self.pad_token_id, self.unk_token_id, self.mask_token_id) + 1

    @property
    def vector_size(self) -> int:
        """Width of item vectors and states, those of all encoders side by side."""
        return self.hidden_size * self.ensemble_size

    @property
    def content_scales(self) -> list[float]:
        """How loud vectors of content are in each encoder."""
        scales = self.content_scale or [1.0]
        return scales * self.ensemble_size if len(scales) == 1 else scales

    @property
    def score_size(self) -> int:
        """Width of the vectors whose products are scores: those of all encoders, and what is counted."""
        return self.vector_size + self.transition_size

    @property
    def num_trained(self) -> int:
        """Tokens that training saw: `num_trained_tokens`, or all."""
        return self.vocab_size if self.num_trained_tokens is None else self.num_trained_tokens

    @property
    def num_id_rows(self) -> int:
        """Tokens with an embedding of their own: the special ones at least."""
        return self.num_trained if self.use_item_ids else self.num_special_tokens
