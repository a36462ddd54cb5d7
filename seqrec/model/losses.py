"""Softmax over the whole catalogue or a sample of it, without ever holding positions x items."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch.nn import functional as F


class Sampling(NamedTuple):
    """A sample of the catalogue that stands for all of it, as in `sample_candidates`."""

    num_samples: int
    frequencies: torch.Tensor  # (items,)


LOGITS_AT_ONCE = 2**21  # by default: 8 MB, which stay in the processor's cache
FEWEST_POSITIONS, MOST_POSITIONS = 128, 512  # of a chunk: fewer make narrow products, more gain nothing


@dataclass
class Softmax:
    """How the loss of a model is computed; part of training, not of the model's config.

    Args:
        chunk_size: As in `softmax_cross_entropy`.
        dtype: The same.
        sampling: What a step's softmax runs over; without it, the whole catalogue.
    """

    chunk_size: int | None = None
    dtype: torch.dtype = torch.float32
    sampling: Sampling | None = None


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Sum of the cross-entropies; both gradients are made in the forward pass, chunk by chunk."""

    @staticmethod
    def forward(
        ctx: Any,
        states: torch.Tensor,
        items: torch.Tensor,
        labels: torch.Tensor,
        chunk_size: int,
        dtype: torch.dtype,
        log_inclusion: torch.Tensor | None,
    ) -> torch.Tensor:
        table = items.to(dtype)  # (items, hidden)
        states_grad, items_grad = torch.empty_like(states), torch.zeros_like(items, dtype=torch.float32)
        total = states.new_zeros((), dtype=torch.float32)
        shape = min(chunk_size, len(states)), len(table)
        products, logits, softmax = (states.new_empty(shape, dtype=kind) for kind in (dtype, *2 * [torch.float32]))
        with torch.autocast(states.device.type, enabled=False):
            for start in range(0, len(states), chunk_size):
                queries = states[start : start + chunk_size].to(dtype)  # (chunk, hidden)
                targets = labels[start : start + chunk_size, None]
                if len(queries) < len(products):
                    products, logits, softmax = (buffer[: len(queries)] for buffer in (products, logits, softmax))
                logits.copy_(torch.mm(queries, table.T, out=products))  # (chunk, items)
                target_logits = logits.gather(1, targets)
                if log_inclusion is not None:
                    logits.sub_(log_inclusion).scatter_(1, targets, target_logits)
                torch.softmax(logits, dim=1, out=softmax)
                normaliser = logits.amax(dim=1) - softmax.amax(dim=1).log()  # the largest is exp(its logit) / sum
                total += (normaliser - target_logits[:, 0]).sum()
                softmax.scatter_add_(1, targets, torch.full_like(target_logits, -1.0))  # softmax - one-hot
                errors = products.copy_(softmax)
                states_grad[start : start + chunk_size] = errors @ table
                items_grad += errors.T @ queries
        ctx.save_for_backward(states_grad, items_grad.to(items.dtype))
        return total

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        states_grad, items_grad = ctx.saved_tensors
        return states_grad * grad, items_grad * grad, None, None, None, None


def softmax_cross_entropy(
    states: torch.Tensor,
    items: torch.Tensor,
    labels: torch.Tensor,
    chunk_size: int | None = None,
    dtype: torch.dtype = torch.float32,
    log_inclusion: torch.Tensor | None = None,
) -> torch.Tensor:
    """Sum of softmax cross-entropies of each state against the whole catalogue, or against a sample of it.

    With `chunk_size` positions at a time, logits exist for one chunk only, and the gradients are finished in the
    forward pass (after "Cut Your Losses in Large-Vocabulary Language Models", arXiv 2411.09009, which recomputes
    them in the backward pass instead). `chunk_size=0` is the plain formula, which per-sample gradients need.

    Args:
        states: (targets, hidden), one per asked position.
        items: (items, hidden), the catalogue's or those of a sample.
        labels: (targets,) rows of `items`.
        chunk_size: Positions whose logits exist at the same time, by default as many as a cache holds, at least 128;
            0 for all, by plain autograd.
        dtype: Type of the matrix products; sums and exponentials stay in float32.
        log_inclusion: (items,), of a sample the logarithm of the probability that each candidate is in
            it when it is no target, subtracted from its logit except where it is the target ("logQ", see
            `sample_candidates`).

    >>> loss = softmax_cross_entropy(torch.zeros(1, 2), torch.ones(4, 2), torch.tensor([3]))
    >>> round(loss.item(), 4)  # log(4): four items, equally likely
    1.3863
    """
    if chunk_size is None:
        chunk_size = min(max(LOGITS_AT_ONCE // max(len(items), 1), FEWEST_POSITIONS), MOST_POSITIONS)
    if chunk_size > 0:
        return _ChunkedCrossEntropy.apply(states, items, labels, chunk_size, dtype, log_inclusion)
    logits = states @ items.T
    if log_inclusion is not None:
        is_target = torch.arange(logits.shape[1], device=logits.device) == labels[:, None]
        logits = logits - log_inclusion * ~is_target
    return F.cross_entropy(logits, labels, reduction="sum")


def sample_candidates(
    labels: torch.Tensor, sampling: Sampling, first_item: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Draw items uniformly and add the batch's own targets; with them every softmax of the batch can be estimated.

    The sum of exponentials over the catalogue is estimated by Horvitz and Thompson: each candidate counts with one
    over the probability that it is in the sample, 1 - (1 - uniform share) (1 - frequency)^(targets - 1). This is the
    logQ correction (Bengio and Senecal, 2008; for uniform and in-batch samples together: Yang et al., "Mixed Negative
    Sampling", WWW 2020), without it on the target, which is always there. Drawing all items gives the exact loss.

    Args:
        labels: (targets,) token ids.
        sampling: How many items are drawn, without replacement (more than there are means all), and the share of each
            item among the targets of training.
        first_item: The token of the first item.

    Returns:
        Candidates (candidates,) as ascending token ids, `log_inclusion` (candidates,), and the place of each label
        among the candidates (targets,).
    """
    frequencies = sampling.frequencies.to(labels.device)
    num_items = len(frequencies)
    num_samples = min(sampling.num_samples, num_items)
    drawn = torch.randperm(num_items, device=labels.device)[:num_samples] + first_item
    candidates, places = torch.unique(torch.cat([labels, drawn]), return_inverse=True)
    left_out = frequencies[candidates - first_item].double().neg().log1p() * (len(labels) - 1)  # log of a probability
    left_out = left_out.exp() * (1 - num_samples / num_items)
    return candidates, left_out.neg().log1p().to(torch.float32), places[: len(labels)]
