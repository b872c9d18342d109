"""MLflow: the server, database or folder that ``MLFLOW_TRACKING_URI`` names."""

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from gpu_ssl.tracking.tracker import PROJECT, TrackedRun, Value

MOST_METRICS, MOST_PARAMS = 1000, 100
"""What MLflow takes in one request."""

USUAL: Final = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
"""Variables that MLflow reads, where they are not set. Its seven retries take minutes if a server is gone,
and nobody asked for telemetry."""


class MLflowTracker:
    """A run of MLflow."""

    def __init__(self, run: TrackedRun) -> None:
        for name, value in USUAL.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        self._client = MlflowClient()
        experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        found = self._client.get_experiment_by_name(experiment)
        number = self._client.create_experiment(experiment) if found is None else found.experiment_id
        tags = {"group": run.group} if run.group else {}
        self._id = self._client.create_run(number, run_name=run.name, tags=tags).info.run_id
        self._experiment = number

    @property
    def where(self) -> str:
        """Address of the run, or the store and the run's id."""
        store: str = self._client.tracking_uri
        if store.startswith("http"):
            return f"{store.rstrip('/')}/#/experiments/{self._experiment}/runs/{self._id}"
        return f"{store}, run {self._id}"

    def settings(self, values: Mapping[str, Value]) -> None:
        """Record settings as parameters."""
        from mlflow.entities import Param

        params = [Param(name, str(value)) for name, value in values.items()]
        for start in range(0, len(params), MOST_PARAMS):
            self._client.log_batch(self._id, params=params[start : start + MOST_PARAMS])

    def metrics(self, values: Mapping[str, float]) -> None:
        """Record results as metrics of step 0."""
        self._log([(name, value, 0) for name, value in values.items()])

    def curve(self, name: str, axis: str, points: Sequence[tuple[int, float]]) -> None:
        """Record a curve as a metric; MLflow calls every axis a step."""
        self._log([(name, value, step) for step, value in points])

    def _log(self, metrics: Sequence[tuple[str, float, int]]) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        logged = [Metric(name, value, now, step) for name, value, step in metrics]
        for start in range(0, len(logged), MOST_METRICS):
            self._client.log_batch(self._id, logged[start : start + MOST_METRICS])

    def file(self, path: Path) -> None:
        """Record a file as an artifact, figures in a folder of their own."""
        self._client.log_artifact(self._id, str(path), "plots" if path.suffix == ".png" else None)

    def close(self, whole: bool) -> None:
        """End the run as finished or failed."""
        self._client.set_terminated(self._id, "FINISHED" if whole else "FAILED")


start = MLflowTracker
