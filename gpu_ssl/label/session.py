"""What the pages of one ``gpu-ssl label`` share: pictures, labels, the queue and the models."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Final

import numpy as np

from gpu_ssl.config import FitConfig
from gpu_ssl.data.labels import clean, is_no_label
from gpu_ssl.data.names import AmbiguousNameError, NameIndex
from gpu_ssl.data.own import OwnImages
from gpu_ssl.data.positions import Positions
from gpu_ssl.data.problems import printable
from gpu_ssl.errors import UsageError
from gpu_ssl.fitted.fitting import Fit
from gpu_ssl.fitted.model import FittedModel
from gpu_ssl.label.learner import Learner
from gpu_ssl.label.pictures import Pictures
from gpu_ssl.label.queue import Queue
from gpu_ssl.label.store import NONE_OF_THESE, LabelStore, names_of

MOST_AT_ONCE: Final = 500
"""Pictures that a page may ask for, or label, at once."""

LONGEST_NAME: Final = 200
"""Letters of the name of a class."""

UNDONE: Final = 1000
"""Steps that can be undone."""


@dataclass(frozen=True)
class _Step:
    """What a page has said of some pictures, and what was said before."""

    page: str
    before: dict[int, str | None]
    after: dict[int, str | None]


class Session:
    """All that a page can ask for, and do. Safe to call from several threads.

    Parameters
    ----------
    images : OwnImages
        The images.
    place : Path
        Folder or file that they lie in.
    labels : Path
        The file of labels.
    classes : sequence of str
        Classes to begin with.
    config : FitConfig
        Settings of the model that is written.
    write : callable
        Takes a fit and the images with their labels, and writes a model; returns its folder.
    model : FittedModel, optional
        A model of the same images to begin with.
    """

    def __init__(
        self,
        images: OwnImages,
        place: Path,
        labels: Path,
        classes: Sequence[str],
        config: FitConfig,
        write: Callable[[Fit, OwnImages], Path],
        model: FittedModel | None = None,
    ) -> None:
        self.images, self.place = images, place
        self.pictures = Pictures(images)
        self.store = LabelStore(labels, names_of(images.names, self._finder()))
        self.queue = Queue(len(images), config.seed)
        self.learner = Learner(images, config, self._of_classes, self.queue.suggest, write, model)
        self._rows = {name: row for row, name in enumerate(images.names)} if not self._by_position else {}
        self._lock = Lock()
        self._steps: list[_Step] = []
        self._right: dict[int, str] = {}
        self._classes = dict.fromkeys(class_name(name) for name in classes)
        self._classes |= dict.fromkeys(model.class_names if model is not None else ())
        self._classes |= dict.fromkeys(sorted(set(self._of_classes().values())))

    @property
    def _by_position(self) -> bool:
        return isinstance(self.images.names, Positions)

    def _finder(self) -> Callable[[str], str | None]:
        index: list[NameIndex] = []

        def find(written: str) -> str | None:
            if not index:  # takes a while with many images, and most files need none
                index.append(NameIndex(self.images.names, self.place))
            with suppress(AmbiguousNameError):
                return next(iter(index[0].find(written)), None)
            return None

        return find

    def _of_classes(self) -> dict[str, str]:
        """Return the labels that name a class, of pictures that can be read."""
        return {name: label for name, label in self.store.labels().items() if not is_no_label(label)}

    def row_of(self, name: str) -> int:
        """Return the number of a picture."""
        return int(name) if self._by_position else self._rows[name]

    def said(self) -> dict[int, str]:
        """Return what was said of which picture, `NONE_OF_THESE` among it."""
        return {self.row_of(name): label for name, label in self.store.labels().items()}

    def describe(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Return what a page shows of pictures: what was said of them, and what the model takes them for."""
        said = self.said()
        guesses = self.learner.guesses(np.array(rows, np.int64)) or [("", 0.0)] * len(rows)
        return [
            {
                "number": row,
                "name": printable(self.images.names[row]),
                "label": said.get(row),
                "guess": guess,
                "confidence": round(confidence, 4),
            }
            for row, (guess, confidence) in zip(rows, guesses, strict=True)
        ]

    def next(self, count: int, page: str) -> list[dict[str, Any]]:
        """Return pictures to label next."""
        return self.describe(self.queue.take(min(count, MOST_AT_ONCE), page, self.said()))

    def label(self, page: str, labels: Mapping[int, str | None]) -> None:
        """Write what was said of pictures: it is on disk when this returns.

        Parameters
        ----------
        page : str
            Who says so.
        labels : mapping of int to str or None
            A class or `NONE_OF_THESE` by the number of a picture; None takes a label back.
        """
        given = {
            self.checked(row): label if label in (None, NONE_OF_THESE) else class_name(str(label))
            for row, label in labels.items()
        }
        with self._lock:
            before = self._put(given)
            self._steps = [*self._steps, _Step(page, before, given)][-UNDONE:]
            self._classes |= dict.fromkeys(name for name in given.values() if name and name != NONE_OF_THESE)
            self.queue.first(row for row, label in given.items() if label is None)

    def _put(self, labels: Mapping[int, str | None]) -> dict[int, str | None]:
        before = self.store.put({self.images.names[row]: label for row, label in labels.items()})
        self.learner.changed(len(labels))
        return {row: before[self.images.names[row]] for row in labels}

    def undo(self, page: str) -> list[int]:
        """Take back what a page has said last, where no other has changed it since; return the pictures."""
        with self._lock:
            step = next((step for step in reversed(self._steps) if step.page == page), None)
            if step is None:
                return []
            self._steps.remove(step)
            now = self.said()
            back = {row: step.before[row] for row, label in step.after.items() if now.get(row) == label}
            self._put(back)
            self.queue.first(row for row, label in back.items() if label is None)
            return list(back)

    def skip(self, rows: Sequence[int]) -> None:
        """Show pictures no more until all others were shown, or the program is started again."""
        self.queue.skip(self.checked(row) for row in rows)

    def add_class(self, name: str) -> None:
        """Add a class."""
        with self._lock:
            self._classes[class_name(name)] = None

    def suspects(self) -> list[dict[str, Any]]:
        """Return labels that look wrong, the least likely first, but those that were said to be right."""
        rows = self._suspect_rows()
        found = {self.row_of(own.path): own for own in self.learner.status.suspects}
        return [
            {**shown, "guess": found[row].suggested, "confidence": round(found[row].confidence, 4)}
            for row, shown in zip(rows, self.describe(rows), strict=True)
        ]

    def _suspect_rows(self) -> list[int]:
        said = self.said()
        return [
            row
            for own in self.learner.status.suspects
            if said.get(row := self.row_of(own.path)) == own.label and self._right.get(row) != own.label
        ]

    def keep(self, rows: Sequence[int]) -> None:
        """Take labels that look wrong for right, until the program is started again."""
        said = self.said()
        self._right |= {row: said[row] for row in map(self.checked, rows) if row in said}

    def labelled(self, label: str, start: int, count: int) -> list[dict[str, Any]]:
        """Return pictures of which this was said, some of many."""
        rows = sorted(row for row, own in self.said().items() if own == label)
        return self.describe(rows[start : start + min(count, MOST_AT_ONCE)])

    def write(self) -> None:
        """Let a model be fitted and written.

        Raises
        ------
        UsageError
            If there are fewer than two classes with a label.
        """
        if len(set(self._of_classes().values())) < 2:
            raise UsageError("a model needs labels of at least two classes")
        self.learner.write()

    def state(self) -> dict[str, Any]:
        """Return what a page shows of the whole."""
        said = list(self.said().values())
        status = self.learner.status
        counts = dict.fromkeys(self._classes, 0)
        for label in said:
            if not is_no_label(label):
                counts[label] = counts.get(label, 0) + 1
        estimate = status.estimate
        return {
            "data": printable(str(self.place)),
            "file": printable(str(self.store.path)),
            "total": len(self.images),
            "labelled": sum(counts.values()),
            "none": sum(label == NONE_OF_THESE for label in said),
            "classes": [{"name": name, "count": count} for name, count in counts.items()],
            "estimate": None
            if estimate is None
            else {"accuracy": estimate.accuracy, "low": estimate.low, "high": estimate.high},
            "points": [point._asdict() for point in status.points],
            "working": status.working,
            "done": status.done,
            "training": status.training,
            "trained": status.trained,
            "problem": status.problem,
            "version": status.version,
            "method": status.method,
            "encoder": status.encoder,
            "seconds": round(status.seconds, 1),
            "of": status.labels,
            "suspects": len(self._suspect_rows()),
            "writing": self.learner.writing,
            "written": printable(status.written),
        }

    def checked(self, row: int) -> int:
        """Return the number of a picture; refuse one of none."""
        if not 0 <= row < len(self.images):
            raise UsageError(f"there is no picture {row}")
        return row


def class_name(name: str) -> str:
    """Return the name of a class as it is written.

    Raises
    ------
    UsageError
        If it is none: empty, a word for no label, too long, or with signs that cannot be seen.
    """
    name = clean(name)
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise UsageError(f"a class needs a name of 1 to {LONGEST_NAME} letters, in one line")
    if is_no_label(name):
        raise UsageError(f"{name!r} means that there is no label, and can be no class")
    return name
