"""A fitted model: images in; classes, probabilities and a score for what it has never seen out."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gpu_ssl import catalog
from gpu_ssl.data.stream import Block
from gpu_ssl.encoders.encoder import Encoder, ImageShape
from gpu_ssl.errors import UsageError
from gpu_ssl.fitted.calibration import Calibration, most_likely_first
from gpu_ssl.fitted.ood import OODScore, score_blocks
from gpu_ssl.methods.method import Classifier
from gpu_ssl.methods.view import View
from gpu_ssl.runtime.interop import OnHost, borrow
from gpu_ssl.runtime.timing import Stopwatch
from gpu_ssl.svm.backend import SVMBackend


class Answers(NamedTuple):
    """What a model says of n images.

    `classes` (n,), int64; `probabilities` (n, n_classes), float64, largest at that class; `ood_scores`
    (n,), float32, and `features` (n, d), float32: see `fitted.ood.OODScore`.
    """

    classes: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    ood_scores: NDArray[np.float32]
    features: NDArray[np.float32]

    def rows(self, chosen: NDArray[np.int64]) -> "Answers":
        """Return the answers at positions `chosen`."""
        return Answers._make(part[chosen] for part in self)

    def followed_by(self, other: "Answers") -> "Answers":
        """Return these answers and then those of `other`."""
        return Answers._make(np.concatenate([one, two]) for one, two in zip(self, other, strict=True))


@dataclass(frozen=True)
class FittedModel:
    """A classifier with its encoder, what calibrates its decisions, and a score for what it has not seen.

    Parameters
    ----------
    classifier : Classifier
        Its encoder is on the device to compute on, in float32, so that features depend little on the machine.
    calibration : Calibration
        From decisions to probabilities.
    ood : OODScore
        On the same device.
    class_names : tuple of str
        One name a class.
    backend : SVMBackend
        For the arrays of the classifier.
    device : torch.device
        Where to compute.
    image_shape : tuple of int
        Channels, height and width of the images it takes.
    """

    classifier: Classifier
    calibration: Calibration
    ood: OODScore
    class_names: tuple[str, ...]
    backend: SVMBackend
    device: torch.device
    image_shape: ImageShape

    @property
    def encoders(self) -> list[Encoder]:
        """The encoders it works with, each once, parts of sums among them."""
        encoder = self.classifier.encoder
        return list(dict.fromkeys([encoder, *encoder.parts, self.ood.encoder]))

    @property
    def other_shapes(self) -> list[ImageShape]:
        """Shapes in which some of its encoders want the images, too, where these are decoded from files."""
        return list(dict.fromkeys(own.image_shape for own in self.encoders if own.own_shape))

    @property
    def takes_embeddings(self) -> bool:
        """Whether it takes embeddings of another program in place of images."""
        return catalog.takes_embeddings(self.classifier.encoder.name)

    def encode(
        self, images: NDArray[Any], others: Mapping[ImageShape, NDArray[np.uint8]] = MappingProxyType({})
    ) -> NDArray[np.float32]:
        """Return the features that the classifier works on, (n, d), float32; see `predict`."""
        view = self._view(images, others)
        return view.features(self.classifier.encoder).cpu().numpy()

    def predict(
        self,
        images: NDArray[Any] | Tensor,
        others: Mapping[ImageShape, NDArray[np.uint8]] = MappingProxyType({}),
        known: Mapping[Encoder, Tensor] = MappingProxyType({}),
    ) -> Answers:
        """Answer for images (n, channels, height, width), uint8, or embeddings.

        Parameters
        ----------
        images : ndarray or Tensor of shape (n, channels, height, width), uint8
            Of `image_shape`; embeddings are float32. Those that lie on the device are not copied.
        others : mapping of tuple to ndarray
            The same in `other_shapes`; left out, encoders scale `images` to these.
        known : mapping of Encoder to Tensor
            Their features (n, width) of some of `encoders`, where these were worked out already.

        Raises
        ------
        UsageError
            If the images are not of the shape that the model was fitted on.
        """
        view = self._view(images, others)
        for encoder, features_of_images in known.items():
            view.keep(encoder, features_of_images)
        decisions = self.classifier.decisions(view)
        winners: NDArray[np.int64] = self.classifier.winners(decisions)
        probabilities = self.calibration.probabilities(
            decisions.astype(np.float64), len(self.class_names), self.classifier.pairwise
        )
        features = view.features(self.ood.encoder)
        scores: NDArray[np.float32] = score_blocks(self.ood, view.images, features).cpu().numpy()
        return Answers(winners, most_likely_first(probabilities, winners), scores, features.cpu().numpy())

    def answer(self, block: Block) -> Answers:
        """Answer for a block of images in a stream."""
        return self.predict(block.images, block.others)

    def _view(self, images: NDArray[Any] | Tensor, others: Mapping[ImageShape, NDArray[np.uint8]]) -> View:
        here = images if isinstance(images, Tensor) else borrow(images)
        kind = torch.float32 if self.takes_embeddings else torch.uint8
        if tuple(images.shape[1:]) != self.image_shape or here.dtype != kind:
            what = "float32 embeddings" if self.takes_embeddings else "uint8 images"
            raise UsageError(
                f"the model takes {what} of shape {self.image_shape}, "
                f"not {images.dtype} of shape {tuple(images.shape[1:])}"
            )
        here = here.to(self.device)
        on_host: Any = OnHost(here) if isinstance(images, Tensor) else images
        encoders = {str(number): encoder for number, encoder in enumerate(self.encoders)}
        stopwatch = Stopwatch(self.device)
        return View(on_host, encoders, self.backend, stopwatch, False, torch.float32, here, others)
