"""The chunked softmax is the plain one."""

import pytest
import torch

from seqrec.model.losses import catalogue_cross_entropy


@pytest.mark.parametrize("chunk_size", [1, 4, 7, 100])
def test_chunks_give_the_plain_loss_and_gradients(chunk_size):
    torch.manual_seed(1)
    labels = torch.randint(3, 50, (10,))
    results = []
    for size in (0, chunk_size):
        torch.manual_seed(2)
        states, items = torch.randn(10, 8, requires_grad=True), torch.randn(50, 8, requires_grad=True)
        loss = catalogue_cross_entropy(states, items, labels, first_item=3, chunk_size=size)
        (loss * 0.7).backward()
        results.append((loss, states.grad, items.grad))
    for plain, chunked in zip(*results, strict=True):
        torch.testing.assert_close(chunked, plain)


def test_special_tokens_are_no_candidates():
    states, items = torch.randn(4, 8), torch.randn(50, 8, requires_grad=True)
    loud = items.detach().clone()
    loud[:3] = 1e3
    labels = torch.randint(3, 50, (4,))
    loss = catalogue_cross_entropy(states, items, labels, first_item=3)
    torch.testing.assert_close(catalogue_cross_entropy(states, loud, labels, first_item=3), loss)
    loss.backward()
    assert (items.grad[:3] == 0).all()


def test_bfloat16_products_stay_near():
    torch.manual_seed(1)
    states, items, labels = torch.randn(64, 16), torch.randn(200, 16), torch.randint(0, 200, (64,))
    exact = catalogue_cross_entropy(states, items, labels)
    near = catalogue_cross_entropy(states, items, labels, dtype=torch.bfloat16)
    assert near.dtype == torch.float32
    torch.testing.assert_close(near, exact, rtol=2e-3, atol=0)


def test_huge_logits_do_not_overflow():
    states, items = torch.full((1, 2), 1e3), torch.tensor([[1e3, 1e3], [-1e3, 0.0]])
    assert catalogue_cross_entropy(states, items, torch.tensor([0])) == 0
