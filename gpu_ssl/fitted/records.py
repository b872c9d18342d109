"""What is recorded of a model next to its tensors: the content of ``model.json``."""

from typing import Any, Literal

from pydantic import Field

from gpu_ssl.config import FitConfig
from gpu_ssl.data.preparation import AS_IS, Preparation
from gpu_ssl.records import Record, TrainingRecord

SCHEMA: Literal[2] = 2
KIND: Literal["gpu-ssl model"] = "gpu-ssl model"


class CalibrationBin(Record):
    """Predictions of like confidence: how many, how confident, and which share of them is right."""

    size: int
    confidence: float
    accuracy: float


class Estimate(Record):
    """What to expect of a model: labelled images are judged by models that did not see their labels.

    `of` images were judged: all by cross-validation; of a method that trains networks a fifth, held out once.
    `low` and `high` bound the accuracy with 95 % confidence (Wilson's interval). `calibration_error` is the
    expected calibration error of the probabilities, `bins` their reliability. `raw_pixels` is the accuracy
    of an SVM on the pixels themselves, judged in the same way (on some of many images), and `most_frequent`
    that of always naming the class with most labelled images.
    """

    right: int
    of: int
    low: float
    high: float
    calibration_error: float
    bins: tuple[CalibrationBin, ...]
    raw_pixels: float | None = None
    most_frequent: float = 0.0

    @property
    def accuracy(self) -> float:
        """Share of the judged images that are named right."""
        return self.right / self.of


class ChoiceOfMethod(Record):
    """The method that was fitted; where it was chosen also why, and the share each candidate got right."""

    method: str
    reason: str = ""
    shares: dict[str, float] = Field(default_factory=dict)


class PixelScale(Record):
    """How arrays become images: the shape of a sample, and which numbers stand for black and white.

    `low` and `high` hold one number, or one for each column of rows that are no pictures.
    """

    sample_shape: tuple[int, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


class ModelRecord(Record):
    """All that is recorded of a model next to its tensors.

    `labelled_keys` are short hashes of the labelled images, to know them again. `encoder` and `classifier`
    are what `methods.saving.describe_classifier` returns; `calibration` and `ood` hold the numbers of
    `fitted.calibration.Calibration` and `fitted.ood.OODScore`, and `ood_encoder` describes the encoder of
    the latter: the name of a part of `encoder`, or one of its own. `estimate` is None where a class has a
    single labelled image; `pixels` is for models of arrays.
    """

    kind: Literal["gpu-ssl model"] = KIND
    schema_version: Literal[2] = Field(default=SCHEMA, alias="schema")
    gpu_ssl: str
    created: str
    environment: dict[str, Any]
    config: FitConfig
    chosen: ChoiceOfMethod
    class_names: tuple[str, ...]
    class_labels: tuple[int | float | bool | str, ...] | None = None
    image_shape: tuple[int, int, int]
    preparation: Preparation = AS_IS
    pixels: PixelScale | None = None
    n_images: int
    n_labelled: dict[str, int]
    images_sha256: str
    labelled_keys: tuple[str, ...]
    training: TrainingRecord | None
    estimate: Estimate | None
    encoder: dict[str, Any]
    classifier: dict[str, Any]
    calibration: dict[str, float]
    ood: dict[str, float | None]
    ood_encoder: str | dict[str, Any]
