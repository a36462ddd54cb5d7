"""All baselines in one call, under the names of the table."""

import sys

import numpy as np
import pytest
from datasets import Dataset

from seqrec.baselines import fit_baselines

ITEMS = Dataset.from_dict({"item_id": list("abc")})
TRAIN = Dataset.from_dict({"history": [["a", "b"], ["b", "c"], []]})
CONTENT = (np.eye(3, dtype=np.float32), np.ones(3, dtype=bool))


def test_all_of_them_in_the_order_of_the_table(caplog):
    names = ["popularity", "item-kNN", "content-kNN", "matrix factorisation", "seed network"]
    baselines = fit_baselines(TRAIN, ITEMS, CONTENT)
    assert list(baselines) == names
    assert all(len(baseline.recommend([["a"]], k=5)[0]) == 2 for baseline in baselines.values())
    assert list(fit_baselines(TRAIN, ITEMS)) == [name for name in names if name != "content-kNN"]
    assert not caplog.records


def test_only_those_that_are_wanted():
    assert list(fit_baselines(TRAIN, ITEMS, CONTENT, names=["item-kNN", "popularity"])) == ["popularity", "item-kNN"]
    assert fit_baselines(TRAIN, ITEMS, CONTENT, names=[]) == {}
    with pytest.raises(ValueError, match="no baseline 'kNN'; expected some of"):
        fit_baselines(TRAIN, ITEMS, names=["kNN"])


def test_the_seed_reaches_those_that_draw():
    first, again, other = (fit_baselines(TRAIN, ITEMS, seed=seed) for seed in (1, 1, 2))
    for name in ("matrix factorisation", "seed network"):
        np.testing.assert_array_equal(first[name].score([["a"]]), again[name].score([["a"]]))
        assert not np.array_equal(first[name].score([["a"]]), other[name].score([["a"]]))


@pytest.mark.parametrize("missing", ["implicit", "threadpoolctl"])
def test_what_is_not_installed_is_left_out_with_the_command_that_brings_it(missing, monkeypatch, tmp_path, caplog):
    for name in [name for name in sys.modules if name.partition(".")[0] == missing]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Hidden(missing), *sys.meta_path])
    assert list(fit_baselines(TRAIN, ITEMS)) == ["popularity", "item-kNN", "seed network"]
    (record,) = caplog.records
    assert record.getMessage().startswith("The baseline matrix factorisation is left out. This needs the optional")
    assert "pip install" in record.getMessage()


class Hidden:
    """A finder that finds a package missing."""

    def __init__(self, package):
        self.package = package

    def find_spec(self, name, path=None, target=None):
        if name == self.package or name.startswith(self.package + "."):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
