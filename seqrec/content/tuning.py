"""A text encoder that learns: what it makes of the items of a batch, with gradients."""

from collections.abc import Sequence

import torch
from torch import nn

from seqrec.content.encoders import BATCH_SIZE, TextEncoder

DROPOUTS = (
    "p",
    "dropout",
    "attention_dropout",
    "activation_dropout",
    "dropout_prob",
    "dropout_p",
)  # as modules call it


class TunedTexts(nn.Module):
    """The texts of a catalogue and the encoder that reads them while it is trained.

    The encoder has no dropout of its own here: a finished ranker knows its vectors without, and an adapter that learns
    with it makes up for the noise, to the harm of the vectors that serve (LOG.md, 2026-11-26).

    Args:
        encoder: The encoder; its network becomes part of this module.
        texts: The text of each token (vocab,), None where there is none.
    """

    def __init__(self, encoder: TextEncoder, texts: Sequence[str | None]) -> None:
        super().__init__()
        self.encoder = encoder
        self.network = encoder.model
        _leave_out_dropout(self.network)
        numbers = {text: number for number, text in enumerate(dict.fromkeys(text for text in texts if text))}
        self._number_of = [numbers.get(text or "", -1) for text in texts]
        read = encoder.tokenizer(list(numbers) or ["-"], truncation=True, max_length=encoder.max_length, verbose=False)
        self._read = [{name: lists[number] for name, lists in read.items()} for number in range(len(numbers))]

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the vectors (count, width) of tokens (count,), zeros where there is no text.

        Equal texts are read once, and those of similar length together, so many at a time as `TextEncoder` does.
        """
        asked = [self._number_of[token] for token in tokens.tolist()]
        numbers = sorted(
            {number for number in asked if number >= 0}, key=lambda one: -len(self._read[one]["input_ids"])
        )
        parts = []
        for start in range(0, len(numbers), BATCH_SIZE):
            texts = [self._read[number] for number in numbers[start : start + BATCH_SIZE]]
            parts.append(self.encoder.embed(self.encoder.tokenizer.pad(texts, return_tensors="pt")))
        parts.append(torch.zeros(1, self.encoder.width, device=tokens.device))
        rows = {number: row for row, number in enumerate(numbers)}
        return torch.cat(parts)[[rows.get(number, -1) for number in asked]]


def _leave_out_dropout(network: nn.Module) -> None:
    """Set every probability of dropout in a network to zero, but that of adapters."""
    for name, module in network.named_modules():
        if "lora_dropout" in name:
            continue
        for setting in DROPOUTS:
            if isinstance(getattr(module, setting, None), float):
                setattr(module, setting, 0.0)
