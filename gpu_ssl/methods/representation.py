"""Fits the encoders that methods need, and creates views of a data set."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from gpu_ssl import catalog
from gpu_ssl.catalog import MethodSpec
from gpu_ssl.config import RunConfig
from gpu_ssl.data.image_set import Dataset, ImageSet
from gpu_ssl.encoders import vae
from gpu_ssl.encoders.encoder import Encoder
from gpu_ssl.encoders.fitting import Training, TrainingImages, fit_encoders
from gpu_ssl.encoders.given import not_given
from gpu_ssl.encoders.saving import EncoderRecord, describe_encoder
from gpu_ssl.methods.method import encoders_of
from gpu_ssl.methods.view import View
from gpu_ssl.records import Record
from gpu_ssl.runtime import state
from gpu_ssl.runtime.background import BackgroundWriter
from gpu_ssl.runtime.device import resolve_precision
from gpu_ssl.runtime.progress import Progress
from gpu_ssl.runtime.ranks import Ranks
from gpu_ssl.runtime.timing import Stopwatch
from gpu_ssl.svm.backend import SVMBackend
from gpu_ssl.training.batches import Resident

CHECKPOINT = "checkpoint.json"
"""Description file of the VAE's checkpoint, in the folder of a run."""


class SavedEncoder(Record):
    """An encoder of a run, for later use."""

    encoder: EncoderRecord


ENCODER = state.Kind("gpu-ssl encoder", 2, SavedEncoder, "run again to create it")


def represent(
    config: RunConfig,
    dataset: Dataset,
    methods: Sequence[MethodSpec],
    backend: SVMBackend,
    folder: Path,
    stopwatch: Stopwatch,
    progress: Progress,
    ranks: Ranks,
) -> tuple[View, View]:
    """Fit the encoders that methods need, write them to disk, and return views of both parts of a data set.

    No label is read here. Shared encoders are trained by all processes, each on its shard of the images;
    rank 0 receives the features of all images, and fits the other encoders; the other processes end here.

    Returns
    -------
    tuple of (View, View)
        Training and test images.
    """
    device, parts = stopwatch.device, (dataset.train, dataset.test)
    names = dict.fromkeys(
        name for method in methods for name in encoders_of(method, config.encoder, config.preset)
    )
    if any(map(catalog.takes_embeddings, names)):
        raise not_given()
    single = dict.fromkeys(part for name in names for part in catalog.encoder_parts(name))
    shared = [part for part in single if catalog.encoder(part).shared]
    shards = [ranks.shard(len(part)) for part in parts]
    images = TrainingImages(dataset.train.images, device, dataset.mirrored, dataset.sha256, shards[0])
    training = Training(config, folder / CHECKPOINT, progress, ranks)
    with stopwatch.phase("upload"):
        placed = images.placed
    if device.type == "cuda" and shared:
        with stopwatch.phase("warm_up"):
            vae.warm_up(config, images)
    with stopwatch.phase("train"):
        encoders = fit_encoders(shared, images, training)

    precision = resolve_precision(config.train.precision, device)
    here = placed.pixels if isinstance(placed, Resident) else None

    def view(pixels: NDArray[np.uint8], images: Tensor | None) -> View:
        return View(pixels, encoders, backend, stopwatch, dataset.mirrored, precision, images)

    found: dict[Encoder, list[Tensor | None]] = {}
    if ranks.size > 1:  # A single process computes features when a method needs them.
        own = [
            view(p.images[s.start : s.stop], i) for p, s, i in zip(parts, shards, (here, None), strict=True)
        ]
        found = {encoder: _gather(encoder, own, parts, ranks) for encoder in encoders.values()}
    ranks.part()
    with stopwatch.phase("train"):
        encoders |= fit_encoders(names, images, training, encoders.values())
    with BackgroundWriter(stopwatch) as write:
        for encoder in encoders.values():
            if len(encoder.parts) == 1 and encoder.state_dict():
                write([_prepare_encoder(folder / f"{encoder.name}.json", encoder)])
    train, test = (
        view(dataset.train.images, here if ranks.size == 1 else None),
        view(dataset.test.images, None),
    )
    for encoder, known in images.known.items():
        train.keep(encoder, known)
    for encoder, features in found.items():
        for whole, rows in zip((train, test), features, strict=True):
            if rows is not None:
                whole.keep(encoder, rows)
    return train, test


def _gather(
    encoder: Encoder, own: Sequence[View], parts: Sequence[ImageSet], ranks: Ranks
) -> list[Tensor | None]:
    """Return the features of all images of each part, on rank 0, from those of each rank's `own` images."""
    mine = [view.features(encoder) for view in own]
    return [ranks.gather(some, len(part)) for some, part in zip(mine, parts, strict=True)]


def _prepare_encoder(path: Path, encoder: Encoder) -> state.Writing:
    record = SavedEncoder(encoder=EncoderRecord.model_validate(describe_encoder(encoder)))
    return state.prepare(path, ENCODER, record, dict(encoder.state_dict()))
