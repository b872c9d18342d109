"""What is told of a model beside its tensors: the content of ``model.json``, whose schema has a version."""

from typing import Any, Literal

from pydantic import Field

from gpu_ssl.config import FitConfig
from gpu_ssl.data.decoding import WHITE
from gpu_ssl.report.records import Record, TrainingRecord

SCHEMA: Literal[1] = 1
KIND: Literal["gpu-ssl model"] = "gpu-ssl model"


class CalibrationBin(Record):
    """Predictions of like confidence: how many, how confident, and which share of them is right."""

    size: int
    confidence: float
    accuracy: float


class Estimate(Record):
    """What to expect of a model, by cross-validation: each labelled image is judged by the others.

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
        """Share of the labelled images that are named right."""
        return self.right / self.of


class ModelRecord(Record):
    """All that is told of a model beside its tensors.

    `labelled_keys` are short hashes of the labelled images, to know them again; `kernel`, `coupling` and
    `ood` are the numbers of the model (see `svm.kernels.Kernel`, `fitted.calibration.Coupling` and
    `fitted.ood.OODScore`). `estimate` is None where a class has a single labelled image.
    """

    kind: Literal["gpu-ssl model"] = KIND
    schema_version: Literal[1] = Field(default=SCHEMA, alias="schema")
    gpu_ssl: str
    created: str
    environment: dict[str, Any]
    config: FitConfig
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    white: int = WHITE
    n_images: int
    n_labelled: dict[str, int]
    images_sha256: str
    labelled_keys: tuple[str, ...]
    training: TrainingRecord
    estimate: Estimate | None
    kernel: dict[str, Any]
    coupling: dict[str, float]
    ood: dict[str, float]
