"""What in a history speaks for an item: how far its score falls when an event is left out."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt


class Scorer(Protocol):
    """What scores items by the products of two vectors, as `Recommender` does."""

    def encode_history(self, histories: Sequence[Sequence[str]], /) -> npt.NDArray[np.float32]:
        """Return one vector a history (histories, width)."""

    def encode_items(self, items: Sequence[str], /) -> npt.NDArray[np.float32]:
        """Return one vector an item (items, width)."""


def leave_one_out(
    scorer: Scorer, history: Sequence[str], item_ids: Sequence[str], newest: int
) -> list[list[dict[str, Any]]]:
    """Return for each item what each of the newest events of a history adds to its score, most first.

    Args:
        scorer: The model.
        history: Item ids, oldest first, all of them known.
        item_ids: The items that are explained.
        newest: Events that are left out, each alone; older ones are not tried.
    """
    places = range(max(0, len(history) - newest), len(history))
    histories = [list(history), *([*history[:place], *history[place + 1 :]] for place in places)]
    scores = scorer.encode_history(histories) @ scorer.encode_items(item_ids).T  # (1 + events, items)
    falls = scores[:1] - scores[1:]
    return [
        [
            {"item_id": history[places[row]], "contribution": float(fall[row])}
            for row in np.argsort(-fall, kind="stable")
        ]
        for fall in falls.T
    ]
