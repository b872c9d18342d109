"""M2 and M1+M2 of Kingma et al. 2014: the class is a latent variable of a generative model.

``m2`` models images, ``m1m2`` the latents of the run's VAE. A test image gets the class with the largest
q(y|x).
"""

import dataclasses
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gpu_ssl.config import Preset
from gpu_ssl.errors import StorageError
from gpu_ssl.methods.evaluation import Answer, Cell
from gpu_ssl.methods.joint import cell_seed, make_plan, make_pseudo_labels
from gpu_ssl.methods.learned import Learned
from gpu_ssl.models import checkpoint
from gpu_ssl.models.augmentation import canonical_bytes
from gpu_ssl.models.building import build
from gpu_ssl.models.classifier import BLOCK, JointTrainer, Objective
from gpu_ssl.models.m2 import M2, M2Spec
from gpu_ssl.models.m2_objectives import (
    ImageSource,
    LatentSource,
    ModernObjective,
    PublishedObjective,
    Source,
)
from gpu_ssl.runtime.progress import Advance

LATENT_DIM = 50
HIDDEN = 500
"""Units of the hidden layers, and dimension of z: Kingma et al. 2014, section 4."""

STEPS: dict[Preset, int] = {"modern": 1000, "paper": 2000}
"""With ten labels a class."""

LEARNING_RATE: dict[Preset, float] = {"modern": 2e-3, "paper": 1e-3}
WEIGHT_DECAY: dict[Preset, float] = {"modern": 0.02, "paper": 0.0}


KeepM2 = Callable[[str, Cell, M2], None]
"""Takes the name of the method, the cell and the trained network."""


class TrainedM2:
    """The method that trains an M2 for every cell.

    Parameters
    ----------
    name : str
        ``m2`` or ``m1m2``.
    learned : Learned
        Images, VAE and latents of the run.
    preset : str
        ``paper`` for networks and objective as published, ``modern`` for ours.
    seed : int
        Seed of the run.
    keep : callable
        Called with each trained network.
    """

    def __init__(
        self,
        name: Literal["m2", "m1m2"],
        learned: Learned,
        preset: Preset,
        seed: int,
        keep: KeepM2,
    ) -> None:
        self.name: str = name
        self.learned, self.preset, self.seed, self.keep = learned, preset, seed, keep
        self.modern = preset == "modern"

    def predict(
        self, cell: Cell, labelled: NDArray[np.int64], classes: NDArray[np.int64], advance: Advance
    ) -> Answer:
        """Train a network and predict the test images; see `methods.evaluation.Method`."""
        network, curve = self.train(cell, labelled, classes, advance)
        self.keep(self.name, cell, network)
        if self.name == "m1m2":
            votes = _votes(network, self.learned.test_latents, mirror=False)
        else:
            votes = _votes(network, self.learned.test_images, self.modern and self.learned.mirror)
        predicted: NDArray[np.int64] = votes.argmax(dim=1).cpu().numpy()
        return Answer(predicted, curve=curve)

    def train(
        self, cell: Cell, labelled: NDArray[np.int64], classes: NDArray[np.int64], advance: Advance
    ) -> tuple[M2, tuple[float, ...]]:
        """Train the network of a cell, and return the average of its weights and the learning curve."""
        images, n_classes = self.learned.train_images, int(classes.max()) + 1
        seed = cell_seed(self.seed, cell)
        generator = torch.Generator(images.device).manual_seed(seed)
        plan = make_plan(
            STEPS[self.preset],
            len(images),
            len(labelled) / n_classes,
            self.learned.precision if self.modern else torch.float32,
            LEARNING_RATE[self.preset],
            WEIGHT_DECAY[self.preset],
        )
        network = build(lambda: M2(self._spec(n_classes)), images.device, seed)
        objective = self._objective(labelled, classes, generator)
        trainer = JointTrainer(network, objective, images, labelled, classes, plan, seed)
        curve = trainer.fit(advance)
        return trainer.average.eval(), curve

    @cached_property
    def _pictures(self) -> Tensor:
        return canonical_bytes(self.learned.train_images)

    def _spec(self, n_classes: int) -> M2Spec:
        if self.name == "m1m2":
            return M2Spec(
                (self.learned.train_latents.shape[1],), n_classes, LATENT_DIM, "gaussian", False, HIDDEN
            )
        shape = tuple(self.learned.train_images.shape[1:])
        return M2Spec(shape, n_classes, LATENT_DIM, "bernoulli", self.modern, HIDDEN)

    def _objective(
        self, labelled: NDArray[np.int64], classes: NDArray[np.int64], generator: torch.Generator
    ) -> Objective[M2]:
        images, mirror = self.learned.train_images, self.learned.mirror
        source: Source
        if self.name == "m1m2":
            source = LatentSource(self.learned.vae, self.learned.train_latents, mirror, generator)
            outputs = self.learned.train_latents.shape[1]
        else:
            source = ImageSource(self._pictures, mirror, generator)
            outputs = images[0].numel()
        if self.modern:
            pseudo_labels = make_pseudo_labels(self.learned, labelled, classes)
            return ModernObjective(source, pseudo_labels, outputs, generator)
        return PublishedObjective(source, len(labelled) / len(images), generator)


@torch.no_grad()
def _votes(network: M2, inputs: Tensor, mirror: bool) -> Tensor:
    """Return q(y|x), (n, n_classes), of latents or uint8 images, averaged over the mirror if asked to."""
    votes = []
    for block in torch.split(inputs, BLOCK):
        block = block.to(torch.float32).div(255) if inputs.dtype == torch.uint8 else block
        views = [block, block.flip(3)] if mirror else [block]
        votes.append(torch.stack([network(view).softmax(dim=1) for view in views]).mean(dim=0))
    return torch.cat(votes)


def m2_path(folder: Path, method: str, cell: Cell) -> Path:
    """Return where the network of a cell is kept in the folder of a run."""
    return folder / "networks" / f"{method}-{cell.labels}-labels-split-{cell.split}.json"


def save_m2(path: Path, network: M2) -> None:
    """Write a network to `path` (``.json``) and a file beside it."""
    description = {"kind": "gpu-ssl m2", "schema": 1, "spec": dataclasses.asdict(network.spec)}
    checkpoint.save(path, network.state_dict(), description)


def load_m2(path: Path) -> M2:
    """Read back what `save_m2` wrote, on the CPU.

    Raises
    ------
    StorageError
        If a file is missing, damaged, or not of this kind.
    """
    tensors, description = checkpoint.load(path)
    try:
        spec = description["spec"]
        network = M2(M2Spec(**{**spec, "input_shape": tuple(spec["input_shape"])}))
        network.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise StorageError(f"{path} does not hold an M2 of this version: {error}") from error
    return network.eval()
