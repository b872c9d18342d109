"""Weights & Biases, as ``wandb login`` and ``WANDB_*`` say; ``WANDB_MODE=offline`` needs no server."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from gpu_ssl.errors import UsageError
from gpu_ssl.tracking.tracker import PROJECT, TrackedRun, Value

PATIENCE: Final = 60.0
"""Seconds that a server has to answer at the start, and to take what is left at the end."""


class WandbTracker:
    """A run of Weights & Biases."""

    def __init__(self, run: TrackedRun) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # to its authors
        import wandb

        quiet = wandb.Settings(silent=True, console="off", init_timeout=PATIENCE, finish_timeout=PATIENCE)
        mode = wandb.setup().settings.mode
        if mode in ("online", "shared") and not wandb.login(prompt=False):
            raise UsageError(
                "Weights & Biases knows no API key here; do: wandb login, or set WANDB_MODE=offline"
            )
        self._run: Any = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=run.name,
            group=run.group or None,
            settings=quiet,
        )

    @property
    def where(self) -> str:
        """Address of the run, or the folder that ``wandb sync`` takes."""
        return str(Path(self._run.dir).parent) if self._run.offline else str(self._run.url)

    def settings(self, values: Mapping[str, Value]) -> None:
        """Record settings as the run's configuration."""
        self._run.config.update(dict(values))

    def metrics(self, values: Mapping[str, float]) -> None:
        """Record results in the run's summary."""
        self._run.summary.update(dict(values))

    def curve(self, name: str, axis: str, points: Sequence[tuple[int, float]]) -> None:
        """Record a curve over its own axis."""
        self._run.define_metric(name, step_metric=axis)
        for step, value in points:
            self._run.log({axis: step, name: value})

    def file(self, path: Path) -> None:
        """Record a figure as a picture, and another file as an artifact."""
        import wandb

        if path.suffix == ".png":
            self._run.log({f"plots/{path.stem}": wandb.Image(str(path))})
        else:
            self._run.log_artifact(str(path), name=f"{self._run.id}-{path.name}", type="report")

    def close(self, whole: bool) -> None:
        """End the run, with the exit code that says whether it failed."""
        self._run.finish(exit_code=0 if whole else 1)


start = WandbTracker
