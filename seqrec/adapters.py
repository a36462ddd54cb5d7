"""LoRA adapters around the layers of a network: attached, trained, loaded side by side, switched, merged.

LoRA: Hu et al., "Low-Rank Adaptation of Large Language Models", ICLR 2022. peft does the arithmetic; here is whose an
adapter is, and which one answers.
"""

import hashlib
import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors.torch
import torch
from transformers import PreTrainedModel

from seqrec.adapter_files import MADE_FOR, Adapter

if TYPE_CHECKING:  # peft takes a second to import
    from peft import LoraConfig, PeftModel

DEFAULT = "default"


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
    adapter = Adapter(f"{config}\n".encode(), safetensors.torch.save(tensors))
    metadata = {"format": "pt", MADE_FOR: fingerprint(wrapped.get_base_model(), adapter.layers())}
    return Adapter(adapter.config, safetensors.torch.save(tensors, metadata=metadata))


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


def fingerprint(network: torch.nn.Module, layers: Mapping[str, Any]) -> str:
    """Return a hash of the weights of the layers that an adapter goes around, whatever else of a network changes."""
    digest = hashlib.sha256()
    for name in sorted(layers):
        digest.update(name.encode())
        digest.update(_bytes_of(_inner(network, name).weight))
    return digest.hexdigest()


def weights_sha256(network: torch.nn.Module) -> str:
    """Return a hash of all that a network holds."""
    digest = hashlib.sha256()
    for name, weights in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(_bytes_of(weights))
    return digest.hexdigest()


def _bytes_of(weights: torch.Tensor) -> bytes:
    return weights.detach().float().cpu().contiguous().numpy().tobytes()


def _inner(network: torch.nn.Module, name: str) -> Any:
    """A layer of a network, without the adapters around it."""
    layer = network.get_submodule(name)
    return getattr(layer, "base_layer", layer)


def _check_fits(network: torch.nn.Module, adapter: Adapter) -> None:
    """Raise unless a network has the layers that an adapter goes around, in the right sizes, as it was trained on."""
    layers, linear = adapter.layers(), torch.nn.Linear
    known = dict(network.named_modules())
    for name, parts in layers.items():
        layer = getattr(known.get(name), "base_layer", known.get(name))
        asked = parts["B"].shape[0], parts["A"].shape[1]
        if not isinstance(layer, linear) or tuple(layer.weight.shape) != asked:
            has = f"one of {tuple(layer.weight.shape)}" if isinstance(layer, linear) else "none"
            raise ValueError(
                f"The adapter does not fit this model: it goes around a matrix {name!r:.200} of {asked}, and the "
                f"model has {has}. Load it on the model that it was made for."
            )
    if adapter.made_for not in (None, fingerprint(network, layers)):
        raise ValueError(
            "The adapter was trained on another model: its layers have other weights than these. Load it on the model "
            "that it was made for."
        )


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
        config = adapter.lora_config()
        _check_fits(self._model, adapter)
        with _quiet():
            if self._wrapped is None:
                self._wrapped = attach(self._model, config, name, empty=True)
            else:
                self._wrapped.add_adapter(name, config, low_cpu_mem_usage=True)
            set_peft_model_state_dict(self._wrapped, adapter.tensors(), adapter_name=name, low_cpu_mem_usage=True)
        self.use(name)

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


def is_adapted(model: torch.nn.Module) -> bool:
    """Say whether adapter layers stand around layers of a model."""
    return hasattr(model, "peft_config")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep to ourselves what peft warns of and we check."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
