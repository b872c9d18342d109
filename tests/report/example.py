"""The record of a model that the tests of reports share."""

from typing import Any

from gpu_ssl.config import FitConfig
from gpu_ssl.fitted.records import CalibrationBin, ChoiceOfMethod, ClassScores, Estimate, ModelRecord

ESTIMATE = Estimate(
    right=270,
    of=300,
    independent=300.0,
    low=0.861,
    high=0.929,
    calibration_error=0.02,
    bins=(CalibrationBin(size=300, confidence=0.88, accuracy=0.9),),
    classes=(
        ClassScores(name="cat", support=150, recall=0.96, precision=0.857, f1=0.906),
        ClassScores(name="dog", support=150, recall=0.84, precision=0.955, f1=0.894),
    ),
    macro_f1=0.9,
    confusion=((0, 0, 144), (0, 1, 6), (1, 0, 24), (1, 1, 126)),
    raw_pixels=0.85,
    most_frequent=0.5,
)
RECORD = ModelRecord(
    gpu_ssl="0",
    created="2026-01-01T00:00:00+00:00",
    environment={},
    config=FitConfig(),
    chosen=ChoiceOfMethod(method="hybrid", reason="held out in turn: hybrid 90.0 % right"),
    class_names=("cat", "dog"),
    image_shape=(3, 20, 30),
    n_images=1234,
    n_labelled={"cat": 150, "dog": 150},
    images_sha256="0",
    labelled_keys=(),
    training=None,
    estimate=ESTIMATE,
    encoder={"name": "vae+hog", "image_shape": [3, 20, 30], "parts": []},
    classifier={"method": "hybrid"},
    calibration={"slope": 1.0, "power": 1.0},
    ood={"reach": 1.0, "usual_error": None},
    ood_encoder="vae",
)


def changed(**changes: Any) -> Estimate:
    """Return `ESTIMATE` with changes."""
    return ESTIMATE.model_copy(update=changes)


NOTED = RECORD.model_copy(
    update={
        "suspects": 12,
        "near_copies": 80,
        "n_labelled": {"cat": 1, "dog": 199},
        "estimate": changed(not_judged=("cat",), independent=60.0),
    }
)
"""The same of a model whose labels deserve a note of each kind."""
