"""Features of a frozen network pretrained on millions of images."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gpu_ssl.encoders.backbones import USUAL, build_backbone, load_backbone
from gpu_ssl.encoders.backbones.backbone import Backbone
from gpu_ssl.encoders.backbones.weights import NoWeightsError, may_be_at_hand
from gpu_ssl.encoders.encoder import Encoder, ImageShape
from gpu_ssl.encoders.fitting import Training, TrainingImages
from gpu_ssl.encoders.resizing import fit_within
from gpu_ssl.errors import UsageError
from gpu_ssl.runtime.device import autocast, resolve_precision
from gpu_ssl.training.augmentation import intensities

NAME = "pretrained"

BATCH = 64
"""Number of images per forward pass."""


class Pretrained(Encoder):
    """A frozen pretrained network without its last layer.

    The network takes colour images of a fixed size: files are decoded to it, arrays are resized, and grey
    images are repeated in three channels. Features are power-normalized (signed square root, then scaled to
    norm 1: Perronnin et al. 2010, *Improving the Fisher Kernel*, sections 3.1 and 3.2), so that a few large
    features do not dominate and distances depend only on directions.

    Parameters
    ----------
    name : str
        ``pretrained``, optionally followed by a colon and a name that `build_backbone` accepts.
    backbone : Backbone
        The network.
    why : str
        Why this network was chosen.
    channels : int
        Channels of the images: 1 or 3.
    """

    own_shape = True
    mean: Tensor
    std: Tensor

    def __init__(self, name: str, backbone: Backbone, why: str, channels: int) -> None:
        super().__init__(name, (channels, backbone.side, backbone.side), backbone.width)
        self._settings = {
            "backbone": backbone.name,
            "why": why,
            "side": backbone.side,
            "source": backbone.source,
            "licence": backbone.licence,
        }
        self.network = backbone.network.requires_grad_(False)
        self.register_buffer("mean", torch.tensor(backbone.mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(backbone.std)[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """See `Encoder.forward`; images of other sizes are resized."""
        if torch.compiler.is_exporting():
            return self._features(images, torch.float32)
        return torch.cat([self._features(batch, self.precision) for batch in torch.split(images, BATCH)])

    def _features(self, images: Tensor, precision: torch.dtype) -> Tensor:
        in_colour = fit_within(intensities(images), (3, *self.image_shape[1:]))
        pixels = (in_colour - self.mean) / self.std
        with autocast(images.device, precision):
            features: Tensor = self.network(pixels.contiguous(memory_format=torch.channels_last)).float()
        return F.normalize(features.sign() * features.abs().sqrt())

    def settings(self) -> dict[str, Any]:
        """See `Encoder.settings`."""
        return self._settings


def require_weights(encoder: str) -> None:
    """Check, before long work, that an encoder's pretrained networks are available; download their weights.

    Parameters
    ----------
    encoder : str
        Name of an encoder or a sum of encoders; encoders that are not pretrained are ignored.

    Raises
    ------
    GpuSslError
        If there is no such network, or its weights are not available.
    """
    for part in encoder.split("+"):
        name, _, variant = part.partition(":")
        if name == NAME:
            load_backbone(variant)


def usual_at_hand() -> tuple[str, ...]:
    """Return the name of the best usual encoder whose weights are on this machine, or none."""
    for name in USUAL:
        if not may_be_at_hand(name):
            continue
        try:
            backbone, _ = load_backbone(name, fetch=False)
        except (UsageError, NoWeightsError):
            continue
        return (f"{NAME}:{backbone.name}",)
    return ()


def fit(images: TrainingImages, training: Training) -> Pretrained:
    """Return the encoder with its pretrained weights; nothing is learned."""
    backbone, why = load_backbone(training.variant, progress=training.progress)
    name = f"{NAME}:{training.variant}" if training.variant else NAME
    encoder = Pretrained(name, backbone, why, images.image_shape[0])
    encoder.precision = resolve_precision(training.config.train.precision, images.device)
    return encoder


def build(image_shape: ImageShape, settings: dict[str, Any]) -> Pretrained:
    """Return the encoder without its weights; see `encoders.encoder`."""
    return Pretrained(NAME, build_backbone(settings["backbone"]), settings["why"], image_shape[0])
