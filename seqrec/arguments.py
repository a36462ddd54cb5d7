"""How a model is shaped and trained, in two dataclasses beside `DataArguments`."""

import dataclasses
import inspect
import re
from dataclasses import dataclass, field
from typing import Any, Literal

from transformers import TrainingArguments, get_scheduler
from transformers.integrations.integration_utils import get_available_reporting_integrations
from transformers.trainer_utils import IntervalStrategy, SchedulerType

from seqrec.model import SeqRecConfig

VALIDATION_CUTS = (10, 20)
METRICS = tuple(f"{metric}@{cut}" for metric in ("ndcg", "hr", "mrr") for cut in VALIDATION_CUTS)
UNREAD = {
    "data_seed": None,
    "train_sampling_strategy": "random",
    "label_smoothing_factor": 0.0,
    "batch_eval_metrics": False,
    "dataloader_in_order": True,
    "dataloader_multiprocessing_context": None,
    "push_to_hub": False,
    "save_only_model": False,  # a checkpoint without its optimizer is none that a run could go on from
}
"""Fields of `TrainingArguments` that a recommender has no use for, at the only value they may have."""
LEAST = {
    "per_device_train_batch_size": 1,
    "per_device_eval_batch_size": 1,
    "gradient_accumulation_steps": 1,
    "num_threads": 1,
    "num_train_epochs": 0,
    "learning_rate": 0,
    "weight_decay": 0,
    "max_grad_norm": 0,
    "seed": 0,
    "dataloader_num_workers": 0,
    "early_stopping_patience": 0,
    "softmax_chunk_size": 0,
    "softmax_samples": 0,
}
"""The smallest value of settings that count or scale."""
MOST_RANK = 1024  # beyond that, an adapter is larger than the layers around which it is put
MOST = 2**32  # what numpy takes as a seed; plenty for all others
MAY_CHANGE = re.compile(
    r"(output_dir|run_name|project|trackio.*|report_to|log.*|disable_tqdm|num_threads|save_total_limit|resume_from_checkpoint"
    r"|dataloader_(num_workers|pin_memory|prefetch_factor)|hub_.*|per_device_eval_batch_size|ddp_timeout|local_rank|do_.*)"
)
"""Settings of training that a resumed run may have otherwise: none of them changes a weight."""
MODEL_SETTINGS = (
    "hidden_size",
    "ensemble_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "hidden_act",
    "attention",
    "norm",
    "max_position_embeddings",
    "relative_position_bias",
    "mask_query",
    "similarity",
    "temperature",
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "item_dropout_prob",
    "transition_size",
    "transition_weight",
    "use_item_ids",
    "content_scale",
    "fusion",
    "id_dropout_prob",
    "new_item_scale",
    "initializer_range",
    "layer_norm_eps",
)
RECIPE = {
    "hidden_size": 128,
    "ensemble_size": 2,
    "num_attention_heads": 2,
    "hidden_dropout_prob": 0.3,
    "transition_size": 64,
}
"""What a user starts from who names data alone, where it is not the default of `SeqRecConfig`: chosen on Beauty, ML-1M
and ML-100K together (LOG.md, 2026-11-26), as are the defaults of `SeqRecTrainingArguments`."""


@dataclass
class SeqRecTrainingArguments(TrainingArguments):
    """How a model learns: transformers' `TrainingArguments`, with defaults and additions for recommenders."""

    output_dir: str | None = field(default="runs/seqrec", metadata={"help": "The run folder."})
    objective: Literal["cloze", "last_item", "shifted"] | None = field(
        default=None,
        metadata={
            "help": "What training asks for; by default shifted for causal attention, cloze where there is a [MASK]."
        },
    )
    id_start: Literal["random", "cooccurrence"] = field(
        default="random",
        metadata={
            "help": "What id embeddings start from; cooccurrence (of the training items) learns in fewer epochs."
        },
    )
    mask_probability: float = field(default=0.2, metadata={"help": "Share of hidden places with cloze."})
    average_decay: float = field(
        default=0.995, metadata={"help": "Decay of the averaged weights that are evaluated and kept; 0 for none."}
    )
    early_stopping_patience: int = field(
        default=25, metadata={"help": "Evaluations without a better NDCG@10 before training stops; 0 for never."}
    )
    refit: bool = field(
        default=False,
        metadata={"help": "Train the final model on everything, as long as a first, validated run was best."},
    )
    num_threads: int | None = field(default=None, metadata={"help": "Threads a process; all cores by default."})
    softmax_chunk_size: int | None = field(
        default=None,
        metadata={
            "help": "Positions whose logits exist at the same time; by default few where items are many; 0: all."
        },
    )
    softmax_samples: int = field(
        default=0,
        metadata={"help": "Items a step whose softmax stands for the catalogue's, beside its targets; 0 for all."},
    )
    weights_dtype: Literal["float32", "bfloat16"] = field(
        default="float32",
        metadata={"help": "Type of the weights and of their optimizer's state in training; what is kept is float32."},
    )
    softmax_dtype: Literal["auto", "float32", "bfloat16"] = field(
        default="auto", metadata={"help": "Type of the softmax's matrix products; auto is bfloat16 where it is fast."}
    )

    per_device_train_batch_size: int = field(default=64, metadata={"help": "Training windows a step and process."})
    per_device_eval_batch_size: int = field(default=256, metadata={"help": "Users ranked at once."})
    num_train_epochs: float = field(default=100.0, metadata={"help": "Passes over the data, at most."})
    learning_rate: float = field(default=1e-3, metadata={"help": "Peak learning rate."})
    lr_scheduler_type: str = field(
        default="constant_with_warmup",
        metadata={"help": "Shape of the learning rate; a falling one needs num_train_epochs that fit."},
    )
    warmup_steps: float = field(default=100, metadata={"help": "Steps to the peak, or their share if below 1."})
    adam_beta2: float = field(default=0.98, metadata={"help": "Decay of squared gradients."})
    eval_strategy: str = field(default="epoch", metadata={"help": "When to rank the validation targets."})
    save_strategy: str = field(default="epoch", metadata={"help": "When to write a checkpoint."})
    logging_strategy: str = field(default="epoch", metadata={"help": "When to log the training loss."})
    save_total_limit: int | None = field(default=2, metadata={"help": "Checkpoints kept beside the best one."})
    load_best_model_at_end: bool = field(default=True, metadata={"help": "Keep the best model, not the last."})
    metric_for_best_model: str | None = field(default="ndcg@10", metadata={"help": "What best means."})
    greater_is_better: bool | None = field(default=True, metadata={"help": "Whether more of it is better."})
    report_to: None | str | list[str] = field(default="none", metadata={"help": "Loggers, e.g. tensorboard."})
    resume_from_checkpoint: str | None = field(
        default=None,
        metadata={"nargs": "?", "const": "last", "help": "A checkpoint folder; without one, the run's last."},
    )
    restore_callback_states_from_checkpoint: bool = field(
        default=True, metadata={"help": "Resume the patience of early stopping, too."}
    )
    remove_unused_columns: bool = field(default=False, metadata={"help": "Batches hold what the model reads."})
    ddp_broadcast_buffers: bool | None = field(
        default=False, metadata={"help": "Frozen content vectors are the same everywhere: do not send them each step."}
    )

    def __post_init__(self) -> None:
        import torch

        if self.bf16 and not torch.accelerator.is_available():
            self.use_cpu = True  # Trainer wants to hear that a CPU is meant
        if IntervalStrategy(self.eval_strategy) == IntervalStrategy.NO:
            self.load_best_model_at_end = False  # there is no best one
        super().__post_init__()
        self.dataloader_pin_memory = self.dataloader_pin_memory and self.device.type == "cuda"
        if self.dataloader_persistent_workers:
            raise ValueError("dataloader_persistent_workers would keep the windows of the first epoch; leave it off.")
        self._check_inherited()
        if not 0 <= self.average_decay < 1:
            raise ValueError(f"average_decay={self.average_decay} must be at least 0 and below 1.")
        if not 0 < self.mask_probability < 1:
            raise ValueError(f"mask_probability={self.mask_probability} must be above 0 and below 1.")
        for name, least in LEAST.items():
            value = getattr(self, name)
            if value is not None and not least <= value < MOST:
                raise ValueError(f"{name}={value} must be at least {least} and below {MOST}.")

    def _check_inherited(self) -> None:
        """Refuse values of inherited fields that would break later, or that nothing would read."""
        for name, only in UNREAD.items():
            if getattr(self, name, only) != only:  # not every version has each
                raise ValueError(f"{name}={getattr(self, name)!r} has no effect on a recommender; leave it out.")
        metric = str(self.metric_for_best_model).removeprefix("eval_")
        if metric not in METRICS:
            raise ValueError(f"metric_for_best_model={metric!r} is not measured; choose one of {', '.join(METRICS)}.")
        missing = sorted(set(self.report_to or []) - set(get_available_reporting_integrations()))
        if missing:
            raise ValueError(f"report_to={missing[0]!r} is not installed here: python -m pip install {missing[0]}")
        if self.lr_scheduler_kwargs:
            self._check_schedule()
        if self.weights_dtype == "bfloat16" and not self.average_decay:
            raise ValueError(
                "weights_dtype='bfloat16' needs averaged weights: those are float32, and what is kept. Set "
                "average_decay, e.g. to 0.995."
            )
        if self.weights_dtype == "bfloat16" and self.adam_beta2 > 0.99:
            raise ValueError(
                f"adam_beta2={self.adam_beta2} is too high for weights_dtype='bfloat16': the average of squared "
                "gradients would lose less a step than bfloat16 can tell, and never fall. Take 0.99 at most."
            )
        if self.softmax_chunk_size == 0 and self.softmax_dtype == "bfloat16":
            raise ValueError("softmax_chunk_size=0 is the plain formula, in float32; leave softmax_dtype out.")

    def _check_schedule(self) -> None:
        """Refuse words that the schedule of the learning rate does not know, before there is anything to schedule."""
        import torch

        optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
        words: Any = self.lr_scheduler_kwargs  # parsed by now
        try:
            if SchedulerType(self.lr_scheduler_type).value.startswith("constant"):  # which would drop them unread
                raise TypeError(f"it takes none, and {', '.join(words)} is given")
            get_scheduler(self.lr_scheduler_type, optimizer, 1, 2, words)
        except (TypeError, ValueError, AttributeError) as error:
            raise ValueError(
                f"lr_scheduler_kwargs={self.lr_scheduler_kwargs!r:.200} do not fit "
                f"lr_scheduler_type={self.lr_scheduler_type!s}: {error}. Leave them out or mend them."
            ) from None

    def course(self) -> dict[str, Any]:
        """Return the settings that decide what every step does, and so may not change when a run is resumed."""
        settings = {name: value for name, value in self.to_dict().items() if not MAY_CHANGE.fullmatch(name)}
        return settings | {"world_size": self.world_size}


@dataclass
class LoraArguments:
    """What a run starts from that adapts a finished model, and which part of the model an adapter changes."""

    lora: Literal["text_encoder", "sequence_encoder"] | None = field(
        default=None,
        metadata={
            "help": "Adapt base_model: its text encoder, on its own data, or its sequence encoder, to other data."
        },
    )
    base_model: str | None = field(
        default=None, metadata={"help": "With lora: the finished model, a `model/` folder or a Hub id."}
    )
    base_revision: str | None = field(default=None, metadata={"help": "Version of a base_model on the Hub."})
    lora_rank: int = field(default=8, metadata={"help": "Width of the adapter inside each layer."})
    lora_alpha: int = field(
        default=16, metadata={"help": "What the adapter is multiplied by, after division by its rank."}
    )
    lora_dropout: float = field(default=0.0, metadata={"help": "Dropout of what the adapter reads."})

    def __post_init__(self) -> None:
        if (self.lora is None) != (self.base_model is None):
            raise ValueError(
                f"lora={self.lora!r} and base_model={self.base_model!r} go together: name a finished model to adapt "
                "and which part of it, or neither."
            )
        if self.lora is None:
            usual = {setting.name: setting.default for setting in dataclasses.fields(self)}
            unread = [name for name, value in usual.items() if getattr(self, name) != value]
            if unread:
                raise ValueError(f"{unread[0]}={getattr(self, unread[0])!r} has no effect without lora; leave it out.")
        if not 1 <= self.lora_rank <= MOST_RANK or not 0 <= self.lora_dropout < 1:
            raise ValueError(
                f"lora_rank={self.lora_rank} must be from 1 to {MOST_RANK}, and lora_dropout={self.lora_dropout} at "
                "least 0 and below 1."
            )
        if not 1 <= self.lora_alpha < MOST:
            raise ValueError(f"lora_alpha={self.lora_alpha} must be a whole number of at least 1.")


def _model_arguments_class() -> type:
    """The fields of `SeqRecConfig` that a user sets; the others follow from the data."""
    declared = {declared.name: declared for declared in dataclasses.fields(SeqRecConfig)}
    help_lines = dict(line.strip().split(": ", 1) for line in _config_help())
    fields = []
    for name in MODEL_SETTINGS:
        default = RECIPE.get(name, declared[name].default)
        setting = field(default=default, metadata={"help": help_lines[name]})
        fields.append((name, declared[name].type, setting))
    return dataclasses.make_dataclass("ModelArguments", fields)


def _config_help() -> list[str]:
    """Lines `name: text` of the Args section of `SeqRecConfig`, continuation lines joined, % doubled for argparse."""
    section = inspect.cleandoc(SeqRecConfig.__doc__ or "").split("Args:\n", 1)[1].split("\n\n")[0]
    return section.replace("\n" + " " * 8, " ").replace("%", "%%").strip().split("\n")


ModelArguments = _model_arguments_class()
