"""What is recorded of a model next to its tensors: the content of ``model.json``."""

from math import prod
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from gpu_ssl import catalog
from gpu_ssl.config import FitConfig
from gpu_ssl.data.preparation import AS_IS, ImageShape, Preparation
from gpu_ssl.records import Record, TrainingRecord

SCHEMA: Literal[5] = 5
KIND: Literal["gpu-ssl model"] = "gpu-ssl model"


class CalibrationBin(Record):
    """Predictions of like confidence: how many, how confident, and which share of them is right."""

    size: int
    confidence: float
    accuracy: float


class ClassScores(Record):
    """Metrics of one class.

    `support` of its images were judged, and `recall` is the share of them that was named right; `precision`
    is the share of images given this name that it is true of. `f1` is the harmonic mean of both. None where
    there is nothing to divide by.
    """

    name: str
    support: int
    recall: float | None
    precision: float | None
    f1: float | None


class Estimate(Record):
    """What to expect of a model: labelled images are judged by models that did not see their labels.

    `of` images were judged: all by cross-validation; of a method that trains networks a third, held out once.
    Images of one group (near duplicates, and what the user says) are not on both sides of a fold; only where
    `copies_apart` they are, since nothing could be judged otherwise. `low` and `high` bound the accuracy with
    95 % confidence: Wilson's interval for `independent` judgements, as images of one group are not.
    `calibration_error` is the expected calibration error of the probabilities, `bins` their reliability.

    `classes` has the scores of each class, in order; those of the classes `not_judged`, whose images are all
    of one group, are None, and the accuracy is that of the others. `macro_f1` is the mean of the F1 scores.
    `confusion` holds (true class, class named, number of images), by index, where the number is not 0.

    `copies` labelled images are not judged because they equal another one with the same label.

    `raw_pixels` is the accuracy of an SVM on the pixels themselves, judged in the same way (on some of many
    images), and `most_frequent` that of always naming the class with most of the judged images.
    """

    right: int
    of: int
    independent: float
    low: float
    high: float
    calibration_error: float
    bins: tuple[CalibrationBin, ...]
    classes: tuple[ClassScores, ...]
    macro_f1: float
    confusion: tuple[tuple[int, int, int], ...]
    not_judged: tuple[str, ...] = ()
    copies_apart: bool = False
    copies: int = 0
    raw_pixels: float | None = None
    most_frequent: float = 0.0

    @property
    def accuracy(self) -> float:
        """Share of the judged images that are named right."""
        return self.right / self.of

    def confusion_matrix(self) -> NDArray[np.int64]:
        """Return the confusion matrix (n_classes, n_classes): rows are true classes, columns those named."""
        matrix = np.zeros((len(self.classes),) * 2, np.int64)
        for true, named, count in self.confusion:
            matrix[true, named] = count
        return matrix


class SuspectLabel(NamedTuple):
    """A label that looks wrong, in words; see `fitted.estimate.Suspect`. `path` is the name of the image."""

    path: str
    label: str
    suggested: str
    confidence: float


class ChoiceOfMethod(Record):
    """The method that was fitted; where it was chosen also why, and the share each candidate got right."""

    method: str
    reason: str = ""
    shares: dict[str, float] = Field(default_factory=dict)


class PixelScale(Record):
    """How arrays become images: the shape of a sample, and which numbers stand for black and white.

    `low` and `high` hold one number, or one for each column of embeddings.
    """

    sample_shape: tuple[int, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


class ModelRecord(Record):
    """All that is recorded of a model next to its tensors.

    `labelled_keys` are short hashes of the labelled images, to know them again. `encoder` and `classifier`
    are what `methods.saving.describe_classifier` returns; `calibration` and `ood` hold the numbers of
    `fitted.calibration.Calibration` and `fitted.ood.OODScore`, and `ood_encoder` describes the encoder of
    the latter: the name of a part of `encoder`, or one of its own. `estimate` is None where fewer than two
    classes could be judged. `near_copies` is the number of labelled images that are near duplicates of
    another one, `suspects` that of labels that look wrong; see
    `fitted.estimate`. `pixels` is for models of arrays, `feature_names` for those of data frames.
    """

    kind: Literal["gpu-ssl model"] = KIND
    schema_version: Literal[5] = Field(default=SCHEMA, alias="schema")
    gpu_ssl: str
    created: str
    environment: dict[str, Any]
    config: FitConfig
    chosen: ChoiceOfMethod
    class_names: tuple[str, ...]
    class_labels: tuple[int | float | bool | str, ...] | None = None
    feature_names: tuple[str, ...] | None = None
    image_shape: tuple[int, int, int]
    preparation: Preparation = AS_IS
    pixels: PixelScale | None = None
    n_images: int
    n_labelled: dict[str, int]
    images_sha256: str
    labelled_keys: tuple[str, ...]
    training: TrainingRecord | None
    estimate: Estimate | None
    near_copies: int = 0
    suspects: int = 0
    encoder: dict[str, Any]
    classifier: dict[str, Any]
    calibration: dict[str, float]
    ood: dict[str, float | None]
    ood_encoder: str | dict[str, Any]

    @property
    def encoded_shapes(self) -> tuple[ImageShape, ...]:
        """Shapes of the images that the encoder takes, the largest first.

        A pretrained network takes images at its own size, to which files are decoded; all else takes them at
        `image_shape`. In models of earlier versions the size is known only if the network is the whole
        encoder.
        """
        alone = len(self.encoder["parts"]) == 1
        shapes = set()
        for part in self.encoder["parts"]:
            channels, height, width = self.image_shape
            if part["name"].partition(":")[0] == "pretrained":
                _, *usual = self.encoder["image_shape"] if alone else self.image_shape
                height, width = [part["settings"]["side"]] * 2 if "side" in part["settings"] else usual
            shapes.add((channels, height, width))
        return tuple(sorted(shapes or {self.image_shape}, key=prod, reverse=True))

    @property
    def value_range(self) -> tuple[float, float] | None:
        """The values of black and white in arrays that are not uint8; None if unknown, or one per column."""
        if self.pixels is not None and len(self.pixels.low) == 1:
            found = self.pixels.low[0], self.pixels.high[0]
            return None if found == (0, 255) else found  # fitted to uint8
        low, high = self.preparation.low, self.preparation.high
        return None if low is None or high is None else (low, high)

    @property
    def takes_embeddings(self) -> bool:
        """Whether the model takes embeddings of another program in place of images."""
        return catalog.takes_embeddings(self.encoder["name"])
