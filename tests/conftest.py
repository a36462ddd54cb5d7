"""A tiny real world: twelve users, fifteen items, and the awkward cases among them."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"  # small models wait longer for a second thread than they compute

import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

SEED = 7

TOY_ITEMS = [
    ("1500", "Toy Story (1995)", "Animation, Children's, Comedy"),
    ("15001", "Alien (1979)", "Action, Horror, Sci-Fi"),
    ("a [MASK] b", "Heat (1995)", "Action, Crime, Thriller"),
    ("d04", "Fargo (1996)", "Crime, Drama, Thriller"),
    ("d05", "Babe (1995)", "Children's, Comedy, Drama"),
    ("d06", None, "Drama"),
    ("d07", "Aliens (1986)", "Action, Sci-Fi, Thriller, War"),
    ("d08", "Psycho (1960)", "Horror, Romance, Thriller"),
    ("d09", "Aladdin (1992)", "Animation, Children's, Comedy, Musical"),
    ("d10", "Vertigo (1958)", "Mystery, Thriller"),
    ("d11", "Brazil (1985)", "Sci-Fi"),
    ("d12", "Gandhi (1982)", "Drama"),
    ("d13", "Grease (1978)", "Comedy, Musical, Romance"),
    ("d14", "Chinatown (1974)", "Film-Noir, Mystery, Thriller"),
    ("d15", "Amadeus (1984)", "Drama, Mystery"),
]


TOY_SETTINGS = {
    "min_interactions": 3,
    "text_encoder": "none",
    "hidden_size": 16,
    "ensemble_size": 1,
    "intermediate_size": 32,
    "transition_size": 0,
    "hidden_dropout_prob": 0.2,
    "num_attention_heads": 2,
    "max_position_embeddings": 6,
    "num_train_epochs": 3,
    "per_device_train_batch_size": 4,
    "learning_rate": 1e-2,
    "lr_scheduler_type": "linear",
    "warmup_steps": 0,
    "num_threads": 1,
    "disable_tqdm": True,
}


@pytest.fixture(autouse=True)
def fixed_seed():
    random.seed(SEED)
    np.random.seed(SEED)  # noqa: NPY002 (libraries under test draw from the global generator)
    if "torch" in sys.modules:  # a test that imports it later meets its fixed first seed
        sys.modules["torch"].manual_seed(SEED)


def toy_items_table() -> pa.Table:
    item_ids, titles, genres = zip(*TOY_ITEMS, strict=True)
    return pa.table({"item_id": item_ids, "title": titles, "genres": genres})


def toy_interactions_table() -> pa.Table:
    """Twelve users walk through the fifteen items, each from another start and in another stride.

    User `u12` has five events, the others eight. Users `u03` and `u07` have events at equal times. Rows are in the
    order of a log: by event, all users mixed.
    """
    rows = []
    for user in range(12):
        stride = 1 if user % 2 == 0 else 2
        for event in range(5 if user == 11 else 8):
            tied = user in (2, 6) and event in (3, 4)
            rows.append(
                {
                    "user_id": f"u{user + 1:02d}",
                    "item_id": TOY_ITEMS[(user * 4 + event * stride) % 15][0],
                    "timestamp": 1000 + 10 * (3 if tied else event),
                    "event": event,
                }
            )
    rows.sort(key=lambda row: (row["event"], row["user_id"]))
    return pa.Table.from_pylist([{name: row[name] for name in ("user_id", "item_id", "timestamp")} for row in rows])


@pytest.fixture
def toy_settings() -> dict[str, object]:
    return dict(TOY_SETTINGS)


@pytest.fixture
def toy_items() -> pa.Table:
    return toy_items_table()


@pytest.fixture
def toy_interactions() -> pa.Table:
    return toy_interactions_table()


@pytest.fixture
def toy_prepared(toy_interactions, toy_items):
    from seqrec.data import prepare

    return prepare(toy_interactions, toy_items, min_interactions=3)


@pytest.fixture(scope="session")
def toy_run(tmp_path_factory):
    """The run folder of a model trained on the toy world for a few epochs, one for each attention."""
    import seqrec

    runs = {}

    def run(attention):
        if attention not in runs:
            runs[attention] = tmp_path_factory.mktemp("runs") / attention
            settings = {**TOY_SETTINGS, "attention": attention, "output_dir": runs[attention]}
            seqrec.train(toy_interactions_table(), toy_items_table(), **settings)
        return runs[attention]

    return run


@pytest.fixture(scope="session")
def forks(tmp_path_factory):
    """`forks.script("train.py", ...)` runs a script in a process that need not import everything first."""
    from tests.forks import Forks

    with Forks(tmp_path_factory.mktemp("forks"), {}) as made:
        yield made


@pytest.fixture(scope="session")
def second_python(tmp_path_factory):
    """The interpreter of an environment that has torch and transformers in our versions, and no seqrec."""
    folder = tmp_path_factory.mktemp("second") / "venv"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    constraints = Path(__file__).parent.parent / "constraints.txt"
    python = str(folder / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "-q", "-c", constraints, "torch", "transformers"], check=True)
    return python


def pytest_terminal_summary(terminalreporter):
    """Print what the slow tests measured, a line each: what they gave to `record_property("measured", ...)`."""
    reports = [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]
    lines = [value for report in reports for name, value in report.user_properties if name == "measured"]
    if lines:
        terminalreporter.section("measured")
        terminalreporter.write_line("\n".join(lines))


@pytest.fixture(scope="session")
def toy_file_settings(tmp_path_factory) -> dict[str, object]:
    """Settings, all of them JSON, that train on the toy world from files: for runs in other processes."""
    folder = tmp_path_factory.mktemp("toy")
    pq.write_table(toy_interactions_table(), folder / "clicks.parquet")
    pq.write_table(toy_items_table(), folder / "items.parquet")
    files = {"interactions": str(folder / "clicks.parquet"), "items": str(folder / "items.parquet")}
    return {**TOY_SETTINGS, **files}


@pytest.fixture(scope="session")
def untrained():
    """A function that makes the folder of a small untrained model of these items, whose titles are shown."""
    import datasets

    from seqrec.model import SeqRecConfig, SeqRecForNextItem
    from seqrec.model_folder import ModelFolder
    from seqrec.tokenization import build_tokenizer

    def make(item_ids, **shape):
        small = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "max_position_embeddings": 4}
        config = SeqRecConfig(vocab_size=len(item_ids) + 3, display_columns=["title"], **{**small, **shape})
        titles = [f"Title of {item}" for item in item_ids]
        items = datasets.Dataset(pa.table({"item_id": item_ids, "title": titles, "count": range(len(item_ids))}))
        return ModelFolder(SeqRecForNextItem(config).eval(), build_tokenizer(item_ids, config), items, {"a": 1.5})

    return make


@pytest.fixture(scope="session")
def bert_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real text encoder, two layers of width 16 that read eight tokens of a text, and its word tokenizer."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("encoders") / "tiny-bert"
    words = ["[PAD]", "[UNK]", "alien", "toy", "story", "heat", "horror", "comedy", ".", ","]
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", model_max_length=8
    ).save_pretrained(folder)
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=len(vocabulary), **shape)).save_pretrained(folder)
    return folder
