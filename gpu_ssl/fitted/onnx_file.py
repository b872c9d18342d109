"""A fitted model as one ONNX graph: uint8 images of any size in; classes, probabilities and scores out."""

import json
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gpu_ssl.data.preparation import STRIP
from gpu_ssl.fitted.calibration import most_likely_first
from gpu_ssl.fitted.model import FittedModel
from gpu_ssl.fitted.onnx_resize import with_resizing
from gpu_ssl.fitted.records import ModelRecord, PixelScale
from gpu_ssl.runtime.files import atomic_path
from gpu_ssl.runtime.optional import require

INPUT, EMBEDDINGS = "images", "embeddings"
OUTPUTS = ("class", "probabilities", "ood_score")


class ModelGraph(nn.Module):
    """What `FittedModel.predict` does, for a whole batch at once and in float32.

    Parameters
    ----------
    model : FittedModel
        On the CPU.
    resizes : bool
        Whether each encoder gets images of its own shape, and not all of them those of the model's.

    Attributes
    ----------
    shapes : list of tuple of int
        Channels, height and width of the images that `forward` takes, one of each; of embeddings their width.
    """

    def __init__(self, model: FittedModel, resizes: bool) -> None:
        super().__init__()
        self.encoder, self.classifier = model.classifier.encoder, model.classifier
        self.decisions, self.calibration, self.ood = model.classifier.module(), model.calibration, model.ood
        encoders = list(dict.fromkeys([*self.encoder.parts, model.ood.encoder]))
        self.encoders = nn.ModuleList(encoders)
        # By position: what traces the graph sees another object each time that it asks for a module.
        self.n_parts, self.of_ood = len(self.encoder.parts), encoders.index(model.ood.encoder)
        channels, *sides = model.image_shape
        wanted: list[Any] = [(channels, *(own.image_shape[1:] if resizes else sides)) for own in encoders]
        if model.takes_embeddings:
            wanted = [(own.width,) for own in encoders]
        self.shapes = list(dict.fromkeys(wanted))
        self.places = [self.shapes.index(shape) for shape in wanted]

    def forward(self, images: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Return classes (n,), probabilities (n, n_classes) and scores (n,) of uint8 images of `shapes`."""
        own = [images[place] for place in self.places]
        features = [encoder(some) for encoder, some in zip(self.encoders, own, strict=True)]
        decisions = self.decisions(self.encoder.join(features[: self.n_parts]))
        winners = self.classifier.winners(decisions)
        probabilities = self.calibration.probabilities(
            decisions, self.classifier.n_classes, self.classifier.pairwise
        )
        scores = self.ood(own[self.of_ood], features[self.of_ood])
        return winners, most_likely_first(probabilities, winners), scores


def describe_preparation(record: ModelRecord) -> dict[str, Any]:
    """Return how an image of any kind becomes what the graph takes, for whoever has nothing but the file.

    The numbers are for programs, the steps for people; a test prepares images by them alone. Images of one
    size need no `resizing`; those of several that are to go into one batch do, and are left as they are then.
    """
    how = record.preparation
    if record.takes_embeddings:
        return {"input": "float32, embeddings as the model was fitted to", "steps": []}
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
                "scale numbers linearly, low to 0 and high to 255, round, clip",
                "reshape to image_shape",
            ],
        }
    channels, height, width = record.image_shape
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
            'leave its size as it is: the graph does what "resizing" says',
        ],
        "resizing": [
            f"if width / height is more than {STRIP} times larger or smaller than {width} / {height}: resize "
            f"to {width} x {height} and stop",
            f"else resize to the largest size of the same proportions within {width} x {height}, its "
            "shorter side rounded to whole pixels",
            f"place it in the middle of {width} x {height} pixels of the grey level {how.ground}; of an odd "
            "number of pixels left, half rounded to even is on the left or top",
        ],
    }


def input_shape(record: ModelRecord) -> tuple[int | str, ...]:
    """Return channels, height and width of the images that the graph takes; words for those that are free.

    Of embeddings it is their width. Images of any size are taken, but not arrays that were given in Python,
    or rows of numbers.
    """
    if record.takes_embeddings:
        return record.image_shape[2:]
    if record.pixels is not None or record.image_shape[1] == 1:
        return record.image_shape
    return record.image_shape[0], "height", "width"


def input_name(record: ModelRecord) -> str:
    """Return what the input of the graph is called."""
    return EMBEDDINGS if record.takes_embeddings else INPUT


def export(model: FittedModel, record: ModelRecord, path: Path) -> None:
    """Write a model as an ONNX file.

    The graph takes `images` (n, channels, height, width), uint8, of the `input_shape`, resizes them as
    `decode` does, and gives `class` (n,), int64, `probabilities` (n, n_classes), float32, and `ood_score`
    (n,), float32. The metadata hold `class_names`, `image_shape` and `preparation` as JSON: all that is
    needed to use it. `image_shape` is the usual shape of images that nobody has resized. Of a model of
    embeddings the graph takes `embeddings` (n, width), float32.

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
    import onnx

    resizes = not record.takes_embeddings and input_shape(record) != record.image_shape
    whole = ModelGraph(model, resizes).eval()
    kind = torch.float32 if record.takes_embeddings else torch.uint8
    n = torch.export.Dim("n")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "# The axis name")  # is that of several inputs, as is meant
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
    assert program is not None  # as it is with dynamo
    graph = program.model_proto
    if resizes:
        graph = with_resizing(graph, whole.shapes, record.preparation.ground, INPUT)
    told = {
        "class_names": record.class_names,
        "image_shape": record.preparation.usual_shape or record.image_shape,
        "preparation": describe_preparation(record),
    }
    onnx.helper.set_model_props(graph, {name: json.dumps(value) for name, value in told.items()})
    with atomic_path(path) as temporary:
        onnx.save(graph, temporary)
