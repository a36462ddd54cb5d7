"""What must hold for any table, history, config and setting: 1,000 random cases, 10,000 new ones in `make slow`."""

import dataclasses
import math
from collections import Counter

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seqrec import Recommender
from seqrec.arguments import DataArguments, ModelArguments
from seqrec.data import prepare
from seqrec.data.collation import TrainingWindows, collate_windows
from seqrec.data.columns import SPECIAL_TOKENS
from seqrec.metrics import metric_values, ranks_from_scores
from seqrec.model import SeqRecConfig, SeqRecForNextItem
from seqrec.model_folder import ModelFolder
from seqrec.settings import parse_settings, read_config

IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6).filter(
    lambda i: i not in SPECIAL_TOKENS
)
CATALOGUES = st.lists(IDS, min_size=1, max_size=12, unique=True)
SHAPES = st.fixed_dictionaries(
    {
        "attention": st.sampled_from(["causal", "bidirectional"]),
        "norm": st.sampled_from(["pre", "post"]),
        "similarity": st.sampled_from(["dot", "cosine"]),
        "mask_query": st.sampled_from(["plain", "previous", "neighbours"]),
        "relative_position_bias": st.booleans(),
        "num_attention_heads": st.sampled_from([1, 2]),
        "num_hidden_layers": st.integers(0, 2),
        "max_position_embeddings": st.integers(1, 6),
    }
)


@st.composite
def logs(draw):
    """An interaction table as a list of rows, with times and values or without, and the settings to prepare it."""
    users, items = draw(st.lists(IDS, min_size=1, max_size=5)), draw(st.lists(IDS, min_size=1, max_size=5))
    columns = {"user_id": st.sampled_from(users), "item_id": st.sampled_from(items)}
    if draw(st.booleans()):
        columns["timestamp"] = st.integers(-2, 3)
    if draw(st.booleans()):
        columns["value"] = st.one_of(st.none(), st.sampled_from([1.0, 2.5, 4.0]))
    rows = draw(st.lists(st.fixed_dictionaries(columns), min_size=1, max_size=40))
    least = draw(st.sampled_from([None, 2.0])) if "value" in columns else None
    return rows, {
        "min_interactions": draw(st.integers(1, 3)),
        "min_value": least,
        "drop_duplicates": draw(st.booleans()),
    }


def kept_rows(rows, min_interactions, min_value, drop_duplicates):
    """The rule of cleaning, written naively."""
    rows = [row for row in rows if min_value is None or (row["value"] is not None and row["value"] >= min_value)]
    if drop_duplicates and rows and "timestamp" in rows[0]:
        rows = list({(row["user_id"], row["item_id"], row["timestamp"]): row for row in reversed(rows)}.values())[::-1]
    while True:
        counts = [Counter(row[side] for row in rows) for side in ("user_id", "item_id")]
        left = [r for r in rows if min(counts[0][r["user_id"]], counts[1][r["item_id"]]) >= min_interactions]
        if len(left) == len(rows):
            return rows
        rows = left


def prepared_data_is_what_the_rules_say(make, case):
    rows, rules = case
    numbered = [{**row, "row": number} for number, row in enumerate(rows)]
    expected = sorted(kept_rows(numbered, **rules), key=lambda row: (row.get("timestamp", 0), row["row"]))
    table = pa.table({name: pa.array([row[name] for row in rows], FIELDS[name]) for name in rows[0]})
    if not expected:
        with pytest.raises(ValueError, match=r"No interaction is left of .*; expected"):
            prepare(table, **rules)
        return
    prepared = prepare(table, **rules)
    histories = {}
    for row in expected:
        histories.setdefault(row["user_id"], []).append(row["item_id"])
    asked = {user: items for user, items in histories.items() if len(items) >= 3}
    shown = {user: items[:-2] if user in asked else items for user, items in histories.items()}
    splits = {name: {row["user_id"]: row for row in prepared.dataset[name]} for name in prepared.dataset}
    assert {user: row["history"] for user, row in splits["train"].items()} == shown
    for name, cut in (("validation", -2), ("test", -1)):
        found = {user: (row["history"], row["targets"]) for user, row in splits[name].items()}
        assert found == {user: (items[:cut], [items[cut]]) for user, items in asked.items()}
    counts = Counter(item for items in shown.values() for item in items)
    catalogue = sorted({row["item_id"] for row in expected}, key=lambda item: (-counts[item], item))
    assert prepared.items["item_id"][:] == catalogue
    assert prepared.items["count"][:] == [counts[item] for item in catalogue]
    assert (
        prepared.report["num_interactions"]
        == len(expected)
        == prepared.report["steps"][-1]["after"]["num_interactions"]
    )


FIELDS = {"user_id": pa.string(), "item_id": pa.string(), "timestamp": pa.int64(), "value": pa.float64()}
CELLS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 2**70),
    st.floats(),
    st.text(max_size=4),
    st.sampled_from([*SPECIAL_TOKENS, "2024-05-01", "2024-05-01T10:00:00Z", "1e9", "", " 7 ", "NaN"]),
    st.binary(max_size=3),
    st.dates(),
    st.datetimes(),
    st.lists(st.integers(), max_size=2),
)
KINDS = [st.integers(0, 3), st.floats(), st.text(max_size=2), st.sampled_from(["a", "b"]), st.datetimes(), CELLS]


@st.composite
def odd_tables(draw):
    """A pandas table with the right names and anything under them."""
    names = draw(st.lists(st.sampled_from([*FIELDS, "other", "", "user_id "]), unique=True, max_size=5))
    names = draw(st.sampled_from([names, ["user_id", "item_id"], list(FIELDS)]))
    length = draw(st.integers(0, 8))
    kinds = {name: draw(st.sampled_from(KINDS)) for name in names}
    columns = {name: draw(st.lists(kind, min_size=length, max_size=length)) for name, kind in kinds.items()}
    return pd.DataFrame({name: pd.Series(values, dtype=object).infer_objects() for name, values in columns.items()})


def an_odd_table_is_prepared_or_refused(make, table):
    try:
        prepared = prepare(table, min_interactions=1)
    except ValueError as error:
        assert_speaks(error)
        return
    events = sum(len(row["history"]) for row in prepared.dataset["train"])
    events += sum(len(prepared.dataset[name]) for name in ("validation", "test"))
    assert (
        events
        == prepared.report["num_interactions"]
        == sum(prepared.items["count"]) + events - sum(len(row["history"]) for row in prepared.dataset["train"])
    )
    assert set(prepared.dataset["train"]["user_id"]) == {
        user for name in prepared.dataset for user in prepared.dataset[name]["user_id"]
    }


def assert_speaks(error):
    message = str(error)
    assert len(message.split()) >= 5, message
    assert "Traceback" not in message


NAMES = [field.name for cls in (DataArguments, ModelArguments) for field in dataclasses.fields(cls)]
NAMES += ["learning_rate", "seed", "num_train_epochs", "objective", "mask_probability", "softmax_dtype", "report_to"]
NAMES += ["per_device_train_batch_size", "warmup_steps", "output_dir", "save_strategy", "lr_scheduler_kwargs"]
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5))
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=3), st.dictionaries(st.text(max_size=3), SCALARS, max_size=2))
SETTINGS = st.dictionaries(
    st.one_of(st.sampled_from(NAMES), st.sampled_from(NAMES), st.text(max_size=5)), VALUES, max_size=2
)


def settings_are_taken_or_refused(make, given_settings):
    try:
        arguments = parse_settings(given_settings)
    except ValueError as error:
        assert_speaks(error)
    else:
        SeqRecConfig(**dataclasses.asdict(arguments.model))


YAML = st.one_of(
    st.binary(max_size=20), st.text(st.sampled_from("ab:[]{}&*!-#|>'\"%@? \n\t1.~"), max_size=20).map(str.encode)
)


def a_config_file_is_read_or_refused(make, content, path):
    path.write_bytes(content)
    try:
        assert isinstance(read_config(path), dict)
    except ValueError as error:
        assert str(path) in str(error)


ODD_SHAPES = st.fixed_dictionaries(
    {"vocab_size": st.integers(2, 9), "hidden_size": st.integers(-1, 9)},
    optional={
        "num_attention_heads": st.integers(0, 4),
        "intermediate_size": st.integers(0, 4),
        "hidden_act": st.sampled_from(["gelu", "relu", "silu", "tanh", "swiglu"]),
        "temperature": st.floats(),
        "layer_norm_eps": st.floats(),
        "initializer_range": st.floats(0, 1),
        "hidden_dropout_prob": st.floats(-0.5, 1.5),
        "attention_probs_dropout_prob": st.floats(-0.5, 1.5),
        "item_dropout_prob": st.floats(-0.5, 1.5),
        "content_sizes": st.dictionaries(st.sampled_from(["text", "image"]), st.integers(-1, 3)),
    },
)


def a_config_learns_or_is_refused(make, case):
    shape, odd, seed = case
    torch.manual_seed(seed)
    try:
        model = SeqRecForNextItem(SeqRecConfig(**(shape | odd)))
    except (ValueError, StrictDataclassError) as error:
        assert_speaks(error)
        return
    input_ids = torch.randint(2, model.config.vocab_size, (2, 4))
    labels = torch.randint(model.config.num_special_tokens, model.config.vocab_size, (2, 4))
    loss = model(input_ids, labels=labels).loss
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@st.composite
def questions(draw):
    """A catalogue, the shape of a model, histories (also of unknown ids), and what may be asked about them."""
    catalogue = draw(CATALOGUES)
    ids = st.one_of(st.sampled_from(catalogue), st.sampled_from(catalogue), IDS, st.sampled_from(SPECIAL_TOKENS))
    histories = draw(st.lists(st.lists(ids, max_size=8), min_size=1, max_size=4))
    lists = st.one_of(
        st.none(),
        st.lists(ids, max_size=4),
        st.lists(st.lists(ids, max_size=4), min_size=len(histories), max_size=len(histories)),
    )
    asked = {"k": draw(st.integers(1, 14)), "exclude_seen": draw(st.booleans())}
    return catalogue, draw(SHAPES), histories, asked | {"candidates": draw(lists), "exclude": draw(lists)}


def each_has_its_own(lists, count, otherwise):
    if lists is None:
        return [otherwise] * count
    return lists if lists and isinstance(lists[0], list) else [lists] * count


def lists_are_what_was_asked_for(make, case):
    catalogue, shape, histories, asked = case
    recommender = Recommender(make(catalogue, **shape))
    lists = recommender.recommend(histories, **asked, on_unknown_items="ignore")
    candidates = each_has_its_own(asked["candidates"], len(histories), catalogue)
    excluded = each_has_its_own(asked["exclude"], len(histories), [])
    vectors = recommender.encode_history(histories, "ignore") @ recommender.encode_items().T
    for history, rows, chosen, out, scores in zip(histories, lists, candidates, excluded, vectors, strict=True):
        available = (set(chosen) & set(catalogue)) - set(out) - set(history if asked["exclude_seen"] else [])
        ids = [row["item_id"] for row in rows]
        assert len(set(ids)) == len(ids) == min(asked["k"], len(available))
        assert set(ids) <= available
        given = [row["score"] for row in rows]
        assert given == sorted(given, reverse=True)
        dots = {item: float(score) for item, score in zip(catalogue, scores, strict=True)}
        assert given == pytest.approx([dots[item] for item in ids], rel=1e-4, abs=1e-4)
        assert not ids or given[-1] >= max((dots[i] for i in available - set(ids)), default=-math.inf) - 1e-3


def ranks_agree_with_lists(make, case):
    catalogue, shape, histories, asked = case
    recommender = Recommender(make(catalogue, **shape))
    lists = recommender.recommend(histories, len(catalogue), asked["exclude_seen"], on_unknown_items="ignore")
    for target in (catalogue[0], catalogue[-1], SPECIAL_TOKENS[0]):
        ranks = recommender.target_ranks(histories, [target] * len(histories), asked["exclude_seen"])
        for rows, rank in zip(lists, ranks, strict=True):
            scores = {row["item_id"]: row["score"] for row in rows}
            ties = (
                sum(score >= scores[target] for score in scores.values()) if target in scores else len(catalogue) + 1
            )
            assert rank == ties


def a_saved_model_is_the_same(make, case, path):
    catalogue, shape, histories, _ = case
    folder = make(catalogue, **shape)
    assert folder.tokenizer.convert_tokens_to_ids(catalogue) == list(range(3, 3 + len(catalogue)))
    folder.save(path)
    loaded = ModelFolder.load(path)
    assert loaded.tokenizer.convert_ids_to_tokens(list(range(3, 3 + len(catalogue)))) == catalogue
    assert loaded.items.to_dict() == folder.items.to_dict()
    assert loaded.metrics == folder.metrics
    before, after = folder.model.state_dict(), loaded.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before.keys() | after.keys())
    vectors = [Recommender(each).encode_history(histories, "ignore") for each in (folder, loaded)]
    np.testing.assert_allclose(vectors[0], vectors[1], rtol=1e-4, atol=1e-5)


WINDOWS = st.fixed_dictionaries(
    {
        "histories": st.lists(st.lists(st.integers(3, 8), max_size=9), min_size=1, max_size=5),
        "objective": st.sampled_from(["shifted", "cloze", "last_item"]),
        "window": st.integers(2, 5),
        "seed": st.integers(0, 3),
    }
)


def windows_ask_for_what_happened(make, case):
    windows = TrainingWindows(**case, mask_token_id=2, appends_mask=False)
    histories, objective = case["histories"], case["objective"]
    asked = Counter()
    for index in range(len(windows)):
        history = histories[windows.rows[index]]
        for place, (input_ids, labels) in enumerate(windows[index]):
            told = labels != -100
            if len(input_ids) == 1 and input_ids[0] == 2 and (place or objective != "cloze"):
                assert labels[0] in history  # the lone [MASK] of an empty history
                continue
            asked[windows.rows[index]] += int(told.sum())
            assert len(input_ids) <= windows.lengths()[index]
            whole = [*input_ids, labels[-1]] if objective != "cloze" else [*np.where(told, labels, input_ids)]
            if objective == "shifted":
                assert whole == [input_ids[0], *labels]
            starts = range(len(history) - len(whole) + 1)
            assert any(history[start : start + len(whole)] == whole for start in starts)
    if objective == "last_item":
        assert asked == Counter({row: len(history) - 1 for row, history in enumerate(histories) if len(history) > 1})
    packed_is_the_same_as_apart([segment for index in range(len(windows)) for segment in windows[index]], make)


def packed_is_the_same_as_apart(segments, make):
    if not segments:
        return
    model = make([str(number) for number in range(6)], attention="bidirectional", max_position_embeddings=5).model
    with torch.no_grad():
        together = model(**collate_windows([segments])).loss
        apart = [model(**collate_windows([[segment]])).loss * (segment[1] != -100).sum() for segment in segments]
    count = sum(int((labels != -100).sum()) for _, labels in segments)
    torch.testing.assert_close(together, sum(apart) / max(count, 1), rtol=1e-4, atol=1e-4)


SCORES = st.integers(1, 6).flatmap(
    lambda items: st.lists(
        st.tuples(
            st.lists(st.sampled_from([0.0, 0.5, 1.0, math.nan, -math.inf]), min_size=items, max_size=items),
            st.integers(-1, items - 1),
            st.lists(st.booleans(), min_size=items, max_size=items),
        ),
        min_size=1,
        max_size=4,
    )
)


def metrics_are_their_formulas(make, rows):
    scores, targets, excluded = zip(*rows, strict=True)
    ranks = ranks_from_scores(scores, targets, excluded)
    values = metric_values(ranks, k=(1, 3))
    for place, (row, target, out) in enumerate(rows):
        last = len(row) + 1
        can = target >= 0 and not out[target] and not math.isnan(row[target])
        others = [score for item, score in enumerate(row) if item != target and not out[item]]
        rank = 1 + sum(not score < row[target] for score in others) if can else last
        assert ranks[place] == rank
        for k in (1, 3):
            assert values[f"hr@{k}"][place] == (rank <= k)
            assert values[f"mrr@{k}"][place] == (1 / rank if rank <= k else 0)
            assert values[f"ndcg@{k}"][place] == pytest.approx(1 / math.log2(rank + 1) if rank <= k else 0)


PROPERTIES = {
    prepared_data_is_what_the_rules_say: (logs(), 180),
    an_odd_table_is_prepared_or_refused: (odd_tables(), 170),
    settings_are_taken_or_refused: (SETTINGS, 100),
    a_config_file_is_read_or_refused: (YAML, 100),
    a_config_learns_or_is_refused: (st.tuples(SHAPES, ODD_SHAPES, st.integers(0, 3)), 100),
    lists_are_what_was_asked_for: (questions(), 120),
    ranks_agree_with_lists: (questions(), 60),
    a_saved_model_is_the_same: (questions(), 40),
    windows_ask_for_what_happened: (WINDOWS, 60),
    metrics_are_their_formulas: (SCORES, 70),
}


@pytest.fixture(autouse=True)
def one_thread():
    """Models of eight channels wait longer for a second thread than they compute."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def check(law, make, path, times=1, **how):
    """Draw this law's share of the cases, and return how many there were."""
    strategy, count = PROPERTIES[law]
    places = {a_config_file_is_read_or_refused: path / "x.yaml", a_saved_model_is_the_same: path / "model"}
    more = [places[law]] if law in places else []

    @settings(max_examples=times * count, deadline=None, database=None, suppress_health_check=list(HealthCheck), **how)
    @given(case=strategy)
    def holds(case):
        law(make, case, *more)

    holds()
    return times * count


def test_there_are_a_thousand_cases():
    assert sum(count for _, count in PROPERTIES.values()) == 1000


@pytest.mark.parametrize("law", PROPERTIES, ids=lambda law: law.__name__)
def test_it_holds(law, untrained, tmp_path):
    check(law, untrained, tmp_path, derandomize=True)


@pytest.mark.slow
@pytest.mark.parametrize("law", PROPERTIES, ids=lambda law: law.__name__)
def test_it_holds_in_ten_times_as_many_new_cases(law, untrained, tmp_path, record_property):
    count = check(law, untrained, tmp_path, times=10, print_blob=True)
    record_property("measured", f"{count} random cases: {law.__name__}")
