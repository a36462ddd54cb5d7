"""Dropout that draws four places with one random number drops as often as it says, each place on its own."""

import math

import pytest
import torch

from seqrec.model.blocks import Dropout


def kept_of(dropout, *shape):
    """Which places are kept, and what they are scaled by."""
    dropped = dropout(torch.ones(shape))
    scales = dropped[dropped != 0].unique()
    assert len(scales) == 1
    return dropped != 0, scales.item()


@pytest.mark.parametrize("p", [0.001, 0.1, 0.5, 0.9, 0.999])
def test_as_many_are_kept_as_chance_says(p):
    count = 400_000
    kept, scale = kept_of(Dropout(p), count)
    deviation = math.sqrt(count * p * (1 - p))
    assert abs(kept.sum().item() - count * (1 - p)) < 5 * deviation + count * 2**-17
    assert scale == pytest.approx(1 / (1 - p), rel=2**-17 / (1 - p))
    for place in range(4):  # of those that share a number
        share = kept[place::4].sum().item() / (count / 4)
        assert share == pytest.approx(1 - p, abs=5 * deviation / count * 2 + 2**-17)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_places_that_share_a_number_are_kept_independently(p):
    kept, _ = kept_of(Dropout(p), 100_000, 4)
    found = torch.bincount((kept * torch.tensor([1, 2, 4, 8])).sum(dim=1), minlength=16)
    for pattern, count in enumerate(found.tolist()):
        ones = bin(pattern).count("1")
        chance = (1 - p) ** ones * p ** (4 - ones)
        assert abs(count - 100_000 * chance) < 5 * math.sqrt(100_000 * chance * (1 - chance)) + 5


@pytest.mark.parametrize("p", [0.1, 0.5, 0.999])
def test_the_mean_is_kept(p):
    hidden = torch.rand(1000, 400) + 1
    spread = math.sqrt(p / (1 - p) * (hidden**2).mean().item() / hidden.numel())
    assert abs(Dropout(p)(hidden).mean().item() - hidden.mean().item()) < 5 * spread


def test_nothing_is_dropped_at_zero_or_in_evaluation():
    hidden = torch.randn(3, 5)
    assert torch.equal(Dropout(0.0)(hidden), hidden)
    assert torch.equal(Dropout(0.5).eval()(hidden), hidden)
    assert not torch.equal(Dropout(0.5)(hidden), hidden)


@pytest.mark.parametrize("p", [1.0, 1 - 2**-18])
def test_everything_is_dropped_at_one_and_nearly_everything_near_it(p):
    hidden = torch.ones(100_000, requires_grad=True)
    dropped = Dropout(p)(hidden)
    dropped.sum().backward()
    assert torch.isfinite(dropped).all() and torch.isfinite(hidden.grad).all()
    assert (dropped != 0).sum() <= (0 if p == 1 else 15)


def test_a_probability_too_small_for_a_draw_changes_nothing():
    hidden = torch.randn(1000)
    assert torch.equal(Dropout(1e-6)(hidden), hidden)


def test_the_same_seed_drops_the_same():
    masks = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        masks.append(kept_of(Dropout(0.5), 50, 7)[0])
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])
    assert not torch.equal(kept_of(Dropout(0.5), 50, 7)[0], kept_of(Dropout(0.5), 50, 7)[0])  # drawn anew each time


def test_the_gradient_is_that_of_what_was_kept():
    hidden = torch.randn(40, 9, requires_grad=True)
    dropped, coming = Dropout(0.3)(hidden), torch.randn(40, 9)
    (dropped * coming).sum().backward()
    kept = dropped != 0
    assert 0 < kept.sum() < kept.numel()
    scale = 2**16 / (2**16 - round(0.3 * 2**16))
    torch.testing.assert_close(hidden.grad, coming * kept * scale)
    torch.testing.assert_close(dropped, hidden * kept * scale)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_the_type_stays(dtype):
    hidden = torch.randn(200, 10).to(dtype)
    dropped = Dropout(0.2)(hidden)
    assert dropped.dtype == dtype
    kept = dropped != 0
    assert 0.7 < kept.float().mean() < 0.9
    torch.testing.assert_close(dropped, (hidden.double() * 1.25 * kept).to(dtype), rtol=1e-2, atol=1e-5)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,), (5,), (3, 7), (2, 3, 5), (1, 1, 4)])
def test_any_shape_can_be_dropped(shape):
    hidden = torch.ones(shape)
    seen = set()
    for _ in range(200):
        dropped = Dropout(0.5)(hidden)
        assert dropped.shape == hidden.shape
        seen.update(dropped.flatten().tolist())
    assert seen == ({0.0, 2.0} if hidden.numel() else set())


def test_a_transposed_input_is_dropped_place_by_place():
    hidden = torch.arange(1.0, 22).view(3, 7).T
    dropped = Dropout(0.5)(hidden)
    kept = dropped != 0
    assert torch.equal(dropped, hidden * kept * 2)
    assert (
        hidden.T.is_contiguous() and (hidden == torch.arange(1.0, 22).view(3, 7).T).all()
    )  # the input is not touched
