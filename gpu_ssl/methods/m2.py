"""M2 of Kingma et al. 2014: a generative model of images whose class is a latent variable.

An image gets the class with the largest q(y|x). `methods.m1m2` is the same on the latents of a VAE.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gpu_ssl.encoders.encoder import BLOCK, Encoder, Exhibit
from gpu_ssl.encoders.vae import DRAWN, VAEEncoder
from gpu_ssl.methods.method import Classifier, Labelled, Options, Saved
from gpu_ssl.methods.network import as_asked, plan_joint, teacher_of
from gpu_ssl.methods.view import View
from gpu_ssl.networks.m2 import M2, M2Spec, with_z_in_use
from gpu_ssl.runtime.device import autocast
from gpu_ssl.training.augmentation import canonical_bytes, intensities
from gpu_ssl.training.joint import JointBatch, JointPlan, JointTrainer
from gpu_ssl.training.m2_check import warn_if_blind
from gpu_ssl.training.m2_objectives import ImageSource, ModernObjective, Source
from gpu_ssl.training.m2_published import OF_IMAGES, BinarizedImages, PublishedObjective, Recipe
from gpu_ssl.training.optimizers import build

LATENT_DIM, HIDDEN = 50, 500
"""Dimension of z, and units of the hidden layers (Kingma et al. 2014, section 4)."""

STEPS = 1000
"""Steps of the modern preset with ten labels per class; see `methods.network.plan_joint`."""

LEARNING_RATE, WEIGHT_DECAY = 2e-3, 0.02


class M2Classifier(Classifier):
    """The q(y|x) of an M2, of images or of the latents of a VAE.

    Parameters
    ----------
    method, encoder, curve
        See `Classifier`; `encoder` computes the pixels or the latents.
    network : M2
        A trained network, on the device of `encoder`.
    mirror : bool
        Whether to average over an image and its mirror image.
    """

    pairwise = False

    def __init__(
        self, method: str, encoder: Encoder, network: M2, mirror: bool, curve: tuple[float, ...] = ()
    ) -> None:
        super().__init__(method, encoder, network.n_classes, curve)
        self.network, self.mirror = network.eval(), mirror

    @torch.no_grad()
    def decisions(self, view: View) -> NDArray[np.float32]:
        """See `Classifier.decisions`."""
        features = view.features(self.encoder)
        with view.stopwatch.phase("score"), autocast(view.device, torch.float32):
            logs = [log_posterior(self.network, part, self.mirror) for part in torch.split(features, BLOCK)]
            decisions: NDArray[np.float32] = torch.cat(logs).cpu().numpy()
        return decisions

    def predict(self, view: View) -> NDArray[np.int64]:
        """See `Classifier.predict`."""
        classes: NDArray[np.int64] = self.decisions(view).argmax(axis=1)
        return classes

    def tensors(self) -> dict[str, Tensor]:
        """See `Classifier.tensors`."""
        return dict(self.network.state_dict())

    def settings(self) -> dict[str, Any]:
        """See `Classifier.settings`."""
        return {"spec": dataclasses.asdict(self.network.spec), "mirror": self.mirror}

    def module(self) -> nn.Module:
        """See `Classifier.module`."""
        return _LogPosterior(self.network, self.mirror)

    @torch.no_grad()
    def exhibits(self, view: View) -> list[Exhibit]:
        """Return samples of each class, and images with their z in each class (the paper's figure 1)."""
        some = view.subset(np.arange(min(DRAWN, len(view))))
        generator = torch.Generator().manual_seed(0)
        latents = torch.randn(DRAWN, self.network.spec.latent_dim, generator=generator).to(view.device)
        inputs = some.features(self.encoder).reshape(-1, *self.network.spec.input_shape)
        hidden = self.network.to_hidden(self.network.trunk(inputs))
        z = self.network.posterior(hidden, self.network(inputs).softmax(dim=1)).mean
        images = intensities(torch.from_numpy(some.pixels)).numpy()
        return [
            Exhibit(
                f"{self.method}-samples",
                f"{self.method}: a class in each row, the same z in each column",
                self._by_class(latents),
            ),
            Exhibit(
                f"{self.method}-analogies",
                f"{self.method}: test images, and their z in each class",
                [images, *self._by_class(z)],
            ),
        ]

    def _by_class(self, latents: Tensor) -> list[NDArray[np.float32]]:
        """Return the images decoded from latents (n, latent_dim) in each class."""
        rows = []
        for one_hot in torch.eye(self.n_classes, device=latents.device):
            images = self.network.most_likely(latents, one_hot.expand(len(latents), -1))
            if isinstance(self.encoder, VAEEncoder):
                images = self.encoder.decode(images)
            rows.append(images.cpu().numpy())
        return rows


class _LogPosterior(nn.Module):
    def __init__(self, network: M2, mirror: bool) -> None:
        super().__init__()
        self.network, self.mirror = network, mirror

    def forward(self, features: Tensor) -> Tensor:
        return log_posterior(self.network, features, self.mirror)


def log_posterior(network: M2, features: Tensor, mirror: bool) -> Tensor:
    """Return log q(y|x), (n, n_classes), averaged over the mirror image if asked to."""
    inputs = features.reshape(-1, *network.spec.input_shape)
    views = [inputs, inputs.flip(3)] if mirror else [inputs]
    return torch.stack([network(each).softmax(dim=1) for each in views]).mean(dim=0).clamp_min(1e-30).log()


def fit(view: View, labelled: Labelled, options: Options) -> M2Classifier:
    """Train an M2 of images; see `methods.method`."""
    modern = options.preset == "modern"
    spec = M2Spec(view.image_shape, labelled.n_classes, LATENT_DIM, "bernoulli", modern, HIDDEN)
    generator = torch.Generator(view.device).manual_seed(options.seed)
    if modern:
        source = ImageSource(canonical_bytes(view.images), view.mirror, generator)
        network, curve = train_modern(view, labelled, options, spec, source, generator)
    else:
        inputs = BinarizedImages(generator)
        network, curve = train_published(view, labelled, options, spec, inputs, OF_IMAGES, generator)
    mirror = modern and view.mirror
    return M2Classifier(options.method, view.encoder(options.encoder_name), network, mirror, curve)


def train_modern(
    view: View,
    labelled: Labelled,
    options: Options,
    spec: M2Spec,
    source: Source,
    generator: torch.Generator,
) -> tuple[M2, tuple[float, ...]]:
    """Train an M2 with views and pseudo-labels; see `training.m2_objectives.ModernObjective`.

    Parameters
    ----------
    view, labelled, options
        See `methods.method`.
    spec : M2Spec
        Specification of the network.
    source : Source
        Generates its inputs and targets.
    generator : torch.Generator
        Source of all randomness of the objective, the source's too.

    Returns
    -------
    tuple of (M2, tuple of float)
        The network with averaged weights, and the learning curve.
    """
    teacher = teacher_of(view, view.encoder(options.teacher_name), labelled)
    objective = ModernObjective(source, teacher, math.prod(spec.input_shape), generator)
    plan = plan_joint(*(STEPS, len(view), labelled.per_class, view.precision, LEARNING_RATE, WEIGHT_DECAY))
    return _train(view, labelled, options, lambda: M2(spec), objective, plan)


def train_published(
    view: View,
    labelled: Labelled,
    options: Options,
    spec: M2Spec,
    inputs: Callable[[JointBatch], Tensor],
    recipe: Recipe,
    generator: torch.Generator,
    start: Tensor | None = None,
) -> tuple[M2, tuple[float, ...]]:
    """Train an M2 with the objective of the paper; see `training.m2_published.PublishedObjective`.

    Parameters
    ----------
    inputs : callable
        Generates the inputs of a batch.
    recipe : Recipe
        Its training.
    start : Tensor, optional
        Class probabilities of all images from which q(y|x) starts; see `PublishedObjective`. With them z is
        in use from the first step.
    view, labelled, options, spec, generator
        See `train_modern`.
    """
    # The density of latents is learned, for which bfloat16 has too few digits.
    precision = view.precision if spec.likelihood == "bernoulli" else torch.float32
    plan = as_asked(recipe.plan(len(view), labelled.per_class, precision), options)
    objective = PublishedObjective(
        *(inputs, len(labelled.rows), len(view), generator, recipe.estimate(plan.steps), start)
    )
    make = (lambda: M2(spec)) if start is None else (lambda: with_z_in_use(M2(spec)))
    return _train(view, labelled, options, make, objective, plan)


def _train(
    view: View,
    labelled: Labelled,
    options: Options,
    make: Callable[[], M2],
    objective: ModernObjective | PublishedObjective,
    plan: JointPlan,
) -> tuple[M2, tuple[float, ...]]:
    network = build(make, view.device, options.seed)
    trainer = JointTrainer(
        *(network, objective, view.images, labelled.rows, labelled.classes),
        *(as_asked(plan, options), options.seed),
    )
    with view.stopwatch.phase("fit"):
        curve = trainer.fit(options.advance)
        warn_if_blind(options.method, trainer.average.eval(), objective, view.images)
    return trainer.average, curve


def load(saved: Saved) -> M2Classifier:
    """Rebuild the classifier; see `methods.method`.

    Raises
    ------
    KeyError, TypeError, ValueError, RuntimeError
        If the parts do not fit together.
    """
    spec = saved.settings["spec"]
    network = M2(M2Spec(**{**spec, "input_shape": tuple(spec["input_shape"])}))
    if math.prod(network.spec.input_shape) != saved.encoder.width:
        raise ValueError(f"an M2 of {network.spec.input_shape}, and {saved.encoder.width} features")
    network.load_state_dict(saved.tensors)
    network = network.to(saved.device).to(memory_format=torch.channels_last)
    return M2Classifier(saved.settings["method"], saved.encoder, network, bool(saved.settings["mirror"]))
