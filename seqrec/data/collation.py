"""Tokenised histories to batches: training windows packed without padding, and padded histories to rank after."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch.utils.data import Dataset

Objective = Literal["cloze", "last_item", "shifted"]
Segment = tuple[np.ndarray, np.ndarray]  # input_ids and labels of one stretch of a history

NOT_ASKED = -100
LAST_ONLY_SHARE = 0.1  # of Cloze windows: masked at the end only, as when ranking (BERT4Rec, arXiv 1904.06690, 3.6)
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
        mask_probability: float = 0.2,
        seed: int = 0,
    ) -> None:
        self.histories = [np.asarray(history, dtype=np.int64) for history in histories]
        self.objective = objective
        self.window = window
        self.mask_token_id = mask_token_id
        self.appends_mask = appends_mask
        self.mask_probability = mask_probability
        self.seed = seed
        self.epoch = 0
        places = np.array([self._num_places(history) for history in self.histories], dtype=np.int64)
        counts = places if objective == "last_item" else -(-places // window)
        self.rows = np.repeat(np.arange(len(counts)), counts)  # the history of each window
        self.numbers = np.arange(len(self.rows)) - np.repeat(counts.cumsum() - counts, counts)  # 0 is the newest

    def set_epoch(self, epoch: int) -> None:
        """Draw the windows and masks of this epoch from now on."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> list[Segment]:
        history = self.histories[self.rows[index]]
        random = np.random.default_rng((self.seed, self.epoch, index))
        if self.objective == "last_item":
            segments = [self._prefix(history, len(history) - 1 - self.numbers[index])]
        else:
            start, end = self._cut(history, int(self.rows[index]), int(self.numbers[index]))
            window = history[start:end]
            segments = [self._hide(window, random)] if self.objective == "cloze" else [(window[:-1], window[1:])]
        if random.random() < EMPTY_HISTORY_SHARE:
            segments.append((np.array([self.mask_token_id]), random.choice(history, 1)))
        return [segment for segment in segments if len(segment[0])]

    def lengths(self) -> np.ndarray:
        """Places of each window at its longest, (len(self),)."""
        places = np.array([self._num_places(history) for history in self.histories])[self.rows]
        if self.objective == "last_item":
            return np.minimum(places - self.numbers + self.appends_mask, self.window)
        return np.clip(places - self.numbers * self.window, 1, self.window)

    def _num_places(self, history: np.ndarray) -> int:
        """Places of a history that can be read: with `cloze` all of them, otherwise those that have a next item."""
        return len(history) if self.objective == "cloze" else max(len(history) - 1, 0)

    def _cut(self, history: np.ndarray, row: int, number: int) -> tuple[int, int]:
        """Bounds of a window; half of the time a long history drops some newest items, so that the cuts move."""
        extra = 0 if self.objective == "cloze" else 1  # the item after the window's last place
        end = self._num_places(history)
        random = np.random.default_rng((self.seed, self.epoch, len(self) + row))
        if end > self.window and random.random() < 0.5:
            end -= int(random.integers(self.window // 2 + 1))
        end -= number * self.window
        return max(end - self.window, 0), max(end, 0) + extra

    def _prefix(self, history: np.ndarray, end: int) -> Segment:
        """The items before place `end`, asked for the item at it."""
        query = [self.mask_token_id] if self.appends_mask else []
        input_ids = np.concatenate([history[max(0, end - self.window + len(query)) : end], query]).astype(np.int64)
        labels = np.full(len(input_ids), NOT_ASKED)
        labels[-1] = history[end]
        return input_ids, labels

    def _hide(self, window: np.ndarray, random: np.random.Generator) -> Segment:
        """Hide places of a window and ask for them; at least one."""
        hidden = random.random(len(window)) < self.mask_probability
        if random.random() < LAST_ONLY_SHARE:
            hidden[:] = False
        if len(window) and not hidden.any():
            hidden[-1] = True
        return np.where(hidden, self.mask_token_id, window), np.where(hidden, window, NOT_ASKED)


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
