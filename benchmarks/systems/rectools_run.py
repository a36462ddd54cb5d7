"""Train RecTools' SASRec or BERT4Rec on exported histories, in RecTools' environment; for `benchmarks/training.py`.

    python rectools_run.py --histories FILE.jsonl --model sasrec|bert4rec --length 50 --batch_size 256 --steps 16
    python rectools_run.py ... --curve FOLDER [--epochs 200] [--patience 10]

FILE.jsonl has one row a user: `items` (list of whole numbers, oldest first) and `target`, the validation item. With
`--steps`, one epoch is cut to that many steps and timed: every step has the same shape, so it stands for the others.
With `--curve`, each epoch is followed by validation (NDCG@10 over all items, seen ones excluded) and a checkpoint, so
that a killed curve goes on where it was. Prints one JSON line; seconds are [wall, CPU] of this process, one thread.
"""

import argparse
import logging
import warnings
from typing import Any

warnings.filterwarnings("ignore")
logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import pytorch_lightning as pl  # noqa: E402
import torch  # noqa: E402
from measuring import Curve, StepClock, clock, peer_parser, print_answer, read_histories  # noqa: E402
from rectools import Columns  # noqa: E402
from rectools.dataset import Dataset  # noqa: E402
from rectools.models import BERT4RecModel, SASRecModel  # noqa: E402

MODELS = {"sasrec": SASRecModel, "bert4rec": BERT4RecModel}
STEPS = StepClock()  # RecTools copies its trainer with its callbacks, so not kept in one


class Ticking(pl.Callback):
    """Notes the time of each step."""

    def on_train_batch_start(self, *args: Any, **kwargs: Any) -> None:
        """Note the time before the first one."""
        STEPS.start()

    def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
        """Note the time after each."""
        STEPS.tick()


def make_trainer(steps: int | None, epochs: int) -> pl.Trainer:
    """Return a trainer on the CPU that writes nothing."""
    return pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        limit_train_batches=steps,
        callbacks=[Ticking()],
    )


def build_model(options: argparse.Namespace) -> SASRecModel | BERT4RecModel:
    """Return the untrained model, with the exact softmax."""
    return MODELS[options.model](
        n_blocks=2,
        n_heads=options.heads,
        n_factors=options.hidden_size,
        dropout_rate=options.dropout,
        session_max_len=options.length,
        batch_size=options.batch_size,
        loss="softmax",
        lr=1e-3,
        train_min_user_interactions=2,
        recommend_batch_size=256,
        recommend_torch_device="cpu",
        get_trainer_func=make_trainer,
        get_trainer_func_kwargs={"steps": options.steps, "epochs": 1 if options.steps else options.epochs},
    )


def to_dataset(histories: list[list[int]]) -> Dataset:
    """Return the histories as RecTools' data set."""
    counts = [len(items) for items in histories]
    places = np.concatenate([np.arange(count) for count in counts])
    table = pd.DataFrame(
        {
            Columns.User: np.repeat(np.arange(len(histories)), counts),
            Columns.Item: np.concatenate(histories),
            Columns.Weight: 1.0,
            Columns.Datetime: pd.Timestamp("2000-01-01") + pd.to_timedelta(places, unit="s"),
        }
    )
    return Dataset.construct(table)


def ndcg_at_10(model: SASRecModel | BERT4RecModel, dataset: Dataset, targets: np.ndarray) -> float:
    """Return the mean over the users who have a target."""
    users = np.flatnonzero(targets >= 0)
    lists = model.recommend(users=users, dataset=dataset, k=10, filter_viewed=True)
    hits = lists[lists[Columns.Item].to_numpy() == targets[lists[Columns.User].to_numpy()]]
    return float((1 / np.log2(hits[Columns.Rank] + 1)).sum() / len(users))


def measure_curve(options: argparse.Namespace, dataset: Dataset, targets: np.ndarray) -> dict[str, Any]:
    """Train and validate epoch by epoch."""
    curve, checkpoint = Curve(options.curve, resumed=True), options.curve / "last.ckpt"
    model = MODELS[options.model].load_from_checkpoint(checkpoint) if curve.rows else build_model(options)
    while not curve.is_over(options):
        start = clock()
        model.fit_partial(dataset, min_epochs=1, max_epochs=1)
        trained = clock()
        value = ndcg_at_10(model, dataset, targets)
        validated = clock()
        model.fit_trainer.save_checkpoint(checkpoint.with_suffix(".new"))
        checkpoint.with_suffix(".new").replace(checkpoint)
        curve.add(value, start, trained, validated)
    return {"rows": curve.rows}


def main(options: argparse.Namespace) -> None:
    """Measure what is asked for."""
    torch.set_num_threads(1)
    pl.seed_everything(options.seed, verbose=False)
    histories, targets = read_histories(options.histories)
    dataset = to_dataset(histories)
    if options.curve:
        print_answer(measure_curve(options, dataset, targets))
    else:
        build_model(options).fit(dataset)
        print_answer(STEPS.peer_speed(histories, options))


if __name__ == "__main__":
    main(peer_parser(__doc__).parse_args())
