"""What everything that ranks items has in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt


class Ranker(Protocol):
    """Anything that ranks items after a history: a network, a neighbour table, a constant list."""

    def recommend(
        self, histories: Sequence[Sequence[str]], k: int = 10, exclude_seen: bool = True
    ) -> list[list[dict[str, Any]]]:
        """Return the `k` best items of each history, best first, as dicts with `item_id` and `score`."""
        ...

    def target_ranks(
        self, histories: Sequence[Sequence[str]], targets: Sequence[str], exclude_seen: bool = True
    ) -> npt.NDArray[np.int64]:
        """Return the 1-based rank of each history's target over the full catalogue, int64 (num_histories,).

        Ties count against the ranker: every other item with an equal score stands above the target. An excluded item
        is not counted. A target that cannot be ranked (not in the catalogue, or itself excluded) gets the rank
        after the last item, `num_items + 1`.
        """
        ...
