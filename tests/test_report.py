"""metrics.json, the log, and rank lists in a file."""

import csv
import json

import pytest
from datasets import Dataset

from seqrec.baselines import Popularity
from seqrec.folders import read_json
from seqrec.report import results_of_runs, trainer_log, update_metrics, write_top_k


def result(ndcg):
    return {"num_users": 1234, "exclude_seen": {"ndcg@10": ndcg, "ndcg@10_ci": [ndcg - 0.01, ndcg + 0.01]}}


LOG = [{"loss": 7.0, "epoch": 0.5, "step": 5}, {"eval_ndcg@10": 0.05, "epoch": 1.0, "step": 10}]


def test_metrics_are_merged_and_written_whole(tmp_path):
    path = tmp_path / "metrics.json"
    assert read_json(path) == {}
    update_metrics(path, train={"seconds": 3}, validation={"ndcg@10": 0.1}, protocol={"split": "leave_one_out"})
    update_metrics(path, test=result(0.12), baselines={"item-kNN": result(0.08)})
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


def made_up_run(folder, **parts):
    (folder / "model").mkdir(parents=True)
    update_metrics(folder / "model" / "metrics.json", dataset="demo", num_items=9, num_users=4, **parts)
    return folder


def test_results_of_runs_are_the_baselines_of_the_fullest_run_then_the_models(tmp_path):
    few = made_up_run(tmp_path / "ids", test=result(0.10), baselines={"popularity": result(0.04)})
    both = {"popularity": result(0.04), "content-kNN": result(0.05)}
    text = [made_up_run(tmp_path / f"text-{seed}", test=result(0.12 + seed), baselines=both) for seed in (0, 1)]
    found = results_of_runs({"ids": [few], "ids and text": text})
    assert list(found) == ["popularity", "content-kNN", "ids", "ids and text"]
    assert [one["exclude_seen"]["ndcg@10"] for one in found["ids and text"]] == [0.12, 1.12]
    assert results_of_runs({}) == {}


def test_runs_without_test_metrics_or_of_other_data_are_refused(tmp_path):
    run = made_up_run(tmp_path / "a", test=result(0.1))
    with pytest.raises(ValueError, match="nowhere' has no test metrics. Measure it first"):
        results_of_runs({"ours": [run, tmp_path / "nowhere"]})
    other = made_up_run(tmp_path / "b", test=result(0.1))
    update_metrics(other / "model" / "metrics.json", num_items=8)
    with pytest.raises(ValueError, match="b' has num_items 8, .*a' has 9"):
        results_of_runs({"ours": [run], "theirs": [other]})


def test_runs_that_were_measured_otherwise_are_refused(tmp_path):
    run = made_up_run(tmp_path / "a", split="leave_one_out", test=result(0.1))
    at_five = {"num_users": 1234, "exclude_seen": {"ndcg@5": 0.1, "ndcg@5_ci": [0.0, 0.2]}}
    for number, (parts, said) in enumerate(
        [
            ({"split": "global_time"}, "has split 'global_time', .*a' has 'leave_one_out'"),
            ({"test": result(0.1) | {"num_users": 7}}, "has test users 7, .*a' has 1234"),
            ({"test": at_five}, r"has cuts \[5\], .*a' has \[10\]; expected runs .* measured alike"),
        ]
    ):
        parts = {"split": "leave_one_out", "test": result(0.1)} | parts
        other = made_up_run(tmp_path / f"b{number}", **parts)
        with pytest.raises(ValueError, match=said):
            results_of_runs({"ours": [run], "theirs": [other]})


def popularity(item_ids):
    return Popularity(Dataset.from_dict({"history": [item_ids]}), Dataset.from_dict({"item_id": item_ids}))


def test_rank_lists_are_written_best_first_without_what_was_seen(tmp_path):
    rows = Dataset.from_dict({"user_id": ["u, 1", "v"], "history": [["b"], []]})
    write_top_k(popularity(["a", "b", "c"]), rows, tmp_path / "new" / "top.csv")
    with (tmp_path / "new" / "top.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [["user_id", "items"], ["u, 1", "a c"], ["v", "a b c"]]


@pytest.mark.parametrize("item_id", ["two words", "a\tb", " a", "a\u00a0b"])
def test_ids_with_spaces_are_refused_and_the_old_file_stays(tmp_path, item_id):
    path = tmp_path / "top.csv"
    path.write_text("old")
    with pytest.raises(ValueError, match="has a space in it"):
        write_top_k(popularity(["a", item_id]), Dataset.from_dict({"user_id": ["u"], "history": [["a"]]}), path)
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["top.csv"]
    with pytest.raises(ValueError, match="is a folder; expected a file"):
        write_top_k(popularity(["a"]), Dataset.from_dict({"user_id": ["u"], "history": [["a"]]}), tmp_path)
