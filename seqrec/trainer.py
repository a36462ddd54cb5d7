"""transformers' Trainer for rankers: packed windows, averaged weights, evaluation by rank."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.data import DataLoader, Sampler
from transformers import EarlyStoppingCallback, EvalPrediction, Trainer, TrainerCallback
from transformers.trainer import TRAINER_STATE_NAME

from seqrec.arguments import VALIDATION_CUTS, SeqRecTrainingArguments
from seqrec.data.collation import TrainingWindows, collate_histories, collate_windows
from seqrec.evaluation import user_metrics
from seqrec.folders import read_json
from seqrec.model import SeqRecForNextItem

AVERAGED_WEIGHTS = "averaged.safetensors"


class WeightAverage(TrainerCallback):
    """Exponential average of the trained weights (EMA), updated after every optimizer step.

    The decay of step t is min(decay, t / (t + 10)), so that early weights are soon forgotten.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.parameters = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        self.average = {name: weight.detach().clone() for name, weight in self.parameters.items()}

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Move the average towards the new weights."""
        step = state.global_step
        weight = 1 - min(self.decay, step / (step + 10))
        torch._foreach_lerp_(list(self.average.values()), [p.detach() for p in self.parameters.values()], weight)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Let the model carry the averaged weights inside the `with`."""
        trained = {name: weight.detach().clone() for name, weight in self.parameters.items()}
        self.load_into_model(self.average)
        try:
            yield
        finally:
            self.load_into_model(trained)

    @torch.no_grad()
    def load_into_model(self, weights: dict[str, torch.Tensor]) -> None:
        """Copy weights into the model."""
        for name, parameter in self.parameters.items():
            parameter.copy_(weights[name])

    def save(self, folder: str | Path) -> None:
        """Write the average beside the weights of a checkpoint."""
        save_file(self.average, Path(folder) / AVERAGED_WEIGHTS)

    def load(self, folder: str | Path) -> None:
        """Take the average back from a checkpoint."""
        for name, weight in load_file(Path(folder) / AVERAGED_WEIGHTS).items():
            self.average[name].copy_(weight)


class EpochOrder(Sampler[int]):
    """A new order of the windows every epoch, a function of (seed, epoch) alone."""

    def __init__(self, windows: TrainingWindows) -> None:
        self.windows = windows

    def __len__(self) -> int:
        return len(self.windows)

    def __iter__(self) -> Iterator[int]:
        random = np.random.default_rng((self.windows.seed, self.windows.epoch))
        yield from random.permutation(len(self.windows)).tolist()


class EpochCounter(TrainerCallback):
    """Tells the windows which epoch it is, also in a resumed run and in each of several processes."""

    def __init__(self, windows: TrainingWindows) -> None:
        self.windows = windows

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Draw the windows of this epoch."""
        self.windows.set_epoch(int(state.epoch))


class SeqRecTrainer(Trainer):
    """Trainer that packs training windows, evaluates averaged weights by the rank of each target, and keeps them.

    Args:
        model: The model to train.
        args: Settings.
        train_dataset: Windows of the training histories.
        eval_dataset: Rows of `input_ids` (a history's tokens) and `target` (a token), ranked over the catalogue.
    """

    args: SeqRecTrainingArguments

    def __init__(
        self,
        model: SeqRecForNextItem,
        args: SeqRecTrainingArguments,
        train_dataset: TrainingWindows,
        eval_dataset: Dataset | None,
    ) -> None:
        super().__init__(
            model=model,
            args=args,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            data_collator=collate_windows,
            compute_metrics=self._metrics_of_ranks,
        )
        self.ranker = model
        self.windows = train_dataset
        self.num_targets: torch.Tensor | int = 0
        self.resumed_at_step: int | None = None
        self.add_callback(EpochCounter(train_dataset))
        self.average = WeightAverage(model, args.average_decay) if args.average_decay else None
        if self.average:
            self.add_callback(self.average)
        if args.early_stopping_patience and eval_dataset is not None:
            self.add_callback(EarlyStoppingCallback(args.early_stopping_patience))

    def _get_train_sampler(self, train_dataset: Any = None) -> EpochOrder:
        return EpochOrder(train_dataset or self.windows)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:
        """Batches of histories, in the order of the data set."""
        dataset: Any = self.eval_dataset if eval_dataset is None else eval_dataset
        loader: DataLoader[Any] = DataLoader(
            dataset, batch_size=self.args.eval_batch_size, collate_fn=self._collate_evaluation
        )
        return self.accelerator.prepare(loader)

    def _collate_evaluation(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        config = self.ranker.config
        appended = [config.mask_token_id] if config.attention == "bidirectional" else []
        batch = collate_histories([row["input_ids"] for row in rows], appended)
        return {**batch, "targets": torch.tensor([row["target"] for row in rows])}

    def prediction_step(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[None, torch.Tensor, torch.Tensor]:
        """Return the ranks of a batch's targets, seen items excluded; logits never leave the model."""
        inputs = self._prepare_inputs(inputs)
        ranks = self.ranker.target_ranks(**inputs)
        return None, ranks, inputs["targets"]

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Evaluate the averaged weights."""
        if self.average is None or not self.is_in_train:
            return super().evaluate(*args, **kwargs)
        with self.average.applied():
            return super().evaluate(*args, **kwargs)

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], torch.Tensor | int | None]:
        """Count the targets that were trained on, over all processes."""
        batches, count = super().get_batch_samples(epoch_iterator, num_batches, device)
        self.num_targets = self.num_targets + (0 if count is None else count)
        return batches, count

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        super()._save(output_dir, state_dict)
        if self.average and self.args.should_save and output_dir:
            self.average.save(output_dir)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        self.resumed_at_step = read_json(Path(resume_from_checkpoint) / TRAINER_STATE_NAME).get("global_step")
        if self.average:
            self.average.load(resume_from_checkpoint)

    def _load_best_model(self) -> None:
        super()._load_best_model()
        if self.average and self.state.best_model_checkpoint:
            self.average.load(self.state.best_model_checkpoint)
            self.keep_average()

    def keep_average(self) -> None:
        """Let the model carry the averaged weights from now on, where there are any."""
        if self.average:
            self.average.load_into_model(self.average.average)

    def _metrics_of_ranks(self, prediction: EvalPrediction) -> dict[str, float]:
        """Means of the metrics, as `Trainer` asks for them."""
        num_items = self.ranker.config.vocab_size - self.ranker.config.num_special_tokens
        values = user_metrics(np.asarray(prediction.predictions), VALIDATION_CUTS, num_items)
        return {name: float(of_users.mean()) for name, of_users in values.items()}
