"""All users' histories in one flat table, and the rows that a split cuts out of it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from seqrec.data.cleaning import in_order, number_ids
from seqrec.data.splits import IntArray, SplitRows, event_positions

MAX_STRING_BYTES = 2**31 - 1  # of one Arrow array with 32-bit offsets


@dataclass(frozen=True)
class Histories:
    """Every user's events, oldest first, one user after the other.

    Attributes:
        user_ids: External id of each user, shape (users,).
        starts: Where each user's events begin, shape (users,).
        lengths: Events of each user, shape (users,).
        items: Item number of each event, shape (events,).
        item_ids: External id of each item number.
        timestamps: Time of each event, shape (events,), or None where the source has no times.
    """

    user_ids: pa.Array
    starts: IntArray
    lengths: IntArray
    items: IntArray
    item_ids: pa.Array
    timestamps: IntArray | None

    @classmethod
    def from_sorted(cls, events: pa.Table, user_ids: pa.Array, item_ids: pa.Array) -> "Histories":
        """Cut interactions that are sorted by user and time into histories.

        Args:
            events: `user`, `item` (numbers) and, where given, `timestamp`.
            user_ids: External id of each user number.
            item_ids: External id of each item number.
        """
        users = events["user"].to_numpy()
        starts = np.flatnonzero(np.diff(users, prepend=-1))
        return cls(
            user_ids=user_ids.take(pa.array(users[starts])),
            starts=starts,
            lengths=np.diff(starts, append=len(users)),
            items=events["item"].to_numpy(),
            item_ids=item_ids,
            timestamps=events["timestamp"].to_numpy() if "timestamp" in events.column_names else None,
        )

    def rows(self, split: SplitRows) -> pa.Table:
        """Return a split's rows: `user_id`, `history`, `targets` and, where given, `timestamps`."""
        starts = self.starts[split.users]
        shown = event_positions(starts, split.history_lengths)
        asked = event_positions(starts + split.history_lengths, split.num_targets)
        columns = {
            "user_id": self.user_ids.take(pa.array(split.users)),
            "history": _lists(self._external(shown), split.history_lengths),
            "targets": _lists(self._external(asked), split.num_targets),
        }
        if self.timestamps is not None:
            columns["timestamps"] = _lists(pa.array(self.timestamps[shown]), split.history_lengths)
        return pa.table(columns)

    def item_counts(self) -> IntArray:
        """Return how often each item number is in the histories, shape (items,)."""
        return np.bincount(self.items, minlength=len(self.item_ids))

    def shown_in(self, split: SplitRows, without: np.ndarray[Any, np.dtype[np.bool_]] | None = None) -> "Histories":
        """Return the histories that a split shows, as if there were no others.

        Args:
            split: Which users, and how much of each.
            without: Item numbers whose events are left out, shape (items,); users who have no others go, too.
        """
        shown = event_positions(self.starts[split.users], split.history_lengths)
        users = np.repeat(split.users, split.history_lengths)
        if without is not None:
            kept = ~without[self.items[shown]]
            shown, users = shown[kept], users[kept]
        starts = np.flatnonzero(np.diff(users, prepend=-1))
        return Histories(
            user_ids=self.user_ids.take(pa.array(users[starts])),
            starts=starts,
            lengths=np.diff(starts, append=len(users)),
            items=self.items[shown],
            item_ids=self.item_ids,
            timestamps=None if self.timestamps is None else self.timestamps[shown],
        )

    def whole(self) -> pa.Table:
        """Return every history whole, as `rows` does, with nothing that is asked for."""
        users = np.arange(len(self.lengths))
        return self.rows(SplitRows(users, self.lengths, np.zeros_like(users)))

    def _external(self, positions: IntArray) -> pa.Array:
        """Ids of events; in the type for long text where they are more than the usual one can address."""
        items, ids = self.items[positions], self.item_ids
        if pc.binary_length(ids).to_numpy()[items].sum(dtype=np.int64) > MAX_STRING_BYTES:
            ids = ids.cast(pa.large_string())
        return ids.take(pa.array(items))


def histories_of(interactions: pa.Table) -> pa.Table:
    """Return every user's whole history, oldest first: `user_id`, `history` and, where given, `timestamps`.

    Users stand in the order in which they appear; nothing is filtered.

    Args:
        interactions: Canonical columns, as `load_interactions` returns them.
    """
    numbered, user_ids, item_ids = number_ids(interactions)
    return Histories.from_sorted(in_order(numbered), user_ids, item_ids).whole().drop_columns("targets")


def _lists(values: pa.Array, lengths: IntArray) -> pa.Array:
    """A list column out of flat values and the length of each list."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values)
