"""What the background tells the pages, and how its work shows how far it is."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from gpu_ssl.fitted.records import Estimate, SuspectLabel
from gpu_ssl.runtime.progress import Advance


class Point(NamedTuple):
    """What was expected of a model fitted to so many labels."""

    labels: int
    accuracy: float
    low: float
    high: float


@dataclass
class Status:
    """What a page tells of the background.

    Attributes
    ----------
    working : str
        What is being done, empty where nothing is; `done` is the share of it.
    training : str
        The same of the encoder that is trained meanwhile, with `trained`.
    problem : str
        Why the last fit or write has failed, empty where it has not.
    version : int
        Number of models so far.
    method, encoder, seconds, labels
        Of the last model: how it was made, how long that took, and of how many labels.
    points : list of Point
        The estimates so far.
    estimate : Estimate or None
        The last one.
    suspects : tuple of SuspectLabel
        Labels that look wrong.
    written : str
        Folder of the model that was written last.
    """

    working: str = ""
    done: float = 0.0
    training: str = ""
    trained: float = 0.0
    problem: str = ""
    version: int = 0
    method: str = ""
    encoder: str = ""
    seconds: float = 0.0
    labels: int = 0
    points: list[Point] = field(default_factory=list)
    estimate: Estimate | None = None
    suspects: tuple[SuspectLabel, ...] = ()
    written: str = ""


class StoppedError(Exception):
    """Ends work in the background when the program ends."""


class Watched:
    """Shows the progress of work in a status, and ends the work when the program ends.

    Parameters
    ----------
    status : Status
        Where to show it.
    check : callable
        Called at each step; raises `StoppedError` when the program ends.
    name, share : str
        Attributes of the status that take the description of the work, and the share that is done.
    """

    def __init__(self, status: Status, check: Callable[[], None], name: str, share: str) -> None:
        self._status, self._check, self._name, self._share = status, check, name, share

    @contextmanager
    def task(self, description: str, total: int, done: int = 0) -> Iterator[Advance]:
        """Show a task for as long as the block runs."""
        before, so_far = getattr(self._status, self._name), float(done)
        setattr(self._status, self._name, description)

        def advance(note: str, steps: float = 1) -> None:
            nonlocal so_far
            so_far += steps
            setattr(self._status, self._share, min(1.0, so_far / max(total, 1)))
            self._check()

        try:
            yield advance
        finally:
            setattr(self._status, self._name, before)
