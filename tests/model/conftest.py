import pytest
import torch

from seqrec.model import SeqRecConfig, SeqRecForNextItem

SMALL = {"vocab_size": 20, "hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2}


@pytest.fixture
def make_model():
    """A small model with random weights, every part of it set, ready to rank."""

    def make(attn_implementation="sdpa", **settings):
        torch.manual_seed(0)
        config = SeqRecConfig(**{**SMALL, "max_position_embeddings": 8, **settings})
        model = SeqRecForNextItem._from_config(config, attn_implementation=attn_implementation)
        with torch.no_grad():  # far from the symmetric start
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.3)
            for content in model.model.items.content.values():
                vectors = torch.randn(config.vocab_size, len(content.mean))
                content.put(slice(None), content.prepare(vectors, torch.arange(config.vocab_size) != 5))
        return model.eval()

    return make


@pytest.fixture(params=["causal", "bidirectional"])
def attention(request):
    return request.param
