"""Several trackers as one: one that cannot begin is an error, one that fails later costs a warning only."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec

from gpu_ssl import catalog
from gpu_ssl.errors import UsageError
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
        If one is not installed or cannot begin.
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
        """Names of the trackers that began and have not failed."""
        return tuple(self._started)

    def tell(self, message: Callable[[Tracker], None]) -> None:
        """Call each tracker; one that raises is warned of once, and left out from then on."""
        for name, tracker in list(self._started.items()):
            try:
                message(tracker)
            except Exception as error:  # of their libraries and servers, whatever it is
                del self._started[name]
                logger.info("", exc_info=True)
                logger.warning(
                    "gpu-ssl: warning: %s does not take the run (%s); it goes on without, and its results "
                    "are in %s",
                    *(name, reason_of(error), self._run.folder),
                )
                with suppress(Exception):
                    tracker.close(False)

    def close(self, whole: bool) -> list[str]:
        """End the run, and return for each tracker its name and where the run is."""
        places = [(name, f"{name}: {tracker.where}") for name, tracker in self._started.items()]
        self.tell(lambda tracker: tracker.close(whole))
        return [place for name, place in places if name in self._started]


def _start(name: str, run: TrackedRun) -> Tracker:
    spec = catalog.tracker(name)
    found = find_spec(spec.package)
    if found is None or found.origin is None:  # A mere folder of that name is no package.
        raise UsageError(
            f"`track={name}` needs {spec.package}, which is not installed; do: pip install 'gpu-ssl[{name}]'"
        )
    try:
        tracker: Tracker = catalog.load_module(spec).start(run)
    except Exception as error:
        raise UsageError(f"`track={name}`: {reason_of(error)}") from error
    return tracker


@contextmanager
def tracked(run: TrackedRun, names: Sequence[str], told: Callable[[str], None]) -> Iterator[Trackers]:
    """Begin a run with each of the trackers `names`, and end it with the block, as failed if that raises.

    Parameters
    ----------
    run : TrackedRun
        The run.
    names : sequence of str
        Trackers in the catalog.
    told : callable
        Takes a line for each tracker that has the run, with where it is.

    Raises
    ------
    UsageError
        If one is not installed or cannot begin.
    """
    trackers = Trackers(run, names)
    try:
        yield trackers
    except BaseException:
        trackers.close(False)
        raise
    for place in trackers.close(True):
        told(f"sent to {place}")
