"""M1+M2 of Kingma et al. 2014, section 2: an M2 of the latents of a VAE."""

import torch
from torch import Tensor

from gpu_ssl.encoders.encoder import block_of
from gpu_ssl.encoders.vae import VAEEncoder
from gpu_ssl.errors import TrainingError, UsageError
from gpu_ssl.methods.m2 import HIDDEN, LATENT_DIM, M2Classifier, train_modern, train_published
from gpu_ssl.methods.m2 import load as load
from gpu_ssl.methods.method import Labelled, Options
from gpu_ssl.methods.view import View
from gpu_ssl.networks.m2 import M2Spec
from gpu_ssl.networks.vae import Posterior
from gpu_ssl.training.class_gaussians import mixture_probabilities
from gpu_ssl.training.m2_objectives import LatentSource
from gpu_ssl.training.m2_published import OF_LATENTS, PosteriorSamples

USED = 0.1
"""Standard deviation of a latent's means over the training images below which the latent is unused.

The KL divergence switches latents off (about 30 of 50 on MNIST); M2 would spend its bound on their noise.
"""


def fit(view: View, labelled: Labelled, options: Options) -> M2Classifier:
    """Train an M2 of the VAE's latents; see `methods.method`."""
    encoder = view.encoder(options.encoder_name)
    if not isinstance(encoder, VAEEncoder):
        raise UsageError(f"the method {options.method} needs a VAE, not the encoder {encoder.name}")
    generator = torch.Generator(view.device).manual_seed(options.seed)
    if options.preset == "modern":
        latents = view.features(encoder)
        spec = M2Spec((encoder.width,), labelled.n_classes, LATENT_DIM, "gaussian", False, HIDDEN)
        source = LatentSource(encoder.vae, latents, view.mirror, generator)
        network, curve = train_modern(view, labelled, options, spec, source, generator)
    else:
        posterior = posterior_of(encoder, view)
        used = varying(posterior.mean)
        spec = M2Spec(
            (encoder.width,),
            labelled.n_classes,
            LATENT_DIM,
            likelihood="gaussian",
            convolutional=False,
            hidden=HIDDEN,
            positions=used,
        )
        samples = PosteriorSamples(posterior, generator)
        informative = Posterior(*(part[:, list(used)] for part in posterior))
        rows, classes = (torch.from_numpy(part).to(view.device) for part in (labelled.rows, labelled.classes))
        with view.stopwatch.phase("fit"):
            start = mixture_probabilities(informative, rows, classes, labelled.n_classes)
        network, curve = train_published(view, labelled, options, spec, samples, OF_LATENTS, generator, start)
    return M2Classifier(options.method, encoder, network, mirror=False, curve=curve)


def varying(means: Tensor) -> tuple[int, ...]:
    """Return the latents in use: those whose means (n, latent_dim) have at least a deviation of `USED`.

    Raises
    ------
    TrainingError
        If none has.
    """
    used = (means.std(dim=0) >= USED).nonzero().flatten().tolist()
    if not used:
        raise TrainingError(
            "no latent of the VAE varies between images; give more `epochs` or a smaller `kl_weight`"
        )
    return tuple(used)


@torch.no_grad()
def posterior_of(encoder: VAEEncoder, view: View) -> Posterior:
    """Return q(z|x) of all images of a view."""
    with view.stopwatch.phase("encode"):
        encoder.eval()
        blocks = torch.split(view.images, block_of(encoder, view.device))
        found = [encoder.posterior(block) for block in blocks]
    return Posterior(*(torch.cat(parts) for parts in zip(*found, strict=True)))
