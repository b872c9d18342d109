"""A fitted model, which predicts classes, probabilities and out-of-distribution (OOD) scores for images."""

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
    """Predictions for n images.

    `classes` (n,), int64; `probabilities` (n, n_classes), float64, largest for the predicted class;
    `ood_scores` (n,), float32, and `features` (n, d), float32: see `fitted.ood.OODScore`.
    """

    classes: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    ood_scores: NDArray[np.float32]
    features: NDArray[np.float32]

    def rows(self, chosen: NDArray[np.int64]) -> "Answers":
        """Return the predictions at positions `chosen`."""
        return Answers._make(part[chosen] for part in self)

    def followed_by(self, other: "Answers") -> "Answers":
        """Return these predictions followed by those of `other`."""
        return Answers._make(np.concatenate([one, two]) for one, two in zip(self, other, strict=True))


@dataclass(frozen=True)
class FittedModel:
    """A classifier with its encoder, its calibration and an out-of-distribution score.

    Parameters
    ----------
    classifier : Classifier
        The classifier; its encoder is on `device` in float32, so that features hardly depend on the machine.
    calibration : Calibration
        Converts decision values to probabilities.
    ood : OODScore
        Out-of-distribution score, on the same device.
    class_names : tuple of str
        Name of each class.
    backend : SVMBackend
        SVM library for the arrays of the classifier.
    device : torch.device
        Device to compute on.
    image_shape : tuple of int
        Channels, height and width of the input images.
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
        """All encoders of the model without duplicates, including the parts of sums."""
        encoder = self.classifier.encoder
        return list(dict.fromkeys([encoder, *encoder.parts, self.ood.encoder]))

    @property
    def other_shapes(self) -> list[ImageShape]:
        """Image shapes of the encoders with `own_shape`, to which files are decoded in addition."""
        return list(dict.fromkeys(encoder.image_shape for encoder in self.encoders if encoder.own_shape))

    @property
    def takes_embeddings(self) -> bool:
        """Whether the model takes precomputed embeddings instead of images."""
        return catalog.takes_embeddings(self.classifier.encoder.name)

    def encode(
        self, images: NDArray[Any], others: Mapping[ImageShape, NDArray[np.uint8]] = MappingProxyType({})
    ) -> NDArray[np.float32]:
        """Return the features that the classifier uses, (n, d), float32; see `predict`."""
        view = self._view(images, others)
        return view.features(self.classifier.encoder).cpu().numpy()

    def predict(
        self,
        images: NDArray[Any] | Tensor,
        others: Mapping[ImageShape, NDArray[np.uint8]] = MappingProxyType({}),
        known: Mapping[Encoder, Tensor] = MappingProxyType({}),
    ) -> Answers:
        """Predict for images (n, channels, height, width), uint8, or embeddings.

        Parameters
        ----------
        images : ndarray or Tensor of shape (n, channels, height, width), uint8
            Images of `image_shape`, or float32 embeddings. Tensors on the device are not copied.
        others : mapping of tuple to ndarray
            The same images at `other_shapes`; without them, encoders resize `images`.
        known : mapping of Encoder to Tensor
            Features (n, width) that have been computed already, by encoder.

        Raises
        ------
        UsageError
            If shape or dtype of the images differ from those that the model was fitted to.
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
        """Predict for a block of streamed images."""
        return self.predict(block.images, block.others)

    def _view(self, images: NDArray[Any] | Tensor, others: Mapping[ImageShape, NDArray[np.uint8]]) -> View:
        tensor = images if isinstance(images, Tensor) else borrow(images)
        kind = torch.float32 if self.takes_embeddings else torch.uint8
        if tuple(images.shape[1:]) != self.image_shape or tensor.dtype != kind:
            what = "float32 embeddings" if self.takes_embeddings else "uint8 images"
            raise UsageError(
                f"the model expects {what} of shape {self.image_shape}, "
                f"got {images.dtype} of shape {tuple(images.shape[1:])}"
            )
        tensor = tensor.to(self.device)
        on_host: Any = OnHost(tensor) if isinstance(images, Tensor) else images
        encoders = {str(number): encoder for number, encoder in enumerate(self.encoders)}
        stopwatch = Stopwatch(self.device)
        return View(on_host, encoders, self.backend, stopwatch, False, torch.float32, tensor, others)
