"""Id embeddings that start from co-occurrence: who is near whom, and what keeps its random weights."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import seqrec
from seqrec.building import build_model
from seqrec.content import ContentVectors
from seqrec.data.collation import TrainingWindows
from seqrec.item_content import ItemContent
from seqrec.model import SeqRecConfig, SeqRecForNextItem
from seqrec.settings import parse_settings
from seqrec.starting import cooccurrence_vectors, nearness, start_from_cooccurrence
from seqrec.training_run import build_trainer

GROUPS = list(range(3, 13)), list(range(13, 23))
NEVER_TAKEN = [0, 1, 2, 23, 24, 25]  # the special tokens among them


@pytest.fixture
def make_start():
    """The id embeddings of an untrained model before and after, as a pair."""

    def make(histories, vocab_size=26, seed=0, **shape):
        torch.manual_seed(1)
        small = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "max_position_embeddings": 8}
        model = SeqRecForNextItem(SeqRecConfig(vocab_size=vocab_size, **{**small, **shape}))
        table = model.get_input_embeddings().weight
        before = table.detach().clone()
        start_from_cooccurrence(model, TrainingWindows(histories, "shifted", 8, 2, False), seed)
        return before, table.detach().clone()

    return make


@pytest.fixture
def two_groups():
    random = np.random.default_rng(0)
    return [random.permutation(group)[:6].tolist() for _ in range(40) for group in GROUPS]


@pytest.fixture
def train(toy_settings):
    def train(interactions, items, folder, **settings):
        return seqrec.train(interactions, items, output_dir=folder, **{**toy_settings, **settings})

    return train


def cosines(table):
    vectors = torch.nn.functional.normalize(table, dim=1)
    return vectors @ vectors.T


@pytest.mark.parametrize("hidden_size", [2, 8, 64])
def test_items_that_are_taken_together_start_alike(make_start, two_groups, hidden_size):
    before, after = make_start(two_groups, hidden_size=hidden_size)
    gaps = []
    for table in (before, after):
        found = cosines(table[3:23])
        own = (found[:10, :10].sum() + found[10:, 10:].sum() - 20) / 180  # but of each item with itself
        gaps.append((own - found[:10, 10:].mean()).item())
    assert gaps[0] < 0.1
    assert gaps[1] > 0.15


def test_only_what_is_near_counts():
    near = nearness(np.array([3, 4, 5, 3, 6, 3]), np.array([3, 0, 1, 2]), 8).toarray()
    wanted = np.zeros((8, 8))
    for first, second, distance in ((3, 4, 1), (4, 5, 1), (3, 5, 2), (6, 3, 1)):
        wanted[first, second] = wanted[second, first] = distance**-0.5
    np.testing.assert_allclose(near, wanted)


def test_nearness_ends_at_eight_places_and_an_item_is_not_near_itself():
    near = nearness(np.array([3, *range(10, 17), 4, 5]), np.array([10]), 20).toarray()
    assert near[3, 4] == near[4, 3] == pytest.approx(8**-0.5)
    assert near[3, 5] == 0
    assert not nearness(np.array([3, 3, 3]), np.array([3]), 8).toarray().any()


def test_items_without_neighbours_keep_their_random_weights(make_start, two_groups):
    before, after = make_start([*two_groups, [23], [24, 24]])
    assert torch.equal(after[NEVER_TAKEN], before[NEVER_TAKEN])
    assert (after[3:23] != before[3:23]).any(dim=1).all()


def test_the_vectors_of_items_without_neighbours_are_zero(two_groups):
    items, sizes = np.concatenate(two_groups), np.array([len(history) for history in two_groups])
    vectors = cooccurrence_vectors(items, sizes, 26, 8, seed=0)
    assert vectors.any(axis=1).tolist() == [row not in NEVER_TAKEN for row in range(26)]


@pytest.mark.parametrize("hidden_size", [2, 8])
@pytest.mark.parametrize("initializer_range", [0.02, 0.5])
def test_the_spread_is_that_of_random_weights(make_start, two_groups, hidden_size, initializer_range):
    _, after = make_start(two_groups, hidden_size=hidden_size, initializer_range=initializer_range)
    assert after[3:23].std().item() == pytest.approx(initializer_range, rel=0.02)


def test_fewer_items_than_the_width_leave_random_directions(make_start):
    before, after = make_start([[3, 4, 5], [4, 5, 3], [6, 7, 3]], vocab_size=8, hidden_size=32)
    assert torch.isfinite(after).all()
    changed = (after != before).any(dim=0)
    assert 0 < changed.sum() < 8
    assert torch.equal(after[:, 8:], before[:, 8:])


@pytest.mark.parametrize(
    "histories",
    [[], [[]], [[3]], [[3], [4], [5]], [[3, 3, 3]]],
    ids=["none", "an empty one", "one", "lone", "repeated"],
)
def test_without_any_pair_all_weights_stay_random(make_start, histories):
    assert torch.equal(*make_start(histories))


@pytest.mark.parametrize("histories", [[[3, 4]], [[3, 4], [5, 6]], [list(range(3, 26))], [[3, 4] * 50]])
@pytest.mark.parametrize("hidden_size", [1, 8, 64])
def test_few_pairs_give_finite_weights(make_start, histories, hidden_size):
    before, after = make_start(histories, hidden_size=hidden_size)
    assert torch.isfinite(after).all()
    assert after.abs().max() < 10 * before.abs().max()
    assert (after[histories[0]] != before[histories[0]]).any()


@pytest.mark.parametrize("hidden_size", [2, 8, 16, 64])
@pytest.mark.parametrize("world", ["two groups", "a circle"])
def test_the_same_seed_starts_the_same(make_start, two_groups, hidden_size, world):
    circle = [[3 + (start + step) % 15 for step in range(6)] for start in range(15)]  # its singular values repeat
    histories = two_groups if world == "two groups" else circle
    tables = [make_start(histories, hidden_size=hidden_size, seed=3)[1] for _ in range(5)]
    assert all(torch.equal(table, tables[0]) for table in tables)


def test_other_weights_and_the_random_state_stay(two_groups):
    torch.manual_seed(1)
    model = SeqRecForNextItem(SeqRecConfig(vocab_size=26, hidden_size=8, intermediate_size=8))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    start_from_cooccurrence(model, TrainingWindows(two_groups, "shifted", 8, 2, False))
    changed = [name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])]
    assert changed == ["model.items.ids.weight"]
    assert torch.equal(torch.get_rng_state(), state)
    assert model.get_input_embeddings().weight.requires_grad


@pytest.mark.parametrize("attention", ["causal", "bidirectional"])
def test_a_run_starts_from_cooccurrence(toy_settings, toy_prepared, tmp_path, attention):
    tables = {}
    for id_start in ("random", "cooccurrence"):
        given = {**toy_settings, "attention": attention, "id_start": id_start, "output_dir": str(tmp_path)}
        arguments = parse_settings(given)
        torch.manual_seed(0)
        folder = build_model(arguments, toy_prepared, ItemContent())
        build_trainer(folder, toy_prepared, arguments.training)
        tables[id_start] = folder.model.get_input_embeddings().weight.detach()
    assert torch.equal(tables["random"][:3], tables["cooccurrence"][:3])
    assert (tables["random"][3:] != tables["cooccurrence"][3:]).any(dim=1).all()


def test_the_same_seed_trains_the_same_from_cooccurrence(train, toy_interactions, toy_items, tmp_path):
    weights = {}
    for name, id_start in (("a", "cooccurrence"), ("b", "cooccurrence"), ("c", "random")):
        recommender = train(toy_interactions, toy_items, tmp_path / name, id_start=id_start, num_train_epochs=2)
        assert len(recommender.recommend([["1500"]], k=5)[0]) == 5
        weights[name] = load_file(tmp_path / name / "model" / "model.safetensors")
    assert all(torch.equal(tensor, weights["b"][name]) for name, tensor in weights["a"].items())
    assert not torch.equal(weights["a"]["model.items.ids.weight"], weights["c"]["model.items.ids.weight"])
    log = json.loads((tmp_path / "a" / "logs" / "trainer_state.json").read_text())["log_history"]
    losses = [entry["loss"] for entry in log if "loss" in entry]
    assert losses[-1] < losses[0]


def test_content_stays_as_it_was(toy_settings, toy_prepared, tmp_path):
    arguments = parse_settings({**toy_settings, "id_start": "cooccurrence", "output_dir": str(tmp_path)})
    vectors, present = np.random.default_rng(0).normal(size=(15, 6)).astype(np.float32), np.arange(15) != 4
    text = ContentVectors(vectors * present[:, None], present, {"encoder": "some/encoder", "template": "{title}"})
    folder = build_model(arguments, toy_prepared, ItemContent({"text": text}))
    before = {name: tensor.clone() for name, tensor in folder.model.state_dict().items()}
    trainer = build_trainer(folder, toy_prepared, arguments.training)
    after = folder.model.state_dict()
    assert [name for name in before if not torch.equal(before[name], after[name])] == ["model.items.ids.weight"]
    trainer.train()
    assert torch.equal(
        folder.model.state_dict()["model.items.content.text.features"], before["model.items.content.text.features"]
    )
    assert torch.isfinite(folder.model.encode_items()).all()
    assert all(torch.isfinite(torch.tensor(entry["loss"])) for entry in trainer.state.log_history if "loss" in entry)


def test_another_start_is_refused(train, toy_interactions, toy_items, tmp_path):
    with pytest.raises(ValueError, match="id_start"):
        train(toy_interactions, toy_items, tmp_path, id_start="popularity")
