"""Posterior means of a variational autoencoder as features: M1 of Kingma et al. 2014 without its SVM."""

import math
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from gpu_ssl import catalog
from gpu_ssl.config import LearningConfig, ModelConfig
from gpu_ssl.encoders.encoder import Encoder, Exhibit, ImageShape
from gpu_ssl.encoders.fitting import Training, TrainingImages
from gpu_ssl.errors import DataError
from gpu_ssl.networks.vae import VAE, Posterior
from gpu_ssl.records import TrainingRecord
from gpu_ssl.runtime.device import autocast
from gpu_ssl.runtime.environment import release
from gpu_ssl.runtime.ranks import Ranks
from gpu_ssl.runtime.threads import limited_threads
from gpu_ssl.training import checkpoint
from gpu_ssl.training.augmentation import canonical, intensities
from gpu_ssl.training.batches import Batch, Resident
from gpu_ssl.training.plan import Plan, plan_vae
from gpu_ssl.training.vae import Trainer, build_vae, fit_vae

DRAWN = 10
"""Number of images per row of an exhibit."""


class VAEEncoder(Encoder):
    """The posterior means of a VAE, and its decoder.

    Parameters
    ----------
    vae : VAE
        The network.
    augmented : bool
        Whether it was trained to map all augmentations of an image to one reconstruction target.
    training : TrainingRecord, optional
        Record of the training; None for an encoder that was loaded.
    """

    def __init__(self, vae: VAE, augmented: bool, training: TrainingRecord | None = None) -> None:
        super().__init__("vae", vae.image_shape, vae.config.latent_dim)
        self.vae, self.augmented, self.training_record = vae, augmented, training

    def forward(self, images: Tensor) -> Tensor:
        """Return the posterior means; see `Encoder.forward`."""
        return self.posterior(images).mean

    def posterior(self, images: Tensor) -> Posterior:
        """Return q(z|x) of uint8 images; the trunk computes in `precision`, the head in float32."""
        block = intensities(images).contiguous(memory_format=torch.channels_last)
        with autocast(images.device, self.precision):
            features = self.vae.trunk(block)
        # bfloat16 latents would have 8 bits of mantissa: noise hides that in training, but not in an SVM.
        return self.vae.posterior(features.float())

    def targets(self, images: Tensor) -> Tensor:
        """Return the reconstruction targets of uint8 images, from 0 to 1."""
        return canonical(images) if self.augmented else intensities(images)

    def decode(self, features: Tensor) -> Tensor:
        """Return decoded images (n, channels, height, width), from 0 to 1, for latents (n, width)."""
        with autocast(features.device, torch.float32):
            return torch.sigmoid(self.vae.decode(features))

    def reconstruction_errors(self, images: Tensor, features: Tensor) -> Tensor:
        """See `Encoder.reconstruction_errors`; the sum of squared differences to the targets."""
        return (self.decode(features) - self.targets(images)).square().sum(dim=(1, 2, 3))

    def settings(self) -> dict[str, Any]:
        """See `Encoder.settings`."""
        return {"model": self.vae.config.model_dump(mode="json"), "augmented": self.augmented}

    @torch.no_grad()
    def exhibits(self, images: Tensor) -> list[Exhibit]:
        """Return reconstructions of `images`, and samples from the prior N(0, I)."""
        self.eval()
        shown = images[:DRAWN]
        rows, title = [intensities(shown)], "test images"
        if self.augmented:
            rows.append(self.targets(shown))
            title += ", their reconstruction targets"
        rows.append(self.decode(self(shown)))
        generator = torch.Generator().manual_seed(0)
        latents = torch.randn(4 * DRAWN, self.width, generator=generator).to(images.device)
        samples = torch.split(self.decode(latents), DRAWN)
        return [
            Exhibit("reconstructions", f"{title} and reconstructions", [row.cpu().numpy() for row in rows]),
            Exhibit(
                "prior-samples",
                "samples from the prior",
                [row.cpu().numpy() for row in samples],
            ),
        ]


def fit(images: TrainingImages, training: Training) -> VAEEncoder:
    """Train a VAE, resuming from the checkpoint if there is one.

    Raises
    ------
    TrainingError
        If a loss is not finite.
    StorageError
        If the checkpoint is damaged, or belongs to a different training run.
    DataError
        If the ranks have different images.
    """
    config, ranks, pixels = training.config, training.ranks, images.placed
    vae = build_vae(config.model, pixels.shape, pixels.device, config.seed)
    plan = _agreed(plan_vae(config.train, config.model, pixels, images.mirrored), images, ranks)
    trainer = Trainer(vae, pixels, plan, config.seed, ranks)
    origin = {
        "dataset": images.sha256,
        "model": config.model.model_dump_json(),
        "plan": repr(plan),
        "seed": str(config.seed),
        "device": pixels.device.type,
        "gpu_ssl": release(),
        "torch": torch.__version__,
    }
    # Its steps are too small for several threads, which wait for each other if other programs run.
    tiny = math.prod(pixels.shape) <= catalog.TINY
    with limited_threads(1) if tiny else nullcontext():
        checkpoint.restore(trainer, training.checkpoint, origin)
        record = fit_vae(
            trainer, training.progress, lambda: checkpoint.save(trainer, training.checkpoint, origin)
        )
    encoder = VAEEncoder(vae, plan.augment, record)
    encoder.precision = plan.precision
    return encoder


def build(image_shape: ImageShape, settings: dict[str, Any]) -> VAEEncoder:
    """Return the encoder; see `encoders.encoder`."""
    vae = VAE(ModelConfig.model_validate(settings["model"]), image_shape)
    return VAEEncoder(vae.to(memory_format=torch.channels_last), settings["augmented"])


def _agreed(plan: Plan, images: TrainingImages, ranks: Ranks) -> Plan:
    """Return the plan of rank 0, after checking that this rank has the same images."""
    mine = (len(images), images.image_shape, images.sha256)
    agreed, theirs = ranks.share((plan, mine))
    if mine != theirs:
        raise DataError(
            f"rank {ranks.number} has different images ({mine[0]:,} of shape {mine[1]}) from rank 0 "
            f"({theirs[0]:,} of shape {theirs[1]}); all machines need the same data"
        )
    return agreed


def warm_up(config: LearningConfig, images: TrainingImages) -> None:
    """Run one training step and encode one batch with a temporary network, before anything is timed."""
    pixels = images.placed
    vae = build_vae(config.model, pixels.shape, pixels.device, config.seed)
    plan = plan_vae(config.train, config.model, pixels, images.mirrored)
    blank = torch.zeros(plan.batch_size, *pixels.shape, dtype=torch.uint8, device=pixels.device)
    vae.train()
    trainer = Trainer(vae, Resident(blank), plan, config.seed)
    trainer.step(Batch(blank, blank, trainer.generator, len(blank)))
    encoder = VAEEncoder(vae, plan.augment)
    encoder.precision = plan.precision
    with torch.no_grad():
        encoder.eval()(blank)
