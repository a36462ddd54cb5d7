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


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Tests keep their vectors to themselves; those that need the network keep the downloads."""
    if "network" not in request.keywords:
        monkeypatch.setenv("SEQREC_CACHE", str(tmp_path / "cache"))
