"""The interface of experiment trackers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Protocol

Value = str | int | float | bool

PROJECT: Final = "gpu-ssl"
"""Default experiment or project, unless the tracker's own environment variables name another."""


class TrackedRun(NamedTuple):
    """The run that a tracker is started for.

    Parameters
    ----------
    name : str
        Name of the run.
    folder : Path
        Folder of the run, which may not exist yet.
    group : str
        Name of the group of runs, such as a sweep; may be empty.
    """

    name: str
    folder: Path
    group: str = ""


class Tracker(Protocol):
    """One run of an experiment tracker. Any call may raise what the tracker's library raises."""

    @property
    def where(self) -> str:
        """Location of the run, for users."""
        ...

    def settings(self, values: Mapping[str, Value]) -> None:
        """Record settings, hardware and versions by name."""
        ...

    def metrics(self, values: Mapping[str, float]) -> None:
        """Record results by name."""
        ...

    def curve(self, name: str, axis: str, points: Sequence[tuple[int, float]]) -> None:
        """Record a learning curve: values over an axis such as ``step`` or ``epoch``."""
        ...

    def file(self, path: Path) -> None:
        """Record a file. Those that end in ``.png`` are figures."""
        ...

    def close(self, whole: bool) -> None:
        """End the run; `whole` says whether it was successful."""
        ...
