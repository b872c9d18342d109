"""Fitting the encoders of a job, each once."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gpu_ssl import catalog
from gpu_ssl.config import LearningConfig
from gpu_ssl.data import decoding
from gpu_ssl.data.embeddings import are_embeddings
from gpu_ssl.data.preparation import Preparation
from gpu_ssl.encoders.averaged import averaged
from gpu_ssl.encoders.encoder import BLOCK, Encoder, ImageShape, encode
from gpu_ssl.encoders.feature_cache import features_of
from gpu_ssl.encoders.sums import fit_sum
from gpu_ssl.runtime.progress import SILENT, Progress
from gpu_ssl.runtime.ranks import ALONE, Ranks
from gpu_ssl.training.batches import Images, place


class Originals(Protocol):
    """Images at their original size."""

    @property
    def how(self) -> Preparation:
        """How the images are converted to arrays."""

    def blocks(self, shape: ImageShape, start: int) -> Iterator[NDArray[np.uint8]]:
        """Yield the images from position `start` on, decoded again, in blocks (n, *shape)."""


@dataclass(frozen=True)
class TrainingImages:
    """The images that encoders learn from.

    Parameters
    ----------
    pixels : ndarray of shape (n, channels, height, width), uint8; or (n, 1, 1, width), float32
        All images, on the host; may be a memory map. float32 rows are precomputed embeddings.
    device : torch.device
        Device to compute on.
    mirrored : bool
        Whether mirroring an image preserves its class.
    sha256 : str
        Hash of the content; a checkpoint of other images is rejected.
    own : range, optional
        Rows held by this rank, if there are several ranks.
    originals : Originals, optional
        The same images at any size. Without them, an encoder with `own_shape` gets `pixels`.

    Attributes
    ----------
    known : dict of Encoder to Tensor
        Features (n, width) of all images, for encoders with `own_shape`.
    """

    pixels: NDArray[Any]
    device: torch.device
    mirrored: bool
    sha256: str
    own: range | None = None
    originals: Originals | None = None
    known: dict[Encoder, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def are_embeddings(self) -> bool:
        """Whether `pixels` holds embeddings rather than pixels."""
        return are_embeddings(self.pixels)

    @property
    def image_shape(self) -> ImageShape:
        """Channels, height and width of every image."""
        channels, height, width = self.pixels.shape[1:]
        return channels, height, width

    def blocks(self, shape: ImageShape, start: int = 0) -> Iterator[NDArray[np.uint8]]:
        """Yield the images from position `start` on in blocks, at this shape if there are originals."""
        if self.originals is not None:
            yield from self.originals.blocks(shape, start)
            return
        for first in range(start, len(self), decoding.BLOCK):
            yield np.ascontiguousarray(self.pixels[first : first + decoding.BLOCK])

    def some_features(self, encoder: Encoder) -> Tensor:
        """Return the features of at most `BLOCK` images.

        They are spread over all images: folders are often sorted by class.
        """
        rows = np.linspace(0, len(self) - 1, min(BLOCK, len(self))).astype(np.int64)
        if encoder in self.known:
            return self.known[encoder][torch.from_numpy(rows).to(self.device)]
        return encode(encoder, torch.from_numpy(np.ascontiguousarray(self.pixels[rows])).to(self.device))

    @cached_property
    def placed(self) -> Images:
        """The images as a source of batches: resident on the device, or streamed to it."""
        return place(self.pixels, self.device, self.own)


@dataclass(frozen=True)
class Training:
    """Options for training encoders.

    Parameters
    ----------
    config : LearningConfig
        Training settings.
    checkpoint : Path
        Description file of the checkpoint, written between epochs; training resumes from it.
    progress : Progress
        Shows the epochs.
    ranks : Ranks
        The ranks that train together; rank 0 reads and writes the checkpoint.
    variant : str
        Text after the colon in the encoder's name; see `catalog.EncoderSpec`.
    """

    config: LearningConfig
    checkpoint: Path
    progress: Progress = SILENT
    ranks: Ranks = ALONE
    variant: str = ""


def fit_encoders(
    names: Iterable[str], images: TrainingImages, training: Training, fitted: Iterable[Encoder] = ()
) -> dict[str, Encoder]:
    """Fit encoders, and sums of encoders, whose parts are averaged over small shifts.

    Parameters
    ----------
    names : iterable of str
        Encoder names of the catalog, or several joined by ``+``.
    images, training
        Images to learn from, and training options.
    fitted : iterable of Encoder
        Encoders that are fitted already.

    Returns
    -------
    dict of str to Encoder
        The encoders by name, on the device of the images.
    """
    wanted = dict.fromkeys(names)
    encoders = {encoder.name: encoder for encoder in fitted}
    for part in dict.fromkeys(part for name in wanted for part in catalog.encoder_parts(name)):
        if part not in encoders:
            module = catalog.load_module(catalog.encoder(part))
            options = replace(training, variant=part.partition(":")[2])
            encoders[part] = module.fit(images, options).to(images.device).eval()
        if encoders[part].own_shape and encoders[part] not in images.known:
            images.known[encoders[part]] = features_of(encoders[part], images, training.progress)
    for name in wanted:
        if name not in encoders:
            parts = [averaged(encoders[part]) for part in catalog.encoder_parts(name)]
            encoders[name] = fit_sum(parts, [images.some_features(part) for part in parts])
    return encoders
