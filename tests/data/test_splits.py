import numpy as np

from seqrec.data.splits import event_positions, leave_one_out


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
