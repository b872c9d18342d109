"""A method as somebody would add it: the class whose mean is nearest."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gpu_ssl.encoders.encoder import Encoder
from gpu_ssl.methods.method import Classifier, Labelled, Options, Saved
from gpu_ssl.methods.view import View


class NearestMean(Classifier):
    """The mean features of the labelled images of each class."""

    pairwise = False

    def __init__(self, method: str, encoder: Encoder, means: Tensor) -> None:
        super().__init__(method, encoder, len(means))
        self.means = means

    def decisions(self, view: View) -> NDArray[np.float32]:
        """See `Classifier.decisions`."""
        with view.stopwatch.phase("score"):
            decisions: NDArray[np.float32] = _near(view.features(self.encoder), self.means).cpu().numpy()
        return decisions

    def predict(self, view: View) -> NDArray[np.int64]:
        """See `Classifier.predict`."""
        classes: NDArray[np.int64] = self.decisions(view).argmax(axis=1)
        return classes

    def tensors(self) -> dict[str, Tensor]:
        """See `Classifier.tensors`."""
        return {"means": self.means}

    def settings(self) -> dict[str, Any]:
        """See `Classifier.settings`."""
        return {}

    def module(self) -> nn.Module:
        """See `Classifier.module`."""
        return _Near(self.means.cpu())


class _Near(nn.Module):
    def __init__(self, means: Tensor) -> None:
        super().__init__()
        self.means = means

    def forward(self, features: Tensor) -> Tensor:
        return _near(features, self.means)


def _near(features: Tensor, means: Tensor) -> Tensor:
    return (-(features[:, None, :] - means).square().sum(2)).log_softmax(dim=1)


def fit(view: View, labelled: Labelled, options: Options) -> NearestMean:
    """Average the features of each class."""
    encoder = view.encoder(options.encoder_name)
    features = view.rows(encoder, labelled.rows)
    with view.stopwatch.phase("fit"):
        classes = torch.from_numpy(labelled.classes).to(view.device)
        means = [features[classes == number].mean(0) for number in range(labelled.n_classes)]
    return NearestMean(options.method, encoder, torch.stack(means))


def load(saved: Saved) -> NearestMean:
    """Rebuild the classifier."""
    return NearestMean(saved.settings["method"], saved.encoder, saved.tensors["means"].to(saved.device))
