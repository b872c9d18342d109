"""Training of a network on labelled and unlabelled images together."""

import copy
import logging
import math
import time
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gpu_ssl.errors import TrainingError
from gpu_ssl.records import CURVE_STEPS
from gpu_ssl.runtime.device import autocast
from gpu_ssl.runtime.progress import Advance
from gpu_ssl.training.augmentation import intensities
from gpu_ssl.training.muon import all_rates
from gpu_ssl.training.optimizers import BETA2, Network, make_optimizer, make_schedule
from gpu_ssl.training.replay import Replay
from gpu_ssl.training.side_by_side import Training, complete

logger = logging.getLogger(__name__)

WARM_UP = 0.1
"""Fraction of the steps in which the learning rate rises."""

RAMP = 0.1
"""Fraction of the steps over which the weight of unlabelled images rises."""

AVERAGE = 0.995
"""Decay per step of the moving average of the weights."""

TIMED = 20
"""Number of steps after which the total time is estimated."""


Trained = TypeVar("Trained", bound=nn.Module, contravariant=True)


class JointObjective(Protocol[Trained]):
    """The loss of a step. It may keep running statistics, in fixed memory on the device."""

    generator: torch.Generator
    """Source of all randomness of the loss."""

    def __call__(
        self, network: Trained, labelled: "JointBatch", unlabelled: "JointBatch", ramp: float | Tensor
    ) -> Tensor:
        """Return the loss; `ramp`, from 0 to 1, weights the terms that come in over the first steps."""


@dataclass(frozen=True)
class JointBatch:
    """Images (n, channels, height, width) with values from 0 to 1, their rows, and classes if known."""

    images: Tensor
    rows: Tensor
    classes: Tensor | None = None


@dataclass(frozen=True)
class JointPlan:
    """Settings of the training of a network on labelled and unlabelled images together.

    Batches come from all images, including the labelled ones. With `muon`, Muon updates matrices and kernels
    (see `training.optimizers.make_optimizer`). The learning rate rises to `learning_rate` over the fraction
    `warm_up` of the steps, then falls; `beta2` is AdamW's decay of squared gradients. The weight of
    unlabelled images rises over the fraction `ramp` of the steps.
    """

    steps: int
    labelled_batch: int
    unlabelled_batch: int
    learning_rate: float
    weight_decay: float
    precision: torch.dtype
    muon: bool = False
    beta2: float = BETA2
    warm_up: float = WARM_UP
    ramp: float = RAMP


class JointTrainer(Generic[Network]):
    """Trains on a balanced batch of labelled images and a batch of all images, without host work in a step.

    Parameters
    ----------
    network : Module
        The network, on the device of `images`.
    objective : JointObjective
        The loss.
    images : Tensor of shape (n, channels, height, width), uint8
        All training images.
    labelled : ndarray of shape (m,), int64
        Rows of the labelled images.
    classes : ndarray of shape (m,), int64
        Their classes.
    plan : JointPlan
        Settings of the training.
    seed : int
        Seed of order, augmentation and noise.
    """

    def __init__(
        self,
        network: Network,
        objective: JointObjective[Network],
        images: Tensor,
        labelled: NDArray[np.int64],
        classes: NDArray[np.int64],
        plan: JointPlan,
        seed: int,
    ) -> None:
        self.network, self.objective, self.images, self.plan = network, objective, images, plan
        # Averaged weights are more accurate than the last ones (Tarvainen and Valpola 2017).
        self.average = copy.deepcopy(network).requires_grad_(False)
        self._averaged, self._followed = (
            [value for value in part.state_dict().values() if value.dtype.is_floating_point]
            for part in (self.average, network)
        )
        rng = np.random.default_rng(seed)
        chosen = balanced_rows(classes, plan.steps, plan.labelled_batch, rng)
        unlabelled = shuffled_rows(len(images), plan.steps, plan.unlabelled_batch, rng)
        self.labelled, self.classes, self.unlabelled = (
            torch.from_numpy(part).to(images.device)
            for part in (labelled[chosen], classes[chosen], unlabelled)
        )
        self.replay = Replay(images.device.type == "cuda", objective.generator)
        self.optimizer = make_optimizer(
            network, plan.learning_rate, plan.weight_decay, plan.beta2, muon=plan.muon
        )
        self.schedule = make_schedule(self.optimizer, plan.learning_rate, plan.steps, plan.warm_up)

    def step(self, number: int) -> Tensor:
        """Perform step `number` (from 0) and return its loss, on the device."""
        rows = (self.labelled[number], self.classes[number], self.unlabelled[number])
        rates = [float(rate) for own in self.optimizer.rates() for rate in own]
        ramp = min(1.0, number / (self.plan.ramp * self.plan.steps))
        loss: Tensor = self.replay(self._descend, rows, [ramp, *rates])
        self.optimizer.step()
        self.schedule.step()
        # Weights and batch norm's statistics change in place, so the lists stay those of the networks.
        decay = min(AVERAGE, (1 + number) / (10 + number))
        torch._foreach_lerp_(self._averaged, self._followed, 1 - decay)
        return loss

    def _descend(
        self,
        labelled: Tensor,
        classes: Tensor,
        unlabelled: Tensor,
        ramp: float | Tensor,
        *rates: float | Tensor,
    ) -> Tensor:
        """Compute the gradients, perform Muon's step, and return the loss."""
        batches = self._batch(labelled, classes), self._batch(unlabelled)
        with autocast(self.images.device, self.plan.precision):
            loss = self.objective(self.network, *batches, ramp)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self.optimizer.descend(all_rates(rates))
        return loss.detach()

    def _batch(self, rows: Tensor, classes: Tensor | None = None) -> JointBatch:
        return JointBatch(intensities(self.images.index_select(0, rows)), rows, classes)

    def fit(self, advance: Advance) -> tuple[float, ...]:
        """Perform all steps, advancing by 1 in total, and return the mean loss of each `CURVE_STEPS` of them.

        See `training`.
        """
        return complete(self.training(advance))

    def training(self, advance: Advance) -> Training[tuple[float, ...]]:
        """Return what `fit` does as a training that can be interleaved with others.

        Raises
        ------
        TrainingError
            If a loss is not a finite number.
        """
        self.network.train()
        curve = []
        start = time.perf_counter()
        steps = range(self.plan.steps)
        for numbers in (steps[start : start + CURVE_STEPS] for start in steps[::CURVE_STEPS]):
            total = torch.zeros((), device=self.images.device)
            for number in numbers:
                total += self.step(number)
                yield
                if number + 1 == TIMED:
                    total.item()  # waits for a GPU
                    seconds = (time.perf_counter() - start) / TIMED * self.plan.steps
                    estimate = f"{self.plan.steps} steps, about {_duration(seconds)}"
                    logger.info("%s", estimate)
                    advance(estimate, 0)
            mean, done = float(total) / len(numbers), numbers[-1] + 1
            if not math.isfinite(mean):
                raise TrainingError(
                    f"the loss is not a finite number at step {done}; try `precision=float32`"
                )
            curve.append(mean)
            advance(f"step {done} of {self.plan.steps}, loss {mean:.3f}", len(numbers) / self.plan.steps)
        return tuple(curve)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def balanced_rows(
    classes: NDArray[np.int64], steps: int, batch: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Sample positions of labelled images, (steps, batch): each class equally often, its images in turn."""
    present = np.unique(classes)
    turns = shuffled_rows(len(present), steps, batch, rng).ravel()
    drawn = np.empty(steps * batch, np.int64)
    for position, name in enumerate(present):
        places = np.flatnonzero(turns == position)
        members = np.flatnonzero(classes == name)
        drawn[places] = members[shuffled_rows(len(members), len(places), 1, rng).ravel()]
    return drawn.reshape(steps, batch)


def shuffled_rows(n: int, steps: int, batch: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Sample rows below `n`, (steps, batch), in a new permutation for each pass."""
    rounds = math.ceil(steps * batch / n)
    orders = rng.permuted(np.tile(np.arange(n), (rounds, 1)), axis=1)
    rows: NDArray[np.int64] = orders.ravel()[: steps * batch].reshape(steps, batch)
    return rows
