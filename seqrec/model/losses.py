"""Exact softmax over the whole catalogue, without ever holding positions x catalogue."""

from typing import Any

import torch
from torch.nn import functional as F


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Sum of the cross-entropies; both gradients are made in the forward pass, chunk by chunk."""

    @staticmethod
    def forward(
        ctx: Any,
        states: torch.Tensor,
        items: torch.Tensor,
        labels: torch.Tensor,
        first_item: int,
        chunk_size: int,
        dtype: torch.dtype,
    ) -> torch.Tensor:
        table = items[first_item:].to(dtype)  # (items, hidden)
        states_grad, items_grad = torch.empty_like(states), torch.zeros_like(items)
        total = states.new_zeros((), dtype=torch.float32)
        shape = min(chunk_size, len(states)), len(table)
        buffer = torch.empty(shape, dtype=torch.float32, device=states.device)
        with torch.autocast(states.device.type, enabled=False):
            for start in range(0, len(states), chunk_size):
                queries = states[start : start + chunk_size].to(dtype)  # (chunk, hidden)
                targets = (labels[start : start + chunk_size] - first_item)[:, None]
                logits = buffer[: len(queries)].copy_(queries @ table.T)  # (chunk, items)
                target_logits = logits.gather(1, targets)
                largest = logits.amax(dim=1, keepdim=True)
                normaliser = logits.sub_(largest).exp_().sum(dim=1, keepdim=True)
                total += (normaliser.log() + largest - target_logits).sum()
                logits.div_(normaliser).scatter_add_(
                    1, targets, torch.full_like(normaliser, -1.0)
                )  # softmax - one-hot
                errors = logits.to(dtype)
                states_grad[start : start + chunk_size] = errors @ table
                items_grad[first_item:] += errors.T @ queries
        ctx.save_for_backward(states_grad, items_grad)
        return total

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        states_grad, items_grad = ctx.saved_tensors
        return states_grad * grad, items_grad * grad, None, None, None, None


def catalogue_cross_entropy(
    states: torch.Tensor,
    items: torch.Tensor,
    labels: torch.Tensor,
    first_item: int = 0,
    chunk_size: int = 128,
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    """Sum of softmax cross-entropies of each state against the whole catalogue.

    With `chunk_size` positions at a time, logits exist for one chunk only, and the gradients are finished in the
    forward pass (after "Cut Your Losses in Large-Vocabulary Language Models", arXiv 2411.09009, which recomputes
    them in the backward pass instead). `chunk_size=0` is the plain formula, which per-sample gradients need.

    Args:
        states: (targets, hidden), one per asked position.
        items: (vocab, hidden), one per token.
        labels: (targets,) token ids, none below `first_item`.
        first_item: Tokens before it are special and no candidates.
        chunk_size: Positions whose logits exist at the same time; 0 for all, by plain autograd.
        dtype: Type of the matrix products; sums and exponentials stay in float32.

    >>> loss = catalogue_cross_entropy(torch.zeros(1, 2), torch.ones(4, 2), torch.tensor([3]))
    >>> round(loss.item(), 4)  # log(4): four items, equally likely
    1.3863
    """
    if chunk_size == 0:
        return F.cross_entropy(states @ items[first_item:].T, labels - first_item, reduction="sum")
    return _ChunkedCrossEntropy.apply(states, items, labels, first_item, chunk_size, dtype)
