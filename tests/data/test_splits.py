import numpy as np
import pytest

from seqrec.data.splits import event_positions, global_time, leave_one_out


def test_the_shortest_history_that_is_asked_for_something():
    rows = leave_one_out(np.array([3, 2, 1, 4]))
    assert rows["train"].history_lengths.tolist() == [1, 2, 1, 2]
    assert rows["validation"].users.tolist() == [0, 3]
    assert rows["validation"].history_lengths.tolist() == [1, 2]
    assert rows["test"].history_lengths.tolist() == [2, 3]
    assert rows["test"].num_targets.tolist() == [1, 1]
    assert rows["train"].num_targets.tolist() == [0, 0, 0, 0]


def test_positions_of_empty_runs():
    assert event_positions(np.array([4, 2, 9]), np.array([0, 2, 0])).tolist() == [2, 3]
    assert event_positions(np.array([], dtype=int), np.array([], dtype=int)).tolist() == []


def test_two_cuts_in_time_put_all_events_of_one_time_on_one_side():
    times = np.array([1, 2, 5, 9, 2, 5, 5, 8, 9])  # of three users
    rows, cuts = global_time(times, np.array([4, 3, 2]), time_fraction=0.25)  # two of nine events, then two more
    assert cuts == {"validation": 5, "test": 9}
    assert (rows["train"].users.tolist(), rows["train"].history_lengths.tolist()) == ([0, 1], [2, 1])
    assert (rows["validation"].users.tolist(), rows["validation"].history_lengths.tolist()) == ([0, 1, 2], [2, 1, 0])
    assert (rows["test"].users.tolist(), rows["test"].history_lengths.tolist()) == ([0, 2], [3, 1])
    assert rows["test"].num_targets.tolist() == [1, 1]


@pytest.mark.parametrize("times", [[7, 7, 7, 7], [1, 7, 7, 7], [1, 1, 1, 7], [1]])
def test_times_that_leave_a_period_empty_are_refused(times):
    with pytest.raises(ValueError, match=r"time_fraction=0.25 cuts .* which leaves a period empty; expected"):
        global_time(np.array(times), np.array([len(times)]), time_fraction=0.25)


def test_global_time_agrees_with_a_loop_over_users():
    random = np.random.default_rng(0)
    for _ in range(50):
        lengths = random.integers(1, 9, 20)
        histories = [np.sort(random.integers(0, 60, length)) for length in lengths]
        rows, cuts = global_time(np.concatenate(histories), lengths, time_fraction=0.2)
        ends = {"validation": cuts["test"], "test": 60}
        for name, cut in cuts.items():
            expected = {
                user: (times < cut).sum()
                for user, times in enumerate(histories)
                if ((cut <= times) & (times < ends[name])).any()
            }
            found = dict(zip(rows[name].users.tolist(), rows[name].history_lengths.tolist(), strict=True))
            assert found == expected
        assert rows["train"].history_lengths.sum() == (np.concatenate(histories) < cuts["validation"]).sum()
