"""Precomputed embeddings as features, unchanged."""

from typing import Any

from torch import Tensor

from gpu_ssl.encoders.encoder import Encoder, ImageShape
from gpu_ssl.encoders.fitting import Training, TrainingImages
from gpu_ssl.errors import UsageError

NAME = "given"


class Given(Encoder):
    """The identity on precomputed embeddings (n, 1, 1, width), float32, in place of images."""

    def __init__(self, image_shape: ImageShape) -> None:
        super().__init__(NAME, image_shape, image_shape[2])

    def forward(self, images: Tensor) -> Tensor:
        """See `Encoder.forward`; rows (n, width) are accepted, too."""
        return images.flatten(1)


def fit(images: TrainingImages, training: Training) -> Given:
    """Return the encoder; nothing is learned.

    Raises
    ------
    UsageError
        If the data are images, not embeddings.
    """
    if not images.are_embeddings:
        raise not_given()
    return build(images.image_shape, {})


def build(image_shape: ImageShape, settings: dict[str, Any]) -> Given:
    """Return the encoder; see `encoders.encoder`."""
    return Given(image_shape)


def not_given() -> UsageError:
    """Return the error for images where embeddings are expected."""
    return UsageError(
        f"`encoder={NAME}` expects embeddings (a two-dimensional float array), but the data are images; "
        "leave it out"
    )
