"""The model folder in a process that cannot import seqrec."""

import json
import subprocess
import sys

import pytest

from seqrec import Recommender

HISTORIES = [["1500", "d05"], ["a [MASK] b"], ["d07", "no such item", "15001"], [], ["d04", "d05"] * 50]

PROGRAM = """
import json, sys

class NoSeqrec:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "seqrec":
            raise ImportError("seqrec is blocked here")

sys.meta_path.insert(0, NoSeqrec())
from transformers import AutoModel, AutoTokenizer, pipeline

path, histories = sys.argv[1], json.loads(sys.argv[2])
model = AutoModel.from_pretrained(path, trust_remote_code=True)
tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=True)
batch = tokenizer(histories, is_split_into_words=True, return_tensors="pt", padding=True)
logits = model(**batch).logits
answers = {"size": list(logits.shape), "top": [], "seen": [], "pipeline": []}
for k, exclude_seen, name in ((10, False, "top"), (10, True, "seen")):
    ranking = model.rank(**batch, k=k, exclude_seen=exclude_seen)
    tokens = [[token for token in row if token] for row in ranking.token_ids.tolist()]
    answers[name] = [tokenizer.convert_ids_to_tokens(row) for row in tokens]
answers["logits"] = [tokenizer.convert_ids_to_tokens(row) for row in logits.topk(10).indices.tolist()]
next_item = pipeline("next-item", model=path, trust_remote_code=True)
answers["pipeline"] = next_item([{"history": history} for history in histories], top_k=10)
answers["one"] = next_item({"history": histories[0]}, top_k=3, exclude_seen=False)
assert "seqrec" not in sys.modules
print(json.dumps(answers))
"""


def check_answers(python, folder, cwd):
    """Run the program with an interpreter and compare every list with the recommender's."""
    run = subprocess.run(
        [python, "-c", PROGRAM, str(folder), json.dumps(HISTORIES)],
        capture_output=True,
        text=True,
        cwd=cwd,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    answers = json.loads(run.stdout.splitlines()[-1])
    recommender = Recommender.from_pretrained(folder)
    everything = recommender.recommend(HISTORIES, k=10, exclude_seen=False, on_unknown_items="ignore")
    unseen = recommender.recommend(HISTORIES, k=10, on_unknown_items="ignore")
    assert answers["size"] == [len(HISTORIES), 15 + 3]
    assert answers["top"] == answers["logits"] == [[row["item_id"] for row in rows] for rows in everything]
    assert answers["seen"] == [[row["item_id"] for row in rows] for rows in unseen]
    for got, wanted in zip(answers["pipeline"], unseen, strict=True):
        assert [row["item_id"] for row in got] == [row["item_id"] for row in wanted]
        assert [row["score"] for row in got] == pytest.approx([row["score"] for row in wanted], abs=1e-4)
    assert [row["item_id"] for row in answers["one"]] == [row["item_id"] for row in everything[0][:3]]


@pytest.mark.parametrize("attention", ["causal", "bidirectional"])
def test_transformers_alone_gives_the_same_lists(toy_run, attention, tmp_path):
    check_answers(sys.executable, toy_run(attention) / "model", tmp_path)


@pytest.mark.slow
@pytest.mark.network
def test_a_second_environment_gives_the_same_lists(toy_run, second_python, tmp_path):
    for attention in ("causal", "bidirectional"):
        check_answers(second_python, toy_run(attention) / "model", tmp_path)
