"""Fits the encoders that a job needs, each once."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from gpu_ssl import catalog
from gpu_ssl.config import LearningConfig
from gpu_ssl.encoders.averaged import averaged
from gpu_ssl.encoders.encoder import BLOCK, Encoder, ImageShape
from gpu_ssl.encoders.sums import fit_sum
from gpu_ssl.runtime.progress import SILENT, Progress
from gpu_ssl.runtime.ranks import ALONE, Ranks
from gpu_ssl.training.batches import Images, place


@dataclass(frozen=True)
class TrainingImages:
    """The images that encoders learn from.

    Parameters
    ----------
    pixels : ndarray of shape (n, channels, height, width), uint8
        All of them, on the host; may be a memory map.
    device : torch.device
        Where to compute.
    mirrored : bool
        Whether a mirror image is of the same class.
    sha256 : str
        Hash of their content: a checkpoint of other images is refused.
    own : range, optional
        Rows that this one of several ranks holds.
    """

    pixels: NDArray[np.uint8]
    device: torch.device
    mirrored: bool
    sha256: str
    own: range | None = None

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def image_shape(self) -> ImageShape:
        """Channels, height and width of every image."""
        channels, height, width = self.pixels.shape[1:]
        return channels, height, width

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
    """

    config: LearningConfig
    checkpoint: Path
    progress: Progress = SILENT
    ranks: Ranks = ALONE


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
            encoders[part] = module.fit(images, training).to(images.device)
    some = images.pixels[:BLOCK]
    for name in wanted:
        if name not in encoders:
            parts = [averaged(encoders[part]) for part in catalog.encoder_parts(name)]
            encoders[name] = fit_sum(parts, torch.from_numpy(np.ascontiguousarray(some)).to(images.device))
    return encoders
