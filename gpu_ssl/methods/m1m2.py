"""M1+M2 of Kingma et al. 2014, section 2.3: an M2 of the latents of a VAE."""

import torch

from gpu_ssl.encoders.vae import VAEEncoder
from gpu_ssl.errors import UsageError
from gpu_ssl.methods.m2 import HIDDEN, LATENT_DIM, M2Classifier, train
from gpu_ssl.methods.m2 import load as load
from gpu_ssl.methods.method import Labelled, Options
from gpu_ssl.methods.view import View
from gpu_ssl.networks.m2 import M2Spec
from gpu_ssl.training.m2_objectives import LatentSource


def fit(view: View, labelled: Labelled, options: Options) -> M2Classifier:
    """Train an M2 of the VAE's latents; see `methods.method`."""
    encoder = view.encoder(options.encoder_name)
    if not isinstance(encoder, VAEEncoder):
        raise UsageError(f"the method {options.method} needs a VAE, not the encoder {encoder.name}")
    latents = view.features(encoder)
    spec = M2Spec((encoder.width,), labelled.n_classes, LATENT_DIM, "gaussian", False, HIDDEN)
    generator = torch.Generator(view.device).manual_seed(options.seed)
    source = LatentSource(encoder.vae, latents, view.mirror, generator)
    network, curve = train(view, labelled, options, spec, source, generator)
    return M2Classifier(options.method, encoder, network, mirror=False, curve=curve)
