"""transformers' Trainer for rankers: packed windows, averaged weights, evaluation by rank."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.data import DataLoader, Sampler
from transformers import EarlyStoppingCallback, EvalPrediction, Trainer, TrainerCallback
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, rotate_checkpoints

from seqrec.arguments import VALIDATION_CUTS, SeqRecTrainingArguments
from seqrec.data.collation import TrainingWindows, collate_histories, collate_windows
from seqrec.evaluation import user_metrics
from seqrec.folders import read_json
from seqrec.model import SeqRecForNextItem
from seqrec.run_folder import is_whole

AVERAGED_WEIGHTS = "averaged.safetensors"


class WeightAverage(TrainerCallback):
    """Exponential average of the trained weights (EMA) in float32, updated after every optimizer step.

    The decay of step t is min(decay, t / (t + 10)), so that early weights are soon forgotten.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.parameters = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        self.average = {name: weight.detach().float().clone() for name, weight in self.parameters.items()}

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Move the average towards the new weights."""
        step = state.global_step
        weight = 1 - min(self.decay, step / (step + 10))
        for name, parameter in self.parameters.items():
            average = self.average[name]
            average.lerp_(parameter.detach().to(average.dtype), weight)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Let the model carry the averaged weights inside the `with`; nothing is copied."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for name, parameter in self.parameters.items():
            parameter.data, self.average[name] = self.average[name], parameter.data

    def keep(self) -> None:
        """Let the model carry the averaged weights from now on."""
        for name, parameter in self.parameters.items():
            parameter.data = self.average[name].clone()

    def save(self, folder: str | Path) -> None:
        """Write the average beside the weights of a checkpoint."""
        save_file(self.average, Path(folder) / AVERAGED_WEIGHTS)

    def load(self, folder: str | Path) -> None:
        """Take the average back from a checkpoint."""
        for name, weight in load_file(Path(folder) / AVERAGED_WEIGHTS).items():
            self.average[name].copy_(weight)


class GlobalBatches(Sampler[list[int]]):
    """This process's share of every global batch, in a new order every epoch: a function of (seed, epoch) alone.

    One process or several, a step trains on the same windows and each of them once, also the last and smaller one.

    Args:
        windows: What is drawn from.
        batch_size: Windows a step and process.
        num_processes: How many share a step.
        process_index: Which of them this is.
        drop_last: Leave out the last, smaller step.
    """

    def __init__(
        self, windows: TrainingWindows, batch_size: int, num_processes: int, process_index: int, drop_last: bool
    ) -> None:
        self.windows = windows
        self.global_size = batch_size * num_processes
        self.share = slice(process_index, None, num_processes)
        self.num_steps = len(windows) // self.global_size if drop_last else -(-len(windows) // self.global_size)

    def __len__(self) -> int:
        return self.num_steps

    def __iter__(self) -> Iterator[list[int]]:
        random = np.random.default_rng((self.windows.seed, self.windows.epoch))
        order = random.permutation(len(self.windows)).tolist()
        for start in range(0, self.num_steps * self.global_size, self.global_size):
            yield order[start : start + self.global_size][self.share]


class RunCourse(TrainerCallback):
    """Keeps a run on its course: the windows of each epoch, and the best checkpoint where this machine has it."""

    def __init__(self, windows: TrainingWindows) -> None:
        self.windows = windows

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Find the best checkpoint of a resumed run, wherever the run folder stands now."""
        if state.best_global_step and args.load_best_model_at_end:
            best = Path(args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{state.best_global_step}"
            if not is_whole(best):
                raise ValueError(
                    f"The best checkpoint so far, {best.name}, is not whole in {args.output_dir!r}, so the run could "
                    "not end with it. Bring it back, or start anew in another folder."
                )
            state.best_model_checkpoint = str(best)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Draw the windows of this epoch, also in a resumed run and in each of several processes."""
        self.windows.set_epoch(int(state.epoch))


class StopAtEpoch(TrainerCallback):
    """Ends a run before its schedule does, at an epoch that may be in the middle of one."""

    def __init__(self, epoch: float) -> None:
        self.epoch = epoch

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Stop when the epoch is reached."""
        control.should_training_stop = control.should_training_stop or state.epoch >= self.epoch


class TrainingClock(TrainerCallback):
    """Counts this process's processor time between evaluations, over interruptions too, for the log."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.since = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Go on from what the log of a resumed run says."""
        logged = [entry["cpu_seconds"] for entry in state.log_history if "cpu_seconds" in entry]
        self.seconds, self.since = max(logged, default=0.0), time.process_time()

    def read(self) -> float:
        """Return the seconds so far."""
        return self.seconds + time.process_time() - self.since

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Leave out what is done inside the `with`."""
        self.seconds = self.read()
        try:
            yield
        finally:
            self.since = time.process_time()


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
        if args.gradient_checkpointing:  # here, and not when training begins, so that the estimate has it, too
            model.gradient_checkpointing_enable(args.gradient_checkpointing_kwargs)
        self.ranker = model
        self.windows = train_dataset
        self.num_targets: torch.Tensor | int = 0
        self.resumed_at_step: int | None = None
        self.stopped_before = False  # the run had stopped early when it was interrupted
        self.refresh: Callable[[], None] | None = None  # called where weights have changed, before they are evaluated
        self.clock = TrainingClock()
        self.add_callback(self.clock)
        self.add_callback(RunCourse(train_dataset))
        self.average = WeightAverage(model, args.average_decay) if args.average_decay else None
        if self.average:
            self.add_callback(self.average)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.to(getattr(torch, args.weights_dtype))
        if args.early_stopping_patience and eval_dataset is not None:
            self.add_callback(EarlyStoppingCallback(args.early_stopping_patience))

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Batches of this process; the sampler shares them out, so accelerate need not (it would repeat windows)."""
        args = self.args
        batches = GlobalBatches(
            self.windows, self._train_batch_size, args.world_size, args.process_index, args.dataloader_drop_last
        )
        return DataLoader(
            self.windows,
            batch_sampler=batches,
            collate_fn=self.data_collator,
            num_workers=args.dataloader_num_workers,
            pin_memory=args.dataloader_pin_memory,
            prefetch_factor=args.dataloader_prefetch_factor,
        )

    def planned_epochs(self) -> float:
        """Return how many passes over the data the settings ask for, at most."""
        steps_an_epoch = -(-len(self.get_train_dataloader()) // self.args.gradient_accumulation_steps)
        return self.args.max_steps / steps_an_epoch if self.args.max_steps > 0 else self.args.num_train_epochs

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:
        """Batches of histories, in the order of the data set."""
        dataset: Any = self.eval_dataset if eval_dataset is None else eval_dataset
        loader: DataLoader[Any] = DataLoader(
            dataset, batch_size=self.args.eval_batch_size, collate_fn=self._collate_evaluation
        )
        return self.accelerator.prepare(loader)

    def _collate_evaluation(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        config = self.ranker.config
        appended = [config.mask_token_id] if config.appends_mask else []
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
        """Evaluate the averaged weights; in training, their metrics are logged with its processor time so far."""
        if not self.is_in_train:
            return super().evaluate(*args, **kwargs)
        with self.clock.stopped(), self.average.applied() if self.average else nullcontext():
            if self.refresh is not None:
                self.refresh()
            return super().evaluate(*args, **kwargs)

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Log, metrics with the processor time that training took so far (`cpu_seconds`)."""
        if self.is_in_train and any(name.startswith("eval_") for name in logs):
            logs = logs | {"cpu_seconds": round(self.clock.seconds, 2)}
        super().log(logs, *args, **kwargs)

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], torch.Tensor | int | None]:
        """Count the targets that were trained on, over all processes."""
        batches, count = super().get_batch_samples(epoch_iterator, num_batches, device)
        self.num_targets = self.num_targets + (0 if count is None else count)
        return batches, count

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        limit = self.args.save_total_limit
        self.args.save_total_limit = None  # Trainer rotates by time, and takes folders of other names, too
        try:
            super()._save_checkpoint(model, trial)
            if self.args.should_save:
                rotate_checkpoints(str(self.args.output_dir), limit, self.state.best_model_checkpoint)
        except (OSError, RuntimeError, SafetensorError) as error:
            raise OSError(
                f"The checkpoint of step {self.state.global_step} could not be written to {self.args.output_dir!r}: "
                f"{error}. Make room there, then go on with --resume_from_checkpoint."
            ) from error
        finally:
            self.args.save_total_limit = limit

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)
        self.accelerator.wait_for_everyone()  # the state, written next, says that every process has written its part

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        super()._save(output_dir, state_dict)
        if self.average and self.args.should_save and output_dir:
            self.average.save(output_dir)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        state = read_json(Path(resume_from_checkpoint) / TRAINER_STATE_NAME)
        self.resumed_at_step = state["global_step"]
        self.stopped_before = state["stateful_callbacks"]["TrainerControl"]["args"]["should_training_stop"]
        if self.average:
            self.average.load(resume_from_checkpoint)

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        if self.stopped_before:  # Trainer forgets it, and would train one epoch more
            self.control.should_training_stop = True
        else:
            super()._run_epoch(*args, **kwargs)

    def _load_best_model(self) -> None:
        super()._load_best_model()
        if self.average and self.state.best_model_checkpoint:
            self.average.load(self.state.best_model_checkpoint)
            self.keep_average()

    def keep_average(self) -> None:
        """Let the model carry the averaged weights from now on, where there are any."""
        if self.average:
            self.average.keep()

    def _metrics_of_ranks(self, prediction: EvalPrediction) -> dict[str, float]:
        """Means of the metrics, as `Trainer` asks for them."""
        num_items = self.ranker.config.vocab_size - self.ranker.config.num_special_tokens
        values = user_metrics(np.asarray(prediction.predictions), VALIDATION_CUTS, num_items)
        return {name: float(of_users.mean()) for name, of_users in values.items()}
