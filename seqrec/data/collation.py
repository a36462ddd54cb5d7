"""Tokenised histories to batches: training windows packed without padding, and padded histories to rank after."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

Objective = Literal["cloze", "last_item", "shifted"]
Segment = tuple[np.ndarray, np.ndarray]  # input_ids and labels of one stretch of a history

NOT_ASKED = -100
LAST_ONLY_SHARE = 0.1  # of Cloze windows: masked at the end only, as when ranking (BERT4Rec, arXiv 1904.06690, 3.6)
ROWS_AT_ONCE = 256  # that are ranked in one batch
ATTENTION_AT_ONCE = 2**24  # attention weights a head of one batch, 64 MB
EMPTY_HISTORY_SHARE = 0.05  # of windows: bring along a lone [MASK], so that an empty history has a learned answer


class TrainingWindows(Dataset[list[Segment]]):
    """Windows of the training histories with what each asks for, drawn anew every epoch.

    What an index gives is a function of (seed, epoch, index) alone, so a resumed run sees the same batches.

    Args:
        histories: Token ids of each user, oldest first.
        objective: `shifted` asks every place for the next item, `cloze` hides places and asks for them,
            `last_item` makes every prefix a window that asks for the item after it.
        window: Places of a window, at most.
        mask_token_id: The [MASK].
        appends_mask: Whether the model reads an appended [MASK] (with `last_item`).
        asks_before_mask: Whether a hidden place is asked for at the place before it.
        mask_probability: Share of hidden places (with `cloze`).
        seed: Of masks and cuts.
    """

    def __init__(
        self,
        histories: Sequence[Sequence[int]],
        objective: Objective,
        window: int,
        mask_token_id: int,
        appends_mask: bool,
        asks_before_mask: bool = False,
        mask_probability: float = 0.2,
        seed: int = 0,
    ) -> None:
        self.items = np.concatenate([np.zeros(0, np.int64), *(np.asarray(h, dtype=np.int64) for h in histories)])
        self.sizes = np.array([len(history) for history in histories], dtype=np.int64)
        self.objective = objective
        self.window = window
        self.mask_token_id = mask_token_id
        self.appends_mask = appends_mask
        self.asks_before_mask = asks_before_mask
        self.mask_probability = mask_probability
        self.seed = seed
        self.epoch = 0
        self._drawn: tuple[int, _Drawn] | None = None
        # Places that can be read: with `cloze` all of them, otherwise those that have a next item.
        self.places = self.sizes if objective == "cloze" else np.maximum(self.sizes - 1, 0)
        counts = self.places if objective == "last_item" else -(-self.places // window)
        self.rows = np.repeat(np.arange(len(counts)), counts)  # the history of each window
        self.numbers = np.arange(len(self.rows)) - np.repeat(counts.cumsum() - counts, counts)  # 0 is the newest
        self.firsts = (self.sizes.cumsum() - self.sizes)[self.rows]  # of `items`, where each window's history starts

    def set_epoch(self, epoch: int) -> None:
        """Draw the windows and masks of this epoch from now on."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> list[Segment]:
        if self._drawn is None or self._drawn[0] != self.epoch:
            self._drawn = self.epoch, self._draw()
        drawn = self._drawn[1]
        start, end = drawn.starts[index], drawn.ends[index]
        window = self.items[start:end]
        if self.objective == "last_item":
            segments = [self._prefix(window)]
        elif self.objective == "cloze":
            hidden = drawn.hidden[drawn.offsets[index] : drawn.offsets[index] + end - start]
            asked = np.where(hidden, window, NOT_ASKED)
            if self.asks_before_mask and len(window) > 1:
                asked = np.append(asked[1:], NOT_ASKED)
            segments = [(np.where(hidden, self.mask_token_id, window), asked)]
        else:
            segments = [(window[:-1], window[1:])]
        if drawn.answers[index] != NOT_ASKED:
            segments.append((np.array([self.mask_token_id]), drawn.answers[index : index + 1]))
        return [segment for segment in segments if len(segment[0])]

    def lengths(self) -> np.ndarray:
        """Places of each window at its longest, (len(self),)."""
        places = self.places[self.rows]
        if self.objective == "last_item":
            return np.minimum(places - self.numbers + self.appends_mask, self.window)
        return np.clip(places - self.numbers * self.window, 1, self.window)

    def _draw(self) -> "_Drawn":
        """Draw an epoch: where windows are cut, what they hide, and which bring a lone [MASK] along."""
        random = np.random.default_rng((self.seed, self.epoch))
        answers = self.items[self.firsts + (random.random(len(self)) * self.sizes[self.rows]).astype(np.int64)]
        answers[random.random(len(self)) >= EMPTY_HISTORY_SHARE] = NOT_ASKED
        starts, ends = self._cut(random)
        lengths = ends - starts
        offsets = lengths.cumsum() - lengths
        hidden = self._hide(random, lengths, offsets) if self.objective == "cloze" else np.zeros(0, dtype=bool)
        return _Drawn(self.firsts + starts, self.firsts + ends, answers, offsets, hidden)

    def _cut(self, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Bounds of each window within its history, with the item that its last place asks for.

        Half of the time a long history drops some newest items, so that the cuts move.
        """
        if self.objective == "last_item":
            ends = self.places[self.rows] - self.numbers
            return np.maximum(ends - self.window + self.appends_mask, 0), ends + 1
        dropped = random.integers(self.window // 2 + 1, size=len(self.sizes))
        dropped[(self.places <= self.window) | (random.random(len(self.sizes)) >= 0.5)] = 0
        ends = (self.places - dropped)[self.rows] - self.numbers * self.window
        extra = 0 if self.objective == "cloze" else 1
        return np.maximum(ends - self.window, 0), np.maximum(ends, 0) + extra

    def _hide(self, random: np.random.Generator, lengths: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        """Which places of all windows are hidden and asked for, one window after the other; at least one of each."""
        window = np.repeat(np.arange(len(self)), lengths)
        hidden = random.random(len(window), dtype=np.float32) < self.mask_probability
        hidden &= (random.random(len(self)) >= LAST_ONLY_SHARE)[window]
        if self.asks_before_mask:
            hidden[offsets[lengths > 1]] = False  # nothing stands before the first place
        none = (lengths > 0) & (np.bincount(window[hidden], minlength=len(self)) == 0)
        hidden[(offsets + lengths - 1)[none]] = True
        return hidden

    def _prefix(self, window: np.ndarray) -> Segment:
        """All items but the last, asked for the last."""
        query = [self.mask_token_id] if self.appends_mask else []
        input_ids = np.concatenate([window[:-1], query]).astype(np.int64)
        labels = np.full(len(input_ids), NOT_ASKED)
        labels[-2 if self.asks_before_mask and len(labels) > 1 else -1] = window[-1]
        return input_ids, labels


class _Drawn(NamedTuple):
    """What chance decides in an epoch, for each window."""

    starts: np.ndarray  # (windows,), of the flat items
    ends: np.ndarray
    answers: np.ndarray  # (windows,), the item that a lone [MASK] asks for; NOT_ASKED for most
    offsets: np.ndarray  # (windows,), where each window starts in `hidden`
    hidden: np.ndarray  # (places of all windows,), with cloze


def pack(lengths: Sequence[int], width: int) -> list[list[int]]:
    """Put stretches of these lengths into rows of `width`, longest first, each into the first row it fits.

    >>> pack([2, 5, 3, 1], width=6)
    [[1, 3], [2, 0]]
    """
    rows: list[list[int]] = []
    free: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        row = next((row for row, room in enumerate(free) if room >= lengths[index]), len(rows))
        if row == len(rows):
            rows.append([])
            free.append(width)
        rows[row].append(index)
        free[row] -= lengths[index]
    return rows


def collate_windows(examples: Sequence[Sequence[Segment]], pad_token_id: int = 0) -> dict[str, torch.Tensor]:
    """Pack the segments of many windows into the rows of one batch.

    Returns:
        `input_ids`, `labels` and `attention_mask`, each (rows, width); the mask numbers the segments of a row
        1, 2, ..., which the model keeps apart, and is 0 for padding.
    """
    segments = [segment for example in examples for segment in example]
    lengths = [len(input_ids) for input_ids, _ in segments]
    width = max(lengths, default=1)
    rows = pack(lengths, width) or [[]]
    input_ids = np.full((len(rows), width), pad_token_id, dtype=np.int64)
    labels = np.full_like(input_ids, NOT_ASKED)
    attention_mask = np.zeros_like(input_ids)
    for row, members in enumerate(rows):
        place = 0
        for number, index in enumerate(members, start=1):
            end = place + lengths[index]
            input_ids[row, place:end], labels[row, place:end] = segments[index]
            attention_mask[row, place:end] = number
            place = end
    arrays = {"input_ids": input_ids, "attention_mask": attention_mask, "labels": labels}
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def collate_histories(
    histories: Sequence[Sequence[int]], appended: Sequence[int] = (), pad_token_id: int = 0
) -> dict[str, torch.Tensor]:
    """Pad histories on the left, each followed by `appended` (a bidirectional model's [MASK]).

    Returns:
        `input_ids` and `attention_mask`, each (histories, longest).

    >>> collate_histories([[5], [6, 7]], appended=[2])["input_ids"].tolist()
    [[0, 5, 2], [6, 7, 2]]
    """
    width = max((len(history) for history in histories), default=0) + len(appended)
    input_ids = np.full((len(histories), width), pad_token_id, dtype=np.int64)
    attention_mask = np.zeros_like(input_ids)
    for row, history in enumerate(histories):
        start = width - len(history) - len(appended)
        input_ids[row, start:] = [*history, *appended]
        attention_mask[row, start:] = 1
    return {"input_ids": torch.from_numpy(input_ids), "attention_mask": torch.from_numpy(attention_mask)}


def batches_by_length(
    histories: Sequence[Sequence[int]], window: int, candidates: Sequence[list[int]] | None = None
) -> Iterator[tuple[list[int], torch.Tensor | None]]:
    """Yield rows of similar length that are ranked together, and the candidates (count,) that they share, each once.

    Args:
        histories: Token ids of each row.
        window: Places that the model reads, at most.
        candidates: Token ids to choose from, a list a row; the same list object for all rows that share it.
    """
    groups: dict[int | None, list[int]] = defaultdict(list)  # by the list of candidates itself
    for row in sorted(range(len(histories)), key=lambda row: len(histories[row])):
        groups[None if candidates is None else id(candidates[row])].append(row)
    for rows in groups.values():
        shared = None
        if candidates is not None:
            shared = torch.tensor(list(dict.fromkeys(candidates[rows[0]])), dtype=torch.long)
        while rows:
            longest = min(len(histories[rows[:ROWS_AT_ONCE][-1]]) + 1, window)
            size = max(1, min(ROWS_AT_ONCE, ATTENTION_AT_ONCE // longest**2))
            batch, rows = rows[:size], rows[size:]
            yield batch, shared
