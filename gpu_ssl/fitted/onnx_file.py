"""A fitted model as one ONNX graph: uint8 images in; classes, probabilities and scores out."""

import json
from pathlib import Path

import torch
from torch import Tensor, nn

from gpu_ssl.fitted.calibration import most_likely_first
from gpu_ssl.fitted.model import FittedModel
from gpu_ssl.fitted.records import ModelRecord
from gpu_ssl.runtime.files import atomic_path
from gpu_ssl.runtime.optional import require

INPUT = "images"
OUTPUTS = ("class", "probabilities", "ood_score")


class ModelGraph(nn.Module):
    """What `FittedModel.predict` does, for a whole batch at once and in float32.

    Parameters
    ----------
    model : FittedModel
        On the CPU.
    """

    def __init__(self, model: FittedModel) -> None:
        super().__init__()
        self.encoder, self.classifier = model.classifier.encoder, model.classifier
        self.decisions, self.calibration, self.ood = model.classifier.module(), model.calibration, model.ood
        encoders = list(dict.fromkeys([*self.encoder.parts, model.ood.encoder]))
        self.encoders = nn.ModuleList(encoders)
        # By position: what traces the graph sees another object each time that it asks for a module.
        self.n_parts, self.of_ood = len(self.encoder.parts), encoders.index(model.ood.encoder)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return classes (n,), probabilities (n, n_classes) and scores (n,) of images (n, c, h, w), uint8."""
        features = [encoder(images) for encoder in self.encoders]
        decisions = self.decisions(self.encoder.join(features[: self.n_parts]))
        winners = self.classifier.winners(decisions)
        probabilities = self.calibration.probabilities(
            decisions, self.classifier.n_classes, self.classifier.pairwise
        )
        scores = self.ood(images, features[self.of_ood])
        return winners, most_likely_first(probabilities, winners), scores


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
        What is recorded of it.
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
