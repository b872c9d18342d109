"""Training of the VAE, without host work in a step, on one or several processes."""

import logging
import math
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from gpu_ssl.config import ModelConfig
from gpu_ssl.errors import TrainingError
from gpu_ssl.networks.batch_norm import synchronize_batch_norm
from gpu_ssl.networks.vae import VAE, Losses, training_losses
from gpu_ssl.records import EpochLosses, TrainingRecord
from gpu_ssl.runtime.device import autocast, synchronize
from gpu_ssl.runtime.progress import Progress
from gpu_ssl.runtime.randomness import Randomness
from gpu_ssl.runtime.ranks import ALONE, Ranks
from gpu_ssl.training.augmentation import binarized, canonical_bytes, intensities, random_view
from gpu_ssl.training.batches import Batch, Images
from gpu_ssl.training.loss_sums import LossSums
from gpu_ssl.training.muon import all_rates
from gpu_ssl.training.optimizers import build, make_optimizer, make_schedule
from gpu_ssl.training.plan import Plan
from gpu_ssl.training.replay import Replay

logger = logging.getLogger(__name__)

TOLD = 20
"""Number of progress reports per epoch."""

WARM_UP = 0.2
"""Fraction of the steps in which the learning rate rises."""

SAVE_SECONDS = 1.0
"""Minimum time between two checkpoints: writing one takes as long as an epoch on few small images."""


class Trainer:
    """A VAE in training: network, optimizer, schedule, and the one generator of all randomness.

    Parameters
    ----------
    vae : VAE
        The network, on the device of `images`.
    images : Images
        The training images.
    plan : Plan
        The plan of the training.
    seed : int
        Seed of order, augmentation and noise.
    ranks : Ranks
        The processes that train together, each on its part of every batch.

    Attributes
    ----------
    replay : Replay
        Runs the work of a step, on a GPU as a graph.
    """

    def __init__(self, vae: VAE, images: Images, plan: Plan, seed: int, ranks: Ranks = ALONE) -> None:
        self.vae, self.plan, self.ranks, self.device = vae, plan, ranks, images.device
        if ranks.size > 1:
            synchronize_batch_norm(vae, ranks)
        self.objective = ranks.parallel(VAEObjective(vae))
        self.batches = images.epochs(plan.batch_size, canonical_bytes if plan.augment else _unchanged)
        self.generator = torch.Generator(images.device).manual_seed(seed)
        self.optimizer = make_optimizer(vae, plan.learning_rate, plan.weight_decay, plan.beta2, plan.muon)
        self.schedule = make_schedule(self.optimizer, plan.learning_rate, plan.steps, WARM_UP, plan.beta1)
        self.history: list[EpochLosses] = []
        # Processes wait for one another within a step, which a graph cannot.
        self.replay = Replay(self.device.type == "cuda" and ranks.size == 1, self.generator)

    def step(self, batch: Batch) -> Losses:
        """Perform one optimizer step, and return the losses of this process.

        It does not wait for the device, except once when a graph is recorded.
        """
        numbers = [self.kl_weight, *(float(number) for own in self.optimizer.rates() for number in own)]
        inputs = batch.images, batch.targets
        work = partial(self._descend, batch.randomness, batch.total)
        losses: Losses = self.replay(work, inputs, numbers)
        self.optimizer.step()
        self.schedule.step()
        return losses

    def _descend(
        self,
        randomness: Randomness,
        total: int,
        images: Tensor,
        targets: Tensor,
        kl_weight: float | Tensor,
        *rates: float | Tensor,
    ) -> Losses:
        """Compute the gradients, and perform Muon's step: nearly all of the work of a step."""
        inputs, targets = self.views(images, targets, randomness)
        with autocast(self.device, self.plan.precision):
            parts: Losses = self.objective(inputs, targets, randomness, total)
            loss = parts.reconstruction + kl_weight * parts.kl
        self.optimizer.zero_grad(set_to_none=True)
        # Gradients are averaged over processes, while those of parts of a batch are summed.
        torch.autograd.backward(loss if self.ranks.size == 1 else self.ranks.size * loss)
        self.optimizer.descend(all_rates(rates))
        return Losses(parts.reconstruction.detach(), parts.kl.detach())

    @property
    def kl_weight(self) -> float:
        """The weight of the KL divergence in the next step.

        With its full weight from the start, latents collapse before the decoder uses them (Bowman et al.
        2016, Generating Sentences from a Continuous Space, section 3.1).
        """
        warm_up = self.plan.kl_warm_up * self.plan.steps
        done = self.schedule.last_epoch
        return self.vae.config.kl_weight * (1.0 if done >= warm_up else done / warm_up)

    def views(self, images: Tensor, targets: Tensor, randomness: Randomness) -> tuple[Tensor, Tensor]:
        """Return inputs and reconstruction targets.

        With augmentation these are an augmented version of each image and its canonical image, without it
        both are the image, binarized at random if the plan says so.
        """
        pixels = intensities(images)
        if not self.plan.augment:
            pixels = binarized(pixels, randomness) if self.plan.binarize else pixels
            return pixels, pixels
        return random_view(pixels, self.plan.mirror, randomness), intensities(targets)

    def epoch(self, advance: Callable[[float], None] = lambda share: None) -> EpochLosses:
        """Train for one epoch, in a new order; the losses are copied to the host at the end.

        Parameters
        ----------
        advance : callable
            Called about `TOLD` times with the fraction of the epoch since its last call.

        Raises
        ------
        TrainingError
            If a loss of this epoch is not a finite number.
        RankError
            If another process has ended.
        """
        start = time.perf_counter()
        plan = self.plan
        self.vae.train()
        sums = LossSums(self.device)
        with self.ranks.exchanging():
            for number, batch in enumerate(self.batches(self.generator)):
                before, after = (TOLD * steps // plan.steps_per_epoch for steps in (number, number + 1))
                sums.add(self.step(batch), after > before)
                if after > before:
                    advance((after - before) / TOLD)
            parts = self.ranks.total(sums.parts)
            synchronize(self.device)
        reconstruction, kl = (parts[-1] / plan.steps_per_epoch).tolist()
        number = len(self.history) + 1
        if not math.isfinite(reconstruction + kl):
            raise TrainingError(
                f"the loss is not a finite number in epoch {number}; try a smaller `learning_rate` "
                f"(it is {plan.learning_rate:g}) or `precision=float32`"
            )
        curve, seconds = sums.curve(parts, self.vae.config.kl_weight), time.perf_counter() - start
        losses = EpochLosses(epoch=number, reconstruction=reconstruction, kl=kl, seconds=seconds, curve=curve)
        self.history.append(losses)
        return losses

    def record(self) -> TrainingRecord:
        """Describe this training for the report."""
        return TrainingRecord(
            epochs=self.plan.epochs,
            steps=self.plan.steps,
            parameters=sum(p.numel() for p in self.vae.parameters()),
            precision=str(self.plan.precision).removeprefix("torch."),
            augment=self.plan.augment,
            mirror=self.plan.mirror,
            ranks=self.ranks.size,
            history=tuple(self.history),
        )


class VAEObjective(nn.Module):
    """The losses of a VAE as a module, since DistributedDataParallel wraps `forward`."""

    def __init__(self, vae: VAE) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, inputs: Tensor, targets: Tensor, randomness: Randomness, total: int) -> Losses:
        """See `networks.vae.training_losses`."""
        return training_losses(self.vae, inputs, targets, randomness, total)


def _unchanged(images: Tensor) -> Tensor:
    return images


def build_vae(config: ModelConfig, image_shape: tuple[int, int, int], device: torch.device, seed: int) -> VAE:
    """Create a VAE on `device` whose initial weights depend only on `seed`, not on the device."""
    return build(lambda: VAE(config, image_shape), device, seed)


def fit_vae(
    trainer: Trainer,
    progress: Progress,
    save: Callable[[], None],
) -> TrainingRecord:
    """Train until the plan is complete.

    After an epoch rank 0 calls `save`, if `SAVE_SECONDS` have passed since the last time or it is the last
    epoch: an interruption costs at most that time and an epoch.

    Raises
    ------
    TrainingError
        If a loss is not a finite number.
    """
    plan = trainer.plan
    done = len(trainer.history)
    with progress.task("Training the VAE", plan.epochs, done) as advance:
        note, saved = "", time.monotonic()
        for left in reversed(range(plan.epochs - done)):
            losses = trainer.epoch(lambda share, note=note: advance(note, share))  # type: ignore[misc]
            if trainer.ranks.leads and (not left or time.monotonic() - saved >= SAVE_SECONDS):
                save()
                saved = time.monotonic()
            note = f"loss {losses.reconstruction:.1f} + KL {losses.kl:.1f} nats"
            logger.info("epoch %d: %s in %.1f s", losses.epoch, note, losses.seconds)
            advance(note, 0)
    return trainer.record()
