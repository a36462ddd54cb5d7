"""A model folder is read with suspicion: damaged, mixed up or hostile, it is refused with a sentence."""

import json
import pickle
import resource
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file

from seqrec import Recommender
from seqrec.model_folder import NEEDED, ModelFolder

ITEMS = [f"i{number}" for number in range(12)]
TABLE, WEIGHT = "model.items.ids.weight", "model.safetensors"


@pytest.fixture(scope="module")
def saved(untrained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    untrained(ITEMS).save(folder / "good")
    untrained([f"j{number}" for number in range(12)], hidden_size=16).save(folder / "other")
    untrained(ITEMS[:5]).save(folder / "small")
    return folder


@pytest.fixture
def damaged(saved, tmp_path):
    """A copy to be damaged."""
    return shutil.copytree(saved / "good", tmp_path / "damaged")


def config(**changes):
    return lambda folder: change_json(folder / "config.json", changes)


def change_json(path, changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def items(change):
    return lambda folder: pq.write_table(change(pq.read_table(folder / "items.parquet")), folder / "items.parquet")


def column(name, values, kind=None):
    return items(lambda table: table.set_column(table.column_names.index(name), name, pa.array(values, kind)))


def weights(change):
    return lambda folder: save_file(change(load_file(folder / WEIGHT)), folder / WEIGHT)


def text(name, content):
    return lambda folder: (folder / name).write_text(content)


def renumbered(folder):
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"] |= {"i3": 4, "i1": 6}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))


DAMAGES = {
    "huge hidden_size": (config(hidden_size=10**7), r"is '?\('float', 15, 8\)|are \('float', .*asks for"),
    "huge beyond memory addresses": (config(hidden_size=10**15), "describes no model"),
    "huge max_position_embeddings": (config(max_position_embeddings=10**12), "mixes two models.*1999999999999"),
    "huge num_hidden_layers": (config(num_hidden_layers=10**12), "describes no model.*num_hidden_layers=10{12}"),
    "huge vocab_size": (config(vocab_size=10**12), "has 12 items, and its config.json knows 9{11}7"),
    "huge content": (config(content_sizes={"text": [10**9, 10**9]}), "mixes two models"),
    "odd content": (config(content_sizes={"a.b": [4, 4]}), "describes no model"),
    "negative size": (config(intermediate_size=-1), "intermediate_size=-1"),
    "size as text": (config(hidden_size="8"), "expected int, got str"),
    "size of none": (config(vocab_size=None), "expected int, got NoneType"),
    "unknown attention": (config(attention="sideways"), "sideways"),
    "unknown activation": (config(hidden_act="evil"), "evil"),
    "unknown dtype": (config(dtype="evil"), "dtype='evil'"),
    "listed dtype": (config(dtype=[1]), r"dtype=\[1\]"),
    "tiny temperature": (config(temperature=1e-40), "temperature=1e-40"),
    "special tokens": (config(pad_token_id=-1), r"\(-1, 1, 2\)"),
    "one column to show": (config(display_columns="title"), "display_columns"),
    "another kind": (config(model_type="bert"), "type 'bert'"),
    "a list of kinds": (config(model_type=["seqrec"]), "holds a model of type"),
    "a list": (text("config.json", "[1]"), "holds a list"),
    "a name twice": (text("config.json", '{"model_type": "seqrec", "model_type": "bert"}'), "type 'bert'"),
    "deep": (text("config.json", "[" * 100_000), "not JSON"),
    "NaN": (text("config.json", '{"model_type": "seqrec", "temperature": NaN}'), "NaN"),
    "metrics": (text("metrics.json", "[]"), r"metrics\.json.*holds a list"),
    "preparation": (text("preparation.json", "{"), r"preparation\.json.*not JSON"),
    "no item_id": (items(lambda table: table.drop_columns("item_id")), "expected item_id"),
    "no count": (items(lambda table: table.drop_columns("count")), "expected item_id"),
    "an id missing": (column("item_id", [None, *ITEMS[1:]]), "no id or count missing"),
    "an id twice": (column("item_id", ["i1", *ITEMS[1:]]), "'i1' stands twice"),
    "an id that is special": (column("item_id", ["[MASK]", *ITEMS[1:]]), r"'\[MASK\]' stands twice"),
    "ids of bytes": (column("item_id", [b"\xff"] * 12), "item_id: binary"),
    "ids in lists": (column("item_id", [[item] for item in ITEMS]), "item_id: list"),
    "titles in structs": (column("title", [{"a": 1}] * 12), "title: struct"),
    "other order": (items(lambda table: table.take(list(range(11, -1, -1)))), "number items differently"),
    "other number": (items(lambda table: table.slice(1)), "has 11 items"),
    "a million rows": (lambda folder: many_rows(folder), "has 1000000 items"),
    "no parquet": (text("items.parquet", "PAR1"), r"items\.parquet.*cannot be read"),
    "numbers of the tokenizer": (renumbered, r"number items differently, e.g. \['i1'\]"),
    "tokenizer of another type": (text("tokenizer.json", '{"model": []}'), "number items differently"),
    "NaN weights": (weights(lambda tensors: tensors | {TABLE: tensors[TABLE] * float("nan")}), "NaN or infinity"),
    "weights missing": (
        weights(lambda tensors: {k: v for k, v in tensors.items() if k != TABLE}),
        f"{TABLE}' are None",
    ),
    "weights too many": (weights(lambda tensors: tensors | {"x": torch.zeros(2)}), "'x' are .*asks for None"),
    "weights of integers": (weights(lambda tensors: {k: v.int() for k, v in tensors.items()}), "mixes two models"),
    "a pickle named weights": (lambda folder: torch.save({}, folder / WEIGHT), "cannot be read"),
}


def many_rows(folder):
    pq.write_table(pa.table({"item_id": [f"i{number}" for number in range(10**6)]}), folder / "items.parquet")


@pytest.mark.parametrize(("damage", "said"), DAMAGES.values(), ids=DAMAGES)
def test_damage_is_answered_with_a_sentence(damaged, damage, said):
    damage(damaged)
    with pytest.raises(ValueError, match=said):
        ModelFolder.load(damaged)


@pytest.mark.parametrize("name", [*NEEDED, "metrics.json", "preparation.json"])
def test_every_file_must_be_whole_and_of_this_model(saved, damaged, name):
    content = (damaged / name).read_bytes()
    for part in (b"", content[: len(content) // 2]):
        (damaged / name).write_bytes(part)
        with pytest.raises(ValueError, match=f"{name}|cannot be loaded"):
            ModelFolder.load(damaged)
    (damaged / name).unlink()
    if name in NEEDED:
        with pytest.raises(ValueError, match=f"{name}.*missing"):
            ModelFolder.load(damaged)
    for other in ("other", "small") if name in NEEDED[:-1] else ():
        shutil.copy(saved / other / name, damaged / name)
        with pytest.raises(ValueError, match="mixes two models"):
            ModelFolder.load(damaged)


class Evil:
    """What runs when it is unpickled."""

    def __reduce__(self):
        return exec, ("raise SystemExit('unpickled')",)


def test_nothing_in_a_folder_is_executed(damaged):
    auto_map = {"AutoConfig": "evil.Evil", "AutoModel": "evil.Evil", "AutoTokenizer": ["evil.Evil", "evil.Evil"]}
    for name in ("config.json", "tokenizer_config.json"):
        change_json(
            damaged / name, {"auto_map": auto_map, "tokenizer_class": "Evil", "_attn_implementation": "evil/kernel"}
        )
    for name in ("evil.py", "modeling_seqrec.py"):
        (damaged / name).write_text("raise SystemExit('imported')")
    for name in ("pytorch_model.bin", "training_args.bin"):
        (damaged / name).write_bytes(pickle.dumps(Evil()))
    assert len(Recommender.from_pretrained(damaged).recommend([["i1"]], k=3)[0]) == 3
    (damaged / WEIGHT).unlink()
    with pytest.raises(ValueError, match="missing"):
        Recommender.from_pretrained(damaged)


def test_columns_to_show_cannot_replace_the_answer(damaged):
    change_json(damaged / "config.json", {"display_columns": ["score", "count", "item_id", "../../x", "title"]})
    recommender = Recommender.from_pretrained(damaged)
    row = recommender.recommend([["i1"]], k=1)[0][0]
    assert list(row) == ["item_id", "score", "title"]
    recommender.save_pretrained(damaged)
    assert Recommender.from_pretrained(damaged).recommend([["i1"]], k=1)[0][0] == row


def test_a_full_disk_leaves_the_old_folder(saved, damaged, untrained):
    before = {path.name: path.read_bytes() for path in damaged.iterdir()}
    old, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in (0, 1200, 2500):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            with pytest.raises(OSError, match=r"could not be written to '.*damaged'.*unchanged"):
                untrained(ITEMS).save(damaged)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (old, hard))
        assert {path.name: path.read_bytes() for path in damaged.iterdir()} == before
        assert [path.name for path in damaged.parent.iterdir()] == ["damaged"]
