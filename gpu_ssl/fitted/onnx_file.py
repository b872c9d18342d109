"""A fitted model as one ONNX graph: uint8 images in; classes, probabilities and scores out."""

import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpu_ssl.fitted.model import FittedModel
from gpu_ssl.fitted.ood import picture_errors
from gpu_ssl.fitted.records import ModelRecord
from gpu_ssl.fitted.storage import SVM_ARRAYS
from gpu_ssl.runtime.files import atomic_path
from gpu_ssl.runtime.optional import require
from gpu_ssl.svm.model import OneVsOneModel

INPUT = "images"
OUTPUTS = ("class", "probabilities", "ood_score")


class ModelGraph(nn.Module):
    """What `FittedModel.predict` does, for all of a batch at once and in float32.

    Parameters
    ----------
    model : FittedModel
        On the CPU.
    """

    def __init__(self, model: FittedModel) -> None:
        super().__init__()
        self.vae, self.augmented, self.coupling, self.ood = (
            model.vae,
            model.augmented,
            model.coupling,
            model.ood,
        )
        arrays: dict[str, Any] = {name: torch.from_numpy(getattr(model.svm, name)) for name in SVM_ARRAYS}
        self.svm = OneVsOneModel(**arrays, kernel=model.svm.kernel, n_classes=model.svm.n_classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return classes (n,), probabilities (n, n_classes) and scores (n,) of images (n, c, h, w), uint8."""
        latents = self.vae.encode(images.to(torch.float32) / 255).mean
        kernel = self.svm.kernel.against(self.svm.support_vectors)
        decisions = kernel(latents) @ self.svm.coefficients + self.svm.intercepts
        winners = self.svm.winners(decisions)
        probabilities = self._probabilities(decisions, winners)
        distances = _distances(latents, self.ood.references).amin(dim=1)
        errors = picture_errors(self.vae, images, latents, self.augmented)
        # Not logsigmoid, which goes out as the logarithm of a sigmoid: far below 0 that is of 0.
        scores = torch.maximum(distances / self.ood.reach, errors / self.ood.usual_error)
        return winners, probabilities, scores

    def _probabilities(self, decisions: Tensor, winners: Tensor) -> Tensor:
        """Do what `Coupling.probabilities` and `most_likely_first` do to NumPy's arrays."""
        membership = self.svm.membership()
        values = self.coupling.slope * decisions
        first, second = (-membership).clamp(min=0), membership.clamp(min=0)
        # Not logsigmoid, which goes out as the logarithm of a sigmoid: far below 0 that is of 0.
        scores = -F.softplus(-values) @ second - F.softplus(values) @ first
        probabilities = torch.softmax(self.coupling.power * scores, dim=1)
        best, of_best = probabilities.argmax(dim=1, keepdim=True), probabilities.amax(dim=1, keepdim=True)
        of_winner = probabilities.gather(1, winners[:, None])
        classes = torch.arange(self.svm.n_classes)
        agreeing = torch.where(classes == best, of_winner, probabilities)
        return torch.where(classes == winners[:, None], of_best, agreeing)


def _distances(points: Tensor, references: Tensor) -> Tensor:
    squares = points.square().sum(1, keepdim=True) + references.square().sum(1) - 2 * points @ references.T
    return squares.clamp(min=0).sqrt()


def export(model: FittedModel, record: ModelRecord, path: Path) -> None:
    """Write a model as an ONNX file.

    The graph takes `images` (n, channels, height, width), uint8, of the shape that the model was fitted on,
    and gives `class` (n,), int64, `probabilities` (n, n_classes), float32, and `ood_score` (n,), float32.
    Its metadata hold `class_names` and `image_shape` as JSON.

    Parameters
    ----------
    model : FittedModel
        On the CPU.
    record : ModelRecord
        What is told of it.
    path : Path
        The file.

    Raises
    ------
    DependencyError
        If a package that writes ONNX is not installed.
    StorageError
        If the file cannot be written.
    """
    require("an ONNX file", "onnx", "onnxscript")
    batch = torch.zeros((2, *record.image_shape), dtype=torch.uint8)
    program = torch.onnx.export(
        ModelGraph(model).eval(),
        (batch,),
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim("n")},),
        input_names=[INPUT],
        output_names=list(OUTPUTS),
        verbose=False,
    )
    assert program is not None  # as it is with dynamo
    program.model.metadata_props["class_names"] = json.dumps(record.class_names)
    program.model.metadata_props["image_shape"] = json.dumps(record.image_shape)
    with atomic_path(path) as temporary:
        program.save(temporary)
