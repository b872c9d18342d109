"""Embeddings of another program as features, as they are."""

from typing import Any

from torch import Tensor

from gpu_ssl.encoders.encoder import Encoder, ImageShape
from gpu_ssl.encoders.fitting import Training, TrainingImages
from gpu_ssl.errors import UsageError

NAME = "given"


class Given(Encoder):
    """The numbers themselves: rows (n, 1, 1, width), float32, in place of images."""

    def __init__(self, image_shape: ImageShape) -> None:
        super().__init__(NAME, image_shape, image_shape[2])

    def forward(self, images: Tensor) -> Tensor:
        """See `Encoder.forward`; what is flat already is taken, too."""
        return images.flatten(1)


def fit(images: TrainingImages, training: Training) -> Given:
    """Make the encoder; there is nothing to learn.

    Raises
    ------
    UsageError
        If there are images and no embeddings.
    """
    if not images.are_embeddings:
        raise not_given()
    return build(images.image_shape, {})


def build(image_shape: ImageShape, settings: dict[str, Any]) -> Given:
    """Make the encoder; see `encoders.encoder`."""
    return Given(image_shape)


def not_given() -> UsageError:
    """Return the error that says that there are images and no embeddings."""
    return UsageError(
        f"`encoder={NAME}` takes embeddings, a two-dimensional array of float numbers, and these are images; "
        "leave it out"
    )
