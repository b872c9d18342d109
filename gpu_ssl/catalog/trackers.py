"""The table of experiment trackers."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TrackerSpec:
    """Description of an experiment tracker that results can be sent to.

    Parameters
    ----------
    name, help : str
        Name on the command line, and of the extra of gpu-ssl that installs it; one line of help.
    module : str
        Module that defines ``start(run)``, which takes a `tracking.tracker.TrackedRun` and returns a
        `tracking.tracker.Tracker`.
    package : str
        Package that it imports.
    """

    name: str
    help: str
    module: str
    package: str


TRACKERS: tuple[TrackerSpec, ...] = (
    TrackerSpec("mlflow", "MLflow", module="gpu_ssl.tracking.of_mlflow", package="mlflow"),
    TrackerSpec(
        "tensorboard",
        "TensorBoard, in the folder of the run",
        module="gpu_ssl.tracking.of_tensorboard",
        package="tensorboard",
    ),
    TrackerSpec("wandb", "Weights & Biases", module="gpu_ssl.tracking.of_wandb", package="wandb"),
)
