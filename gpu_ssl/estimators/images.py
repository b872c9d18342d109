"""Converting X to uint8 images and back."""

from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from gpu_ssl.config import LearningConfig, ModelConfig, TrainConfig
from gpu_ssl.data.array_range import holds_levels
from gpu_ssl.errors import DataError, UsageError
from gpu_ssl.fitted.records import ModelRecord, PixelScale

ImageShape = tuple[int, int, int]

BLOCK = 1000
"""Number of samples that are converted at a time."""


@dataclass(frozen=True)
class PixelFormat:
    """The layout of images in X, and the values of black and white.

    Parameters
    ----------
    shape : tuple of int
        Channels, height and width.
    sample_shape : tuple of int
        Shape of a sample of X.
    low, high : ndarray of shape () or (n_features,)
        Values that are mapped to 0 and 255: 0 and 255 for uint8, otherwise the minimum and maximum of X (of
        each column, if the rows are not images).
    """

    shape: ImageShape
    sample_shape: tuple[int, ...]
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    @classmethod
    def of(cls, X: NDArray[Any], image_shape: ImageShape | None) -> Self:
        """Infer the format from X, of shape (n, features), (n, height, width) or with channels first or last.

        Raises
        ------
        UsageError
            If X has another shape, or its rows do not match `image_shape`.
        """
        shape = _image_shape(X, image_shape)
        if X.dtype == np.uint8:
            return cls(shape, X.shape[1:], np.array(0.0), np.array(255.0))
        columns = 0 if X.ndim == 2 and image_shape is None else None
        low, high = (np.asarray(edge(X, axis=columns), dtype=np.float64) for edge in (np.min, np.max))
        return cls(shape, X.shape[1:], low, np.where(high > low, high, low + 1))

    @classmethod
    def of_embeddings(cls, width: int) -> Self:
        """Return the format of embeddings (n, width), which are not scaled."""
        return cls((1, 1, width), (width,), np.array(0.0), np.array(255.0))

    @classmethod
    def of_record(cls, record: ModelRecord) -> Self:
        """Return the format recorded with a model: of models fitted to files with channels last."""
        channels, height, width = record.image_shape
        if record.takes_embeddings:
            return cls.of_embeddings(width)
        if record.pixels is None:
            sample_shape = (height, width) if channels == 1 else (height, width, channels)
            low, high = map(np.array, record.value_range or (0.0, 255.0))
            return cls(record.image_shape, sample_shape, low, high)
        low, high = (np.array(edge) for edge in (record.pixels.low, record.pixels.high))
        if len(low) == 1:
            low, high = low[0], high[0]
        return cls(record.image_shape, record.pixels.sample_shape, low, high)

    def record(self) -> PixelScale:
        """Return the part that is saved with a model."""
        low, high = (tuple(np.atleast_1d(edge).tolist()) for edge in (self.low, self.high))
        return PixelScale(sample_shape=self.sample_shape, low=low, high=high)

    @property
    def is_uint8(self) -> bool:
        """Whether values of X are used without scaling."""
        return self.low.ndim == 0 and (float(self.low), float(self.high)) == (0.0, 255.0)

    @property
    def is_image(self) -> bool:
        """Whether X holds two-dimensional images rather than rows of unordered features."""
        return self.shape[1] > 1

    def in_order(self, X: Any) -> Any:
        """Return X with its channels first or last as in fit; a model of files was fitted to neither."""
        channels, height, width = self.shape
        orders = (self.shape, (height, width, channels))
        own, given = self.sample_shape, tuple(getattr(X, "shape", ()))[1:]
        if given == own or given not in orders or own not in orders:
            return X
        return np.moveaxis(np.asarray(X), *((1, -1) if given == self.shape else (-1, 1)))

    def to_images(self, X: NDArray[Any]) -> NDArray[np.uint8]:
        """Return X as images (n, channels, height, width), uint8; values out of range are clipped.

        Values far beyond the range of fit may be levels from 0 to 255; see `data.array_range.holds_levels`.
        """
        if X.shape[1:] != self.sample_shape:
            raise UsageError(
                f"expected samples of shape {self.sample_shape} as in fit, got X of shape {X.shape}"
            )
        if self.is_uint8 and X.dtype != np.uint8:
            most = X.max(initial=0)
            fractions = X.dtype.kind in "bf" and 0 < most <= 1
            # Somewhat larger values, of an interpolation, are clipped.
            if fractions or most > 1.1 * 255:
                advice = "multiply X by 255" if most <= 1 else "scale X to that range"
                raise UsageError(
                    f"expected uint8 values from 0 to 255 as in fit, got values up to {most:g}: {advice}"
                )
        if not self._holds_levels(X):
            X = self._scaled(X)
        elif X.dtype != np.uint8:
            X = np.rint(X).astype(np.uint8)
        if self._channels_last():
            X = X.transpose(0, 3, 1, 2)
        return np.require(X.reshape(-1, *self.shape), requirements=["C", "W"])

    def _holds_levels(self, X: NDArray[Any]) -> bool:
        if self.low.ndim:
            return False
        try:
            return holds_levels(X, float(self.low), float(self.high))
        except DataError as error:
            raise UsageError(str(error)) from error

    def _scaled(self, X: NDArray[Any]) -> NDArray[np.uint8]:
        """Return X with `low` and `high` at 0 and 255; in blocks, as float64 is eight times as large."""
        scaled = np.empty(X.shape, np.uint8)
        for start in range(0, len(X), BLOCK):
            block = slice(start, start + BLOCK)
            shares = (np.asarray(X[block], dtype=np.float64) - self.low) / (self.high - self.low)
            scaled[block] = np.rint(255 * shares.clip(0, 1))
        return scaled

    def from_intensities(self, images: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return images (n, channels, height, width), from 0 to 1, in the layout and range of X."""
        images = images.transpose(0, 2, 3, 1) if self._channels_last() else images
        return self.low + images.reshape(-1, *self.sample_shape) * (self.high - self.low)

    def _channels_last(self) -> bool:
        return len(self.sample_shape) == 3 and self.sample_shape != self.shape


def _image_shape(X: NDArray[Any], image_shape: ImageShape | None) -> ImageShape:
    sample = X.shape[1:]
    if X.ndim == 2:
        shape = (1, 1, sample[0]) if image_shape is None else image_shape
        if len(shape) != 3 or int(np.prod(shape)) != sample[0]:
            raise UsageError(
                f"image_shape={image_shape} needs {np.prod(shape)} features, got X with {sample[0]}"
            )
        return shape
    if image_shape is not None:
        raise UsageError("image_shape is only for rows of pixels; X has the shape of images, so leave it out")
    if X.ndim == 3:
        return (1, *sample)
    if X.ndim == 4 and sample[0] in (1, 3):
        return sample
    if X.ndim == 4 and sample[2] in (1, 3):
        return sample[2], sample[0], sample[1]
    raise UsageError(
        f"expected X of shape (n, features) or (n, height, width), optionally with 1 or 3 channels first or "
        f"last, got {X.shape}"
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
    """Return the settings of a VAE for the parameters of an estimator.

    Raises
    ------
    UsageError
        If a parameter is invalid.
    """
    from sklearn.utils import check_random_state

    chosen = ("conv" if pixels.is_image else "mlp") if network == "auto" else network
    return LearningConfig.of(
        model=ModelConfig.of(network=chosen, latent_dim=latent_dim, kl_weight=kl_weight),
        train=TrainConfig.of(epochs=epochs, batch_size=batch_size),
        seed=int(check_random_state(random_state).randint(2**31)),
        device=device,
    )
