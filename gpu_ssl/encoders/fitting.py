"""Fits the encoders that a job needs, each once."""

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
    """Images as they were before they became small."""

    @property
    def how(self) -> Preparation:
        """How they become arrays."""

    def blocks(self, shape: ImageShape, start: int) -> Iterator[NDArray[np.uint8]]:
        """Give them from number `start` on, decoded anew, in blocks (n, *shape)."""


@dataclass(frozen=True)
class TrainingImages:
    """The images that encoders learn from.

    Parameters
    ----------
    pixels : ndarray of shape (n, channels, height, width), uint8; or (n, 1, 1, width), float32
        All of them, on the host; may be a memory map. float32 are embeddings of another program.
    device : torch.device
        Where to compute.
    mirrored : bool
        Whether a mirror image is of the same class.
    sha256 : str
        Hash of their content: a checkpoint of other images is refused.
    own : range, optional
        Rows that this one of several ranks holds.
    originals : Originals, optional
        The same images at any size. Without them an encoder with a shape of its own gets `pixels`.

    Attributes
    ----------
    known : dict of Encoder to Tensor
        Features (n, width) of all images, of encoders with a shape of their own.
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
        """Whether they are embeddings, not pixels."""
        return are_embeddings(self.pixels)

    @property
    def image_shape(self) -> ImageShape:
        """Channels, height and width of every image."""
        channels, height, width = self.pixels.shape[1:]
        return channels, height, width

    def blocks(self, shape: ImageShape, start: int = 0) -> Iterator[NDArray[np.uint8]]:
        """Give the images from number `start` on in blocks, of this shape where there are originals."""
        if self.originals is not None:
            yield from self.originals.blocks(shape, start)
            return
        for first in range(start, len(self), decoding.BLOCK):
            yield np.ascontiguousarray(self.pixels[first : first + decoding.BLOCK])

    def some_features(self, encoder: Encoder) -> Tensor:
        """Return the features of some of the images."""
        if encoder in self.known:
            return self.known[encoder][:BLOCK]
        some = np.ascontiguousarray(self.pixels[:BLOCK])
        return encode(encoder, torch.from_numpy(some).to(self.device))

    @cached_property
    def placed(self) -> Images:
        """The images as batches come from them: on the device, or streamed to it."""
        return place(self.pixels, self.device, self.own)


@dataclass(frozen=True)
class Training:
    """How encoders that take a training are trained.

    Parameters
    ----------
    config : LearningConfig
        The settings.
    checkpoint : Path
        Description file of the checkpoint, written after each epoch; training resumes from there.
    progress : Progress
        Shows the epochs.
    ranks : Ranks
        Who trains together; rank 0 reads and writes the checkpoint.
    variant : str
        What follows a colon in the encoder's name: see `catalog.EncoderSpec`.
    """

    config: LearningConfig
    checkpoint: Path
    progress: Progress = SILENT
    ranks: Ranks = ALONE
    variant: str = ""


def fit_encoders(
    names: Iterable[str], images: TrainingImages, training: Training, fitted: Iterable[Encoder] = ()
) -> dict[str, Encoder]:
    """Fit encoders, and the parts of those that are sums, which are averaged over small shifts.

    Parameters
    ----------
    names : iterable of str
        Names of the catalog, and sums of these.
    images, training
        What to learn from, and how.
    fitted : iterable of Encoder
        Encoders that need not be fitted any more.

    Returns
    -------
    dict of str to Encoder
        On the device of the images.
    """
    wanted = dict.fromkeys(names)
    encoders = {encoder.name: encoder for encoder in fitted}
    for part in dict.fromkeys(part for name in wanted for part in catalog.encoder_parts(name)):
        if part not in encoders:
            module = catalog.load_module(catalog.encoder(part))
            own = replace(training, variant=part.partition(":")[2])
            encoders[part] = module.fit(images, own).to(images.device).eval()
        if encoders[part].own_shape and encoders[part] not in images.known:
            images.known[encoders[part]] = features_of(encoders[part], images, training.progress)
    for name in wanted:
        if name not in encoders:
            parts = [averaged(encoders[part]) for part in catalog.encoder_parts(name)]
            encoders[name] = fit_sum(parts, [images.some_features(part) for part in parts])
    return encoders
