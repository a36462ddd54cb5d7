"""The model folder, which is the Hub repository: written whole, checked when read."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from transformers import PreTrainedTokenizerFast

from seqrec.folders import read_json, write_json, written_whole
from seqrec.model import SeqRecConfig, SeqRecForNextItem, pipeline_seqrec
from seqrec.model.pipeline_seqrec import TASK

CONFIG_FILE, WEIGHTS_FILE, ITEMS_FILE = "config.json", "model.safetensors", "items.parquet"
METRICS_FILE, PREPARATION_FILE = "metrics.json", "preparation.json"
NEEDED = (CONFIG_FILE, WEIGHTS_FILE, ITEMS_FILE, "tokenizer.json", "tokenizer_config.json")
READ = (*NEEDED, METRICS_FILE, PREPARATION_FILE)


@dataclass
class ModelFolder:
    """What a model folder holds.

    Args:
        model: The trained model.
        tokenizer: Its vocabulary of item ids.
        items: The catalogue in token order: `item_id`, display columns, `count` in training.
        metrics: Content of `metrics.json`.
        preparation: Content of `preparation.json`.
    """

    model: SeqRecForNextItem
    tokenizer: PreTrainedTokenizerFast
    items: Dataset
    metrics: dict[str, Any] = field(default_factory=dict)
    preparation: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, name_or_path: str | Path, revision: str | None = None) -> "ModelFolder":
        """Read a local folder, or a Hub repository by its id.

        Raises:
            ValueError: If there is no such folder or repository, or it is not a finished seqrec model.
        """
        folder = Path(name_or_path)
        if not folder.is_dir():
            folder = _download(str(name_or_path), revision)
        _check_kind(folder)
        model = SeqRecForNextItem.from_pretrained(folder)
        items = Dataset(pq.read_table(folder / ITEMS_FILE))
        if (
            len(items) != model.config.vocab_size - model.config.num_special_tokens
            or "item_id" not in items.column_names
        ):
            raise ValueError(
                f"{str(folder / ITEMS_FILE)!r} has {len(items)} rows and the columns {items.column_names}, but "
                f"the model knows {model.config.vocab_size - model.config.num_special_tokens} items by `item_id`. "
                "The folder mixes two models; save or download it again."
            )
        return cls(
            model=model.eval(),
            tokenizer=PreTrainedTokenizerFast.from_pretrained(folder),
            items=items,
            metrics=read_json(folder / METRICS_FILE),
            preparation=read_json(folder / PREPARATION_FILE),
        )

    def save(self, path: str | Path) -> None:
        """Write the folder under a temporary name and rename it, so that what stands at `path` is always whole.

        Raises:
            ValueError: If something other than a model folder stands there.
        """
        pipeline = {"impl": "pipeline_seqrec.NextItemPipeline", "pt": ["AutoModel"], "type": "text"}
        self.model.config.custom_pipelines = {TASK: pipeline}
        shown = [name for name in self.model.config.display_columns or [] if name in self.items.column_names]
        with written_whole(path, CONFIG_FILE) as folder:
            self.model.save_pretrained(folder)
            shutil.copy(pipeline_seqrec.__file__, folder)
            self.tokenizer.save_pretrained(folder)
            pq.write_table(_plain_table(self.items.select_columns(["item_id", *shown, "count"])), folder / ITEMS_FILE)
            write_json(folder / METRICS_FILE, self.metrics)
            write_json(folder / PREPARATION_FILE, self.preparation)


def _plain_table(items: Dataset) -> pa.Table:
    """The rows without `datasets`' own schema metadata, so that any reader sees a plain table."""
    return items.with_format("arrow")[:].replace_schema_metadata(None)


def _download(repo_id: str, revision: str | None) -> Path:
    """Fetch the files of a Hub repository that loading reads; never its code."""
    try:
        return Path(snapshot_download(repo_id, revision=revision, allow_patterns=list(READ)))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ValueError(
            f"There is no model folder {repo_id!r} here, and the Hub gave none of this name "
            f"({type(error).__name__}). Pass the `model/` folder that training wrote, or a repository id `owner/name`."
        ) from error


def _check_kind(folder: Path) -> None:
    """Raise unless the folder is a whole model folder of ours."""
    missing = [name for name in NEEDED if not (folder / name).is_file()]
    if missing:
        hint = f" Did you mean {str(folder / 'model')!r}?" if (folder / "model" / CONFIG_FILE).is_file() else ""
        raise ValueError(
            f"{str(folder)!r} is not a finished seqrec model: {missing} missing.{hint or ' Train or save it again.'}"
        )
    kind = read_json(folder / CONFIG_FILE).get("model_type")
    if kind != SeqRecConfig.model_type:
        raise ValueError(
            f"{str(folder)!r} holds a model of type {kind!r}, and seqrec loads {SeqRecConfig.model_type!r} only."
        )
