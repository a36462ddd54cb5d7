"""Splits: which part of each user's history every split shows, and what it asks for."""

from dataclasses import dataclass
from typing import Any

import numpy as np

SPLITS = ("leave_one_out", "global_time", "none")
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


def nothing_held_out(num_events: IntArray) -> dict[str, SplitRows]:
    """Show every event in train and ask for nothing, as for a model that was validated before.

    Args:
        num_events: Events of each user, shape (users,).
    """
    users, nobody = np.arange(len(num_events)), np.zeros(0, dtype=np.int64)
    asked = SplitRows(nobody, nobody, nobody)
    return {"train": SplitRows(users, num_events, np.zeros_like(users)), "validation": asked, "test": asked}


def global_time(
    timestamps: IntArray, num_events: IntArray, time_fraction: float
) -> tuple[dict[str, SplitRows], dict[str, int]]:
    """Cut all histories at two times: what is newest is test, the same share before it validation, the rest train.

    A row of validation or test shows its user's events before the cut and asks for the first one from the cut on; only
    users with an event in that period have one. Who is new there shows nothing. All events of one time are on one
    side of a cut, so that a period may hold a little more than its share.

    >>> rows, cuts = global_time(np.array([1, 2, 7, 8, 3, 9]), np.array([4, 2]), time_fraction=0.3)
    >>> cuts, rows["train"].history_lengths.tolist()
    ({'validation': 3, 'test': 8}, [2])
    >>> rows["test"].users.tolist(), rows["test"].history_lengths.tolist(), rows["test"].num_targets.tolist()
    ([0, 1], [3, 1], [1, 1])

    Args:
        timestamps: Time of each event, shape (events,); each user's events together, oldest first.
        num_events: Events of each user, shape (users,).
        time_fraction: Share of the events, the newest ones, that make the test period, above 0 and below 0.5.

    Returns:
        The rows of each split, and the cuts: the first time of validation and of test.

    Raises:
        ValueError: A period would be empty.
    """
    size = max(1, round(time_fraction * len(timestamps)))
    newest_first = np.sort(timestamps)[::-1]
    cuts = {
        "validation": int(newest_first[min(2 * size, len(timestamps)) - 1]),
        "test": int(newest_first[size - 1]),
    }
    if not newest_first[-1] < cuts["validation"] < cuts["test"]:
        raise ValueError(
            f"time_fraction={time_fraction} cuts {len(timestamps):,} interactions with times from {newest_first[-1]} "
            f"to {newest_first[0]} at {cuts['validation']} and {cuts['test']}, which leaves a period empty; expected "
            "interactions before, between and after the cuts. Choose another time_fraction, or split: leave_one_out."
        )
    users = np.repeat(np.arange(len(num_events)), num_events)
    before = {name: np.bincount(users[timestamps < cut], minlength=len(num_events)) for name, cut in cuts.items()}
    ends = {"validation": before["test"], "test": num_events}
    splits = {"train": _asked_after(before["validation"], before["validation"] > 0, num_targets=0)}
    for name in cuts:
        splits[name] = _asked_after(before[name], ends[name] > before[name], num_targets=1)
    return splits, cuts


def _asked_after(
    history_lengths: IntArray, chosen: np.ndarray[Any, np.dtype[np.bool_]], num_targets: int
) -> SplitRows:
    """Rows of the chosen users."""
    users = np.flatnonzero(chosen)
    return SplitRows(users, history_lengths[users], np.full_like(users, num_targets))


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
