"""The networks of the VAE."""

from dataclasses import dataclass


@dataclass(frozen=True)
class NetworkSpec:
    """A network of the VAE, and how it is trained best.

    Parameters
    ----------
    name, help : str
        What users type, and one line of help.
    module : str
        Defines ``build(image_shape, latent_dim)``, which returns `networks.layers.Parts`.
    latent_dim, kl_weight : int, float
        Defaults of these settings.
    augment : bool
        Whether it is trained on augmented images by default.
    epochs : int
        Passes over the images by default.
    minimum_steps : int
        By default a small set is gone through until there were so many steps.
    learning_rate : float
        Default peak.
    muon : bool
        Whether Muon updates the matrices and kernels, or AdamW everything.
    beta1 : tuple of float
        Momentum at the peak of the learning rate, and before and after it.
    beta2 : float
        AdamW's decay of squared gradients.
    kl_warm_up : float
        Fraction of the steps in which the weight of the KL divergence rises from 0 to its value.
    """

    name: str
    help: str
    module: str
    latent_dim: int
    kl_weight: float
    augment: bool
    epochs: int
    minimum_steps: int
    learning_rate: float
    muon: bool
    beta1: tuple[float, float] = (0.85, 0.95)
    beta2: float = 0.999
    kl_warm_up: float = 0.0


NETWORKS: tuple[NetworkSpec, ...] = (
    # Many more steps overfit a small set: on 1,347 digits, 1,200 cost 4 points at 50 labels.
    NetworkSpec(
        "conv",
        "convolutional",
        module="gpu_ssl.networks.conv",
        latent_dim=64,
        kl_weight=0.05,
        augment=True,
        epochs=2,
        minimum_steps=300,
        learning_rate=1e-2,
        muon=True,
    ),
    # Chosen by the ELBO, which knows no label. With a beta2 of 0.99 some seeds diverge for good.
    NetworkSpec(
        "mlp",
        "the perceptron of Kingma et al. 2014",
        module="gpu_ssl.networks.mlp",
        latent_dim=50,
        kl_weight=1.0,
        augment=False,
        epochs=10,
        minimum_steps=1000,
        learning_rate=6e-3,
        muon=False,
        beta1=(0.9, 0.9),
        beta2=0.95,
        kl_warm_up=0.5,
    ),
)
