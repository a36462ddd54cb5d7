"""What item content brings on Amazon Beauty: against ids alone, and for items that training never saw.

    python benchmarks/content.py --interactions FILE --items FILE [--output_dir FOLDER] [--seeds 0 1 2]

Four models a seed; what is finished is kept. Prints, for each seed, paired differences of NDCG@10 on test targets over
the full catalogue, seen items excluded: ids and text against ids; cold targets against content-kNN; warm targets with
and without id dropout; and what `add_items` of a tenth of the catalogue does to the lists and to the old targets.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset

import seqrec
from seqrec.baselines import fit_baselines
from seqrec.data import PreparedData, prepare
from seqrec.evaluation import dataset_ranks, user_metrics
from seqrec.metrics import paired_difference

ROOT = Path(__file__).parent.parent
SETTINGS: dict[str, Any] = {
    **{"attention": "causal", "norm": "post", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 1},
    **{"ensemble_size": 1, "transition_size": 0, "lr_scheduler_type": "linear"},
    **{"max_position_embeddings": 50, "similarity": "dot", "hidden_dropout_prob": 0.2},
    **{"attention_probs_dropout_prob": 0.2, "text_template": "{title}. {categories}"},
    **{"learning_rate": 2e-3, "warmup_steps": 100, "num_train_epochs": 12, "per_device_train_batch_size": 170},
    **{"average_decay": 0.99, "max_grad_norm": 5.0, "early_stopping_patience": 0, "num_threads": 1},
}
COLD = 0.1
MODELS: dict[str, dict[str, Any]] = {
    "ids": {"text_encoder": "none"},
    "ids and text": {"content_scale": 1},
    "cold": {"content_scale": 1, "cold_item_fraction": COLD},
    "cold, id dropout": {"content_scale": 1, "cold_item_fraction": COLD, "id_dropout_prob": 0.3},
}


def main(interactions: str, items: str, output_dir: Path, seeds: list[int]) -> None:
    """Train what is not trained yet, and compare."""
    for seed in seeds:
        models = {}
        for name, settings in MODELS.items():
            run = output_dir / f"{name.replace(', ', '-').replace(' ', '-')}-{seed}"
            if not (run / "logs" / "trainer_state.json").is_file():
                print(f"training {run}", file=sys.stderr, flush=True)
                seqrec.train(interactions, items, output_dir=run, seed=seed, disable_tqdm=True, **SETTINGS, **settings)
            models[name] = seqrec.Recommender.from_pretrained(run / "model")
        whole, held = prepare(interactions, items), prepare(interactions, items, cold_item_fraction=COLD)
        test = whole.dataset["test"]
        say(seed, "ids and text / ids", ndcg(models["ids and text"], test), ndcg(models["ids"], test))
        compare_cold(seed, models, held)
        add_a_tenth(seed, models["cold"], held)


def compare_cold(seed: int, models: dict[str, seqrec.Recommender], held: PreparedData) -> None:
    """Cold and warm targets apart."""
    test, cold = held.dataset["test"], cold_targets(held, held.dataset["test"])
    model, without = models["cold, id dropout"], models["cold"]
    knn = fit_baselines(held.dataset["train"], held.items, model.text_vectors(), ["content-kNN"])["content-kNN"]
    ours, plain, theirs = ndcg(model, test), ndcg(without, test), ndcg(knn, test)
    say(seed, "cold targets: without id dropout / content-kNN", plain[cold], theirs[cold])
    say(seed, "cold targets: id dropout / content-kNN", ours[cold], theirs[cold])
    say(seed, "cold targets: id dropout / without", ours[cold], plain[cold])
    say(seed, "warm targets: id dropout / without", ours[~cold], plain[~cold])
    say(seed, "all targets: without id dropout / content-kNN", plain, theirs)


def add_a_tenth(seed: int, model: seqrec.Recommender, held: PreparedData) -> None:
    """The same model before and after its cold items are in the catalogue."""
    test = held.dataset["test"]
    old = test.select(np.flatnonzero(~cold_targets(held, test)))
    counts = np.asarray(held.items["count"])
    new = held.items.select(np.flatnonzero(counts == 0)).remove_columns("count")
    model.remove_items(new["item_id"])
    before = ndcg(model, old)
    model.add_items(new)
    say(seed, f"old targets: {len(new):,} new items added / before", ndcg(model, old), before)
    lists = model.evaluate(test, k=(10,))["lists"]
    print(f"seed {seed}  share of new items in the top 10: {lists['cold_items@10']:.4f}", flush=True)


def ndcg(ranker: Any, dataset: Dataset) -> np.ndarray[Any, np.dtype[np.float64]]:
    """NDCG@10 of every user."""
    return user_metrics(dataset_ranks(ranker, dataset), [10], num_items=10)["ndcg@10"]


def cold_targets(prepared: PreparedData, dataset: Dataset) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Whose target training never saw."""
    count_of = dict(zip(prepared.items["item_id"], prepared.items["count"], strict=True))
    return np.array([count_of[target] == 0 for (target,) in dataset["targets"]])


def say(seed: int, what: str, ours: np.ndarray, theirs: np.ndarray) -> None:
    """Print one paired comparison."""
    found = paired_difference(ours, theirs)
    low, high = found.interval
    print(
        f"seed {seed}  {what}: {found.value:.4f} / {found.other:.4f} = {found.value / max(found.other, 1e-9):.2f}, "
        f"difference {found.difference:+.4f} [{low:+.4f}, {high:+.4f}], {found.num_users:,} users",
        flush=True,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--interactions", required=True)
    parser.add_argument("--items", required=True)
    parser.add_argument("--output_dir", type=Path, default=ROOT / "runs" / "benchmarks" / "content")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    main(arguments.interactions, arguments.items, arguments.output_dir.resolve(), arguments.seeds)
