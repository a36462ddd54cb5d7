"""A model goes to the Hub and comes back, through the real client, each time in a process of its own."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from peft import LoraConfig

import seqrec
from seqrec import Recommender
from seqrec.adapters import attach
from seqrec.lora import SEQUENCE_LAYERS
from seqrec.model_folder import CARD_FILE, CODE, READ
from seqrec.publishing import push_adapter_to_hub

ROOT = Path(__file__).parents[2]
HISTORY = ["1500", "d04"]
LOAD = """
import json, sys
from seqrec import Recommender
rows = Recommender.from_pretrained(*sys.argv[1:]).recommend([["1500", "d04"]], k=10)[0]
print(json.dumps([[row["item_id"] for row in rows], sorted(set(rows[0]) - {"item_id", "score"})]))
"""


def run(words, home, **environment):
    """A command of this Python, logged in on the server, with an empty cache of its own."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    own = {"HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_XET": "1"}
    return subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=ROOT,
        env={**inherited, **own, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def model(toy_run):
    folder = toy_run("causal") / "model"
    best = Recommender.from_pretrained(folder).recommend([HISTORY], k=10)[0]
    return folder, [row["item_id"] for row in best]


def test_a_pushed_model_comes_back_with_the_same_lists(hub, model, tmp_path):
    folder, wanted = model
    with hub() as server:
        here = {"HF_ENDPOINT": server.url, "HF_TOKEN": server.token}
        pushed = run(["scripts/publish.py", folder, "owner/toy", "--commit_message", "first"], tmp_path / "a", **here)
        assert pushed.stdout.strip() == f"{server.url}/owner/toy", pushed.stderr
        repository = server.repositories["models/owner/toy"]
        files = repository.at("main")[1]
        assert (
            set(files) == {*READ, *CODE, CARD_FILE} and repository.messages[-1] == "first" and not repository.private
        )
        for name, content in files.items():
            assert not re.search(rb"\bu\d\d\b", content), f"{name} names a user"
            assert str(Path.home()).encode() not in content and str(folder.parent).encode() not in content
            assert not content.startswith(b"\x80") and not name.endswith((".bin", ".pt", ".pkl"))
        loaded = run(["-c", LOAD, "owner/toy"], tmp_path / "b", **here)
        assert json.loads(loaded.stdout) == [wanted, ["genres", "title"]], loaded.stderr
        again = run(["-c", LOAD, "owner/toy"], tmp_path / "b", HF_HUB_OFFLINE="1")
        assert json.loads(again.stdout)[0] == wanted, again.stderr


@pytest.fixture
def here(hub, monkeypatch, tmp_path):
    """A server that the client of this process talks to."""
    with hub() as server:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.url)
        address = f"{server.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", address)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        yield server


def test_branches_pull_requests_and_private_repositories(here, model, tmp_path):
    folder, wanted = model
    recommender, token = Recommender.from_pretrained(folder), here.token
    made = recommender.push_to_hub("owner/toy", private=True, revision="v2", columns=["title"], token=token)
    assert made == f"{here.url}/owner/toy/tree/v2"
    assert recommender.push_to_hub("owner/toy", create_pr=True, token=token) == f"{here.url}/owner/toy/discussions/1"
    repository = here.repositories["models/owner/toy"]
    assert repository.private and not repository.at("main")[1]
    loaded = run(["-c", LOAD, "owner/toy", "v2"], tmp_path / "b", HF_ENDPOINT=here.url, HF_TOKEN=token)
    assert json.loads(loaded.stdout) == [wanted, ["title"]], loaded.stderr
    stranger = run(["-c", LOAD, "owner/toy", "v2"], tmp_path / "c", HF_ENDPOINT=here.url)
    assert "the Hub gave none of this name" in stranger.stderr.splitlines()[-1]


def test_what_is_public_stays_so_and_a_card_of_ones_own_stays(here, model, caplog):
    recommender, token = Recommender.from_pretrained(model[0]), here.token
    recommender.push_to_hub("owner/toy", token=token)
    with pytest.raises(ValueError, match="'owner/toy' is there already and is public"):
        recommender.push_to_hub("owner/toy", private=True, token=token)
    repository = here.repositories["models/owner/toy"]
    repository.commit("main", repository.at("main")[1] | {"README.md": b"My own words."}, "by hand")
    recommender.push_to_hub("owner/toy", columns=[], token=token)
    assert repository.at("main")[1]["README.md"] == b"My own words." and repository.messages[-1] != "by hand"
    assert "was written by hand and stays" in caplog.text


def test_a_card_of_ones_own_in_the_folder_goes_along(here, model, tmp_path):
    Recommender.from_pretrained(model[0]).save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "README.md").write_text("Words of mine.")
    Recommender.from_pretrained(tmp_path / "model").push_to_hub("owner/mine", token=here.token)
    assert here.repositories["models/owner/mine"].at("main")[1]["README.md"] == b"Words of mine."


def test_what_the_hub_refuses_ends_in_a_sentence(here, model, monkeypatch):
    recommender = Recommender.from_pretrained(model[0])
    for name, token in [("owner/toy", "wrong"), ("a/b/c", here.token)]:
        with pytest.raises(ValueError, match=f"could not be pushed to '{name}' .*`owner/name`"):
            recommender.push_to_hub(name, token=token)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ValueError, match="could not be pushed to 'owner/toy' .*be online"):
        recommender.push_to_hub("owner/toy", token=here.token)
    assert "models/owner/toy" not in here.repositories


def test_items_of_a_data_set_that_may_not_be_passed_on_stay_here(model):
    recommender = Recommender.from_pretrained(model[0])
    recommender.folder.preparation["source"]["name"] = "movielens-100k"
    for columns in (None, ["title"]):
        with pytest.raises(ValueError, match="may not be passed on, and .*title.* would go out"):
            recommender.push_to_hub("owner/toy", columns=columns)
    with pytest.raises(ValueError, match=r"columns names \['price'\]; the items show"):
        recommender.push_to_hub("owner/toy", columns=["price"])
    with pytest.raises(ValueError, match="columns must be a list of names, not 'title'"):
        recommender.push_to_hub("owner/toy", columns="title")
    with pytest.raises(ValueError, match="push_to_hub has no option 'colums'; it has private"):
        recommender.push_to_hub("owner/toy", colums=[])
    recommender.model.config.content_sizes = {"attributes": [3, 2, 0]}
    with pytest.raises(ValueError, match="it holds the attributes of its items"):
        recommender.push_to_hub("owner/toy", columns=[])


def test_an_adapter_goes_alone_and_comes_back(here, toy_run, toy_interactions, toy_items, toy_settings, tmp_path):
    kept = ("min_interactions", "num_train_epochs", "per_device_train_batch_size", "num_threads", "disable_tqdm")
    settings = {name: toy_settings[name] for name in kept} | {"learning_rate": 0.01}
    base, run_folder = toy_run("causal") / "model", tmp_path / "adapted"
    adapted = seqrec.train(
        *(toy_interactions, toy_items),
        output_dir=run_folder,
        lora="sequence_encoder",
        base_model=str(base),
        **settings,
    )
    with pytest.raises(ValueError, match="for 'causal', which is no Hub id"):
        push_adapter_to_hub(run_folder / "adapter", "owner/adapter", token=here.token)
    command = ["scripts/publish.py", run_folder / "adapter", "owner/adapter", "--base_model", "owner/base"]
    pushed = run(command, tmp_path / "a", HF_ENDPOINT=here.url, HF_TOKEN=here.token)
    assert pushed.stdout.strip() == f"{here.url}/owner/adapter", pushed.stderr
    files = here.repositories["models/owner/adapter"].at("main")[1]
    assert set(files) == {"adapter_config.json", "adapter_model.safetensors", "README.md"}
    assert json.loads(files["adapter_config.json"])["base_model_name_or_path"] == "owner/base"
    card = files["README.md"].decode()
    assert 'from_pretrained("owner/base", adapter="owner/adapter")' in card and "base_model: owner/base" in card
    for name, content in files.items():
        assert not re.search(rb"\bu\d\d\b", content), f"{name} names a user"
        assert str(tmp_path).encode() not in content and str(base.parent.parent).encode() not in content
    loaded = Recommender.from_pretrained(base, adapter="owner/adapter")  # in this process, which pushed nothing
    wanted = [row["item_id"] for row in adapted.recommend([HISTORY], k=10)[0]]
    assert [row["item_id"] for row in loaded.recommend([HISTORY], k=10)[0]] == wanted


def test_an_adapter_that_peft_wrote_goes_out_without_its_path(here, model, tmp_path):
    wrapped = attach(Recommender.from_pretrained(model[0]).model, LoraConfig(r=2, target_modules=SEQUENCE_LAYERS))
    wrapped.save_pretrained(tmp_path / "theirs")
    assert str(model[0]) in (tmp_path / "theirs" / "adapter_config.json").read_text()
    push_adapter_to_hub(tmp_path / "theirs", "owner/theirs", base_model="owner/base", token=here.token)
    files = here.repositories["models/owner/theirs"].at("main")[1]
    assert set(files) == {"adapter_config.json", "adapter_model.safetensors", "README.md"}
    assert not any(str(model[0]).encode() in content for content in files.values())
    assert b'from_pretrained("owner/base", adapter="owner/theirs")' in files["README.md"]


def test_what_only_the_other_has_is_refused(model, tmp_path):
    done = run(["scripts/publish.py", model[0], "owner/toy", "--base_model", "owner/base"], tmp_path / "a")
    assert done.returncode == 2 and "no adapter" in done.stderr, done.stderr
    with pytest.raises(ValueError, match=r"published without \['columns'\]"):
        push_adapter_to_hub(tmp_path, "owner/toy", columns=[])
