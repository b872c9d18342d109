"""The table of VAE networks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TINY = 100
"""Maximum number of pixels of a tiny image, such as 8 x 8."""


@dataclass(frozen=True)
class NetworkSpec:
    """Description of a VAE network and its default training settings.

    Parameters
    ----------
    name, help : str
        Name on the command line, and one line of help.
    module : str
        Module that defines ``build(image_shape, latent_dim)``, which returns `networks.layers.Parts`.
    latent_dim, kl_weight : int, float
        Default latent dimension and KL weight.
    augment : bool
        Whether training uses augmentation by default.
    epochs : int
        Default number of epochs.
    minimum_steps, steps_of_tiny : int
        Default minimum number of steps; small sets are trained for more epochs. The second is for images of
        at most `TINY` pixels.
    learning_rate : float
        Default peak learning rate.
    muon : bool
        Whether Muon optimizes matrices and kernels; otherwise AdamW optimizes all parameters.
    beta1 : tuple of float
        Momentum at the peak of the learning rate, and at its start and end.
    beta2 : float
        AdamW's decay of squared gradients.
    kl_warm_up : float
        Fraction of the steps in which the KL weight rises linearly from 0.
    """

    name: str
    help: str
    module: str
    latent_dim: int
    kl_weight: float
    augment: bool
    epochs: int
    minimum_steps: int
    steps_of_tiny: int
    learning_rate: float
    muon: bool
    beta1: tuple[float, float] = (0.85, 0.95)
    beta2: float = 0.999
    kl_warm_up: float = 0.0


NETWORKS: tuple[NetworkSpec, ...] = (
    # More steps overfit small sets of tiny images: on the 1,347 digits, 1,200 steps lost 4 points of accuracy
    # at 50 labels, and 300 lose half a point where larger images gain (docs/experiments/vae.md).
    NetworkSpec(
        "conv",
        "convolutional",
        module="gpu_ssl.networks.conv",
        latent_dim=64,
        kl_weight=0.05,
        augment=True,
        epochs=2,
        minimum_steps=300,
        steps_of_tiny=200,
        learning_rate=1e-2,
        muon=True,
    ),
    # Chosen by the ELBO, which uses no labels. With beta2 = 0.99, some seeds diverge.
    NetworkSpec(
        "mlp",
        "the perceptron of Kingma et al. 2014",
        module="gpu_ssl.networks.mlp",
        latent_dim=50,
        kl_weight=1.0,
        augment=False,
        epochs=100,
        minimum_steps=1000,
        steps_of_tiny=1000,
        learning_rate=6e-3,
        muon=False,
        beta1=(0.9, 0.9),
        beta2=0.95,
        kl_warm_up=0.5,
    ),
)


def with_preset(
    preset: str, model: Mapping[str, Any], train: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return settings of a VAE and its training, with those of a preset where none is given, or None."""
    model, train = (
        {name: value for name, value in part.items() if value is not None} for part in (model, train)
    )
    if preset != "paper":
        return model, train
    # M2 learns faster from a few informative latents, so the KL weight does not rise slowly.
    published = {"kl_warm_up": 0.0, "binarize": not train.get("augment")}
    return {"network": "mlp", **model}, {**published, **train}
