"""Ranking in bounded memory: queries times item vectors, a stretch of the catalogue at a time."""

from collections.abc import Iterator
from typing import NamedTuple

import torch

SCORES_AT_ONCE = 2**21  # ranking holds this many scores: 8 MB, which stay in the cache
ROUNDING = 2**-20  # of two norms' product: a matmul may give equal items scores that far apart


class Ranking(NamedTuple):
    """The best items of each history, best first; `pad_token_id` with score -inf where no item is left."""

    token_ids: torch.Tensor  # (batch, k)
    scores: torch.Tensor  # (batch, k)


class Catalogue(NamedTuple):
    """What is ranked."""

    vectors: torch.Tensor  # (vocab, width), as scores read them
    rankable: torch.Tensor  # (vocab,), False for special tokens and what lists may not hold


def best_items(
    queries: torch.Tensor,
    catalogue: Catalogue,
    left_out: list[torch.Tensor],
    k: int,
    candidates: torch.Tensor | None = None,
) -> Ranking:
    """Return the k best items of each query (batch, width).

    Args:
        queries: One vector a history.
        catalogue: What to rank.
        left_out: Token ids (batch, count) that each list may not hold; special tokens are ignored.
        k: Length of the lists; shorter where there are fewer items.
        candidates: (count,) token ids to choose from; the whole catalogue by default.
    """
    k = min(k, int(catalogue.rankable.sum()) if candidates is None else len(candidates))
    best = Ranking(queries.new_empty(len(queries), 0, dtype=torch.long), queries.new_empty(len(queries), 0))
    for token_ids, scores in _score(queries, catalogue, left_out, candidates):
        top = scores.topk(min(k, scores.shape[1]), dim=1)
        ids = torch.cat([best.token_ids, token_ids[top.indices]], dim=1)
        values, order = torch.cat([best.scores, top.values], dim=1).sort(dim=1, descending=True, stable=True)
        best = Ranking(ids.gather(1, order)[:, :k], values[:, :k])
    return best


def ranks_of(
    queries: torch.Tensor, catalogue: Catalogue, left_out: list[torch.Tensor], targets: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the rank of each target (batch,), ties against it, and whether it can be ranked at all (batch,)."""
    inside = (targets >= 0) & (targets < len(catalogue.vectors))
    place = torch.where(inside, targets, 0)
    vectors = catalogue.vectors[place]  # (batch, width)
    target_scores = (queries @ vectors.T).diagonal()  # as all others are made, also in half precision
    target_scores = target_scores.masked_fill(~(inside & catalogue.rankable[place]), float("-inf"))
    for ids in left_out:
        target_scores = target_scores.masked_fill((ids == targets[:, None]).any(dim=1), float("-inf"))
    ranks = torch.zeros_like(targets)
    tied = target_scores - ROUNDING * queries.norm(dim=1) * vectors.norm(dim=1)
    for _, scores in _score(queries, catalogue, left_out, None):
        ranks += (~(scores < tied[:, None])).sum(dim=1)  # the target itself makes it start at 1
    return ranks.clamp(min=1), target_scores.isfinite()


def _score(
    queries: torch.Tensor, catalogue: Catalogue, left_out: list[torch.Tensor], candidates: torch.Tensor | None
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield token ids (chunk,) and scores (batch, chunk) over the candidates, those left out at -inf."""
    vectors, rankable = catalogue
    all_ids = torch.arange(len(vectors), device=vectors.device)
    token_ids = all_ids if candidates is None else candidates
    column = torch.full_like(all_ids, -1)
    column[token_ids] = all_ids[: len(token_ids)]
    forbidden = [column[ids] for ids in left_out]  # (batch, count), -1 for what is no candidate
    step = max(1, SCORES_AT_ONCE // max(1, len(queries)))
    for start in range(0, len(token_ids), step):
        chunk = token_ids[start : start + step]
        table = vectors[start : start + step] if candidates is None else vectors[chunk]
        scores = queries @ table.T  # (batch, chunk)
        scores.index_fill_(1, (~rankable[chunk]).nonzero()[:, 0], float("-inf"))
        for columns in forbidden:
            here = (columns >= start) & (columns < start + scores.shape[1])
            value = torch.where(here, float("-inf"), float("inf")).to(scores.dtype)
            scores.scatter_reduce_(1, (columns - start).clamp(0, scores.shape[1] - 1), value, "amin")
        yield chunk, scores
