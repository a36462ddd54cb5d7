"""The seed network learns what stands together, and disturbs nobody's random numbers."""

import numpy as np
import torch
from datasets import Dataset

from seqrec.baselines import SeedNetwork
from seqrec.baselines import seed_network as seed_network_module

ITEMS = Dataset.from_dict({"item_id": list("abcdef")})
TRAIN = Dataset.from_dict({"history": [["a", "b", "c"], ["b", "a", "b"], ["d", "e"], ["e", "d"], []]})


def test_the_layers_are_those_of_the_first_network():
    shapes = [tuple(weights.shape) for weights in SeedNetwork(TRAIN, ITEMS, num_epochs=1)._network.parameters()]
    assert shapes == [(64, 6), (64,), (128, 64), (128,), (6, 128), (6,)]


def test_it_gives_back_what_it_was_taught_whatever_the_order_and_repeats():
    network = SeedNetwork(TRAIN, ITEMS, num_epochs=150)
    scores = network.score([["c", "b", "a", "a"], ["e", "d"]])
    np.testing.assert_allclose(scores, [[1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 0]], atol=0.1)


def test_a_history_never_seen_gets_what_stands_with_its_items():
    results = SeedNetwork(TRAIN, ITEMS, num_epochs=150).recommend([["a"], ["e", "unheard-of"]], k=1)
    assert [[item["item_id"] for item in result] for result in results] == [["b"], ["d"]]


def test_the_seed_decides_and_nothing_else():
    torch.manual_seed(5)
    first = SeedNetwork(TRAIN, ITEMS, num_epochs=2, seed=1).score([["a"]])
    torch.manual_seed(6)
    state = torch.random.get_rng_state()
    again, other = (SeedNetwork(TRAIN, ITEMS, num_epochs=2, seed=seed).score([["a"]]) for seed in (1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert torch.equal(state, torch.random.get_rng_state())


def test_the_random_numbers_of_a_gpu_stay_too(monkeypatch):
    seeded = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    SeedNetwork(TRAIN, ITEMS, num_epochs=1)
    assert not seeded


def test_never_more_than_a_batch_is_dense(monkeypatch):
    sizes = []
    dense = seed_network_module._dense
    monkeypatch.setattr(seed_network_module, "_dense", lambda matrix: sizes.append(matrix.shape[0]) or dense(matrix))
    SeedNetwork(TRAIN, ITEMS, num_epochs=2, batch_size=3)
    assert sizes == [3, 1, 3, 1]  # four histories that are not empty
