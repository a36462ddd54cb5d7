"""The chunked softmax is the plain one; a sample of the catalogue stands for all of it."""

import math

import pytest
import torch

from seqrec.model.losses import Sampling, sample_candidates, softmax_cross_entropy


@pytest.mark.parametrize("chunk_size", [1, 4, 7, 100])
def test_chunks_give_the_plain_loss_and_gradients(chunk_size):
    torch.manual_seed(1)
    labels = torch.randint(50, (10,))
    results = []
    for size in (0, chunk_size):
        torch.manual_seed(2)
        states, items = torch.randn(10, 8, requires_grad=True), torch.randn(50, 8, requires_grad=True)
        loss = softmax_cross_entropy(states, items, labels, chunk_size=size)
        (loss * 0.7).backward()
        results.append((loss, states.grad, items.grad))
    for plain, chunked in zip(*results, strict=True):
        torch.testing.assert_close(chunked, plain)


def test_bfloat16_products_stay_near():
    torch.manual_seed(1)
    states, items, labels = torch.randn(64, 16), torch.randn(200, 16), torch.randint(0, 200, (64,))
    exact = softmax_cross_entropy(states, items, labels)
    near = softmax_cross_entropy(states, items, labels, dtype=torch.bfloat16)
    assert near.dtype == torch.float32
    torch.testing.assert_close(near, exact, rtol=2e-3, atol=0)


def test_huge_logits_do_not_overflow():
    states, items = torch.full((1, 2), 1e3), torch.tensor([[1e3, 1e3], [-1e3, 0.0]])
    assert softmax_cross_entropy(states, items, torch.tensor([0])) == 0


def reference(states, items, labels, log_inclusion=None):
    """The formula, position by position, in float64: loss and both gradients."""
    states, items = (tensor.detach().double().requires_grad_() for tensor in (states, items))
    total = torch.zeros((), dtype=torch.float64)
    for state, label in zip(states, labels, strict=True):
        logits = items @ state
        if log_inclusion is not None:
            others = torch.arange(len(items)) != label
            logits = logits - log_inclusion.double() * others
        total = total + logits.logsumexp(0) - logits[label]
    total.backward()
    return total, states.grad, items.grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("chunk_size", [1, 3, 128])
@pytest.mark.parametrize(("positions", "num_items"), [(1, 1), (1, 9), (7, 1), (8, 40), (4, 2)])
@pytest.mark.parametrize("sampled", [False, True])
def test_values_and_gradients_are_those_of_the_formula(dtype, chunk_size, positions, num_items, sampled):
    torch.manual_seed(positions * num_items)
    states, items = torch.randn(positions, 8, requires_grad=True), torch.randn(num_items, 8, requires_grad=True)
    labels = torch.randint(num_items, (positions,))
    log_inclusion = torch.rand(num_items).clamp(min=0.05).log() if sampled else None
    loss = softmax_cross_entropy(states, items, labels, chunk_size, dtype, log_inclusion)
    loss.backward()
    close = {"rtol": 1e-5, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 3e-2, "atol": 3e-2}
    for found, expected in zip(
        (loss, states.grad, items.grad), reference(states, items, labels, log_inclusion), strict=True
    ):
        torch.testing.assert_close(found.double(), expected, **close)


@pytest.mark.parametrize("chunk_size", [0, 4])
def test_nothing_asked_is_no_loss_and_no_gradient(chunk_size):
    states, items = torch.randn(0, 8, requires_grad=True), torch.randn(5, 8, requires_grad=True)
    loss = softmax_cross_entropy(states, items, torch.empty(0, dtype=torch.long), chunk_size)
    loss.backward()
    assert loss == 0
    assert (items.grad == 0).all()


def test_equal_items_share_the_probability():
    states, items = torch.ones(3, 4), torch.ones(6, 4)
    loss = softmax_cross_entropy(states, items, torch.tensor([0, 1, 5]), chunk_size=2)
    assert loss.item() == pytest.approx(3 * math.log(6))


def sampled_loss(states, items, labels, num_samples, frequencies):
    candidates, log_inclusion, places = sample_candidates(labels, Sampling(num_samples, frequencies), 3)
    return softmax_cross_entropy(states, items[candidates - 3], places, log_inclusion=log_inclusion)


def test_a_sample_of_everything_is_exact():
    torch.manual_seed(1)
    states, items, labels = torch.randn(20, 8), torch.randn(60, 8), torch.randint(3, 63, (20,))
    exact = softmax_cross_entropy(states, items, labels - 3)
    for more in (60, 1000):
        torch.testing.assert_close(sampled_loss(states, items, labels, more, torch.full((60,), 1 / 60)), exact)


def test_the_sampled_loss_nears_the_exact_one_as_samples_grow():
    torch.manual_seed(1)
    frequencies = torch.rand(400) ** 3
    frequencies /= frequencies.sum()
    states, items = torch.randn(64, 8) / 2, torch.randn(400, 8)
    gaps = {}
    for num_samples in (20, 80, 320):
        found = []
        for _ in range(100):
            labels = torch.multinomial(frequencies, 64, replacement=True)
            exact = softmax_cross_entropy(states, items, labels)
            found.append((sampled_loss(states, items, labels + 3, num_samples, frequencies) - exact) / exact)
        gaps[num_samples] = torch.stack(found).mean().abs().item()
    assert gaps[20] > gaps[80] > gaps[320]
    assert gaps[20] < 0.03 and gaps[320] < 0.002


def test_popular_targets_of_others_are_not_punished():
    """Without the correction, an item that is a target in every batch would look more likely than it is."""
    frequencies = torch.tensor([0.9, *[0.1 / 99] * 99])
    labels = torch.tensor([3, 3, 50, 51])
    candidates, log_inclusion, places = sample_candidates(labels, Sampling(10, frequencies), 3)
    assert candidates[places].tolist() == labels.tolist()
    by_item = dict(zip(candidates.tolist(), log_inclusion.exp().tolist(), strict=True))
    assert by_item[3] == pytest.approx(1 - 0.9 * 0.1**3)
    assert by_item[50] == pytest.approx(1 - 0.9 * (1 - 0.1 / 99) ** 3, rel=1e-4)
