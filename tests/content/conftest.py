"""A small catalogue, and a cache of its own for each test."""

from pathlib import Path

import pytest
from datasets import Dataset


@pytest.fixture
def items() -> Dataset:
    return Dataset.from_dict(
        {
            "item_id": ["i1", "i2", "i3", "i4"],
            "title": ["alien", "toy story", None, "alien"],
            "genres": ["horror", None, "  ", "horror"],
        }
    )


@pytest.fixture(scope="session")
def vit_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A real image encoder, two layers of width 16 over sixteen patches of an image."""
    import torch
    from transformers import ViTConfig, ViTImageProcessorPil, ViTModel

    folder = tmp_path_factory.mktemp("encoders") / "tiny-vit"
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    ViTModel(ViTConfig(image_size=32, patch_size=8, **shape)).save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return str(folder)


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Tests keep their vectors to themselves; those that need the network keep the downloads."""
    if "network" not in request.keywords:
        monkeypatch.setenv("SEQREC_CACHE", str(tmp_path / "cache"))
