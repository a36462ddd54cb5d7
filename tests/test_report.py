"""metrics.json, the table, and plots that open as pictures."""

import json
import struct
import sys

import pytest

from seqrec.folders import read_json
from seqrec.report import comparison_table, plot_comparison, plot_training, trainer_log, update_metrics


def result(ndcg, unranked=0):
    part = {"num_unranked": unranked}
    for k in (10, 20):
        part |= {
            f"ndcg@{k}": ndcg,
            f"ndcg@{k}_ci": [ndcg - 0.01, ndcg + 0.01],
            f"hr@{k}": 2 * ndcg,
            f"mrr@{k}": ndcg / 2,
        }
    return {"num_users": 1234, "exclude_seen": part, "include_seen": part | {"ndcg@10": ndcg / 4}}


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


def test_table_has_one_aligned_row_a_ranker():
    header, rule, *rows, caption = comparison_table(RESULTS).splitlines()
    assert header.split("  ")[0] == "ranker" and header.endswith("NDCG@10, seen included")
    assert len({len(line) for line in (header, rule, *rows)}) == 1
    assert rows[0].split() == ["seqrec", "0.1200", "0.1100", "-", "0.1300", "0.2400", "0.0600", "0.1200", "0.0300"]
    assert rows[1].split()[0] == "item-kNN"
    assert caption.startswith("1,234 users")


def test_table_says_how_many_targets_could_not_be_ranked():
    assert comparison_table({"seqrec": result(0.12, unranked=17)}).splitlines()[-1].startswith("17 targets")


def test_nothing_to_compare_is_answered_with_a_sentence():
    with pytest.raises(ValueError, match="at least one ranker"):
        comparison_table({})


def test_metrics_are_merged_and_written_whole(tmp_path):
    path = tmp_path / "metrics.json"
    assert read_json(path) == {}
    update_metrics(path, train={"seconds": 3}, validation={"ndcg@10": 0.1}, protocol={"split": "leave_one_out"})
    update_metrics(path, test=RESULTS["seqrec"], baselines={"item-kNN": RESULTS["item-kNN"]})
    metrics = read_json(path)
    assert list(metrics) == ["protocol", "validation", "test", "baselines", "train"]
    assert metrics["train"] == {"seconds": 3}
    assert metrics["test"]["exclude_seen"]["ndcg@10_ci"] == [0.12 - 0.01, 0.12 + 0.01]
    assert [file.name for file in tmp_path.iterdir()] == ["metrics.json"]


def test_keys_of_somebody_else_are_kept_at_the_end(tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps({"note": "mine"}))
    assert list(update_metrics(path, dataset="demo")) == ["dataset", "note"]


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "metrics.json"
    update_metrics(path, dataset="demo")
    with pytest.raises(ValueError):
        update_metrics(path, test={"ndcg@10": float("nan")})
    assert read_json(path) == {"dataset": "demo"}
    assert [file.name for file in tmp_path.iterdir()] == ["metrics.json"]


def test_unknown_keys_and_broken_files_are_refused(tmp_path):
    path = tmp_path / "metrics.json"
    with pytest.raises(ValueError, match=r"no \['tets'\]"):
        update_metrics(path, tets={})
    path.write_text("{")
    with pytest.raises(ValueError, match="not JSON"):
        read_json(path)
    path.write_text("[]")
    with pytest.raises(ValueError, match="holds a list"):
        read_json(path)


def test_the_log_of_a_run_is_read_from_its_logs(tmp_path):
    assert trainer_log(tmp_path) == []
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "trainer_state.json").write_text(json.dumps({"global_step": 20, "log_history": LOG}))
    assert trainer_log(tmp_path) == LOG


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
