"""The model folder, which is the Hub repository: written whole, checked when read."""

import inspect
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import torch
import transformers
from datasets import Dataset
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open
from transformers import PreTrainedTokenizerFast

import seqrec.model
from seqrec.adapter_files import FILES, Adapter
from seqrec.adapters import is_adapted
from seqrec.card import is_generated, model_card
from seqrec.data.catalogue import OWN_COLUMNS
from seqrec.fetching import hub_folder
from seqrec.folders import read_json, write_json, written_whole, written_whole_file
from seqrec.model import SeqRecConfig, SeqRecForNextItem, pipeline_seqrec
from seqrec.model.pipeline_seqrec import TASK
from seqrec.tokenization import build_tokenizer

CONFIG_FILE, WEIGHTS_FILE, ITEMS_FILE = "config.json", "model.safetensors", "items.parquet"
METRICS_FILE, PREPARATION_FILE, CARD_FILE = "metrics.json", "preparation.json", "README.md"
TOKENIZER_FILE, TOKENIZER_CONFIG_FILE = "tokenizer.json", "tokenizer_config.json"
NEEDED = (CONFIG_FILE, WEIGHTS_FILE, ITEMS_FILE, TOKENIZER_FILE, TOKENIZER_CONFIG_FILE)
READ = (*NEEDED, METRICS_FILE, PREPARATION_FILE)
TEXT_ADAPTER = (
    "text_adapter"  # a folder in it: what training changed in the encoder of texts, for items that come later
)
CODE = tuple(path.name for path in Path(seqrec.model.__file__).parent.glob("*.py") if path.name != "__init__.py")
SHAPE = (*inspect.get_annotations(SeqRecConfig), "dtype")  # what is read of config.json: never the code it may name
DTYPES = ("float32", "float16", "bfloat16", "float64")
OF_ADAPTER = [f"{TEXT_ADAPTER}/{name}" for name in FILES]
REMOVED = "model.items.removed"  # the tensor that marks them
WEIGHT_TYPES = {"BOOL": "bool", "I32": "int"} | dict.fromkeys(("F16", "BF16", "F32", "F64"), "float")  # of safetensors
AGAIN = "Save or download the model again."


@dataclass
class ModelFolder:
    """What a model folder holds.

    Args:
        model: The trained model.
        tokenizer: Its vocabulary of item ids.
        items: The catalogue in token order: `item_id`, display columns, `count` in training.
        metrics: Content of `metrics.json`.
        preparation: Content of `preparation.json`.
        text_adapter: What training changed in the encoder of texts (`lora: text_encoder`).
        card: Content of `README.md`, where somebody has written it by hand.
    """

    model: SeqRecForNextItem
    tokenizer: PreTrainedTokenizerFast
    items: Dataset
    metrics: dict[str, Any] = field(default_factory=dict)
    preparation: dict[str, Any] = field(default_factory=dict)
    text_adapter: Adapter | None = None
    card: bytes | None = None

    @property
    def shown(self) -> list[str]:
        """The columns of `items` that recommendations show."""
        names = dict.fromkeys(self.model.config.display_columns or [])
        return [name for name in names if name in self.items.column_names and name not in OWN_COLUMNS]

    @classmethod
    def load(cls, name_or_path: str | Path, revision: str | None = None) -> "ModelFolder":
        """Read a local folder, or a Hub repository by its id.

        Raises:
            ValueError: If there is no such folder or repository, or it is not a finished seqrec model.
        """
        folder = Path(name_or_path)
        if not folder.is_dir():
            folder = hub_folder(str(name_or_path), revision, [*READ, *OF_ADAPTER], "model")  # never its code
        _check_whole(folder)
        config = _load_config(folder)
        items = Dataset(_read_items(folder / ITEMS_FILE, config))
        tokenizer = _load_tokenizer(folder, items["item_id"][:], config)
        metrics, preparation = read_json(folder / METRICS_FILE), read_json(folder / PREPARATION_FILE)
        adapter = _load_text_adapter(folder, config)
        return cls(_load_model(folder, config), tokenizer, items, metrics, preparation, adapter, _own_card(folder))

    def save(self, path: str | Path, repo_id: str | None = None) -> None:
        """Write the folder under a temporary name and rename it, so that what stands at `path` is always whole.

        Args:
            path: The folder.
            repo_id: Where it will be on the Hub, for the examples of its card.

        Raises:
            ValueError: If something other than a model folder stands there, or the model has adapters loaded.
            OSError: If it cannot be written (no room, no permission).
        """
        if is_adapted(self.model):
            raise ValueError(
                "The model has adapters loaded, which are no part of its folder. Merge the one in use "
                "(adapters.merge()) or take them away (adapters.unload()), and save again."
            )
        pipeline = {"impl": "pipeline_seqrec.NextItemPipeline", "pt": ["AutoModel"], "type": "text"}
        self.model.config.custom_pipelines = {TASK: pipeline}
        own_card = _own_card(Path(path))
        if (Path(path) / CONFIG_FILE).is_file():
            _read_kind(Path(path))
        elif own_card is not None:
            raise ValueError(f"{str(path)!r} holds a {CARD_FILE} and no model; expected a new or empty folder.")
        try:
            with written_whole(path, (*READ, *CODE, CARD_FILE, TEXT_ADAPTER)) as folder:
                self._write(folder)
                if card := own_card or self.card:
                    (folder / CARD_FILE).write_bytes(card)
                else:
                    write_card(folder, repo_id)
        except Exception as error:
            if (
                not isinstance(error, OSError | SafetensorError) and type(error) is not Exception
            ):  # as tokenizers raise
                raise
            raise OSError(
                f"The model could not be written to {str(path)!r} ({error}); what stood there is unchanged. "
                "Make room, or choose a folder that you may write to."
            ) from error

    def _write(self, folder: Path) -> None:
        """Write every file into an empty folder."""
        with without_file_bars():
            self.model.save_pretrained(folder)
        shutil.copymode(folder / CONFIG_FILE, folder / WEIGHTS_FILE)  # safetensors writes for its owner alone
        shutil.copy(pipeline_seqrec.__file__, folder)
        self.tokenizer.save_pretrained(folder)
        pq.write_table(_plain_table(self.items.select_columns(["item_id", *self.shown, "count"])), folder / ITEMS_FILE)
        write_json(folder / METRICS_FILE, self.metrics)
        write_json(folder / PREPARATION_FILE, self.preparation)
        if self.text_adapter is not None:
            self.text_adapter.save(folder / TEXT_ADAPTER)


def _own_card(folder: Path) -> bytes | None:
    """The card of a folder that somebody has written by hand."""
    try:
        content = (folder / CARD_FILE).read_bytes()
    except OSError:
        return None
    return None if is_generated(content.decode("utf-8", errors="replace")) else content


def write_card(path: str | Path, repo_id: str | None = None) -> None:
    """Write README.md of a model folder from its other files; one that was written by hand stays.

    Args:
        path: The folder.
        repo_id: Where it will be on the Hub, for the examples.
    """
    folder = Path(path)
    if _own_card(folder) is not None:
        return
    config = _load_config(folder)
    items = Dataset(_read_items(folder / ITEMS_FILE, config))
    with safe_open(folder / WEIGHTS_FILE, framework="pt") as weights:
        removed = weights.get_tensor(REMOVED)[config.num_special_tokens :]
    items = items.select((~removed).nonzero().flatten().tolist()) if removed.any() else items
    records = read_json(folder / METRICS_FILE), read_json(folder / PREPARATION_FILE)
    with written_whole_file(folder / CARD_FILE) as temporary:
        temporary.write_text(model_card(config, items, *records, repo_id), encoding="utf-8")


def _plain_table(items: Dataset) -> pa.Table:
    """The rows without `datasets`' own schema metadata, so that any reader sees a plain table."""
    return items.with_format("arrow")[:].replace_schema_metadata(None)


def _check_whole(folder: Path) -> None:
    """Raise unless the folder has all the files of a model folder."""
    missing = [name for name in NEEDED if not (folder / name).is_file()]
    if missing:
        hint = f" Did you mean {str(folder / 'model')!r}?" if (folder / "model" / CONFIG_FILE).is_file() else ""
        raise ValueError(
            f"{str(folder)!r} is not a finished seqrec model: {missing} missing.{hint or ' Train or save it again.'}"
        )


def _read_kind(folder: Path) -> dict[str, Any]:
    """Return the config of a folder; raise unless its model is one of ours."""
    content = read_json(folder / CONFIG_FILE)
    kind = content.get("model_type")
    if kind != SeqRecConfig.model_type:
        raise ValueError(
            f"{str(folder)!r} holds a model of type {kind!r}; expected {SeqRecConfig.model_type!r}. Choose another."
        )
    return content


def _load_config(folder: Path) -> SeqRecConfig:
    """Read the shape of the model, and nothing else that a config may say."""
    content = _read_kind(folder)
    if content.get("dtype") not in (*DTYPES, None):
        raise ValueError(
            f"{str(folder / CONFIG_FILE)!r} has dtype={content.get('dtype')!r}; expected one of {DTYPES}. {AGAIN}"
        )
    try:
        return SeqRecConfig(**{name: content[name] for name in SHAPE if name in content})
    except (StrictDataclassError, ValueError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{str(folder / CONFIG_FILE)!r} describes no model ({reason}). {AGAIN}") from error


def _read_items(path: Path, config: SeqRecConfig) -> pa.Table:
    """Read the catalogue: ids, what is shown of the items, and counts, for as many items as the model knows."""
    known = config.vocab_size - config.num_special_tokens
    shown = [name for name in dict.fromkeys(config.display_columns or []) if name not in OWN_COLUMNS]
    try:
        with pq.ParquetFile(path) as file:
            if file.metadata.num_rows != known:
                raise ValueError(
                    f"{str(path.parent)!r} mixes two models: its {ITEMS_FILE} has {file.metadata.num_rows} items, and "
                    f"its {CONFIG_FILE} knows {known}. {AGAIN}"
                )
            names = file.schema_arrow.names
            present = {name for name in names if names.count(name) == 1}
            table = file.read([name for name in ("item_id", *shown, "count") if name in present])
        table.validate(full=True)
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"{str(path)!r} cannot be read ({error}). {AGAIN}") from None
    whole = [name for name in ("item_id", "count") if name in present and not table[name].null_count]
    texts = [name for name in ("item_id", *shown) if name in present and not _is_text(table[name].type)]
    if len(whole) < 2 or texts or not pa.types.is_integer(table["count"].type):
        raise ValueError(
            f"{str(path)!r} has the columns {[f'{column.name}: {column.type}' for column in table.schema]}; "
            f"expected item_id and {shown} as text, count as whole numbers, no id or count missing. {AGAIN}"
        )
    return table


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


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


def _load_model(folder: Path, config: SeqRecConfig) -> SeqRecForNextItem:
    """Load the weights, which must be those that the config asks for."""
    if (folder / "adapter_config.json").exists():
        raise ValueError(
            f"{str(folder)!r} holds an adapter (adapter_config.json) beside its weights; expected a model folder as "
            "save_pretrained writes it. Merge the adapter, or remove that file."
        )
    _check_weights(folder / WEIGHTS_FILE, config)
    try:
        with without_file_bars():
            model = SeqRecForNextItem.from_pretrained(
                folder, config=config, use_safetensors=True, local_files_only=True, trust_remote_code=False
            )
    except (OSError, SafetensorError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"{str(folder)!r} cannot be loaded ({reason}). {AGAIN}") from error
    for name, tensor in model.state_dict().items():
        if not torch.isfinite(tensor).all():
            raise ValueError(
                f"The weights {name!r} in {str(folder)!r} hold NaN or infinity, so no item can be ranked. Train again "
                "with a lower learning_rate, or download the model again."
            )
    return cast(SeqRecForNextItem, model.eval())


def _load_text_adapter(folder: Path, config: SeqRecConfig) -> Adapter | None:
    """Read the adapter that a config names, which must be the one that the content vectors were made with."""
    named = (config.content_encoders or {}).get("text", {}).get("adapter")
    if named is None:
        return None
    adapter = Adapter.load(folder / TEXT_ADAPTER)
    if adapter.sha256 != named:
        found = f"its {TEXT_ADAPTER} has the hash {adapter.sha256}, and its {CONFIG_FILE} asks for {named}"
        raise ValueError(f"{str(folder)!r} mixes two models: {found}. {AGAIN}")
    return adapter


def _check_weights(path: Path, config: SeqRecConfig) -> None:
    """Raise unless the file has the tensors that the config asks for; a wrong size is met before it is allocated."""
    try:
        with safe_open(path, framework="pt") as weights:
            slices = {name: weights.get_slice(name) for name in weights.keys()}  # noqa: SIM118 (not a mapping)
            found = {name: (WEIGHT_TYPES.get(part.get_dtype()), *part.get_shape()) for name, part in slices.items()}
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{str(path)!r} cannot be read ({error}). {AGAIN}") from error
    asked = _tensors_of(config, at_most=len(found))
    wrong = sorted(name for name in asked.keys() | found.keys() if asked.get(name) != found.get(name))
    if wrong:
        raise ValueError(
            f"{str(path.parent)!r} mixes two models: the weights {wrong[0]!r} are {found.get(wrong[0])}, and its "
            f"{CONFIG_FILE} asks for {asked.get(wrong[0])}. {AGAIN}"
        )


def _tensors_of(config: SeqRecConfig, at_most: int) -> dict[str, tuple[str | int, ...]]:
    """Type and shape of each tensor of a model, whose sizes are never allocated, nor more layers than fit."""
    modalities = config.content_sizes or {}
    if config.num_hidden_layers + len(modalities) > at_most:
        return {"layers": ("num_hidden_layers", config.num_hidden_layers, "content_sizes", len(modalities))}
    try:
        with torch.device("meta"):
            tensors = SeqRecForNextItem(config).state_dict()
    except (RuntimeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"The {CONFIG_FILE} describes no model ({str(error).splitlines()[0]}). {AGAIN}") from error
    kinds = {torch.bool: "bool", torch.int32: "int"}
    return {name: (kinds.get(part.dtype, "float"), *part.shape) for name, part in tensors.items()}


def _load_tokenizer(folder: Path, item_ids: Sequence[str], config: SeqRecConfig) -> PreTrainedTokenizerFast:
    """Build the tokenizer of the catalogue, and see that the file's numbers items alike."""
    read_json(folder / TOKENIZER_CONFIG_FILE)
    tokenizer = build_tokenizer(item_ids, config)
    model, asked = read_json(folder / TOKENIZER_FILE).get("model"), tokenizer.get_vocab()
    found = model.get("vocab") if isinstance(model, dict) else None
    if found != asked:
        wrong = [item for item in item_ids if isinstance(found, dict) and found.get(item) != asked[item]]
        raise ValueError(
            f"{str(folder)!r} mixes two models: its {TOKENIZER_FILE} and its {ITEMS_FILE} number items differently, "
            f"e.g. {wrong[:1]}. {AGAIN}"
        )
    return tokenizer
