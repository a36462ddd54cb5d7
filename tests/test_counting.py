"""Counted transitions: what the table holds, how it is cut, and what it adds to the scores."""

import json

import numpy as np
import pytest
import torch

import seqrec
from seqrec.counting import count_transitions, transitions, truncated_svd
from seqrec.data import PreparedData
from seqrec.data.collation import TrainingWindows
from seqrec.evaluation import dataset_ranks
from seqrec.metrics.ranking import ndcg_at_k
from seqrec.model import SeqRecConfig, SeqRecForNextItem
from seqrec.run_folder import RunFolder

MASK, FIRST = 2, 3
HISTORIES = [[3, 4, 5, 6], [4, 5, 3], [7, 3, 4], [6, 5, 4, 3, 7]] * 3


@pytest.fixture
def counted():
    """A model with random encoders that has counted, and one that has the same encoders alone."""

    def make(size=9, weight=2.0, **shape):
        torch.manual_seed(0)
        small = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "vocab_size": 9, **shape}
        alone = SeqRecForNextItem(SeqRecConfig(**small)).eval()
        model = SeqRecForNextItem(SeqRecConfig(**small, transition_size=size, transition_weight=weight)).eval()
        model.load_state_dict(alone.state_dict(), strict=False)
        count_transitions(model, TrainingWindows(HISTORIES, "shifted", 8, MASK, False))
        return model, alone

    return make


def table_of_all():
    return transitions(np.concatenate(HISTORIES), np.array([len(h) for h in HISTORIES]), 9).toarray()


def test_a_pair_counts_by_its_distance_and_less_the_other_way_round():
    table = transitions(np.array([0, 1, 2, 0]), np.array([3, 1]), 3).toarray()
    before = np.array([1 + 0.5**0.5, 1 + 0.25, 0.25 * (1 + 0.5**0.5)]) + 1
    after = np.array([0.25 * (1 + 0.5**0.5), 1 + 0.25, 1 + 0.5**0.5]) + 1
    raw = np.array([[0, 1, 0.5**0.5], [0.25, 0, 1], [0.25 * 0.5**0.5, 0.25, 0]])
    np.testing.assert_allclose(table, raw * before[:, None] ** -0.5 * after**-0.2)


def test_a_truncated_decomposition_is_the_best_of_its_rank():
    matrix = transitions(*(np.random.default_rng(0).integers(0, 60, 4000), np.full(400, 10)), 60)
    left, values, right = truncated_svd(matrix, 8, seed=1)
    expected = np.linalg.svd(matrix.toarray(), compute_uv=False)
    np.testing.assert_allclose(values, expected[:8], rtol=1e-3)
    error = np.linalg.norm(matrix.toarray() - left * values @ right.T)
    assert error == pytest.approx(np.linalg.norm(expected[8:]), rel=1e-3)


@pytest.mark.parametrize("shape", [{}, {"attention": "bidirectional"}, {"similarity": "dot", "ensemble_size": 2}])
def test_scores_are_those_of_the_encoders_and_what_is_counted(counted, shape):
    model, alone = counted(**shape)
    mask = [MASK] * model.config.appends_mask
    history = torch.tensor([[0, 1, 4, 6, *mask]])  # padding and an unknown item have no say
    table = table_of_all()
    wanted = torch.tensor(0.7 * table[4] + table[6], dtype=torch.float32)[FIRST:]
    added = (model(history).logits - alone(history).logits)[0, FIRST:]
    torch.testing.assert_close(added / added.norm(), wanted / wanted.norm(), rtol=5e-3, atol=5e-3)
    lone = torch.tensor([[MASK]])  # an empty history is followed by nothing
    torch.testing.assert_close(model(lone).logits, alone(lone).logits)
    labels = torch.tensor([[-100, -100, -100, 5] + [-100] * len(mask)])
    torch.testing.assert_close(model(history, labels=labels).loss, alone(history, labels=labels).loss)


def test_the_best_score_after_a_history_is_one_in_the_mean(counted):
    model, alone = counted(weight=1.0)
    best = [(model(h).logits - alone(h).logits)[0, FIRST:].max() for h in map(lambda h: torch.tensor([h]), HISTORIES)]
    assert float(torch.stack(best).detach().mean()) == pytest.approx(1, rel=1e-2)


def test_the_twenty_newest_items_count(counted):
    model, _ = counted(max_position_embeddings=30)
    read = torch.ones(1, 25)
    old = torch.tensor([[3] * 5 + [4, 5] * 10])
    other = torch.tensor([[7] * 5 + [4, 5] * 10])
    of = [model.transitions.of_histories(history, read, None) for history in (old, other)]
    torch.testing.assert_close(*of)
    other[0, 5] = 7
    assert not torch.equal(of[0], model.transitions.of_histories(other, read, None))


def test_a_resumed_refit_takes_the_weight_that_was_chosen(toy_settings, toy_interactions, toy_items, tmp_path):
    settings = {**toy_settings, "transition_size": 4, "num_train_epochs": 2}
    seqrec.train(toy_interactions, toy_items, output_dir=tmp_path, refit=True, **settings)
    config = tmp_path / "validated" / "model" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"transition_weight": 0.25}))
    RunFolder(tmp_path).forget()  # as if the second run had been killed before its first checkpoint
    settings |= {"resume_from_checkpoint": "last"}
    again = seqrec.train(toy_interactions, toy_items, output_dir=tmp_path, refit=True, **settings)
    assert again.model.config.transition_weight == 0.25


def test_new_items_without_neighbours_have_vectors_as_wide_as_histories(
    toy_settings, toy_interactions, toy_items, tmp_path
):
    settings = {**toy_settings, "transition_size": 4, "num_train_epochs": 1, "attributes": ["genres"]}
    recommender = seqrec.train(toy_interactions, toy_items, output_dir=tmp_path, **settings)
    vectors = recommender.encode_items([{"item_id": "new", "genres": "Horror"}])
    assert vectors.shape[1] == recommender.encode_history([["1500"]]).shape[1]


def test_training_weighs_by_validation(toy_settings, toy_interactions, toy_items, tmp_path):
    settings = {**toy_settings, "transition_size": 4, "num_train_epochs": 2, "refit": True}
    recommender = seqrec.train(toy_interactions, toy_items, output_dir=tmp_path, **settings)
    validated = seqrec.Recommender.from_pretrained(tmp_path / "validated" / "model")
    weight = validated.model.config.transition_weight
    assert recommender.model.config.transition_weight == weight
    validation = PreparedData.load(tmp_path / "validated" / "data").dataset["validation"]

    def ndcg(weight):
        validated.model.config.transition_weight = weight
        return ndcg_at_k(dataset_ranks(validated, validation), 10).mean()

    assert ndcg(weight) == max(map(ndcg, (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)))
    metrics = json.loads((tmp_path / "validated" / "model" / "metrics.json").read_text())
    assert metrics["validation"]["exclude_seen"]["ndcg@10"] == pytest.approx(ndcg(weight))
