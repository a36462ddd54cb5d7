"""Plots that open as pictures."""

import struct
import sys

import pytest

from seqrec.plots import plot_comparison, plot_training


def result(ndcg):
    return {"num_users": 1234, "exclude_seen": {"ndcg@10": ndcg, "ndcg@10_ci": [ndcg - 0.01, ndcg + 0.01]}}


RESULTS = {"seqrec": result(0.12), "item-kNN": result(0.08)}
LOG = [
    {"loss": 7.0, "learning_rate": 0.001, "epoch": 0.5, "step": 5},
    {"eval_loss": 6.9, "eval_ndcg@10": 0.05, "epoch": 1.0, "step": 10},
    {"loss": 6.5, "epoch": 1.5, "step": 15},
    {"eval_loss": 6.6, "eval_ndcg@10": 0.08, "epoch": 2.0, "step": 20},
    {"train_runtime": 3.0, "train_loss": 6.7, "epoch": 2.0, "step": 20},
]


def png_size(path):
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", head[16:24])


def test_plots_are_pictures(tmp_path):
    plot_comparison(RESULTS, tmp_path / "plots" / "comparison.png")
    plot_training(LOG, tmp_path / "plots" / "training.png")
    assert min(png_size(tmp_path / "plots" / "comparison.png")) > 300
    assert min(png_size(tmp_path / "plots" / "training.png")) > 300


def test_all_zero_and_a_loss_alone_can_be_drawn(tmp_path):
    plot_comparison(
        {"seqrec": result(0.01) | {"exclude_seen": {"ndcg@10": 0.0, "ndcg@10_ci": [0.0, 0.0]}}}, tmp_path / "a.png"
    )
    plot_training(LOG[:1], tmp_path / "b.png")
    assert png_size(tmp_path / "a.png") and png_size(tmp_path / "b.png")


def test_an_empty_log_is_answered_with_a_sentence(tmp_path):
    with pytest.raises(ValueError, match="nothing to draw"):
        plot_training([{"train_runtime": 3.0}], tmp_path / "training.png")


def test_without_matplotlib_the_error_holds_the_command(tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [_NoMatplotlib(), *sys.meta_path])
    with pytest.raises(ImportError, match="pip install"):
        plot_comparison(RESULTS, tmp_path / "comparison.png")


class _NoMatplotlib:
    """An import system that has no matplotlib."""

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "matplotlib":
            raise ModuleNotFoundError(f"No module named {name!r}", name="matplotlib")


def test_an_interval_that_misses_its_mean_by_a_rounding_error_can_be_drawn(tmp_path):
    part = {"ndcg@10": 0.3, "ndcg@10_ci": [0.3 + 1e-16, 0.3 + 1e-16]}
    plot_comparison({"seqrec": {"num_users": 1, "exclude_seen": part}}, tmp_path / "comparison.png")
    assert png_size(tmp_path / "comparison.png")


def test_a_plot_that_fails_leaves_the_old_one(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    def half(self, path, **options):
        path.write_bytes(b"half")
        raise OSError("disk full")

    path = tmp_path / "a.png"
    plot_comparison(RESULTS, path)
    before = path.read_bytes()
    monkeypatch.setattr(Figure, "savefig", half)
    with pytest.raises(OSError, match="disk full"):
        plot_comparison(RESULTS, path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]
