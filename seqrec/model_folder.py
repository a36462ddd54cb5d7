"""The model folder, which is the Hub repository: written whole, checked when read."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import transformers
from datasets import Dataset
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError
from transformers import PreTrainedTokenizerFast

import seqrec.model
from seqrec.folders import read_json, write_json, written_whole
from seqrec.model import SeqRecConfig, SeqRecForNextItem, pipeline_seqrec
from seqrec.model.pipeline_seqrec import TASK

CONFIG_FILE, WEIGHTS_FILE, ITEMS_FILE = "config.json", "model.safetensors", "items.parquet"
METRICS_FILE, PREPARATION_FILE = "metrics.json", "preparation.json"
NEEDED = (CONFIG_FILE, WEIGHTS_FILE, ITEMS_FILE, "tokenizer.json", "tokenizer_config.json")
READ = (*NEEDED, METRICS_FILE, PREPARATION_FILE)
CODE = tuple(path.name for path in Path(seqrec.model.__file__).parent.glob("*.py") if path.name != "__init__.py")


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
        _check_whole(folder)
        _check_kind(folder)
        items = Dataset(_read_items(folder / ITEMS_FILE))
        return cls(
            model=_load_model(folder, len(items)),
            tokenizer=_load_tokenizer(folder, items["item_id"]),
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
        if (Path(path) / CONFIG_FILE).is_file():
            _check_kind(Path(path))
        with written_whole(path, (*READ, *CODE)) as folder:
            self.model.save_pretrained(folder)
            shutil.copymode(folder / CONFIG_FILE, folder / WEIGHTS_FILE)  # safetensors writes for its owner alone
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


def _check_whole(folder: Path) -> None:
    """Raise unless the folder has all the files of a model folder."""
    missing = [name for name in NEEDED if not (folder / name).is_file()]
    if missing:
        hint = f" Did you mean {str(folder / 'model')!r}?" if (folder / "model" / CONFIG_FILE).is_file() else ""
        raise ValueError(
            f"{str(folder)!r} is not a finished seqrec model: {missing} missing.{hint or ' Train or save it again.'}"
        )


def _check_kind(folder: Path) -> None:
    """Raise unless the folder's model is one of ours."""
    kind = read_json(folder / CONFIG_FILE).get("model_type")
    if kind != SeqRecConfig.model_type:
        raise ValueError(
            f"{str(folder)!r} holds a model of type {kind!r}; expected {SeqRecConfig.model_type!r}. Choose another."
        )


def _read_items(path: Path) -> pa.Table:
    """Read the catalogue."""
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"{str(path)!r} cannot be read ({error}). Save or download the model again.") from None
    if "item_id" not in table.column_names:
        raise ValueError(f"{str(path)!r} has the columns {table.column_names}, but no item_id. Save the model again.")
    return table


@contextmanager
def without_file_bars() -> Iterator[None]:
    """Hide transformers' progress bars of reading and writing weights, which small models flash by."""
    shown = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers.utils.logging.enable_progress_bar()


def _load_model(folder: Path, num_items: int) -> SeqRecForNextItem:
    """Load the weights, all of them, for a catalogue of this size."""
    try:
        with without_file_bars():
            loaded: Any = SeqRecForNextItem.from_pretrained(folder, output_loading_info=True)
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"{str(folder)!r} cannot be loaded ({reason}). Save or download the model again.") from error
    model, loading = loaded
    wrong = sorted([*loading["missing_keys"], *loading["unexpected_keys"]])
    known = model.config.vocab_size - model.config.num_special_tokens
    if wrong or known != num_items:
        raise ValueError(
            f"{str(folder)!r} mixes two models: its config and weights differ in {wrong[:3]}, and its {ITEMS_FILE} "
            f"has {num_items} items where the model knows {known}. Save or download the model again."
        )
    return cast(SeqRecForNextItem, model.eval())


def _load_tokenizer(folder: Path, item_ids: Sequence[str]) -> PreTrainedTokenizerFast:
    """Load the vocabulary, and see that it numbers the catalogue in its order."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    tokens: Any = tokenizer.convert_tokens_to_ids(list(item_ids))
    places = enumerate(zip(item_ids, tokens, strict=True))
    wrong = [item for place, (item, token) in places if token - place != tokens[0]]
    if wrong or len(tokenizer) != len(tokens) + tokens[0]:
        raise ValueError(
            f"{str(folder)!r} mixes two models: its tokenizer and its {ITEMS_FILE} number items differently, "
            f"e.g. {wrong[:1]}. Save or download the model again."
        )
    return tokenizer
