from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray

from gpu_ssl.data.image_set import Dataset
from gpu_ssl.data.splits import labelled_indices
from gpu_ssl.encoders.encoder import Encoder
from gpu_ssl.methods.method import Labelled
from gpu_ssl.methods.view import View
from gpu_ssl.runtime.timing import Stopwatch
from gpu_ssl.svm._sklearn import SklearnBackend
from gpu_ssl.svm.backend import SVMBackend

CPU = torch.device("cpu")


def view_of(
    pixels: NDArray[np.uint8],
    encoders: Iterable[Encoder] = (),
    backend: SVMBackend | None = None,
    images: torch.Tensor | None = None,
) -> View:
    """Make a view for the CPU, and for digits: no mirror images."""
    by_name = {encoder.name: encoder for encoder in encoders}
    return View(pixels, by_name, backend or SklearnBackend(), Stopwatch(CPU), False, torch.float32, images)


def choose(dataset: Dataset, n: int, seed: int = 0) -> Labelled:
    """Choose labelled images as a run does."""
    rows = labelled_indices(dataset.train.labels, n, seed, 0)
    return Labelled(rows, dataset.train.labels[rows])


def silent(note: str, steps: float = 1) -> None:
    """Show nothing."""
