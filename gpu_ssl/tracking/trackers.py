"""Several trackers as one: failing to start is an error, failing later only a warning."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec

from gpu_ssl import catalog
from gpu_ssl.errors import UsageError
from gpu_ssl.runtime.optional import install_advice
from gpu_ssl.runtime.state import reason_of
from gpu_ssl.tracking.tracker import TrackedRun, Tracker

logger = logging.getLogger(__name__)


class Trackers:
    """The trackers of one run.

    Parameters
    ----------
    run : TrackedRun
        The run.
    names : sequence of str
        Trackers in the catalog.

    Raises
    ------
    UsageError
        If one is not installed or cannot start.
    """

    def __init__(self, run: TrackedRun, names: Sequence[str] = ()) -> None:
        self._run = run
        self._started: dict[str, Tracker] = {}
        try:
            for name in dict.fromkeys(names):
                self._started[name] = _start(name, run)
        except BaseException:
            self.close(False)
            raise

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the trackers that have started and not failed."""
        return tuple(self._started)

    def each(self, message: Callable[[Tracker], None]) -> None:
        """Call a function with each tracker; one that raises is logged and dropped."""
        for name, tracker in list(self._started.items()):
            try:
                message(tracker)
            except Exception as error:  # any error of their libraries and servers
                del self._started[name]
                logger.info("", exc_info=True)
                logger.warning(
                    "gpu-ssl: warning: %s failed (%s); the run continues without it, with results in %s",
                    *(name, reason_of(error), self._run.folder),
                )
                with suppress(Exception):
                    tracker.close(False)

    def close(self, whole: bool) -> list[str]:
        """End the run, and return the name of each tracker with the location of the run."""
        places = [(name, f"{name}: {tracker.where}") for name, tracker in self._started.items()]
        self.each(lambda tracker: tracker.close(whole))
        return [place for name, place in places if name in self._started]


def _start(name: str, run: TrackedRun) -> Tracker:
    spec = catalog.tracker(name)
    found = find_spec(spec.package)
    if found is None or found.origin is None:  # A folder of that name is not the package.
        raise UsageError(
            f"`track={name}` needs {spec.package}, which is not installed; {install_advice(name)}"
        )
    try:
        tracker: Tracker = catalog.load_module(spec).start(run)
    except Exception as error:
        raise UsageError(f"`track={name}`: {reason_of(error)}") from error
    return tracker


@contextmanager
def tracked(run: TrackedRun, names: Sequence[str], told: Callable[[str], None]) -> Iterator[Trackers]:
    """Start a run with each of the trackers `names`; it ends with the block, as failed if that raises.

    Parameters
    ----------
    run : TrackedRun
        The run.
    names : sequence of str
        Trackers in the catalog.
    told : callable
        Called with a line for each tracker that has the run, with its location.

    Raises
    ------
    UsageError
        If one is not installed or cannot start.
    """
    trackers = Trackers(run, names)
    try:
        yield trackers
    except BaseException as error:
        # If only stdout has been closed, the run is finished.
        trackers.close(isinstance(error, BrokenPipeError))
        raise
    for place in trackers.close(True):
        told(f"sent to {place}")
