"""`pipeline("next-item")`: a history of item ids in, the best next items out."""

from collections.abc import Mapping
from typing import Any

import torch
from transformers import Pipeline

TASK = "next-item"


class NextItemPipeline(Pipeline):
    """Recommend after histories given as `{"history": ["item-1", "item-2"]}`, one or a list of them.

    Args (of a call):
        top_k: Items to return.
        exclude_seen: Leave out the items of the history.

    Returns:
        `[{"item_id": ..., "score": ...}, ...]`, best first, for each history.
    """

    _load_tokenizer = True  # type: ignore[assignment]

    def _sanitize_parameters(  # type: ignore[override]
        self, top_k: int | None = None, exclude_seen: bool | None = None
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        ranking: dict[str, Any] = {}
        if top_k is not None:
            ranking["top_k"] = top_k
        if exclude_seen is not None:
            ranking["exclude_seen"] = exclude_seen
        return {}, ranking, {}

    def preprocess(self, inputs: dict[str, list[str]]) -> Mapping[str, Any]:  # type: ignore[override]
        """Tokenize one history."""
        if not isinstance(inputs, dict) or "history" not in inputs:
            raise ValueError(f'Expected {{"history": [item ids, oldest first]}}, got {inputs!r:.80}.')
        return self.tokenizer(  # type: ignore[misc]
            [inputs["history"]], is_split_into_words=True, return_tensors="pt", verbose=False
        )

    def _forward(  # type: ignore[override]
        self, model_inputs: Mapping[str, torch.Tensor], top_k: int = 10, exclude_seen: bool = True
    ) -> dict[str, torch.Tensor]:
        ranking = self.model.rank(  # type: ignore[operator]
            **model_inputs, k=top_k, exclude_seen=exclude_seen
        )
        return {"token_ids": ranking.token_ids, "scores": ranking.scores}

    def postprocess(  # type: ignore[override]
        self, model_outputs: dict[str, torch.Tensor]
    ) -> list[dict[str, Any]]:
        """Name the ranked items."""
        token_ids, scores = model_outputs["token_ids"][0].tolist(), model_outputs["scores"][0].tolist()
        item_ids = self.tokenizer.convert_ids_to_tokens(token_ids)  # type: ignore[union-attr]
        padding = self.tokenizer.pad_token  # type: ignore[union-attr]
        ranked = zip(item_ids, scores, strict=True)
        return [{"item_id": item, "score": score} for item, score in ranked if item != padding]
