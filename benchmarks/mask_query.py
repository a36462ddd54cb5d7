"""What holds BERT4Rec back: what a [MASK] starts from, on three data sets, with dot product and cosine, three seeds.

    python benchmarks/mask_query.py [--data ../shared/data] [--only beauty-cosine] [--seeds 0 1 2] [--core 0]

Every run learns at a constant rate, its weights averaged, until validation has been flat for a while, so that its
learning curve can be read at any budget. What is finished has a small record in `benchmarks/records/mask_query` (its
curve, the ranks of all test targets, what its states know after each block) and is not trained again; what was
interrupted is resumed; several processes may share the work by `--only`. Runs may come from busy cores or a GPU:
`--pace` finds, once for each arm and on one core, what a step costs. `--variants` makes other runs beside those of
the study: stopped early, to look into what they have learned by then, or with another setting, to see whether it is
the recipe that decides. `benchmarks/mask_query_report.py` makes tables and plots of it all.
"""

import argparse
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from quality import ROOT, source, train
from safetensors.numpy import save_file

from seqrec import Recommender
from seqrec.data import PreparedData
from seqrec.evaluation import dataset_ranks
from seqrec.folders import read_json, write_json, written_whole_file
from seqrec.metrics.ranking import ndcg_at_k
from seqrec.report import trainer_log

RECORDS = Path(__file__).parent / "records" / "mask_query"
LAST_RANK = 100
"""Where ranks are cut, as one byte has to hold them: 101 says that a target is further down."""

COMMON = {
    **{"attention": "bidirectional", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 1},
    **{"ensemble_size": 1, "transition_size": 0},
    **{"relative_position_bias": True, "lr_scheduler_type": "constant_with_warmup", "learning_rate": 1e-3},
    **{"num_train_epochs": 300, "num_threads": 1, "disable_tqdm": True},
}
DATA: dict[str, dict[str, Any]] = {
    "movielens-100k": {
        **{"text_encoder": "none", "max_position_embeddings": 100, "hidden_dropout_prob": 0.2},
        **{"per_device_train_batch_size": 32, "early_stopping_patience": 60},
    },
    "amazon-beauty": {
        **{
            "text_template": "{title}. {categories}",
            "content_scale": 5,
            "max_position_embeddings": 50,
            "norm": "post",
        },
        **{"hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0.2, "per_device_train_batch_size": 170},
        **{"average_decay": 0.99, "max_grad_norm": 5.0, "early_stopping_patience": 8},
    },
    "movielens-1m": {
        **{"text_encoder": "none", "max_position_embeddings": 200, "hidden_dropout_prob": 0.15},
        **{"per_device_train_batch_size": 64, "early_stopping_patience": 30, "bf16": True},
    },
}
"""One small recipe a data set; Beauty's items have texts, as ids alone say too little there.

The validation of MovieLens-100K's 943 users is noisy: with a patience of 20, seven of 24 runs stopped on a local
maximum, 0.015 below where the same recipe gets with another seed. The first two seeds of MovieLens-1M in
docs/mask-query.md, whose records are lost, had a patience of 20.
"""
SIMILARITIES: dict[str, dict[str, Any]] = {
    "cosine": {"similarity": "cosine", "temperature": 0.05},
    "dot": {"similarity": "dot"},
}
ARMS: dict[str, dict[str, Any]] = {
    "plain": {"mask_query": "plain"},
    "previous": {"mask_query": "previous"},
    "neighbours": {"mask_query": "neighbours"},
    "shifted": {"mask_query": "shifted"},
    "newest": {"mask_query": "newest", "objective": "last_item"},
    "causal": {"attention": "causal"},
}
BY_STEPS = {"eval_strategy": "steps", "save_strategy": "steps"}
OWN: dict[tuple[str, str], dict[str, Any]] = {
    ("movielens-100k", "causal"): {"hidden_dropout_prob": 0.4, "item_dropout_prob": 0.15},
    ("movielens-100k", "newest"): BY_STEPS | {"eval_steps": 150, "save_steps": 150, "max_steps": 9_000},
    ("movielens-1m", "newest"): BY_STEPS | {"eval_steps": 600, "save_steps": 600, "max_steps": 12_000},
}
"""Causal attention on ML-100K needs more dropout, as its own config has it. The newest item's own state has one target
a prefix: an epoch of that is hours on dense data, so it is measured every so many steps and stopped after so many:
less than an epoch on ML-1M, three on ML-100K."""
OTHERWISE: dict[str, dict[str, Any]] = {
    "rate-3e-3": {"learning_rate": 3e-3},
    "mask-0.4": {"mask_probability": 0.4},
    "mask-0.6": {"mask_probability": 0.6},
    "pre-norm": {"norm": "pre"},
    "ids": {
        "text_encoder": "none",
        "content_scale": 1,
        "hidden_dropout_prob": 0.5,
        "attention_probs_dropout_prob": 0.5,
    },
}
"""One thing changed, with what hangs on it, to see whether the recipe decides."""
EARLY = {f"of-{n}": {"num_train_epochs": n, "max_steps": -1, "early_stopping_patience": 0} for n in (3, 10, 30)}
"""Cut short after so many epochs, to see what is learned by then; not the newest item's own state, see above."""
VARIANTS: dict[str, dict[str, Any]] = EARLY | OTHERWISE
"""Runs beside those of the study; their test targets are not read."""
PACE = BY_STEPS | {"max_steps": 240, "eval_steps": 40, "save_steps": 240}
"""What a step costs is the median over stretches between evaluations, here the five of forty steps after the first."""
ONE_CORE = "1 CPU thread"
"""What metrics.json says of a run on one core."""


class Run(NamedTuple):
    """One training of the study."""

    data: str
    similarity: str
    arm: str
    seed: int
    variant: str = ""

    @property
    def cell(self) -> str:
        """What it shares with its other seeds."""
        return "-".join((self.data, self.similarity, self.arm))

    @property
    def name(self) -> str:
        """Its folder."""
        return f"{self.cell}-{self.seed}" + (f"-{self.variant}" if self.variant else "")

    def record(self, records: Path) -> Path:
        """Where its record is, among others."""
        return records / f"{self.name}.safetensors"

    def settings(self) -> dict[str, Any]:
        """What it is trained with."""
        own = OWN.get((self.data, self.arm), {}) | VARIANTS.get(self.variant, {}) | {"seed": self.seed}
        return COMMON | DATA[self.data] | SIMILARITIES[self.similarity] | ARMS[self.arm] | own


def all_runs(seeds: Sequence[int], only: str, variants: Sequence[str] = ("",)) -> Iterator[Run]:
    """Every run whose name holds a text, all of a seed before the next one."""
    for seed in seeds:
        for data in DATA:
            for similarity in SIMILARITIES:
                for arm in ARMS:
                    if only in Run(data, similarity, arm, seed).name:
                        own = (variant for variant in variants if arm != "newest" or variant not in EARLY)
                        yield from (Run(data, similarity, arm, seed, variant) for variant in own)


def main(options: argparse.Namespace) -> None:
    """Do what is not done yet."""
    if options.core is not None:
        os.sched_setaffinity(0, {options.core})
    output_dir = options.output_dir.resolve()
    if options.pace:
        return measure_pace(output_dir, options.records, options.only, options.data)
    for run in all_runs(options.seeds, options.only, options.variants):
        if not run.record(options.records).is_file():
            folder = output_dir / run.name
            train(folder, [], run.settings() | source(run.data, options.data))
            keep(folder, run, run.record(options.records))


def measure_pace(output_dir: Path, records: Path, only: str, data: Path) -> None:
    """Write the processor seconds of a step of each arm into `pace.json`, evaluation not counted.

    The first seed's run tells it, if it was made on one core of this machine; else a short one is made.
    """
    for run in all_runs([0], only):
        if run.cell not in read_json(records / "pace.json"):
            own = output_dir / run.name
            trained = read_json(own / "model" / "metrics.json").get("train", {})
            short = output_dir / f"pace-{run.cell}"
            folder = own if trained.get("device") == ONE_CORE else short
            train(folder, [], run.settings() | PACE | source(run.data, data))  # unless it is finished
            rows = [row for row in trainer_log(folder) if "eval_ndcg@10" in row]
            steps, seconds = (np.diff([row[key] for row in rows]) for key in ("step", "cpu_seconds"))
            pace = read_json(records / "pace.json") | {run.cell: round(float(np.median(seconds / steps)), 5)}
            write_json(records / "pace.json", pace)
            shutil.rmtree(short, ignore_errors=True)


def keep(folder: Path, run: Run, record: Path) -> None:
    """Write the record of a finished run, users in the order of the prepared data, seen items excluded."""
    recommender, data = Recommender.from_pretrained(folder / "model"), PreparedData.load(folder / "data")
    rows = [row for row in trainer_log(folder) if "eval_ndcg@10" in row]
    steps = np.array([row["step"] for row in rows])
    trained = read_json(folder / "model" / "metrics.json")["train"]
    timed = steps[-1] - (trained["resumed_at_step"] or 0)
    if timed < 1:
        raise ValueError(f"{folder} was resumed when it was done, so its pace is unknown. Remove it and train anew.")
    found = {
        "steps": steps,
        "targets": steps * trained["interactions_per_second"] * trained["seconds"] / timed,
        "values": np.array([row["eval_ndcg@10"] for row in rows]),
        "lens": np.array(lens(recommender, data)),
    }
    if not run.variant:
        ranks = dataset_ranks(recommender, data.dataset["test"])
        found["test_ranks"] = np.minimum(ranks, LAST_RANK + 1).astype(np.uint8)
    facts = {"device": trained["device"], "data_sha256": data.report["source"]["sha256"]}
    with written_whole_file(record) as temporary:
        save_file(found, temporary, facts | {"settings": json.dumps(run.settings())})


def lens(recommender: Recommender, data: PreparedData) -> list[float]:
    """Return validation NDCG@10 of a model without its last blocks: with none of them, with one, ..."""
    (encoder,) = recommender.model.model.encoders
    blocks, found = encoder.layers, []
    for depth in range(len(blocks) + 1):
        encoder.layers = blocks[:depth]
        found.append(float(ndcg_at_k(dataset_ranks(recommender, data.dataset["validation"]), 10).mean()))
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--output_dir", type=Path, default=ROOT / "runs" / "benchmarks" / "mask_query")
    parser.add_argument("--records", type=Path, default=RECORDS, help="where the records are")
    parser.add_argument("--only", default="", help="runs whose name holds this, e.g. beauty-cosine or neighbours-0")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--core", type=int, help="the one core that may be used")
    parser.add_argument("--variants", choices=VARIANTS, nargs="+", default=[""], help="other runs instead")
    parser.add_argument("--pace", action="store_true", help="only measure what a step of each arm costs")
    main(parser.parse_args())
