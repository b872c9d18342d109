"""Training of the VAE, without host work in a step, on one rank or several."""

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
from gpu_ssl.training.augmentation import canonical_bytes, random_view
from gpu_ssl.training.batches import Batch, Images
from gpu_ssl.training.loss_sums import LossSums
from gpu_ssl.training.muon import all_rates
from gpu_ssl.training.optimizers import build, make_optimizer, make_schedule
from gpu_ssl.training.plan import Plan
from gpu_ssl.training.replay import Replay

logger = logging.getLogger(__name__)

TOLD = 20
"""Times that an epoch tells how far it is."""

WARM_UP = 0.2
"""Fraction of the steps in which the learning rate rises."""


class Trainer:
    """A VAE in training: network, optimizer, schedule, and the one generator of all randomness.

    Parameters
    ----------
    vae : VAE
        The network, on the device of `images`.
    images : Images
        The training images.
    plan : Plan
        What to do.
    seed : int
        Seed of order, augmentation and noise.
    ranks : Ranks
        Who trains together: each on its part of every batch.

    Attributes
    ----------
    replay : Replay
        Does the work of a step, on a GPU as a graph.
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
        # A rank waits for others within a step, which no graph can.
        self.replay = Replay(self.device.type == "cuda" and ranks.size == 1, self.generator)

    def step(self, batch: Batch) -> Losses:
        """Take one optimizer step, and return the losses of this rank.

        Nothing in it waits for the device, but once, where a graph is recorded.
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
        """Work out the gradients, and take the step of what Muon takes: nearly all of a step's work."""
        inputs, targets = self.views(images, targets, randomness)
        with autocast(self.device, self.plan.precision):
            parts: Losses = self.objective(inputs, targets, randomness, total)
            loss = parts.reconstruction + kl_weight * parts.kl
        self.optimizer.zero_grad(set_to_none=True)
        # The gradients of ranks are averaged, and those of a batch's parts add up.
        torch.autograd.backward(loss if self.ranks.size == 1 else self.ranks.size * loss)
        self.optimizer.descend(all_rates(rates))
        return Losses(parts.reconstruction.detach(), parts.kl.detach())

    @property
    def kl_weight(self) -> float:
        """What the KL divergence counts in the next step.

        Latents that cost their full price before they tell the decoder anything are given up (Bowman et
        al. 2016, Generating Sentences from a Continuous Space, section 3.1).
        """
        warm_up = self.plan.kl_warm_up * self.plan.steps
        done = self.schedule.last_epoch
        return self.vae.config.kl_weight * (1.0 if done >= warm_up else done / warm_up)

    def views(self, images: Tensor, targets: Tensor, randomness: Randomness) -> tuple[Tensor, Tensor]:
        """Return what the network sees and what it is to draw.

        With augmentation these are a random view of each image and its canonical picture, without it both
        are the image.
        """
        intensities = _intensities(images)
        if not self.plan.augment:
            return intensities, intensities
        return random_view(intensities, self.plan.mirror, randomness), _intensities(targets)

    def epoch(self, advance: Callable[[float], None] = lambda share: None) -> EpochLosses:
        """Go through the images once, in a new order; the losses come to the host at the end.

        Parameters
        ----------
        advance : callable
            Told the share of the epoch that is done since it was last told, some `TOLD` times.

        Raises
        ------
        TrainingError
            If a loss of this epoch is not a finite number.
        RankError
            If another rank is gone.
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
    """The losses of a VAE as a module of its own: what is done in parallel goes through its `forward`."""

    def __init__(self, vae: VAE) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, inputs: Tensor, targets: Tensor, randomness: Randomness, total: int) -> Losses:
        """See `networks.vae.training_losses`."""
        return training_losses(self.vae, inputs, targets, randomness, total)


def _unchanged(images: Tensor) -> Tensor:
    return images


def _intensities(images: Tensor) -> Tensor:
    return images.to(torch.float32).div_(255)


def build_vae(config: ModelConfig, image_shape: tuple[int, int, int], device: torch.device, seed: int) -> VAE:
    """Make a VAE on `device` whose first weights depend on `seed` alone, whatever the device."""
    return build(lambda: VAE(config, image_shape), device, seed)


def fit_vae(
    trainer: Trainer,
    progress: Progress,
    save: Callable[[], None],
) -> TrainingRecord:
    """Train until the plan is done, calling `save` after each epoch on rank 0.

    Raises
    ------
    TrainingError
        If a loss is not a finite number.
    """
    plan = trainer.plan
    done = len(trainer.history)
    with progress.task("Training the VAE", plan.epochs, done) as advance:
        note = ""
        for _ in range(done, plan.epochs):
            losses = trainer.epoch(lambda share, note=note: advance(note, share))  # type: ignore[misc]
            if trainer.ranks.leads:
                save()
            note = f"loss {losses.reconstruction:.1f} + KL {losses.kl:.1f} nats"
            logger.info("epoch %d: %s in %.1f s", losses.epoch, note, losses.seconds)
            advance(note, 0)
    return trainer.record()
