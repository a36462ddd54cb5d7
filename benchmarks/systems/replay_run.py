"""Train RePlay's SasRec or Bert4Rec on exported histories, in RePlay's environment; for `benchmarks/training.py`.

    python replay_run.py --histories FILE.jsonl --model sasrec|bert4rec --length 50 --batch_size 256 --steps 16
    python replay_run.py ... --curve FOLDER [--epochs 200] [--patience 10]

As `rectools_run.py`, but a curve always starts anew. The loss is the cross-entropy over the full catalogue, scores are
products with the input embeddings.
"""

import argparse
import logging
import warnings
from typing import Any

warnings.filterwarnings("ignore")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

import lightning  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import torch  # noqa: E402
from measuring import Curve, StepClock, clock, peer_parser, print_answer, read_histories  # noqa: E402
from replay.data import FeatureHint, FeatureSource, FeatureType  # noqa: E402
from replay.data.nn import (  # noqa: E402
    PandasSequentialDataset,
    TensorFeatureInfo,
    TensorFeatureSource,
    TensorSchema,
)
from replay.models.nn.optimizer_utils import FatOptimizerFactory  # noqa: E402
from replay.models.nn.sequential import Bert4Rec, SasRec  # noqa: E402
from replay.models.nn.sequential.bert4rec import Bert4RecPredictionDataset, Bert4RecTrainingDataset  # noqa: E402
from replay.models.nn.sequential.sasrec import SasRecPredictionDataset, SasRecTrainingDataset  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402

TRAINING_SETS = {"sasrec": SasRecTrainingDataset, "bert4rec": Bert4RecTrainingDataset}
PREDICTION_SETS = {"sasrec": SasRecPredictionDataset, "bert4rec": Bert4RecPredictionDataset}


class Ticking(lightning.Callback):
    """Notes the time of each step."""

    def __init__(self) -> None:
        self.steps = StepClock()

    def on_train_batch_start(self, *args: Any, **kwargs: Any) -> None:
        """Note the time before the first one."""
        self.steps.start()

    def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
        """Note the time after each."""
        self.steps.tick()


class Validating(lightning.Callback):
    """Ranks the validation items after every epoch, and ends the training when that brings nothing more.

    Args:
        options: Of the command line.
        dataset: The training histories, as RePlay has them.
        histories: The same.
        targets: The validation item of each, -1 for none.
        start: The clock before the training was prepared.
    """

    def __init__(
        self,
        options: argparse.Namespace,
        dataset: PandasSequentialDataset,
        histories: list[list[int]],
        targets: np.ndarray,
        start: np.ndarray,
    ) -> None:
        self.options = options
        self.loader = DataLoader(PREDICTION_SETS[options.model](dataset, options.length), batch_size=256)
        self.histories = histories
        self.targets = targets
        self.curve = Curve(options.curve)
        self.start = start

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: SasRec | Bert4Rec) -> None:
        """Add the epoch to the curve."""
        trained = clock()
        module.eval()
        value = self.ndcg_at_10(module)
        module.train()
        self.curve.add(value, self.start, trained, clock())
        trainer.should_stop = self.curve.is_over(self.options)
        self.start = clock()

    @torch.no_grad()
    def ndcg_at_10(self, module: SasRec | Bert4Rec) -> float:
        """Return the mean over the users who have a target, seen items excluded."""
        total = 0.0
        for batch in self.loader:
            users = batch["query_id"].flatten().tolist()
            scores = module.predict_step(batch, 0)
            for row, user in enumerate(users):
                scores[row, self.histories[user]] = -torch.inf
            best = scores.topk(10, dim=1).indices.numpy()
            _, places = np.nonzero(best == self.targets[users][:, None])
            total += float((1 / np.log2(places + 2)).sum())
        return total / int((self.targets >= 0).sum())


def to_dataset(histories: list[list[int]], num_items: int, options: argparse.Namespace) -> PandasSequentialDataset:
    """Return the histories as RePlay's data set; SasRec keeps the vector after the last item for padding."""
    feature = TensorFeatureInfo(
        name="item",
        is_seq=True,
        cardinality=num_items,
        feature_type=FeatureType.CATEGORICAL,
        embedding_dim=options.hidden_size,
        padding_value=num_items if options.model == "sasrec" else 0,
        feature_sources=[TensorFeatureSource(FeatureSource.INTERACTIONS, "item")],
        feature_hint=FeatureHint.ITEM_ID,
    )
    table = pd.DataFrame({"user": range(len(histories)), "item": [np.array(items) for items in histories]})
    return PandasSequentialDataset(
        tensor_schema=TensorSchema(feature), query_id_column="user", item_id_column="item", sequences=table
    )


def build_model(dataset: PandasSequentialDataset, options: argparse.Namespace) -> SasRec | Bert4Rec:
    """Return the untrained model, with the exact softmax."""
    settings = {
        "tensor_schema": dataset.schema,
        "block_count": 2,
        "head_count": options.heads,
        "hidden_size": options.hidden_size,
        "max_seq_len": options.length,
        "dropout_rate": options.dropout,
        "loss_type": "CE",
        "optimizer_factory": FatOptimizerFactory(learning_rate=1e-3),
    }
    return SasRec(**settings) if options.model == "sasrec" else Bert4Rec(**settings, enable_embedding_tying=True)


def main(options: argparse.Namespace) -> None:
    """Measure what is asked for."""
    torch.set_num_threads(1)
    lightning.seed_everything(options.seed, verbose=False)
    histories, targets = read_histories(options.histories)
    num_items = 1 + max(targets.max(), max(map(max, histories)))
    start = clock()
    dataset = to_dataset(histories, int(num_items), options)
    training_set = TRAINING_SETS[options.model](dataset, max_sequence_length=options.length)
    ticking = Ticking()
    callbacks: list[lightning.Callback] = [ticking]
    if options.curve:
        validating = Validating(options, dataset, histories, targets, start)
        callbacks.append(validating)
    trainer = lightning.Trainer(
        max_epochs=1 if options.steps else options.epochs,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        limit_train_batches=options.steps,
        callbacks=callbacks,
    )
    loader = DataLoader(training_set, batch_size=options.batch_size, shuffle=True)
    trainer.fit(build_model(dataset, options), loader)
    print_answer({"rows": validating.curve.rows} if options.curve else ticking.steps.peer_speed(histories, options))


if __name__ == "__main__":
    main(peer_parser(__doc__).parse_args())
