"""What methods share: images on the device, and a VAE that was trained on them without labels."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from gpu_ssl.config import RunConfig
from gpu_ssl.data.image_set import Dataset
from gpu_ssl.methods import m1
from gpu_ssl.methods.features import Features
from gpu_ssl.methods.graph import LatentGraph
from gpu_ssl.models import checkpoint
from gpu_ssl.models.batches import Resident
from gpu_ssl.models.vae import VAE
from gpu_ssl.report.records import Choice, TrainingRecord
from gpu_ssl.runtime.progress import Progress
from gpu_ssl.runtime.ranks import Ranks
from gpu_ssl.runtime.timing import Stopwatch
from gpu_ssl.svm.backend import SVMBackend

CHECKPOINT = "checkpoint.json"
"""Description file of the VAE's checkpoint, in the folder of a run."""


@dataclass(frozen=True)
class Learned:
    """The images, the VAE and the latents of a run.

    Parameters
    ----------
    train_images, test_images : Tensor of shape (n, channels, height, width), uint8
        On the device.
    mirror : bool
        Whether a mirror image is of the same class.
    vae, training, precision
        The VAE, how it was trained, and the dtype of its matrix products.
    train_latents, test_latents : Tensor of shape (n, latent_dim), float32
        Posterior means, on the device.
    features : Features
        The same latents as arrays of the library of the SVM backend.
    graph : LatentGraph
        Of those; nothing is computed until a method asks.
    """

    train_images: Tensor
    test_images: Tensor
    mirror: bool
    vae: VAE
    training: TrainingRecord
    precision: torch.dtype
    train_latents: Tensor
    test_latents: Tensor
    features: Features
    graph: LatentGraph


def learn(
    config: RunConfig,
    dataset: Dataset,
    device: torch.device,
    backend: SVMBackend,
    svm_choice: Choice,
    folder: Path,
    stopwatch: Stopwatch,
    progress: Progress,
    ranks: Ranks,
) -> Learned | None:
    """Train the VAE, write it to disk, and encode all images. No label comes near this.

    Each rank holds its shard of the images, and rank 0 gets the latents of all.

    Parameters
    ----------
    config, dataset
        What to learn, and from what.
    device, backend, svm_choice
        Where to compute, whose arrays the latents become, and why so.
    folder : Path
        Takes the checkpoint and the VAE.
    stopwatch, progress
        Take the times of phases, and show the epochs.
    ranks : Ranks
        Who works together.

    Returns
    -------
    Learned or None
        None on all ranks but the first.
    """
    shards = [ranks.shard(len(part)) for part in (dataset.train, dataset.test)]
    with stopwatch.phase("upload"):
        train_images, test_images = (
            torch.from_numpy(part.images[shard.start : shard.stop]).to(device)
            for part, shard in zip((dataset.train, dataset.test), shards, strict=True)
        )
    pixels = Resident(train_images, shards[0].start, len(dataset.train))
    training_images = m1.TrainingImages(pixels, dataset.mirrored, dataset.sha256)
    if device.type == "cuda":
        with stopwatch.phase("warm_up"):
            m1.warm_up(config, training_images)
    with stopwatch.phase("train"):
        vae, training, precision = m1.train(config, training_images, folder / CHECKPOINT, progress, ranks)
    train_part, test_part = m1.encode_all(vae, (train_images, test_images), precision, stopwatch)
    train_latents = ranks.gather(train_part, len(dataset.train))
    test_latents = ranks.gather(test_part, len(dataset.test))
    ranks.part()
    if train_latents is None or test_latents is None:
        return None
    description = {
        "kind": "gpu-ssl vae",
        "schema": 1,
        "model": config.model.model_dump(mode="json"),
        "image_shape": dataset.train.image_shape,
    }
    checkpoint.save(folder / "vae.json", vae.state_dict(), description)
    if config.features == "both":
        both, latents = (train_images, test_images), (train_latents, test_latents)
        features = m1.wide_features(vae, both, latents, precision, backend, stopwatch)
    else:
        features = m1.features(train_latents, test_latents, backend, stopwatch)
    graph = LatentGraph(
        backend.receive(train_latents), backend.receive(test_latents), backend, svm_choice.used
    )
    return Learned(
        train_images,
        test_images,
        dataset.mirrored,
        vae,
        training,
        precision,
        train_latents,
        test_latents,
        features,
        graph,
    )
