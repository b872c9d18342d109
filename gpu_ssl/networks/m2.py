"""M2: a generative model of images whose class is a latent variable (Kingma et al. 2014, section 2).

p(x, y, z) = p(y) p(z) p(x|y, z), with q(y|x) and q(z|x, y) for what is not observed.
"""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpu_ssl.networks.classifier import classifier_trunk
from gpu_ssl.networks.conv import decoder
from gpu_ssl.networks.vae import LOG_VARIANCE_RANGE, Posterior, kl_divergence, reconstruction_loss, sample
from gpu_ssl.runtime.torch_workarounds.softplus import ready_softplus

Likelihood = Literal["bernoulli", "gaussian"]

SCALE_OF_Z, LOG_VARIANCE_OF_Z = 3.0, -2.0
"""Factor of the initial weights to and from z, and initial bias of q(z|x, y)'s log-variance; see
`with_z_in_use`."""


class M2Parts(NamedTuple):
    """The networks of an M2.

    `trunk` makes features of the input; `classifier` makes class logits, and `to_hidden` a hidden layer's
    inputs, of those features. `decoder` takes latents and a one-hot class.
    """

    trunk: nn.Module
    classifier: nn.Module
    to_hidden: nn.Module
    decoder: nn.Module
    hidden: int
    activation: nn.Module


class Selected(nn.Module):
    """Selects the elements of each input (n, d) at `positions`; all of them if `positions` is empty."""

    positions: Tensor

    def __init__(self, positions: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("positions", torch.tensor(positions, dtype=torch.int64), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.index_select(1, self.positions) if len(self.positions) else inputs


def perceptrons(spec: "M2Spec") -> M2Parts:
    """Build networks of one hidden layer of softplus units each (Kingma et al. 2014, section 4)."""
    inputs, hidden, n_classes = spec.modelled, spec.hidden, spec.n_classes
    outputs = inputs * (2 if spec.likelihood == "gaussian" else 1)
    return M2Parts(
        trunk=nn.Sequential(nn.Flatten(), Selected(spec.positions)),
        classifier=nn.Sequential(nn.Linear(inputs, hidden), nn.Softplus(), nn.Linear(hidden, n_classes)),
        to_hidden=nn.Linear(inputs, hidden),
        decoder=nn.Sequential(
            nn.Linear(spec.latent_dim + n_classes, hidden), nn.Softplus(), nn.Linear(hidden, outputs)
        ),
        hidden=hidden,
        activation=nn.Softplus(),
    )


class _Pooled(nn.Module):
    """The mean over the grid."""

    def forward(self, grid: Tensor) -> Tensor:
        return grid.mean(dim=(2, 3))


def convolutions(image_shape: tuple[int, int, int], n_classes: int, latent_dim: int) -> M2Parts:
    """Build the trunk of our classifier and the decoder of our VAE."""
    trunk, width = classifier_trunk(image_shape)
    with torch.no_grad():
        cells = trunk.eval()(torch.zeros(1, *image_shape)).numel()
    return M2Parts(
        trunk=trunk.train(),
        classifier=nn.Sequential(_Pooled(), nn.Linear(width, n_classes)),
        to_hidden=nn.Sequential(nn.Flatten(), nn.Linear(cells, 256)),
        decoder=decoder(image_shape, latent_dim + n_classes),
        hidden=256,
        activation=nn.ReLU(),
    )


@dataclass(frozen=True)
class M2Spec:
    """What decides the shape of an M2.

    Parameters
    ----------
    input_shape : tuple of int
        Shape of an input: channels, height and width of an image, or the dimension of an M1's latents.
    n_classes, latent_dim : int
        Number of classes, dimension of z.
    likelihood : str
        ``bernoulli`` for images, whose intensities from 0 to 1 are probabilities; ``gaussian``, with mean
        and log-variance from the decoder, for the latents of an M1.
    convolutional : bool
        Our networks for images; otherwise the paper's, with `hidden` units in each layer.
    hidden : int
        Units in each hidden layer of the paper's networks.
    positions : tuple of int
        Indices of the input's elements that the paper's networks model; empty for all of them.
    """

    input_shape: tuple[int, ...]
    n_classes: int
    latent_dim: int
    likelihood: Likelihood
    convolutional: bool
    hidden: int = 500
    positions: tuple[int, ...] = ()

    @property
    def modelled(self) -> int:
        """Number of modelled elements of an input."""
        return len(self.positions) or math.prod(self.input_shape)

    def parts(self) -> M2Parts:
        """Build the networks."""
        if self.convolutional:
            channels, height, width = self.input_shape
            return convolutions((channels, height, width), self.n_classes, self.latent_dim)
        return perceptrons(self)


class M2(nn.Module):
    """A generative model with a latent class and latents z.

    Parameters
    ----------
    spec : M2Spec
        What decides its shape.
    """

    def __init__(self, spec: M2Spec) -> None:
        super().__init__()
        ready_softplus()
        parts = spec.parts()
        self.trunk, self.classifier, self.decoder = parts.trunk, parts.classifier, parts.decoder
        self.to_hidden, self.activation = parts.to_hidden, parts.activation
        self.class_to_hidden = nn.Linear(spec.n_classes, parts.hidden, bias=False)
        self.head = nn.Linear(parts.hidden, 2 * spec.latent_dim)
        self.selected = Selected(spec.positions)
        self.spec, self.n_classes, self.likelihood = spec, spec.n_classes, spec.likelihood

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits of q(y|x), of shape (n, n_classes), float32."""
        logits: Tensor = self.classifier(self.trunk(inputs))
        return logits.float()

    def posterior(self, hidden: Tensor, classes: Tensor) -> Posterior:
        """Return q(z|x, y) from `to_hidden` of the features and one-hot classes (n, n_classes)."""
        both = self.activation(hidden + self.class_to_hidden(classes))
        mean, log_variance = self.head(both).float().chunk(2, dim=1)
        return Posterior(mean, log_variance.clamp(*LOG_VARIANCE_RANGE))

    def decode(self, latents: Tensor, classes: Tensor) -> Tensor:
        """Return the parameters of p(x|y, z), float32, for latents (n, latent_dim) and one-hot classes."""
        parameters: Tensor = self.decoder(torch.cat([latents, classes], dim=1))
        return parameters.float()

    def most_likely(self, latents: Tensor, classes: Tensor) -> Tensor:
        """Return the mean of p(x|y, z) for latents (n, latent_dim) and one-hot classes, (n, *input_shape)."""
        parameters = self.decode(latents, classes)
        if self.likelihood == "bernoulli":
            return torch.sigmoid(parameters).reshape(-1, *self.spec.input_shape)
        mean = parameters.chunk(2, dim=1)[0]
        if not self.spec.positions:
            return mean
        # What is not modelled hardly varies: its prior mean stands for it.
        whole = mean.new_zeros(len(mean), *self.spec.input_shape)
        whole[:, self.selected.positions] = mean
        return whole

    def modelled(self, targets: Tensor) -> Tensor:
        """Return what is modelled of `targets` (n, *input_shape)."""
        selected: Tensor = self.selected(targets)
        return selected

    def negative_log_likelihood(self, parameters: Tensor, targets: Tensor) -> Tensor:
        """Return -log p(x|y, z) of each target in nats."""
        if self.likelihood == "bernoulli":
            return reconstruction_loss(parameters.reshape(targets.shape), targets)
        mean, log_variance = parameters.chunk(2, dim=1)
        log_variance = log_variance.clamp(*LOG_VARIANCE_RANGE)
        squares = (targets - mean).square() * torch.exp(-log_variance)
        return 0.5 * (squares + log_variance + math.log(2 * math.pi)).sum(dim=1)

    def bound(
        self,
        hidden: Tensor,
        classes: Tensor,
        targets: Tensor,
        generator: torch.Generator,
    ) -> Tensor:
        """Return L(x, y) of each image in nats, from one sample of z (Kingma et al. 2014, eq. 6).

        -log p(x, y) <= E[-log p(x|y, z)] + KL(q(z|x, y) || p(z)) - log p(y), with classes equally frequent.
        """
        posterior = self.posterior(hidden, classes)
        parameters = self.decode(sample(posterior, generator), classes)
        distortion = self.negative_log_likelihood(parameters, targets)
        return distortion + kl_divergence(posterior) + math.log(self.n_classes)

    def bounds(self, hidden: Tensor, targets: Tensor, generator: torch.Generator) -> Tensor:
        """Return L(x, y) of each image, for every class, (n, n_classes)."""
        n, k = len(hidden), self.n_classes
        classes = torch.arange(k, device=hidden.device).repeat(n)
        every = self.bound(
            hidden.repeat_interleave(k, dim=0),
            F.one_hot(classes, k).float(),
            targets.repeat_interleave(k, dim=0),
            generator,
        )
        return every.reshape(n, k)


def with_z_in_use(network: M2) -> M2:
    """Change the initial weights of the paper's networks, in place, so that z matters from the first step.

    With torch's own, z says nearly nothing, and its numbers come into use one by one over tens of thousands
    of steps (docs/experiments/paper.md).
    """
    n = network.spec.latent_dim
    first = next(layer for layer in network.decoder.modules() if isinstance(layer, nn.Linear))
    with torch.no_grad():
        network.head.weight[:n] *= SCALE_OF_Z
        network.head.bias[n:] = LOG_VARIANCE_OF_Z
        first.weight[:, :n] *= SCALE_OF_Z
    return network
