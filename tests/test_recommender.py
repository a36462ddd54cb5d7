"""The recommender on a toy run: external ids in, external ids out."""

import json
import logging

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from seqrec import Recommender
from seqrec.model_folder import ModelFolder


@pytest.fixture(scope="module", params=["causal", "bidirectional"])
def recommender(request, toy_run):
    return Recommender.from_pretrained(toy_run(request.param) / "model")


def ids(recommended):
    return [row["item_id"] for row in recommended]


def test_lists_are_sorted_whole_and_without_seen_items(recommender):
    histories = [["1500", "d05"], ["a [MASK] b"]]
    for history, recommended in zip(histories, recommender.recommend(histories, k=5), strict=True):
        assert len(set(ids(recommended))) == 5
        assert not set(ids(recommended)) & set(history)
        scores = [row["score"] for row in recommended]
        assert scores == sorted(scores, reverse=True)
        assert set(recommended[0]) == {"item_id", "score", "title", "genres"}


def test_a_list_longer_than_the_catalogue_holds_every_item_once(recommender):
    everything = set(recommender.items["item_id"])
    assert set(ids(recommender.recommend([["1500"]], k=100)[0])) == everything - {"1500"}
    assert len(recommender.recommend([["1500"]], k=100, exclude_seen=False)[0]) == 15


def test_awkward_ids_are_told_apart(recommender):
    answers = [recommender.recommend([[item]], k=3)[0] for item in ("1500", "15001", "a [MASK] b", "a ")]
    assert answers[0] != answers[1]
    assert answers[2] != answers[3]  # the last is unknown: the answer to an empty history
    assert "a [MASK] b" in ids(recommender.recommend([["1500"]], k=15)[0])


def test_an_empty_history_gets_the_models_own_answer(recommender):
    empty, other = recommender.recommend([[], ["1500"]], k=15)
    assert len(empty) == 15
    assert ids(recommender.recommend([["nobody knows this"]], k=15, on_unknown_items="ignore")[0]) == ids(empty)
    assert recommender.recommend([], k=3) == []


def test_a_history_of_ten_thousand_items_excludes_all_of_them(recommender):
    history = [recommender.items["item_id"][place % 14] for place in range(10_000)]
    recommended = recommender.recommend([history], k=5)[0]
    assert ids(recommended) == [recommender.items["item_id"][14]]
    newest = recommender.recommend([history[-500:]], k=15, exclude_seen=False)[0]
    assert ids(recommender.recommend([history], k=15, exclude_seen=False)[0]) == ids(newest)


def test_unknown_items_are_left_out_and_named_once(recommender, caplog):
    with caplog.at_level(logging.WARNING):
        got = recommender.recommend([["1500", "nope", "[PAD]"], ["nope"]], k=3)
    assert ids(got[0]) == ids(recommender.recommend([["1500"]], k=3)[0])
    (record,) = [record for record in caplog.records if "nope" in record.getMessage()]
    assert "3 of 4" in record.getMessage()
    with pytest.raises(ValueError, match="'nope'"):
        recommender.recommend([["nope"]], on_unknown_items="raise")


def test_candidates_for_all_and_for_each(recommender):
    histories = [["1500"], ["d05"], ["d07"]]
    shared = recommender.recommend(histories, k=2, candidates=["d10", "d11", "d12", "1500"])
    assert all(set(ids(row)) <= {"d10", "d11", "d12", "1500"} and len(row) == 2 for row in shared)
    assert "1500" not in ids(shared[0])
    own = recommender.recommend(histories, k=5, candidates=[["d10"], ["d11", "d12"], []])
    assert [set(ids(row)) for row in own] == [{"d10"}, {"d11", "d12"}, set()]
    best = recommender.recommend(histories, k=15)
    ranking = [item for item in ids(best[1]) if item in ("d11", "d12")]
    assert ids(own[1]) == ranking


def test_excluded_for_all_and_for_each(recommender):
    histories = [["1500"], ["d05"]]
    whole = recommender.recommend(histories, k=15)
    gone = ids(whole[0])[0]
    assert ids(recommender.recommend(histories, k=15, exclude=[gone])[0]) == ids(whole[0])[1:]
    first = recommender.recommend(histories, k=15, exclude=[[], ids(whole[1])[:2]])
    assert [ids(row) for row in first] == [ids(whole[0]), ids(whole[1])[2:]]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda r: r.recommend(["1500", "d05"]), "list of lists"),
        (lambda r: r.recommend("1500"), "list of lists"),
        (lambda r: r.recommend([["1500"]], k=0), "k=0"),
        (lambda r: r.recommend([["1500"]], candidates="d05"), "candidates must be a list"),
        (lambda r: r.recommend([["1500"]], candidates=[["d05"], ["d06"]]), "2 lists for 1 histories"),
        (lambda r: r.recommend([["1500"]], on_unknown_items="drop"), "'drop'"),
        (lambda r: r.similar_items(["nope"]), "'nope'"),
        (lambda r: r.encode_items(["nope"]), "'nope'"),
        (lambda r: r.similar_items("1500"), "wrap it in a list"),
        (lambda r: r.encode_items([{"item_id": "new", "title": "New"}]), "ids alone"),
        (lambda r: r.similar_items(["1500"], k=0), "k=0"),
        (lambda r: r.target_ranks([["1500"], ["d05"]], ["d05"]), "1 targets for 2 histories"),
        (lambda r: r.find_items([""]), "empty text"),
        (lambda r: r.evaluate(None, k=10), "k=10"),
        (lambda r: r.recommend(None), "list of lists"),
        (lambda r: r.recommend([None]), "list of lists"),
        (lambda r: r.recommend([[None]]), "text or a number, not None"),
        (lambda r: r.recommend([[b"1500"]]), "text or a number"),
        (lambda r: r.recommend([[["1500"]]]), "text or a number"),
        (lambda r: r.recommend([np.array("1500")]), "list of lists"),
        (lambda r: r.recommend([["\ud800"]]), "not Unicode"),
        (lambda r: r.recommend([["1500"]], k=1.5), "k=1.5"),
        (lambda r: r.recommend([["1500"]], k="3"), "k='3'"),
        (lambda r: r.recommend([["1500"]], candidates=3), "candidates must be a list"),
        (lambda r: r.recommend([["1500"]], exclude=b"d05"), "exclude must be a list"),
        (lambda r: r.target_ranks([["1500"]], "5"), "targets must be a list"),
        (lambda r: r.similar_items(None), "wrap it in a list"),
        (lambda r: r.find_items("1500"), "wrap it in a list"),
    ],
)
def test_misuse_is_answered_with_a_sentence(recommender, call, said):
    with pytest.raises(ValueError, match=said):
        call(recommender)


def test_score_is_the_dot_product_of_the_vectors(recommender):
    histories = [["1500", "d05"], [], ["d07"]]
    vectors, items = recommender.encode_history(histories), recommender.encode_items()
    assert vectors.dtype == items.dtype == np.float32
    scores = vectors @ items.T
    for row, recommended in enumerate(recommender.recommend(histories, k=15, exclude_seen=False)):
        for entry in recommended:
            place = recommender.items["item_id"].index(entry["item_id"])
            assert entry["score"] == pytest.approx(scores[row, place], abs=1e-4)
    np.testing.assert_array_equal(
        recommender.encode_items(["d05"])[0], items[recommender.items["item_id"].index("d05")]
    )


def test_a_model_of_ids_and_dot_products_gives_its_vectors(untrained):
    recommender = Recommender(untrained(["a", "b"], similarity="dot"))
    scores = recommender.encode_history([["a"]]) @ recommender.encode_items(["b"]).T
    assert recommender.recommend([["a"]])[0][0]["score"] == pytest.approx(scores[0, 0], rel=1e-4)


def test_similar_items_are_the_nearest_others(recommender):
    similar = recommender.similar_items(["1500"], k=100)[0]
    assert len(similar) == 14
    assert "1500" not in ids(similar)
    vectors = recommender.encode_items()
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    place = recommender.items["item_id"].index
    assert similar[0]["score"] == pytest.approx(
        vectors[place("1500")] @ vectors[place(similar[0]["item_id"])], abs=1e-5
    )


def test_an_explanation_says_how_far_the_score_falls_without_an_event(recommender):
    history = ["1500", "nowhere", "d05", "d07", "d05"]
    item = recommender.recommend([history], k=1)[0][0]
    [explained] = recommender.explain(history, [item["item_id"]])
    assert sorted(event["item_id"] for event in explained) == sorted(["1500", "d05", "d07", "d05"])
    contributions = [event["contribution"] for event in explained]
    assert contributions == sorted(contributions, reverse=True)
    without = recommender.recommend([["d05", "d07", "d05"]], candidates=[item["item_id"]], exclude_seen=False)[0][0]
    [of_first] = [event["contribution"] for event in explained if event["item_id"] == "1500"]
    assert of_first == pytest.approx(item["score"] - without["score"], abs=1e-4)


def test_an_explanation_tries_the_newest_events_alone(recommender):
    [explained] = recommender.explain(["1500", "d05", "d07"], ["d08"], newest=2)
    assert {event["item_id"] for event in explained} == {"d05", "d07"}
    assert recommender.explain([], ["d08"]) == [[]] and recommender.explain(["1500"], []) == []


def test_recommend_users_answers_a_table_with_a_table(recommender, toy_interactions):
    users = recommender.recommend_users(toy_interactions, k=3)
    assert users.column_names == ["user_id", "item_id", "rank", "score"]
    assert users["rank"][:3] == [1, 2, 3]
    assert len(set(users["user_id"])) == 12
    history = [row["item_id"] for row in toy_interactions.to_pylist() if row["user_id"] == "u01"]
    wanted = recommender.recommend([history], k=3)[0]
    assert [r["item_id"] for r in users if r["user_id"] == "u01"] == ids(wanted)
    renamed = toy_interactions.rename_columns(["who", "item_id", "timestamp"])
    mapping = {"who": "user_id", "Name": "title"}  # of training, where the items had a column Name
    assert recommender.recommend_users(renamed, k=3, column_mapping=mapping)["item_id"] == users["item_id"]
    with pytest.raises(ValueError, match=r"column_mapping names \['whom'\]"):
        recommender.recommend_users(toy_interactions, column_mapping={"whom": "user_id"})


def test_items_are_found_by_id_title_or_part_of_it(recommender):
    assert recommender.find_items(["d04", "toy story (1995)", "Brazil"]) == ["d04", "1500", "d11"]
    with pytest.raises(ValueError, match="fits 2 items"):
        recommender.find_items(["Alien"])
    with pytest.raises(ValueError, match="Vertigo"):
        recommender.find_items(["Vertgo (1958)"])


def test_target_ranks_agree_with_the_lists(recommender):
    histories = [["1500", "d05"], ["d07"], []]
    lists = recommender.recommend(histories, k=15)
    targets = [ids(lists[0])[2], ids(lists[1])[0], ids(lists[2])[14]]
    assert recommender.target_ranks(histories, targets).tolist() == [3, 1, 15]
    assert recommender.target_ranks([["1500"]], ["1500"]).tolist() == [16]
    assert recommender.target_ranks([["1500"]], ["no such item"]).tolist() == [16]


def test_vectors_are_the_callers_own(recommender):
    before = recommender.recommend([["1500"]], k=5)
    vectors = recommender.encode_items()
    vectors *= -1
    assert recommender.recommend([["1500"]], k=5) == before


def test_histories_may_be_arrays_and_columns_of_pandas(recommender):
    expected = recommender.recommend([["1500", "d05"]], k=3)
    for history in (np.array(["1500", "d05"]), pd.Series(["1500", "d05"], index=[7, 3]), ("1500", "d05")):
        assert recommender.recommend([history], k=3) == expected
    assert recommender.recommend(pd.Series([["1500", "d05"]]), k=np.int64(3)) == expected


def test_ids_may_be_numbers(recommender):
    assert recommender.recommend([[1500, 15001.0]], k=5) == recommender.recommend([["1500", "15001"]], k=5)
    assert recommender.recommend([["d05"]], k=5, candidates=[1500, 15001])[0][0]["item_id"] in ("1500", "15001")
    assert "1500" not in ids(recommender.recommend([["d05"]], k=15, exclude=[1500])[0])


def test_what_is_excluded_need_not_be_known(recommender, caplog):
    wanted = recommender.recommend([["1500"]], k=5)
    got = recommender.recommend([["1500"]], k=5, exclude=["sold out"], on_unknown_items="raise")
    assert got == wanted
    with caplog.at_level(logging.WARNING):
        recommender.recommend([["1500"]] * 3, candidates=["d05", "nope"])
    (record,) = [record for record in caplog.records if "nope" in record.getMessage()]
    assert "1 of 2" in record.getMessage()


def test_the_model_may_change_its_type(toy_run):
    recommender = Recommender.from_pretrained(toy_run("causal") / "model")
    before = ids(recommender.recommend([["1500", "d05"]], k=15)[0])
    recommender.model.to(torch.bfloat16)
    near = ids(recommender.recommend([["1500", "d05"]], k=15)[0])
    assert set(near) == set(before)
    assert len(set(near[:5]) & set(before[:5])) >= 4


def test_save_and_load_give_the_same_lists(recommender, tmp_path):
    recommender.save_pretrained(tmp_path / "copy")
    recommender.save_pretrained(tmp_path / "copy")  # over itself
    again = Recommender.from_pretrained(tmp_path / "copy")
    histories = [["1500", "d05"], []]
    assert again.recommend(histories, k=15) == recommender.recommend(histories, k=15)
    assert again.folder.metrics == recommender.folder.metrics
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


def test_the_model_folder_holds_what_the_contract_names(recommender, tmp_path):
    recommender.save_pretrained(tmp_path / "model")
    files = {path.name for path in (tmp_path / "model").iterdir()}
    code = {
        "attention.py",
        "configuration_seqrec.py",
        "embeddings.py",
        "encoder.py",
        "transitions.py",
        "blocks.py",
        "losses.py",
        "modeling_seqrec.py",
    }
    code |= {"content.py", "neighbours.py", "ranking.py"}
    data = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "items.parquet"}
    assert files == code | data | {"pipeline_seqrec.py", "metrics.json", "preparation.json", "README.md"}
    table = pa.parquet.read_table(tmp_path / "model" / "items.parquet")
    assert table.column_names == ["item_id", "title", "genres", "count"]
    assert not table.schema.metadata
    for path in (tmp_path / "model").iterdir():
        content = path.read_bytes()
        assert b"u01" not in content  # no user
        assert path.stat().st_mode & 0o777 == (tmp_path / "model" / "config.json").stat().st_mode & 0o777
        assert str(tmp_path.parent).encode() not in content  # no path


def test_a_folder_that_is_no_model_is_refused(toy_run, tmp_path):
    run = toy_run("causal")
    with pytest.raises(ValueError, match=r"Did you mean '.*model'"):
        ModelFolder.load(run)
    with pytest.raises(ValueError, match="no model folder 'no/such-model' here"):
        ModelFolder.load("no/such-model")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError, match="missing"):
        ModelFolder.load(tmp_path)
    for name in ("model.safetensors", "items.parquet", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match="type 'bert'"):
        ModelFolder.load(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="not JSON"):
        ModelFolder.load(tmp_path)


def test_a_model_of_another_kind_is_not_overwritten(recommender, tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError, match="'bert'"):
        recommender.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text()) == {"model_type": "bert"}


def test_saving_over_something_else_is_refused(recommender, tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ValueError, match="thesis.tex"):
        recommender.save_pretrained(tmp_path)
    assert (tmp_path / "thesis.tex").exists()
