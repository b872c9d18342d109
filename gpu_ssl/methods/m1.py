"""M1 of Kingma et al. 2014: an SVM on the latents of a VAE that was trained on all images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gpu_ssl.config import LearningConfig
from gpu_ssl.errors import DataError, TrainingError
from gpu_ssl.methods.features import Features, of_array
from gpu_ssl.models.batches import Batch, Images, Resident
from gpu_ssl.models.encoding import BLOCK, encode, hidden
from gpu_ssl.models.plan import Plan, make_plan
from gpu_ssl.models.training import Trainer, build_vae, fit_vae
from gpu_ssl.models.vae import VAE
from gpu_ssl.report.records import TrainingRecord
from gpu_ssl.runtime.progress import Progress
from gpu_ssl.runtime.ranks import ALONE, Ranks
from gpu_ssl.runtime.timing import Stopwatch
from gpu_ssl.svm.backend import SVMBackend
from gpu_ssl.svm.kernels import Array

METHOD: Final = "m1"


@dataclass(frozen=True)
class TrainingImages:
    """What a VAE is trained on.

    Parameters
    ----------
    pixels : Images
        The images, uint8, wherever they lie.
    mirrored : bool
        Whether a mirror image is of the same class.
    sha256 : str
        Hash of their content: a checkpoint of other images is refused.
    """

    pixels: Images
    mirrored: bool
    sha256: str


def train(
    config: LearningConfig,
    images: TrainingImages,
    checkpoint: Path,
    progress: Progress,
    ranks: Ranks = ALONE,
) -> tuple[VAE, TrainingRecord, torch.dtype]:
    """Train the VAE on the training images, going on from `checkpoint` where it exists.

    Parameters
    ----------
    config, images
        What to train, and on what.
    checkpoint : Path
        Description file of the checkpoint, written after each epoch.
    progress : Progress
        Shows the epochs.
    ranks : Ranks
        Who trains together; rank 0 reads and writes the checkpoint.

    Returns
    -------
    tuple of (VAE, TrainingRecord, torch.dtype)
        The network, how it was trained, and the dtype its matrix products run in.
    """
    pixels = images.pixels
    vae = build_vae(config.model, pixels.shape, pixels.device, config.seed)
    plan = make_plan(config.train, config.model, pixels, images.mirrored)
    plan = _agreed(plan, images, ranks)
    trainer = Trainer(vae, pixels, plan, config.seed, ranks)
    origin = {
        "dataset": images.sha256,
        "model": config.model.model_dump_json(),
        "plan": repr(plan),
        "seed": str(config.seed),
        "device": pixels.device.type,
        "torch": torch.__version__,
    }
    trainer.restore(checkpoint, origin)
    record = fit_vae(trainer, progress, lambda: trainer.save(checkpoint, origin))
    return vae, record, plan.precision


def _agreed(plan: Plan, images: TrainingImages, ranks: Ranks) -> Plan:
    """Return the plan of rank 0, if this rank has the same images."""
    mine = (len(images.pixels), images.pixels.shape, images.sha256)
    agreed, theirs = ranks.share((plan, mine))
    if mine != theirs:
        raise DataError(
            f"rank {ranks.number} has other images ({mine[0]:,} of shape {mine[1]}) than rank 0 "
            f"({theirs[0]:,} of shape {theirs[1]}); all machines need the same data"
        )
    return agreed


def warm_up(config: LearningConfig, images: TrainingImages) -> None:
    """Take one step and encode one batch with a network that is thrown away, before anything is timed."""
    pixels = images.pixels
    vae = build_vae(config.model, pixels.shape, pixels.device, config.seed)
    plan = make_plan(config.train, config.model, pixels, images.mirrored)
    some = torch.zeros(plan.batch_size, *pixels.shape, dtype=torch.uint8, device=pixels.device)
    vae.train()
    trainer = Trainer(vae, Resident(some), plan, config.seed)
    trainer.step(Batch(some, some, trainer.generator, len(some)))
    encode(vae, some, plan.precision)


def encode_all(
    vae: VAE, parts: Sequence[Tensor], precision: torch.dtype, stopwatch: Stopwatch
) -> list[Tensor]:
    """Return the posterior means of the images of each part.

    Raises
    ------
    TrainingError
        If a latent is not a finite number.
    """
    with stopwatch.phase("encode"):
        latents = [encode(vae, images, precision) for images in parts]
        if not all(bool(part.isfinite().all()) for part in latents):
            raise TrainingError(
                "the trained VAE gives latents that are not finite numbers; try a smaller --learning-rate "
                "or --precision float32"
            )
    return latents


def features(
    train_latents: Tensor, test_latents: Tensor, backend: SVMBackend, stopwatch: Stopwatch
) -> Features:
    """Hand latents to the SVM's library."""
    with stopwatch.phase("handoff"):
        return of_array(METHOD, backend.receive(train_latents), backend.receive(test_latents))


def wide_features(
    vae: VAE,
    images: tuple[Tensor, Tensor],
    latents: tuple[Tensor, Tensor],
    precision: torch.dtype,
    backend: SVMBackend,
    stopwatch: Stopwatch,
) -> Features:
    """Hand latents and, beside them, the VAE's last hidden layer to the SVM's library.

    Each of the two is divided by the mean norm that it has over some training images, so that they count
    alike. Hidden layers are worked out for those images alone that an SVM is fitted on: of all they would
    be gigabytes.

    Parameters
    ----------
    vae : VAE
        Trained.
    images : tuple of Tensor
        Training and test images, (n, channels, height, width), uint8.
    latents : tuple of Tensor
        Their posterior means, (n, latent_dim).
    precision : torch.dtype
        dtype of the matrix products in the trunk.
    backend, stopwatch
        Whose arrays to make, and what takes the time.
    """
    train, test = images
    scales = [
        part[:BLOCK].norm(dim=1).mean().clamp_min(1e-6)
        for part in (latents[0], hidden(vae, train[:BLOCK], precision))
    ]

    def wide(pixels: Tensor, means: Tensor) -> Tensor:
        return torch.cat([means / scales[0], hidden(vae, pixels, precision) / scales[1]], dim=1)

    def rows(indices: NDArray[np.int64]) -> Array:
        chosen = torch.from_numpy(indices).to(train.device)
        return backend.receive(wide(train[chosen], latents[0][chosen]))

    with stopwatch.phase("handoff"):
        return Features(METHOD, rows, backend.receive(wide(test, latents[1])))
