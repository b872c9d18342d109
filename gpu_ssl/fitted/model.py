"""A fitted model: images in; classes, probabilities and a score for what it has never seen out."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from gpu_ssl.errors import UsageError
from gpu_ssl.fitted.calibration import Coupling, most_likely_first
from gpu_ssl.fitted.ood import OODScore, reconstruction_errors
from gpu_ssl.models.encoding import encode
from gpu_ssl.models.vae import VAE
from gpu_ssl.svm.backend import SVMBackend
from gpu_ssl.svm.model import OneVsOneModel


class Answers(NamedTuple):
    """What a model says of n images.

    `classes` (n,), int64; `probabilities` (n, n_classes), float64, largest at that class; `ood_scores`
    (n,), float32, see `fitted.ood.OODScore`; `latents` (n, latent_dim), float32.
    """

    classes: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    ood_scores: NDArray[np.float32]
    latents: NDArray[np.float32]

    def rows(self, chosen: NDArray[np.int64]) -> "Answers":
        """Return the answers at positions `chosen`."""
        return Answers(
            self.classes[chosen],
            self.probabilities[chosen],
            self.ood_scores[chosen],
            self.latents[chosen],
        )

    def followed_by(self, other: "Answers") -> "Answers":
        """Return these answers and then those of `other`."""
        return Answers(
            np.concatenate([self.classes, other.classes]),
            np.concatenate([self.probabilities, other.probabilities]),
            np.concatenate([self.ood_scores, other.ood_scores]),
            np.concatenate([self.latents, other.latents]),
        )


@dataclass(frozen=True)
class FittedModel:
    """A VAE, an SVM on its latents, and what makes probabilities of the SVM's decisions.

    Parameters
    ----------
    vae : VAE
        On the device to compute on.
    svm : OneVsOneModel
        Arrays of `backend`'s library.
    coupling : Coupling
        From decision values to probabilities.
    ood : OODScore
        On the device of `vae`.
    class_names : tuple of str
        One name a class.
    backend : SVMBackend
        For the arrays of `svm`.
    augmented : bool
        Whether the VAE was trained to draw the canonical picture of all views of an image.
    """

    vae: VAE
    svm: OneVsOneModel
    coupling: Coupling
    ood: OODScore
    class_names: tuple[str, ...]
    backend: SVMBackend
    augmented: bool

    def predict(self, images: NDArray[np.uint8]) -> Answers:
        """Answer for images (n, channels, height, width), uint8.

        The VAE works in float32 here, so that one machine says what another does.

        Raises
        ------
        UsageError
            If the images are not of the shape that the model was fitted on.
        """
        if images.shape[1:] != self.vae.image_shape or images.dtype != np.uint8:
            raise UsageError(
                f"the model takes uint8 images of shape {self.vae.image_shape}, "
                f"not {images.dtype} of shape {images.shape[1:]}"
            )
        pixels = torch.from_numpy(images).to(self.vae.device)
        latents = encode(self.vae, pixels, torch.float32)
        decisions = self.svm.pair_decisions(self.backend.receive(latents))
        winners = self.backend.to_host(self.svm.winners(decisions))
        probabilities = self.coupling.probabilities(self.backend.to_host(decisions), len(self.class_names))
        errors = reconstruction_errors(self.vae, pixels, latents, self.augmented)
        scores: NDArray[np.float32] = self.ood(latents, errors).cpu().numpy()
        return Answers(winners, most_likely_first(probabilities, winners), scores, latents.cpu().numpy())
