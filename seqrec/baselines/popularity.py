"""The floor: what most people took."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from seqrec.baselines.base import Baseline


class Popularity(Baseline):
    """Rank items by how often the training histories contain them, the same for everybody."""

    def score(self, histories: Sequence[Sequence[str]]) -> npt.NDArray[np.float32]:
        """Return each item's training count, scaled into [0, 1), for every history."""
        return np.broadcast_to(self._popularity, (len(histories), len(self._popularity)))
