"""Features of a trained classifier network: the input of its linear head."""

from typing import Any

import torch
from torch import Tensor

from gpu_ssl.encoders.encoder import Encoder, ImageShape
from gpu_ssl.networks.classifier import ClassifierNetwork
from gpu_ssl.runtime.device import autocast
from gpu_ssl.training.augmentation import intensities


class NetworkFeatures(Encoder):
    """The features of a classifier, optionally averaged over an image and its mirror image.

    Parameters
    ----------
    network : ClassifierNetwork
        A trained network.
    mirror : bool
        Whether to average over the mirror image.
    """

    def __init__(self, network: ClassifierNetwork, mirror: bool) -> None:
        super().__init__("network", network.image_shape, network.width)
        self.network, self.mirror = network, mirror

    def forward(self, images: Tensor) -> Tensor:
        """See `Encoder.forward`."""
        block = intensities(images)
        with autocast(images.device, self.precision):
            views = [self.network.features(block).float()]
            if self.mirror:
                views.append(self.network.features(block.flip(3)).float())
        return torch.stack(views).mean(dim=0)

    def settings(self) -> dict[str, Any]:
        """See `Encoder.settings`."""
        return {"n_classes": self.network.n_classes, "mirror": self.mirror}


def build(image_shape: ImageShape, settings: dict[str, Any]) -> NetworkFeatures:
    """Return the encoder; see `encoders.encoder`. There is no ``fit``: methods train it with labels."""
    return NetworkFeatures(ClassifierNetwork(image_shape, settings["n_classes"]), settings["mirror"])
