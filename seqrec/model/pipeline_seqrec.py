"""`pipeline("next-item")`: a history of item ids in, the best next items out."""

from typing import Any

import torch
from transformers import Pipeline


class NextItemPipeline(Pipeline):
    """Recommend after histories given as `{"history": ["item-1", "item-2"]}`, one or a list of them.

    Args (of a call):
        top_k: Items to return.
        exclude_seen: Leave out the items of the history.

    Returns:
        `[{"item_id": ..., "score": ...}, ...]`, best first, for each history.
    """

    _load_tokenizer = True

    def _sanitize_parameters(
        self, top_k: int | None = None, exclude_seen: bool | None = None
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        ranking: dict[str, Any] = {}
        if top_k is not None:
            ranking["top_k"] = top_k
        if exclude_seen is not None:
            ranking["exclude_seen"] = exclude_seen
        return {}, ranking, {}

    def preprocess(self, inputs: dict[str, list[str]]) -> dict[str, torch.Tensor]:
        if not isinstance(inputs, dict) or "history" not in inputs:
            raise ValueError(f'Expected {{"history": [item ids, oldest first]}}, got {inputs!r:.80}.')
        return self.tokenizer([inputs["history"]], is_split_into_words=True, return_tensors="pt")

    def _forward(
        self, model_inputs: dict[str, torch.Tensor], top_k: int = 10, exclude_seen: bool = True
    ) -> dict[str, torch.Tensor]:
        ranking = self.model.rank(**model_inputs, k=top_k, exclude_seen=exclude_seen)
        return {"token_ids": ranking.token_ids, "scores": ranking.scores}

    def postprocess(self, model_outputs: dict[str, torch.Tensor]) -> list[dict[str, Any]]:
        token_ids, scores = model_outputs["token_ids"][0].tolist(), model_outputs["scores"][0].tolist()
        kept = [(token, score) for token, score in zip(token_ids, scores) if token != self.tokenizer.pad_token_id]
        item_ids = self.tokenizer.convert_ids_to_tokens([token for token, _ in kept])
        return [{"item_id": item, "score": score} for item, (_, score) in zip(item_ids, kept)]
