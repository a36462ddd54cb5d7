"""Splits: which part of each user's history every split shows, and what it asks for."""

from dataclasses import dataclass
from typing import Any

import numpy as np

IntArray = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class SplitRows:
    """The rows of one split: a row shows its user's first events and asks for the ones right after them.

    Attributes:
        users: Number of the user, one a row.
        history_lengths: How many of the user's first events the row shows.
        num_targets: How many of the events after those it asks for.
    """

    users: IntArray
    history_lengths: IntArray
    num_targets: IntArray


def leave_one_out(num_events: IntArray) -> dict[str, SplitRows]:
    """Ask for every user's last item in test and for the second last in validation; train shows what is before both.

    Users with fewer than three events stay whole in train and are asked for nothing.

    >>> rows = leave_one_out(np.array([5, 2]))
    >>> rows["train"].users.tolist(), rows["train"].history_lengths.tolist()
    ([0, 1], [3, 2])
    >>> rows["test"].users.tolist(), rows["test"].history_lengths.tolist(), rows["test"].num_targets.tolist()
    ([0], [4], [1])

    Args:
        num_events: Events of each user, shape (users,).
    """
    users = np.arange(len(num_events))
    asked = users[num_events >= 3]
    one_each = np.ones_like(asked)
    train_lengths = np.where(num_events >= 3, num_events - 2, num_events)
    return {
        "train": SplitRows(users, train_lengths, np.zeros_like(users)),
        "validation": SplitRows(asked, num_events[asked] - 2, one_each),
        "test": SplitRows(asked, num_events[asked] - 1, one_each),
    }


def event_positions(starts: IntArray, lengths: IntArray) -> IntArray:
    """Return the positions of runs of events in the flat list of all events.

    >>> event_positions(np.array([0, 7]), np.array([2, 3])).tolist()
    [0, 1, 7, 8, 9]

    Args:
        starts: First position of each run.
        lengths: Events in each run, may be zero.
    """
    before = np.cumsum(lengths) - lengths
    return np.arange(lengths.sum()) + np.repeat(starts - before, lengths)
