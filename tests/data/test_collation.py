"""Training windows and batches, tensor by tensor."""

import numpy as np
import pytest

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
