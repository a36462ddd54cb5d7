"""Training windows and batches, tensor by tensor."""

import pickle

import numpy as np
import pytest
import torch

from seqrec.data.collation import NOT_ASKED, TrainingWindows, collate_histories, collate_windows, pack

MASK = 2


def windows(histories, objective="shifted", window=4, appends_mask=False, **settings):
    return TrainingWindows(histories, objective, window, MASK, appends_mask, **settings)


def asked(segment):
    """What each place of a segment asks for."""
    return [(int(token), int(label)) for token, label in zip(*segment, strict=True)]


def test_shifted_windows_ask_every_place_for_the_next_item():
    data = windows([[10, 11, 12]])
    assert len(data) == 1
    assert asked(data[0][0]) == [(10, 11), (11, 12)]


def test_windows_cover_a_long_history_newest_first():
    data = windows([list(range(10, 20))])
    pairs = [asked(data[index][0]) for index in range(len(data))]
    while data.epoch < 100 and pairs[0][-1] != (18, 19):  # an epoch that drops no newest items
        data.set_epoch(data.epoch + 1)
        pairs = [asked(data[index][0]) for index in range(len(data))]
    assert pairs == [
        [(15, 16), (16, 17), (17, 18), (18, 19)],
        [(11, 12), (12, 13), (13, 14), (14, 15)],
        [(10, 11)],
    ]


def test_cuts_of_a_long_history_move_between_epochs():
    data = windows([list(range(10, 30))])
    newest = set()
    for epoch in range(30):
        data.set_epoch(epoch)
        newest.add(asked(data[0][0])[-1][1])
    assert newest == {27, 28, 29}  # at most half a window is dropped


def test_cloze_hides_and_asks_for_the_same_places():
    data = windows([list(range(10, 14))] * 200, "cloze", mask_probability=0.3)
    hidden = 0
    for index in range(len(data)):
        input_ids, labels = data[index][0]
        places = input_ids == MASK
        assert places.any()
        assert np.where(places, labels, input_ids).tolist() == [10, 11, 12, 13]
        assert (labels[~places] == NOT_ASKED).all()
        hidden += places.sum()
    assert 0.25 < hidden / 800 < 0.45


def test_last_item_makes_every_prefix_a_window():
    data = windows([[10, 11, 12, 13, 14, 15], [20, 21]], "last_item")
    assert [asked(data[index][0]) for index in range(len(data))] == [
        [(11, NOT_ASKED), (12, NOT_ASKED), (13, NOT_ASKED), (14, 15)],
        [(10, NOT_ASKED), (11, NOT_ASKED), (12, NOT_ASKED), (13, 14)],
        [(10, NOT_ASKED), (11, NOT_ASKED), (12, 13)],
        [(10, NOT_ASKED), (11, 12)],
        [(10, 11)],
        [(20, 21)],
    ]


def test_last_item_with_an_appended_mask_asks_the_mask():
    data = windows([[10, 11, 12, 13, 14]], "last_item", appends_mask=True)
    assert asked(data[0][0]) == [(11, NOT_ASKED), (12, NOT_ASKED), (13, NOT_ASKED), (MASK, 14)]


def test_a_hidden_place_can_be_asked_for_at_the_place_before_it():
    histories = [list(range(10, 10 + length)) for length in (1, 2, 3, 50)] * 100
    data = windows(histories, "cloze", window=50, mask_probability=0.3, asks_before_mask=True)
    for index, history in enumerate(histories):
        tokens, labels = data[index][0]
        asking = np.flatnonzero(labels != NOT_ASKED)
        if len(history) == 1:
            assert (tokens.tolist(), labels.tolist()) == ([MASK], [10])  # a lone [MASK] answers itself
            continue
        assert len(asking) and tokens[0] != MASK
        assert labels[asking].tolist() == [history[place + 1] for place in asking]
        assert (np.flatnonzero(tokens == MASK) == asking + 1).all()
    prefix = windows([[10, 11, 12]], "last_item", appends_mask=True, asks_before_mask=True)[0][0]
    assert asked(prefix) == [(10, NOT_ASKED), (11, 12), (MASK, NOT_ASKED)]


@pytest.mark.parametrize("objective", ["shifted", "cloze", "last_item"])
def test_lengths_bound_what_the_windows_hold(objective):
    data = windows([[10], [10, 11], list(range(10, 35))], objective, appends_mask=True)
    lengths = data.lengths()
    assert len(lengths) == len(data)
    for epoch in range(20):
        data.set_epoch(epoch)
        for index, length in enumerate(lengths):
            segments = [segment for segment in data[index] if segment[0].tolist() != [MASK]]
            assert all(len(input_ids) <= length for input_ids, _ in segments)


@pytest.mark.parametrize("objective", ["shifted", "cloze", "last_item"])
def test_a_window_is_a_function_of_seed_epoch_and_index(objective):
    histories = [list(range(10, 40))] * 3
    first, second = windows(histories, objective, seed=5), windows(histories, objective, seed=5)
    other = windows(histories, objective, seed=6)
    for data in (first, second, other):
        data.set_epoch(3)
    second[0], second[5]  # what was read before does not matter
    as_lists = [[[asked(s) for s in data[index]] for index in range(len(data))] for data in (first, second, other)]
    assert as_lists[0] == as_lists[1]
    if objective == "cloze":
        assert as_lists[0] != as_lists[2]


def test_an_empty_history_is_asked_now_and_then():
    data = windows([[10, 11, 12]] * 1000)
    lone = [asked(data[index][1]) for index in range(len(data)) if len(data[index]) == 2]
    assert 20 < len(lone) < 100
    assert {token for ((token, _),) in lone} == {MASK}
    assert {label for ((_, label),) in lone} == {10, 11, 12}


def test_histories_too_short_to_learn_from_give_no_window():
    assert len(windows([[], [10]])) == 0
    assert len(windows([[], [10]], "cloze")) == 1


def test_packing_keeps_every_stretch_whole():
    lengths = [3, 5, 2, 2, 4, 1, 5]
    rows = pack(lengths, 5)
    assert sorted(index for row in rows for index in row) == list(range(7))
    assert all(sum(lengths[index] for index in row) <= 5 for row in rows)
    assert len(rows) == 5  # 22 places in rows of 5


def test_a_packed_batch_numbers_its_histories():
    examples = [[(np.array([10, 11]), np.array([11, 12]))], [(np.array([20, 21, 22, 23]), np.array([21, 22, 23, 24]))]]
    examples.append([(np.array([30]), np.array([31])), (np.array([MASK]), np.array([40]))])
    batch = collate_windows(examples)
    assert batch["input_ids"].tolist() == [[20, 21, 22, 23], [10, 11, 30, MASK]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 2, 3]]
    assert batch["labels"].tolist() == [[21, 22, 23, 24], [11, 12, 31, 40]]


def test_a_batch_without_any_window_is_padding():
    batch = collate_windows([[], []])
    assert batch["input_ids"].tolist() == [[0]]
    assert batch["labels"].tolist() == [[NOT_ASKED]]


def test_histories_are_padded_on_the_left():
    batch = collate_histories([[5, 6], [], [7]], appended=[MASK])
    assert batch["input_ids"].tolist() == [[5, 6, MASK], [0, 0, MASK], [0, 7, MASK]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [0, 0, 1], [0, 1, 1]]
    assert collate_histories([[]])["input_ids"].shape == (1, 0)


LONG = [list(range(10, 10 + size)) for size in (1, 2, 3, 5, 9, 17, 40, 41, 4, 8)]


def drawn(data, epoch=0, order=None):
    """All windows of an epoch by index, read in this order."""
    data.set_epoch(epoch)
    order = range(len(data)) if order is None else order
    found = {int(index): [asked(segment) for segment in data[index]] for index in order}
    return [found[index] for index in range(len(data))]


@pytest.mark.parametrize("objective", ["shifted", "cloze", "last_item"])
def test_the_order_of_reading_and_earlier_epochs_do_not_matter(objective):
    plain = {epoch: drawn(windows(LONG, objective, seed=5), epoch) for epoch in (0, 3)}
    data = windows(LONG, objective, seed=5)
    shuffled = np.random.default_rng(0).permutation(len(data))
    assert drawn(data, 3, shuffled) == plain[3]
    assert drawn(data, 0, shuffled[::-1]) == plain[0]
    assert drawn(data, 3) == plain[3]
    data.set_epoch(0)
    data[1]
    data.set_epoch(3)  # in the middle of an epoch
    assert [asked(segment) for segment in data[1]] == plain[3][1]


@pytest.mark.parametrize("objective", ["shifted", "cloze", "last_item"])
def test_epochs_and_seeds_draw_differently(objective):
    histories = [list(range(10, 30 + size)) for size in range(20)]
    epochs = [drawn(windows(histories, objective, seed=5), epoch) for epoch in range(4)]
    seeds = [drawn(windows(histories, objective, seed=seed), 0) for seed in range(6, 9)]
    all_drawn = epochs + seeds
    for number, first in enumerate(all_drawn):
        assert all(first != other for other in all_drawn[number + 1 :])
    own = [[window[:1] for window in epoch] for epoch in epochs]  # without the lone [MASK]
    assert (own[0] == own[1]) == (objective == "last_item")  # whose windows are always the same


def test_shifted_asks_for_every_interaction_once_an_epoch_but_dropped_ones():
    data = windows(LONG)
    full = 0
    for epoch in range(20):
        data.set_epoch(epoch)
        for row, history in enumerate(LONG):
            own = [data[index] for index in np.flatnonzero(data.rows == row)]
            segments = [s for window in own for s in window if s[0].tolist() != [MASK]]
            pairs = sorted(pair for segment in segments for pair in asked(segment))
            dropped = len(history) - 1 - len(pairs)
            assert pairs == list(zip(history, history[1:], strict=False))[: len(pairs)]
            assert 0 <= dropped <= (2 if len(history) > 5 else 0)
            full += dropped == 0 and len(history) > 5
    assert 60 <= full <= 110  # of 100: half of the time nothing is dropped, and of the other half every third time


def test_cloze_reads_every_interaction_once_an_epoch_but_dropped_ones():
    histories = [list(range(10, 50)), list(range(60, 98)), list(range(100, 108))]
    data = windows(histories, "cloze", window=8, mask_probability=0.5)
    dropped = [set() for _ in histories]
    for epoch in range(40):
        data.set_epoch(epoch)
        for row, history in enumerate(histories):
            oldest_first = [data[index][0] for index in np.flatnonzero(data.rows == row)[::-1]]
            read = [token for ids, labels in oldest_first for token in np.where(ids == MASK, labels, ids).tolist()]
            assert read == history[: len(read)]
            dropped[row].add(len(history) - len(read))
    assert dropped == [{0, 1, 2, 3, 4}, {0, 1, 2, 3, 4}, {0}]


@pytest.mark.parametrize("mask_probability", [0.01, 0.2, 0.6, 0.99])
def test_cloze_hides_its_share_and_never_nothing(mask_probability):
    window = 50
    data = windows([list(range(10, 60))] * 2000, "cloze", window=window, mask_probability=mask_probability)
    counts = np.array([(data[index][0][1] != NOT_ASKED).sum() for index in range(len(data))])
    last_only = [data[index][0][1][-1] != NOT_ASKED for index in np.flatnonzero(counts == 1)]
    assert counts.min() >= 1
    expected = 0.9 * (window * mask_probability + (1 - mask_probability) ** window) + 0.1
    assert counts.mean() == pytest.approx(expected, rel=0.05)
    if mask_probability >= 0.2:  # one hidden place is always the last
        assert 0.07 < len(last_only) / len(data) < 0.13
        assert np.mean(last_only) > 0.95


def test_cloze_hides_each_place_alike():
    data = windows([list(range(10, 18))] * 20_000, "cloze", window=8, mask_probability=0.5)
    hidden = np.array([data[index][0][1] != NOT_ASKED for index in range(len(data))]).mean(axis=0)
    assert hidden[:-1] == pytest.approx(np.full(7, 0.45), abs=0.02)  # a tenth hides the last alone
    assert hidden[-1] == pytest.approx(0.45 + 0.1 + 0.9 * 0.5**8, abs=0.02)


@pytest.mark.parametrize("appends_mask", [False, True])
@pytest.mark.parametrize("window", [1, 2, 4, 50])
def test_last_item_windows_are_the_prefixes(window, appends_mask):
    data = windows(LONG, "last_item", window=window, appends_mask=appends_mask)
    wanted = []
    for history in LONG:
        for end in range(len(history) - 1, 0, -1):
            read = (history[:end] + [MASK] * appends_mask)[-window:]
            wanted.append([*[(token, NOT_ASKED) for token in read[:-1]], (read[-1], history[end])])
    for epoch in (0, 7):
        data.set_epoch(epoch)
        assert [asked(data[index][0]) for index in range(len(data))] == wanted


@pytest.mark.parametrize("objective", ["shifted", "cloze", "last_item"])
def test_workers_of_a_data_loader_read_the_same(objective):
    data = windows(LONG, objective, seed=5)
    for epoch in (0, 2):
        expected = drawn(windows(LONG, objective, seed=5), epoch)
        data.set_epoch(epoch)
        if epoch == 0:
            data[0]  # has drawn before the workers start
        loader = torch.utils.data.DataLoader(
            data, batch_size=3, num_workers=2, collate_fn=list, multiprocessing_context="fork"
        )
        assert [[asked(segment) for segment in window] for batch in loader for window in batch] == expected


@pytest.mark.parametrize("has_drawn", [True, False])
def test_a_pickled_data_set_reads_the_same(has_drawn):
    data = windows(LONG, "cloze", seed=5)
    data.set_epoch(2)
    if has_drawn:
        data[0]
    copy = pickle.loads(pickle.dumps(data))
    assert drawn(copy, 2) == drawn(data, 2) == drawn(windows(LONG, "cloze", seed=5), 2)
    assert drawn(copy, 3) == drawn(data, 3)
