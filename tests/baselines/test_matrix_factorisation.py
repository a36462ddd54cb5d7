"""Matrix factorisation against its formula, and what `implicit` must not do to its users."""

import warnings

import numpy as np
import threadpoolctl
from datasets import Dataset

from seqrec.baselines import MatrixFactorisation

ITEMS = Dataset.from_dict({"item_id": list("abcdef")})
# two tastes, a b c and d e, and an item that nobody took
TRAIN = Dataset.from_dict({"history": [["a", "b", "c"], ["b", "a", "b"], ["c", "b"], ["d", "e"], ["e", "d"], []]})


def factorise(**settings):
    return MatrixFactorisation(TRAIN, ITEMS, **{"num_factors": 2, "regularization": 0.1, "alpha": 3.0, **settings})


def test_a_history_never_seen_gets_its_taste():
    results = factorise().recommend([["a", "c"], ["e"]], k=1)
    assert [[item["item_id"] for item in result] for result in results] == [["b"], ["d"]]


def test_the_factors_of_a_history_solve_the_weighted_least_squares():
    """Hu, Koren & Volinsky 2008, equation 4: x = (Y'CY + r I)^-1 Y'C p, with C = alpha where taken and else 1."""
    model = factorise()
    factors = model._model.item_factors.astype(np.float64)
    taken = np.array([1, 0, 1, 0, 0, 0])
    confidence = np.diag(np.where(taken, 3.0, 1.0))
    gram = factors.T @ confidence @ factors + 0.1 * np.eye(2)
    expected = factors @ np.linalg.solve(gram, factors.T @ confidence @ taken)
    np.testing.assert_allclose(model.score([["c", "a", "c"]])[0], expected, atol=1e-5)


def test_an_item_that_nobody_took_scores_nothing_and_leads_nowhere():
    model = factorise()
    assert model.score([["a", "b"]])[0, 5] == 0
    np.testing.assert_array_equal(model.score([["f"]]), model.score([[]]))


def test_another_seed_starts_elsewhere():
    assert not np.array_equal(factorise(seed=1).score([["a"]]), factorise(seed=2).score([["a"]]))


def test_nothing_is_printed_or_warned_of_and_the_threads_come_back(capfd):
    with threadpoolctl.threadpool_limits(2, "blas"), warnings.catch_warnings():
        warnings.simplefilter("error")
        before = threadpoolctl.threadpool_info()
        factorise().score([["a"], []])
        assert threadpoolctl.threadpool_info() == before
    assert capfd.readouterr() == ("", "")
