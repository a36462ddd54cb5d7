"""LoRA adapters: what training changed in a network, in the two files of peft, beside the network itself.

LoRA: Hu et al., "Low-Rank Adaptation of Large Language Models", ICLR 2022. peft does the arithmetic; here is what may
be read, whose it is, and which one answers.
"""

import hashlib
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors.torch
import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError
from transformers import PreTrainedModel

from seqrec.folders import written_whole

if TYPE_CHECKING:  # peft takes a second to import
    from peft import LoraConfig, PeftModel

CONFIG_FILE, WEIGHTS_FILE, CARD_FILE = "adapter_config.json", "adapter_model.safetensors", "README.md"
FILES = (CONFIG_FILE, WEIGHTS_FILE)
READ = (
    *("r", "lora_alpha", "lora_dropout", "target_modules", "exclude_modules", "use_rslora", "fan_in_fan_out"),
    *("rank_pattern", "alpha_pattern", "layers_to_transform", "layers_pattern"),
)
"""What is read of a config; anything else must be as peft has it by default."""
ABOUT = (
    "peft_type",
    "peft_version",
    "task_type",
    "auto_mapping",
    "inference_mode",
    "base_model_name_or_path",
    "revision",
)
"""What a config says of itself, and changes nothing."""
PREFIX = "base_model.model."  # of peft, before the names of the network
MADE_FOR = "base_sha256"  # in the weights' metadata: the fingerprint of the layers that an adapter was trained on
DEFAULT = "default"


@dataclass(frozen=True)
class Adapter:
    """One adapter, as its two files hold it.

    Attributes:
        config: Content of `adapter_config.json`.
        weights: Content of `adapter_model.safetensors`.
        card: Content of `README.md`, which says nothing to a machine.
    """

    config: bytes
    weights: bytes
    card: bytes = field(default=b"", compare=False)

    @classmethod
    def load(cls, name_or_path: str | Path, revision: str | None = None) -> "Adapter":
        """Read a folder that peft or seqrec wrote, or a Hub repository by its id.

        Raises:
            ValueError: If there is none, or it is no LoRA adapter with its weights in safetensors.
        """
        folder = Path(name_or_path)
        if not folder.is_dir():
            folder = _download(str(name_or_path), revision)
        missing = [name for name in FILES if not (folder / name).is_file()]
        if missing:
            raise ValueError(
                f"{str(name_or_path)!r} is no adapter: {missing} missing. Give the folder `adapter/` that training "
                "with `lora` wrote, or one of peft's save_pretrained."
            )
        card = (folder / CARD_FILE).read_bytes() if (folder / CARD_FILE).is_file() else b""
        adapter = cls((folder / CONFIG_FILE).read_bytes(), (folder / WEIGHTS_FILE).read_bytes(), card)
        adapter.lora_config()
        adapter.tensors()
        return adapter

    def save(self, path: str | Path) -> None:
        """Write the files into a folder of their own, which peft loads, too."""
        with written_whole(path, (*FILES, CARD_FILE)) as folder:
            for name, content in zip((*FILES, CARD_FILE), (self.config, self.weights, self.card), strict=True):
                if content:
                    (folder / name).write_bytes(content)

    @property
    def base_model(self) -> str:
        """The Hub id, or another name, of the network that it goes around."""
        return str(json.loads(self.config).get("base_model_name_or_path") or "its base model")

    @property
    def sha256(self) -> str:
        """The fingerprint of both files."""
        return hashlib.sha256(hashlib.sha256(self.config).digest() + self.weights).hexdigest()

    @property
    def made_for(self) -> str | None:
        """The fingerprint of the layers that it was trained on, None where the file does not say."""
        size = int.from_bytes(self.weights[:8], "little")
        return (json.loads(self.weights[8 : 8 + size]).get("__metadata__") or {}).get(MADE_FOR)

    def lora_config(self) -> "LoraConfig":
        """Return the config.

        Raises:
            ValueError: It is not that of a LoRA adapter, or asks for what is not read here.
        """
        from peft import LoraConfig

        try:
            content = json.loads(self.config)
            if not isinstance(content, dict) or content.get("peft_type") != "LORA":
                raise ValueError("its peft_type is not LORA")
            usual = json.loads(json.dumps(LoraConfig().to_dict(), default=str))
            for name, value in content.items():
                if name not in (*READ, *ABOUT) and value != usual.get(name) and value:
                    raise ValueError(f"{name}={value!r:.60} is not read here")
            return LoraConfig(**{name: content[name] for name in READ if name in content}, inference_mode=True)
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"The {CONFIG_FILE} cannot be used ({error}); expected a plain LoRA adapter. Make another."
            ) from error

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the weights by peft's names.

        Raises:
            ValueError: They are damaged, or no numbers.
        """
        try:
            tensors = safetensors.torch.load(self.weights)
        except SafetensorError as error:
            raise ValueError(f"The {WEIGHTS_FILE} cannot be read ({error}). Save or download it again.") from error
        lost = [name for name, weights in tensors.items() if not torch.isfinite(weights).all()]
        if lost:
            raise ValueError(f"The {WEIGHTS_FILE} holds NaN or infinity in {lost[0]!r}. Train it again.")
        return tensors


def _download(repo_id: str, revision: str | None) -> Path:
    """Fetch the two files of a Hub repository."""
    try:
        return Path(snapshot_download(repo_id, revision=revision, allow_patterns=list(FILES)))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ValueError(
            f"There is no adapter {repo_id!r} here, and the Hub gave none of this name ({type(error).__name__}). "
            "Pass the `adapter/` folder that training wrote, or a repository id `owner/name`."
        ) from error


def attach(network: PreTrainedModel, config: "LoraConfig", name: str = DEFAULT, empty: bool = False) -> "PeftModel":
    """Put new adapter layers around layers of a network, in place, which is frozen.

    Args:
        network: The network.
        config: Which layers, and how wide the adapter is.
        name: What the adapter is called.
        empty: Leave its weights unallocated, for some that are loaded; else they change nothing before training does.

    Raises:
        ValueError: The network has no such layers.
    """
    from peft import PeftModel

    training = network.training
    with _quiet():
        wrapped = PeftModel(network, config, name, low_cpu_mem_usage=empty)
    network.train(training)
    return wrapped


def extract(wrapped: "PeftModel", base_name: str, base_revision: str | None = None) -> Adapter:
    """Return what was trained in what `attach` gave, as files.

    Args:
        wrapped: The network with its adapter.
        base_name: The Hub id of the network, or another name, never a path.
        base_revision: Its version.
    """
    from peft import get_peft_model_state_dict

    tensors = get_peft_model_state_dict(wrapped, adapter_name=DEFAULT, save_embedding_layers=False)
    tensors = {name: weights.detach().float().cpu().contiguous() for name, weights in sorted(tensors.items())}
    content = wrapped.peft_config[DEFAULT].to_dict()
    content = {key: sorted(value) if isinstance(value, set) else value for key, value in content.items()}
    content |= {"base_model_name_or_path": base_name, "revision": base_revision, "inference_mode": True}
    config = json.dumps(content, indent=2, sort_keys=True, default=str)
    made_for = fingerprint(wrapped.get_base_model(), tensors)
    metadata = {"format": "pt", MADE_FOR: made_for}
    return Adapter(f"{config}\n".encode(), safetensors.torch.save(tensors, metadata=metadata))


def detach(wrapped: "PeftModel", merge: bool) -> None:
    """Take all adapter layers away, after adding those in use to the weights where `merge` says so."""
    network = wrapped.get_base_model()
    if merge:
        wrapped.merge_and_unload()
    else:
        wrapped.unload()
    if hasattr(network, "peft_config"):
        del network.peft_config
    network.requires_grad_(True)


def fingerprint(network: torch.nn.Module, tensors: dict[str, torch.Tensor]) -> str:
    """Return a hash of the weights of the layers that an adapter goes around, whatever else of a network changes."""
    own = {name.replace(".base_layer.", "."): weights for name, weights in network.state_dict().items()}
    digest = hashlib.sha256()
    for layer in sorted({name.removeprefix(PREFIX).rpartition(".lora_")[0] for name in tensors}):
        weights = own.get(f"{layer}.weight")
        digest.update(layer.encode())
        digest.update(b"" if weights is None else weights.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def merge_into(network: PreTrainedModel, adapter: Adapter) -> None:
    """Add an adapter to the weights of a network, which is as fast afterwards as it was before."""
    adapters = Adapters(network)
    adapters.load_adapter(adapter)
    adapters.merge()


class Adapters:
    """The adapters around a model's layers: several side by side, of which one answers, or none.

    Args:
        model: The model; as long as no adapter is loaded, nothing of it is changed.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self._wrapped: PeftModel | None = None
        self.active: str | None = None
        """The name of the adapter that answers; None where the model answers alone."""

    @property
    def names(self) -> list[str]:
        """The loaded adapters."""
        return [] if self._wrapped is None else list(self._wrapped.peft_config)

    def load(self, name_or_path: str | Path, name: str = DEFAULT, revision: str | None = None) -> None:
        """Load an adapter and let it answer.

        Args:
            name_or_path: A folder that training with `lora: sequence_encoder` or peft wrote, or a Hub id.
            name: What it is called here.
            revision: Of the Hub repository.

        Raises:
            ValueError: There is none, it does not fit the model, or the name is taken; the model is as before then.
        """
        self.load_adapter(Adapter.load(name_or_path, revision), name)

    def load_adapter(self, adapter: Adapter, name: str = DEFAULT) -> None:
        """Load an adapter that was read before; as in `load`."""
        from peft import set_peft_model_state_dict

        if name in self.names or not name.isidentifier():
            raise ValueError(f"An adapter cannot be called {name!r}; choose a word that is not among {self.names}.")
        config, tensors = adapter.lora_config(), adapter.tensors()
        if adapter.made_for not in (None, fingerprint(self._model, tensors)):
            raise ValueError(
                "The adapter was trained on another model: its layers have other weights than these. Load it on the "
                "model that it was made for."
            )
        before, active = self.names, self.active
        try:
            with _quiet():
                if self._wrapped is None:
                    self._wrapped = attach(self._model, config, name, empty=True)
                else:
                    self._wrapped.add_adapter(name, config, low_cpu_mem_usage=True)
                found = set_peft_model_state_dict(self._wrapped, tensors, adapter_name=name, low_cpu_mem_usage=True)
                missing = _of(name, found)
            if missing:
                raise ValueError(f"{missing[0]!r} is missing or has no place")
        except Exception as error:  # peft and torch say it in many ways
            self._take_back(name, before)
            self.use(active)
            reason = " ".join(str(error).split())
            raise ValueError(f"The adapter does not fit this model: {reason:.300}. Load it on its own one.") from error
        self.use(name)

    def _take_back(self, name: str, before: list[str]) -> None:
        """Leave no layer of an adapter that did not fit."""
        if self._wrapped is not None and name in self.names and before:
            self._wrapped.delete_adapter(name)
        elif not before:
            self.unload()
            _strip(self._model)

    def use(self, name: str | None) -> None:
        """Let one of the loaded adapters answer, or with None the model alone, to the last bit as before.

        Raises:
            ValueError: No adapter has this name.
        """
        if name is not None and name not in self.names:
            raise ValueError(f"There is no adapter {name!r}; loaded are {self.names}.")
        if self._wrapped is not None:
            layers: Any = self._wrapped.base_model
            if name is None:
                layers.disable_adapter_layers()
            else:
                layers.enable_adapter_layers()
                self._wrapped.set_adapter(name, inference_mode=True)
        self.active = name
        self._model.eval()  # nothing that the model computed before holds any more

    def merge(self) -> None:
        """Add the adapter that answers to the model's weights, and unload all; the same answers, as fast as before.

        Raises:
            ValueError: No adapter is in use.
        """
        if self._wrapped is None or self.active is None:
            raise ValueError(f"No adapter is in use; loaded are {self.names}. Choose one with use(name).")
        self._detach(merge=True)

    def unload(self) -> None:
        """Take all adapters away; the model is as it was before the first, to the last bit."""
        self._detach(merge=False)

    def _detach(self, merge: bool) -> None:
        if self._wrapped is not None:
            detach(self._wrapped, merge)
        self._wrapped, self.active = None, None
        self._model.eval()  # nothing that the model computed before holds any more


def _strip(network: torch.nn.Module) -> None:
    """Take away the layers of an adapter that was put around some of them only."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, module in list(network.named_modules()):
        if isinstance(module, BaseTunerLayer):
            parent, _, own_name = name.rpartition(".")
            setattr(network.get_submodule(parent), own_name, module.get_base_layer())


def is_adapted(model: torch.nn.Module) -> bool:
    """Say whether adapter layers stand around layers of a model."""
    return hasattr(model, "peft_config")


def _of(name: str, result: Any) -> list[str]:
    """Weights of an adapter that were not given, or found no place."""
    return [key for key in result.missing_keys if f".{name}." in key and "lora_" in key] + list(result.unexpected_keys)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep to ourselves what peft warns of and we check."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
