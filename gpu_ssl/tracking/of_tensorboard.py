"""TensorBoard: event files in the folder ``tensorboard`` of a run."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image

from gpu_ssl.tracking.tracker import TrackedRun, Value

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

FOLDER: Final = "tensorboard"


class TensorBoardTracker:
    """Event files; the first is made when there is something to write, so that failed runs leave none."""

    def __init__(self, run: TrackedRun) -> None:
        import torch.utils.tensorboard  # noqa: F401 - whether it can be

        self._folder = run.folder / FOLDER
        self._settings: dict[str, Value] = {}
        self._metrics: dict[str, float] = {}

    @property
    def where(self) -> str:
        """Folder of the event files."""
        return str(self._folder)

    @cached_property
    def _writer(self) -> "SummaryWriter":
        from torch.utils.tensorboard import SummaryWriter

        for old in self._folder.glob("events.out.tfevents.*"):  # of the same run, sent before
            old.unlink()
        return SummaryWriter(self._folder)

    def settings(self, values: Mapping[str, Value]) -> None:
        """Keep settings for the table of hyperparameters, which needs the metrics, too."""
        self._settings |= values

    def metrics(self, values: Mapping[str, float]) -> None:
        """Keep metrics for the table of hyperparameters, which writes them as scalars of step 0."""
        self._metrics |= values

    def curve(self, name: str, axis: str, points: Sequence[tuple[int, float]]) -> None:
        """Record a curve as scalars; TensorBoard calls every axis a step."""
        for step, value in points:
            self._writer.add_scalar(name, value, step)

    def file(self, path: Path) -> None:
        """Record a figure; other files lie beside the folder, as TensorBoard has no place for them."""
        if path.suffix == ".png":
            with Image.open(path) as figure:
                pixels = np.asarray(figure.convert("RGB"))
            self._writer.add_image(f"plots/{path.stem}", pixels, dataformats="HWC")

    def close(self, whole: bool) -> None:
        """Write the table of hyperparameters, and end the event file."""
        if self._settings or self._metrics:
            self._writer.add_hparams(self._settings, self._metrics, run_name=".")
            self._writer.close()


start = TensorBoardTracker
