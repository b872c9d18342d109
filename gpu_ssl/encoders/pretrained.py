"""Features of a network that others have trained on millions of images, as it is."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gpu_ssl.encoders.backbones import build_backbone, load_backbone
from gpu_ssl.encoders.backbones.backbone import Backbone
from gpu_ssl.encoders.backbones.weights import NoWeightsError
from gpu_ssl.encoders.encoder import Encoder, ImageShape, intensities
from gpu_ssl.encoders.fitting import Training, TrainingImages
from gpu_ssl.encoders.resizing import fit_within
from gpu_ssl.runtime.device import autocast, resolve_precision

NAME = "pretrained"

BATCH = 64
"""Images that pass the network at a time."""


class Pretrained(Encoder):
    """A pretrained network without its last layer; no training changes it.

    It wants images in colour and of a size of its own. Files are decoded to that, and arrays are scaled;
    images of one channel get three equal ones. Signed square roots of its features are scaled to a norm of 1
    (power normalization: Perronnin et al. 2010, *Improving the Fisher Kernel*, sections 3.1 and 3.2): a few
    that are strong do not outweigh the many, and distances are those of directions.

    Parameters
    ----------
    name : str
        ``pretrained``, or that, a colon and a name that `build_backbone` knows.
    backbone : Backbone
        The network.
    why : str
        Why it is this one.
    channels : int
        Of the images: 1 or 3.
    """

    own_shape = True
    mean: Tensor
    std: Tensor

    def __init__(self, name: str, backbone: Backbone, why: str, channels: int) -> None:
        super().__init__(name, (channels, backbone.side, backbone.side), backbone.width)
        self._settings = {
            "backbone": backbone.name,
            "why": why,
            "source": backbone.source,
            "licence": backbone.licence,
        }
        self.network = backbone.network.requires_grad_(False)
        self.register_buffer("mean", torch.tensor(backbone.mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(backbone.std)[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """See `Encoder.forward`; the images may be of another size than the encoder's."""
        if torch.compiler.is_exporting():
            return self._features(images, torch.float32)
        return torch.cat([self._features(some, self.precision) for some in torch.split(images, BATCH)])

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
    """Make sure, before long work, that the networks of an encoder can be had, and fetch their weights.

    Parameters
    ----------
    encoder : str
        Its name, or that of a sum; those of other encoders pass.

    Raises
    ------
    GpuSslError
        If there is no such network, or its weights cannot be had.
    """
    for part in encoder.split("+"):
        name, _, variant = part.partition(":")
        if name == NAME:
            load_backbone(variant)


def usual_at_hand() -> tuple[str, ...]:
    """Return the name of the encoder that is best of those whose weights are on this machine, if any are."""
    try:
        backbone, _ = load_backbone("", fetch=False)
    except NoWeightsError:
        return ()
    return (f"{NAME}:{backbone.name}",)


def fit(images: TrainingImages, training: Training) -> Pretrained:
    """Make the encoder, with its weights; there is nothing to learn."""
    backbone, why = load_backbone(training.variant, progress=training.progress)
    name = f"{NAME}:{training.variant}" if training.variant else NAME
    encoder = Pretrained(name, backbone, why, images.image_shape[0])
    encoder.precision = resolve_precision(training.config.train.precision, images.device)
    return encoder


def build(image_shape: ImageShape, settings: dict[str, Any]) -> Pretrained:
    """Make the encoder without its weights; see `encoders.encoder`."""
    return Pretrained(NAME, build_backbone(settings["backbone"]), settings["why"], image_shape[0])
