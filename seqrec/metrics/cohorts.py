"""Which users a mean hides: those who wanted a rare item, those with a short history."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

HEAD_SHARE = 0.2  # of the catalogue


class Cohort(NamedTuple):
    """Some of the users.

    Attributes:
        definition: Who they are, in words.
        members: (num_users,) bool.
    """

    definition: str
    members: npt.NDArray[np.bool_]


def head_and_tail(target_counts: npt.ArrayLike, train_counts: npt.ArrayLike) -> dict[str, Cohort]:
    """Return who wanted one of the catalogue's most popular items (`head`), and who another (`tail`).

    The head is the most popular 20 % of the catalogue by training count, as sequential recommenders are compared
    (Kim et al., "MELT: Mutual Enhancement of Long-Tailed User and Item for Sequential Recommendation", SIGIR 2023).
    Items as popular as the last of them belong to it too, so that no tie is cut; an item that training never has
    does not.

    Args:
        target_counts: (num_users,), how often training has each user's target; 0 where it is not in the catalogue.
        train_counts: (num_items,), how often training has each item of the catalogue.

    >>> cohorts = head_and_tail([9, 1, 0], train_counts=[9, 2, 1, 1, 0])
    >>> cohorts["head"].members.tolist(), cohorts["tail"].definition
    ([True, False, False], 'target taken fewer than 9 times in training')
    """
    targets, counts = np.asarray(target_counts), np.sort(np.asarray(train_counts))[::-1]
    least = max(1, int(counts[int(np.ceil(HEAD_SHARE * counts.size)) - 1]))
    often = f"target taken at least {least:,} times in training, as the most popular {HEAD_SHARE:.0%} of items"
    return {
        "head": Cohort(often, targets >= least),
        "tail": Cohort(f"target taken fewer than {least:,} times in training", targets < least),
    }


def short_and_long(history_lengths: npt.ArrayLike) -> dict[str, Cohort]:
    """Return whose history is at most of the median length (`short`), and whose is longer (`long`).

    Args:
        history_lengths: (num_users,), items in each history.

    >>> {name: cohort.members.tolist() for name, cohort in short_and_long([1, 4, 9]).items()}
    {'short': [True, True, False], 'long': [False, False, True]}
    """
    lengths = np.asarray(history_lengths)
    median = float(np.median(lengths))
    return {
        "short": Cohort(f"history of at most {median:g} items, the median", lengths <= median),
        "long": Cohort(f"history of more than {median:g} items, the median", lengths > median),
    }


def cold_and_warm(target_counts: npt.ArrayLike) -> dict[str, Cohort]:
    """Return whose target training never saw (`cold`), and whose it did (`warm`).

    >>> {name: cohort.members.tolist() for name, cohort in cold_and_warm([3, 0]).items()}
    {'cold': [False, True], 'warm': [True, False]}
    """
    seen = np.asarray(target_counts) > 0
    return {
        "cold": Cohort("target without an interaction in training", ~seen),
        "warm": Cohort("target with interactions in training", seen),
    }
