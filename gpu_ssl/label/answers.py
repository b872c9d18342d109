"""Predictions of a model for images identified by their numbers."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gpu_ssl.data.own import OwnImages
from gpu_ssl.data.stream import BLOCK, Block
from gpu_ssl.fitted.model import Answers, FittedModel


class ByNumber:
    """A model that predicts images named by their numbers, from features that have been computed.

    Parameters
    ----------
    model : FittedModel
        The model.
    features : mapping of str to Tensor
        Features (n, width) of all images, by the name of the encoder.
    """

    def __init__(self, model: FittedModel, features: Mapping[str, Tensor]) -> None:
        self._model, self._features = model, features

    def answer(self, block: Block) -> Answers:
        """See `FittedModel.answer`."""
        rows = torch.tensor([int(name) for name in block.names])
        own = {own: self._features[own.name] for own in self._model.encoders if own.name in self._features}
        known = {encoder: features[rows.to(features.device)] for encoder, features in own.items()}
        return self._model.predict(block.images, known=known)

    def predictions(self, images: OwnImages, rows: NDArray[np.int64]) -> list[tuple[str, float]]:
        """Return the most likely class of each image, and its probability."""
        found: list[tuple[str, float]] = []
        for block in by_number(images, rows):
            answers = self.answer(block)
            best = answers.probabilities.max(axis=1).tolist()
            found += zip((self._model.class_names[own] for own in answers.classes), best, strict=True)
        return found


def by_number(
    images: OwnImages, rows: NDArray[np.int64], check: Callable[[], None] = lambda: None
) -> Iterator[Block]:
    """Yield images in blocks, named by their numbers; `check` is called before each block."""
    for start in range(0, len(rows), BLOCK):
        check()
        some = rows[start : start + BLOCK]
        yield Block([str(row) for row in some], np.ascontiguousarray(images.images[some]), {})
