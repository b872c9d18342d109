"""What scikit-learn calls X, as uint8 images, and back."""

from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from gpu_ssl.config import LearningConfig, ModelConfig, TrainConfig
from gpu_ssl.errors import UsageError
from gpu_ssl.fitted.records import ModelRecord, PixelScale

ImageShape = tuple[int, int, int]


@dataclass(frozen=True)
class PixelFormat:
    """How images lie in X, and which numbers stand for black and white.

    Parameters
    ----------
    shape : tuple of int
        Channels, height and width.
    sample_shape : tuple of int
        Shape of a sample of X.
    low, high : ndarray of shape () or (n_features,)
        What becomes 0 and 255. Of uint8 these are 0 and 255; of other numbers the smallest and the largest
        in X, for rows of numbers that are no image those of each column.
    """

    shape: ImageShape
    sample_shape: tuple[int, ...]
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    @classmethod
    def of(cls, X: NDArray[Any], image_shape: ImageShape | None) -> Self:
        """Find it out from X, of shape (n, features), (n, height, width) or with channels first or last.

        Raises
        ------
        UsageError
            If X holds nothing of that kind, or `image_shape` is not that of its rows.
        """
        shape = _image_shape(X, image_shape)
        if X.dtype == np.uint8:
            return cls(shape, X.shape[1:], np.array(0.0), np.array(255.0))
        columns = 0 if X.ndim == 2 and image_shape is None else None
        low, high = (np.asarray(edge(X, axis=columns), dtype=np.float64) for edge in (np.min, np.max))
        return cls(shape, X.shape[1:], low, np.where(high > low, high, low + 1))

    @classmethod
    def of_embeddings(cls, width: int) -> Self:
        """Make it for embeddings (n, width), which are taken as they are."""
        return cls((1, 1, width), (width,), np.array(0.0), np.array(255.0))

    @classmethod
    def of_record(cls, record: ModelRecord) -> Self:
        """Make it anew of what is recorded of a model; of one that was fitted to files, for uint8 images."""
        channels, height, width = record.image_shape
        if record.takes_embeddings:
            return cls.of_embeddings(width)
        if record.pixels is None:
            sample_shape = (height, width) if channels == 1 else (height, width, channels)
            return cls(record.image_shape, sample_shape, np.array(0.0), np.array(255.0))
        low, high = (np.array(edge) for edge in (record.pixels.low, record.pixels.high))
        if len(low) == 1:
            low, high = low[0], high[0]
        return cls(record.image_shape, record.pixels.sample_shape, low, high)

    def record(self) -> PixelScale:
        """Return what is recorded of it with a model."""
        low, high = (tuple(np.atleast_1d(edge).tolist()) for edge in (self.low, self.high))
        return PixelScale(sample_shape=self.sample_shape, low=low, high=high)

    @property
    def is_uint8(self) -> bool:
        """Whether the numbers in X are those of the images."""
        return self.low.ndim == 0 and (float(self.low), float(self.high)) == (0.0, 255.0)

    @property
    def is_picture(self) -> bool:
        """Whether neighbours in X are neighbours in a picture: rows of numbers need not be."""
        return self.shape[1] > 1

    def to_images(self, X: NDArray[Any]) -> NDArray[np.uint8]:
        """Return X as images (n, channels, height, width), uint8; what lies beyond the ends is cut."""
        if X.shape[1:] != self.sample_shape:
            raise UsageError(f"X has samples of shape {X.shape[1:]}; those fitted had {self.sample_shape}")
        if X.dtype != np.uint8:
            if self.is_uint8 and 0 < X.max(initial=0) <= 1:
                raise UsageError(
                    f"X holds numbers up to {X.max():g}; those fitted were uint8, from 0 to 255: "
                    "multiply by 255"
                )
            scaled = (np.asarray(X, dtype=np.float64) - self.low) / (self.high - self.low)
            X = np.rint(255 * scaled.clip(0, 1)).astype(np.uint8)
        if self._channels_last():
            X = X.transpose(0, 3, 1, 2)
        return np.require(X.reshape(-1, *self.shape), requirements=["C", "W"])

    def from_intensities(self, images: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return images (n, channels, height, width), from 0 to 1, as X was."""
        images = images.transpose(0, 2, 3, 1) if self._channels_last() else images
        return self.low + images.reshape(-1, *self.sample_shape) * (self.high - self.low)

    def _channels_last(self) -> bool:
        return len(self.sample_shape) == 3 and self.sample_shape != self.shape


def _image_shape(X: NDArray[Any], image_shape: ImageShape | None) -> ImageShape:
    sample = X.shape[1:]
    if X.ndim == 2:
        shape = (1, 1, sample[0]) if image_shape is None else image_shape
        if len(shape) != 3 or int(np.prod(shape)) != sample[0]:
            raise UsageError(f"X has {sample[0]} features; image_shape={image_shape} needs {np.prod(shape)}")
        return shape
    if image_shape is not None:
        raise UsageError("image_shape is for rows of pixels; X has the shape of images already")
    if X.ndim == 3:
        return (1, *sample)
    if X.ndim == 4 and sample[0] in (1, 3):
        return sample
    if X.ndim == 4 and sample[2] in (1, 3):
        return sample[2], sample[0], sample[1]
    raise UsageError(
        f"X has shape {X.shape}; needed are (n, features), (n, height, width), or that with 1 or 3 channels "
        "first or last"
    )


def learning_settings(
    pixels: PixelFormat,
    network: Literal["auto", "conv", "mlp"],
    latent_dim: int,
    kl_weight: float,
    epochs: int | None,
    batch_size: int | None,
    random_state: Any,
    device: str,
) -> LearningConfig:
    """Make the settings of a VAE from the parameters of an estimator.

    Raises
    ------
    UsageError
        If a parameter cannot be.
    """
    from sklearn.utils import check_random_state

    chosen = ("conv" if pixels.is_picture else "mlp") if network == "auto" else network
    return LearningConfig.of(
        model=ModelConfig.of(network=chosen, latent_dim=latent_dim, kl_weight=kl_weight),
        train=TrainConfig.of(epochs=epochs, batch_size=batch_size),
        seed=int(check_random_state(random_state).randint(2**31)),
        device=device,
    )
