"""Exporting a fitted model as an ONNX graph from uint8 images to classes, probabilities and OOD scores."""

import json
import warnings
from pathlib import Path
from typing import Any

import torch
from packaging.version import Version
from torch import Tensor, nn

from gpu_ssl.data.preparation import STRIP
from gpu_ssl.errors import DependencyError
from gpu_ssl.fitted.calibration import most_likely_first
from gpu_ssl.fitted.model import FittedModel
from gpu_ssl.fitted.onnx_resize import with_resizing
from gpu_ssl.fitted.records import ModelRecord, PixelScale
from gpu_ssl.runtime.files import atomic_path
from gpu_ssl.runtime.optional import require

INPUT, EMBEDDINGS = "images", "embeddings"
OUTPUTS = ("class", "probabilities", "ood_score")

OLDEST_TORCH = Version("2.14")
"""Oldest version whose export was tested; that of 2.9 takes the number of images for a constant."""


class ModelGraph(nn.Module):
    """`FittedModel.predict` as a module, for a whole batch and in float32.

    Parameters
    ----------
    model : FittedModel
        The model, on the CPU.
    resizes : bool
        Whether each encoder gets images at its own shape, instead of all at the shape of the model.

    Attributes
    ----------
    shapes : list of tuple of int
        Channels, height and width of each input of `forward`; for embeddings their width.
    """

    def __init__(self, model: FittedModel, resizes: bool) -> None:
        super().__init__()
        self.encoder, self.classifier = model.classifier.encoder, model.classifier
        self.decisions, self.calibration, self.ood = model.classifier.module(), model.calibration, model.ood
        encoders = list(dict.fromkeys([*self.encoder.parts, model.ood.encoder]))
        self.encoders = nn.ModuleList(encoders)
        # By position, because tracing creates a new object on each access to a module.
        self.n_parts, self.of_ood = len(self.encoder.parts), encoders.index(model.ood.encoder)
        channels, *sides = model.image_shape
        needed: list[Any] = [(channels, *(each.image_shape[1:] if resizes else sides)) for each in encoders]
        if model.takes_embeddings:
            needed = [(each.width,) for each in encoders]
        self.shapes = list(dict.fromkeys(needed))
        self.places = [self.shapes.index(shape) for shape in needed]

    def forward(self, images: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Return classes (n,), probabilities (n, n_classes) and scores (n,) for uint8 images of `shapes`."""
        inputs = [images[place] for place in self.places]
        features = [encoder(each) for encoder, each in zip(self.encoders, inputs, strict=True)]
        decisions = self.decisions(self.encoder.join(features[: self.n_parts]))
        winners = self.classifier.winners(decisions)
        probabilities = self.calibration.probabilities(
            decisions, self.classifier.n_classes, self.classifier.pairwise
        )
        scores = self.ood(inputs[self.of_ood], features[self.of_ood])
        return winners, most_likely_first(probabilities, winners), scores


def describe_preparation(record: ModelRecord) -> dict[str, Any]:
    """Return a description of the preprocessing, so that the exported file is self-contained.

    The numbers are for programs, the steps for people; a test prepares images from them alone. `resizing` is
    only needed to put images of several sizes into one batch: at the largest size that the encoder takes,
    which the graph then leaves unchanged.
    """
    how = record.preparation
    if record.takes_embeddings:
        return {"input": "float32, embeddings like those that the model was fitted to", "steps": []}
    if input_shape(record) == record.image_shape:
        low, high = (0.0, 255.0) if how.low is None or how.high is None else (how.low, how.high)
        of_rows = PixelScale(sample_shape=record.image_shape[2:], low=(low,), high=(high,))
        scale = record.pixels or of_rows
        return {
            "input": "uint8",
            "sample_shape": scale.sample_shape,
            "low": scale.low,
            "high": scale.high,
            "steps": [
                "scale values linearly, low to 0 and high to 255, round, clip",
                "reshape to image_shape",
            ],
        }
    channels, height, width = record.encoded_shapes[0]
    black, white = how.low, how.high
    deep = (
        "0 is black; 65535 is white, or of floats 1, or 255 if a value is larger than 1"
        if white is None
        else f"{black:g} is black and {white:g} is white"
    )
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
            "take the first page or frame, and apply its EXIF orientation",
            f"if it has more than 8 bits: scale linearly, {deep}",
            "if it has an ICC profile other than sRGB: convert to sRGB",
            f"composite transparent pixels on the grey level {how.ground}",
            f"convert to {'grey by ITU-R 601 luma' if channels == 1 else 'RGB'}",
            'do not resize: the graph does what "resizing" describes',
        ],
        "resizing": [
            f"if width / height is more than {STRIP} times larger or smaller than {width} / {height}: resize "
            f"to {width} x {height} and stop",
            f"else resize to the largest size with the same aspect ratio within {width} x {height}, with the "
            "shorter side rounded to whole pixels",
            f"centre it on {width} x {height} pixels of the grey level {how.ground}; if the margin is odd, "
            "half of it, rounded to even, is on the left or top",
        ],
    }


def input_shape(record: ModelRecord) -> tuple[int | str, ...]:
    """Return the input shape of the graph (channels, height, width), with names for free dimensions.

    For embeddings it is their width. Models fitted to image files accept any size; models fitted to arrays in
    Python or to rows of numbers do not.
    """
    if record.takes_embeddings:
        return record.image_shape[2:]
    if record.pixels is not None or record.image_shape[1] == 1:
        return record.image_shape
    return record.image_shape[0], "height", "width"


def input_name(record: ModelRecord) -> str:
    """Return the name of the input of the graph."""
    return EMBEDDINGS if record.takes_embeddings else INPUT


def export(model: FittedModel, record: ModelRecord, path: Path) -> None:
    """Write a model as an ONNX file.

    The graph takes `images` (n, channels, height, width), uint8, of the `input_shape`, resizes them as
    `data.decoding` does, and returns `class` (n,), int64, `probabilities` (n, n_classes), float32, and
    `ood_score` (n,), float32. A model of embeddings takes `embeddings` (n, width), float32, instead. The
    metadata hold everything needed to use the file as JSON: `class_names`, `image_shape` (the usual shape
    before resizing) and `preparation`.

    Parameters
    ----------
    model : FittedModel
        The model, on the CPU.
    record : ModelRecord
        The record of the model.
    path : Path
        Output file.

    Raises
    ------
    DependencyError
        If a package that writes ONNX is not installed, or torch is too old.
    StorageError
        If the file cannot be written.
    """
    require("an ONNX file", "onnx", "onnxscript", extra="onnx")
    if Version(torch.__version__) < OLDEST_TORCH:
        raise DependencyError(
            f"an ONNX file needs torch {OLDEST_TORCH} or newer, and this is {torch.__version__}; "
            "do: pip install --upgrade torch torchvision"
        )
    import onnx

    resizes = not record.takes_embeddings and input_shape(record) != record.image_shape
    whole = ModelGraph(model, resizes).eval()
    kind = torch.float32 if record.takes_embeddings else torch.uint8
    n = torch.export.Dim("n")
    with warnings.catch_warnings(), torch.no_grad():
        warnings.filterwarnings("ignore", "# The axis name")  # several inputs share it intentionally
        program = torch.onnx.export(
            whole,
            ([torch.zeros((2, *shape), dtype=kind) for shape in whole.shapes],),
            dynamo=True,
            dynamic_shapes=([{0: n} for _ in whole.shapes],),
            input_names=[f"resized_{i}" for i in range(len(whole.shapes))]
            if resizes
            else [input_name(record)],
            output_names=list(OUTPUTS),
            verbose=False,
        )
    assert program is not None  # always the case with dynamo=True
    graph = program.model_proto
    if resizes:
        graph = with_resizing(graph, whole.shapes, record.preparation.ground, INPUT)
    metadata = {
        "class_names": record.class_names,
        "image_shape": record.preparation.usual_shape or record.image_shape,
        "preparation": describe_preparation(record),
    }
    onnx.helper.set_model_props(graph, {name: json.dumps(value) for name, value in metadata.items()})
    with atomic_path(path) as temporary:
        onnx.save(graph, temporary)
