"""LoRA adapters as files: the two of peft, read with care and written without a path of this machine."""

import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import safetensors.torch
import torch
from safetensors import SafetensorError

from seqrec.fetching import hub_folder
from seqrec.folders import parse_json, written_whole

if TYPE_CHECKING:  # peft takes a second to import
    from peft import LoraConfig

CONFIG_FILE, WEIGHTS_FILE, CARD_FILE = "adapter_config.json", "adapter_model.safetensors", "README.md"
FILES = (CONFIG_FILE, WEIGHTS_FILE)
READ = ("r", "lora_alpha", "lora_dropout", "use_rslora", "fan_in_fan_out")
"""What is read of a config; anything else must be as peft has it by default."""
SAID_BY_WEIGHTS = ("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern")
"""Which layers an adapter goes around: the names of its weights say it, without a pattern to run."""
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
NAME = re.compile(r"base_model\.model\.([\w.]+)\.lora_([AB])\.weight")
MADE_FOR = "base_sha256"  # in the weights' metadata: the fingerprint of the layers that an adapter was trained on
FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


@dataclass(frozen=True)
class Adapter:
    """One adapter, as its files hold it.

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
            folder = hub_folder(str(name_or_path), revision, [*FILES, CARD_FILE], "adapter")
        missing = [name for name in FILES if not (folder / name).is_file()]
        if missing:
            raise ValueError(
                f"{str(name_or_path)!r} is no adapter: {missing} missing. Give the folder `adapter/` that training "
                "with `lora` wrote, or one of peft's save_pretrained."
            )
        card = (folder / CARD_FILE).read_bytes() if (folder / CARD_FILE).is_file() else b""
        adapter = cls((folder / CONFIG_FILE).read_bytes(), (folder / WEIGHTS_FILE).read_bytes(), card)
        adapter.lora_config()
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
        return str(json.loads(self.config).get("base_model_name_or_path") or "unknown")

    @property
    def sha256(self) -> str:
        """The fingerprint of config and weights."""
        return hashlib.sha256(hashlib.sha256(self.config).digest() + self.weights).hexdigest()

    @property
    def made_for(self) -> str | None:
        """The fingerprint of the layers that it was trained on, None where the file does not say."""
        size = int.from_bytes(self.weights[:8], "little")
        return (json.loads(self.weights[8 : 8 + size]).get("__metadata__") or {}).get(MADE_FOR)

    def lora_config(self) -> "LoraConfig":
        """Return the config, for the very layers that the weights are for.

        Raises:
            ValueError: It is not that of a LoRA adapter, asks for what is not read here, or does not fit the weights.
        """
        from peft import LoraConfig

        layers = self.layers()
        try:
            content = parse_json(self.config)
            if content.get("peft_type") != "LORA":
                raise ValueError(f"its peft_type is {content.get('peft_type')!r:.60}, not LORA")
            usual = json.loads(json.dumps(LoraConfig().to_dict(), default=str))
            for name, value in content.items():
                if name not in (*READ, *SAID_BY_WEIGHTS, *ABOUT) and value and value != usual.get(name):
                    raise ValueError(f"{name}={value!r:.60} is not read here")
            ranks = {len(parts["A"]) for parts in layers.values()}
            if ranks != {content.get("r")}:
                raise ValueError(f"r={content.get('r')!r:.60}, and the weights have {sorted(ranks)}")
            alpha, dropout = content.get("lora_alpha", 8), content.get("lora_dropout", 0.0)
            if not _is_number(alpha) or not _is_number(dropout) or not 0 <= dropout < 1:
                raise ValueError(f"lora_alpha={alpha!r:.60}, lora_dropout={dropout!r:.60}")
            kept = {name: content[name] for name in READ if name in content}
            return LoraConfig(**kept, target_modules=sorted(layers), inference_mode=True)
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"The {CONFIG_FILE} cannot be used ({error}); expected a plain LoRA adapter. Make another."
            ) from error

    def layers(self) -> dict[str, dict[str, torch.Tensor]]:
        """Return the weights of each layer, `A` (rank, in) and `B` (out, rank), by the layer's name.

        Raises:
            ValueError: They are damaged, no numbers, or not those of LoRA around layers.
        """
        layers: dict[str, dict[str, torch.Tensor]] = {}
        for name, weights in self.tensors().items():
            found = NAME.fullmatch(name)
            if found is None or weights.dtype not in FLOATS or weights.dim() != 2:
                raise ValueError(
                    f"The {WEIGHTS_FILE} holds {name!r:.200} of {weights.dtype} and {weights.dim()} dimensions; "
                    "expected matrices of LoRA around linear layers. Make another adapter."
                )
            layers.setdefault(found[1], {})[found[2]] = weights
        for layer, parts in layers.items():
            if parts.keys() != {"A", "B"} or parts["A"].shape[0] != parts["B"].shape[1]:
                raise ValueError(f"The {WEIGHTS_FILE} holds half of layer {layer!r:.200}. Save or download it again.")
            if not all(torch.isfinite(weights).all() for weights in parts.values()):
                raise ValueError(f"The {WEIGHTS_FILE} holds NaN or infinity in layer {layer!r:.200}. Train it again.")
        if not layers:
            raise ValueError(f"The {WEIGHTS_FILE} holds nothing. Save or download it again.")
        return layers

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the weights by peft's names.

        Raises:
            ValueError: They are damaged.
        """
        try:
            return safetensors.torch.load(self.weights)
        except (SafetensorError, RuntimeError, KeyError) as error:
            raise ValueError(f"The {WEIGHTS_FILE} cannot be read ({error}). Save or download it again.") from error


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
