"""The status of background work that the pages show, and its progress."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from gpu_ssl.errors import GpuSslError
from gpu_ssl.fitted.records import Estimate, SuspectLabel
from gpu_ssl.runtime.progress import Advance


class Point(NamedTuple):
    """The estimated accuracy of a model, and its number of labels."""

    labels: int
    accuracy: float
    low: float
    high: float


@dataclass
class Status:
    """The status of background work.

    Attributes
    ----------
    working : str
        The current work, empty when idle; `done` is the finished share of it.
    beginning : bool
        Whether the first images are being chosen.
    training : str
        The same for the training of the encoder, with `trained`.
    problem : str
        Why the last fit or write failed, or empty.
    version : int
        Number of models so far.
    method, encoder, seconds, labels
        Method, encoder, fit time and number of labels of the last model.
    points : list of Point
        The estimates so far.
    estimate : Estimate or None
        The last estimate.
    suspects : tuple of SuspectLabel
        Labels that look wrong.
    written : str
        Folder of the last saved model.
    """

    working: str = ""
    done: float = 0.0
    beginning: bool = False
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

    @contextmanager
    def doing(self, what: str) -> Iterator[None]:
        """Show what is being done during the block."""
        self.working, self.done = what, 0.0
        try:
            yield
        finally:
            self.working = ""

    @contextmanager
    def telling(self) -> Iterator[None]:
        """Show an error of the block, such as that of a damaged label file, and go on."""
        try:
            yield
        except GpuSslError as error:
            self.problem = " ".join(str(error).split())
        finally:
            self.working = ""


class StoppedError(Exception):
    """Ends background work when the program ends."""


class Watched:
    """Shows the progress of work in a status, and ends the work when the program ends.

    Parameters
    ----------
    status : Status
        The status to update.
    check : callable
        Called at each step; raises `StoppedError` when the program ends.
    name, share : str
        Attributes of the status for the description of the work, and for its finished share.
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
