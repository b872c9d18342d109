"""A variational autoencoder as a scikit-learn transformer."""

import tempfile
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from gpu_ssl.encoders import vae
from gpu_ssl.encoders.encoder import BLOCK, encode
from gpu_ssl.encoders.fitting import Training, TrainingImages
from gpu_ssl.errors import UsageError
from gpu_ssl.estimators.fit_state import all_or_nothing
from gpu_ssl.estimators.images import ImageShape, PixelFormat, learning_settings
from gpu_ssl.runtime.device import memory_errors, resolve_device


class VAETransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Transform images to latents of a VAE trained without labels: M1 of Kingma et al. 2014 without its SVM.

    X has shape (n, height, width), optionally with 1 or 3 channels first or last, or (n, n_features); rows
    are images if `image_shape` is given. uint8 values are used unchanged; other values are scaled from their
    minimum and maximum to 256 levels. Later X is scaled as in `fit`, unless it holds levels from 0 to 255
    where the fitted values were far smaller; these are used unchanged.

    Parameters
    ----------
    latent_dim : int, default=64
        Dimension of the latents.
    kl_weight : float, default=0.05
        Weight of the KL divergence relative to the reconstruction loss.
    network : {"auto", "conv", "mlp"}, default="auto"
        ``conv``, convolutional and trained with augmentation, or ``mlp``, the perceptron of Kingma et al.;
        ``auto`` is ``conv`` for images and ``mlp`` for rows of features.
    epochs, batch_size : int, optional
        Number of epochs, and of images per step; see ``gpu-ssl run --help`` for the defaults.
    mirror : bool, default=True
        Whether mirroring an image preserves its class.
    image_shape : tuple of int, optional
        Channels, height and width of images given as rows of pixels.
    random_state : int, RandomState or None, default=None
        Seed of all random numbers.
    device : str, default="auto"
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; only ``auto`` falls back to the CPU.

    Attributes
    ----------
    encoder_ : VAEEncoder
        The network, on the device of the training; its `training_record` has the losses of each epoch.
    pixels_ : PixelFormat
        Conversion of X to images.
    n_features_in_ : int
        Size of the second axis of X.

    Examples
    --------
    >>> from gpu_ssl import VAETransformer
    >>> from sklearn.datasets import load_digits
    >>> X = load_digits().images
    >>> vae = VAETransformer(latent_dim=8, epochs=2, mirror=False, random_state=0, device="cpu")
    >>> vae.fit_transform(X).shape
    (1797, 8)
    """

    def __init__(
        self,
        latent_dim: int = 64,
        *,
        kl_weight: float = 0.05,
        network: Literal["auto", "conv", "mlp"] = "auto",
        epochs: int | None = None,
        batch_size: int | None = None,
        mirror: bool = True,
        image_shape: ImageShape | None = None,
        random_state: Any = None,
        device: str = "auto",
    ) -> None:
        self.latent_dim = latent_dim
        self.kl_weight = kl_weight
        self.network = network
        self.epochs = epochs
        self.batch_size = batch_size
        self.mirror = mirror
        self.image_shape = image_shape
        self.random_state = random_state
        self.device = device

    @all_or_nothing
    def fit(self, X: Any, y: object = None) -> Self:
        """Train the VAE on X; `y` is ignored.

        Raises
        ------
        UsageError
            If X or a parameter is invalid. It is a ValueError.
        """
        X = validate_data(self, X, allow_nd=True)
        if len(X) < 2:
            raise UsageError(f"X has {len(X)} sample; expected at least 2 samples")
        self.pixels_ = PixelFormat.of(X, self.image_shape)
        config = learning_settings(
            self.pixels_,
            self.network,
            self.latent_dim,
            self.kl_weight,
            self.epochs,
            self.batch_size,
            self.random_state,
            self.device,
        )
        device = torch.device(resolve_device(self.device).used)
        to_learn = TrainingImages(self.pixels_.to_images(X), device, self.mirror, "")
        with (
            tempfile.TemporaryDirectory() as folder,
            memory_errors(device, "use a smaller `batch_size`, or `device=cpu`"),
        ):
            self.encoder_ = vae.fit(to_learn, Training(config, Path(folder) / "checkpoint.json"))
        self.encoder_.precision = torch.float32  # so that results hardly depend on the machine
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Return the posterior means of X, of shape (n, latent_dim), float32."""
        check_is_fitted(self)
        X = validate_data(self, X, allow_nd=True, reset=False)
        images = torch.from_numpy(self.pixels_.to_images(X)).to(self.encoder_.vae.device)
        latents: NDArray[np.float32] = encode(self.encoder_, images).cpu().numpy()
        return np.ascontiguousarray(latents)

    @torch.no_grad()
    def inverse_transform(self, X: Any) -> NDArray[np.float64]:
        """Return the decoded images of latents X (n, latent_dim), in the format of the fitted images.

        For ``conv`` these are reconstruction targets, which all augmentations of an image share (see
        `training.augmentation`), not the images themselves.
        """
        check_is_fitted(self)
        encoder = self.encoder_.eval()
        latents = torch.from_numpy(check_array(X, dtype=np.float32)).to(encoder.vae.device)
        if latents.shape[1] != encoder.width:
            raise UsageError(f"expected latents X with {encoder.width} columns, got {latents.shape[1]}")
        images = torch.cat([encoder.decode(part) for part in torch.split(latents, BLOCK)])
        return self.pixels_.from_intensities(images.cpu().numpy())

    def __sklearn_tags__(self) -> Any:
        """Declare that latents are float32 for every dtype of X."""
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    @property
    def _n_features_out(self) -> int:
        """Number of latents, from which scikit-learn derives column names."""
        return self.encoder_.width
