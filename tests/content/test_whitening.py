import numpy as np
import pytest

from seqrec.content import half_whiten


def features_of(vectors, present):
    mean, rotation = half_whiten(vectors, present)
    assert mean.dtype == rotation.dtype == np.float32
    assert rotation.shape == (vectors.shape[1], vectors.shape[1])
    return (vectors - mean) @ rotation


def test_features_are_u_times_the_root_of_s_at_length_one():
    vectors = np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32) @ np.diag([9, 5, 3, 2, 1, 0.5])
    vectors[:, 1] += 7
    features = features_of(vectors, np.ones(200, bool))
    u, s, _ = np.linalg.svd(vectors - vectors.mean(axis=0), full_matrices=False)
    expected = u * np.sqrt(s)
    np.testing.assert_allclose(
        np.abs(features), np.abs(expected / np.sqrt((expected**2).sum(axis=1).mean())), atol=1e-4
    )
    assert (features**2).sum(axis=1).mean() == pytest.approx(1, abs=1e-4)


def test_absent_items_have_no_say():
    vectors = np.random.default_rng(1).normal(size=(50, 4)).astype(np.float32)
    present = np.arange(50) < 40
    alone = half_whiten(vectors[:40], np.ones(40, bool))
    vectors[40:] = 1e6
    for all_items, present_items in zip(half_whiten(vectors, present), alone, strict=True):
        np.testing.assert_array_equal(all_items, present_items)


def test_fewer_items_than_columns():
    vectors = np.random.default_rng(2).normal(size=(5, 32)).astype(np.float32)
    features = features_of(vectors, np.ones(5, bool))
    assert np.abs(features[:, 4:]).max() < 1e-3  # five centred points span four directions
    assert (features**2).sum(axis=1).mean() == pytest.approx(1, abs=1e-3)


def test_a_constant_column_gives_no_feature_of_its_own():
    vectors = np.random.default_rng(3).normal(size=(40, 3)).astype(np.float32)
    vectors[:, 2] = 5
    features = features_of(vectors, np.ones(40, bool))
    assert np.isfinite(features).all()
    assert np.abs(features[:, 2]).max() == 0


@pytest.mark.parametrize("num_present", [0, 1])
def test_nothing_to_tell_apart_gives_zeros(num_present):
    vectors = np.ones((3, 4), np.float32)
    features = features_of(vectors, np.arange(3) < num_present)
    assert (features == 0).all()
