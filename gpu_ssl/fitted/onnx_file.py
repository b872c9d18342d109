"""A fitted model as one ONNX graph: uint8 images in; classes, probabilities and scores out."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gpu_ssl.data.preparation import STRIP
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


def describe_preparation(record: ModelRecord) -> dict[str, Any]:
    """Return how an image of any kind becomes what the graph takes, for whoever has nothing but the file.

    The numbers are for programs, the steps for people; a test prepares images by them alone.
    """
    channels, height, width = record.image_shape
    how = record.preparation
    if record.pixels is not None:
        return {
            "input": "uint8",
            "sample_shape": record.pixels.sample_shape,
            "low": record.pixels.low,
            "high": record.pixels.high,
            "steps": [
                "scale numbers linearly, low to 0 and high to 255, round, clip",
                "reshape to image_shape",
            ],
        }
    black, white = how.low, how.high
    deep = "65535 (fractions: 1) is white" if white is None else f"{black:g} is black and {white:g} is white"
    return {
        "input": "uint8, channels first, 0 is black, 255 is white",
        "mode": "L" if channels == 1 else "RGB",
        "width": width,
        "height": height,
        "low": black,
        "high": white,
        "ground": how.ground,
        "strip": STRIP,
        "filter": "bilinear with antialiasing, as Pillow's BILINEAR",
        "steps": [
            "take the first page or frame, and turn it as EXIF says",
            f"of more than 8 bits: scale linearly, {deep}",
            "if there is an ICC profile of other colours, convert to sRGB",
            f"lay what is transparent on the grey level {how.ground}",
            f"convert to {'grey by ITU-R 601 luma' if channels == 1 else 'RGB'}",
            f"if width / height is more than {STRIP} times larger or smaller than {width} / {height}: resize "
            f"to {width} x {height} and stop",
            f"else resize to the largest size of the same proportions within {width} x {height}, its "
            "shorter side rounded to whole pixels",
            f"place it in the middle of {width} x {height} pixels of the grey level {how.ground}; of an odd "
            "number of pixels left, half rounded to even is on the left or top",
        ],
    }


def export(model: FittedModel, record: ModelRecord, path: Path) -> None:
    """Write a model as an ONNX file.

    The graph takes `images` (n, channels, height, width), uint8, of the shape that the model was fitted on,
    and gives `class` (n,), int64, `probabilities` (n, n_classes), float32, and `ood_score` (n,), float32.
    Its metadata hold `class_names`, `image_shape` and `preparation` as JSON: all that is needed to use it.

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
    program.model.metadata_props["preparation"] = json.dumps(describe_preparation(record))
    with atomic_path(path) as temporary:
        program.save(temporary)
