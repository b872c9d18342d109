"""The shared state of the pages of ``gpu-ssl label``: images, labels, the queue and the models."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Final

import numpy as np

from gpu_ssl.config import FitConfig
from gpu_ssl.data.labels import clean, is_no_label, unify_numbers
from gpu_ssl.data.names import AmbiguousNameError, NameIndex
from gpu_ssl.data.own import OwnImages
from gpu_ssl.data.positions import Positions
from gpu_ssl.data.problems import printable
from gpu_ssl.errors import UsageError
from gpu_ssl.fitted.fitting import Fit
from gpu_ssl.fitted.model import FittedModel
from gpu_ssl.label.displayed import DisplayedImages
from gpu_ssl.label.learner import Learner
from gpu_ssl.label.queue import Queue
from gpu_ssl.label.store import NONE_OF_THESE, LabelStore, names_of

MOST_AT_ONCE: Final = 500
"""Maximum number of images per request."""

LONGEST_NAME: Final = 200
"""Maximum length of the name of a class."""

UNDONE: Final = 1000
"""Number of steps that can be undone."""


@dataclass(frozen=True)
class _Step:
    """Labels set by a page, and the previous ones."""

    page: str
    before: dict[int, str | None]
    after: dict[int, str | None]


class Session:
    """All actions of a page. Thread-safe.

    Parameters
    ----------
    images : OwnImages
        The images.
    place : Path
        Folder or file of the images.
    labels : Path
        The label file.
    classes : sequence of str
        Initial classes.
    config : FitConfig
        Settings of the saved model.
    write : callable
        Writes a model from a fit and the labelled images; returns its folder.
    model : FittedModel, optional
        An initial model of the same images.
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
        self.displayed = DisplayedImages(images)
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
    def digest(self) -> str:
        """A name of these images in addresses: others have another one."""
        return self.images.sha256[:16]

    @property
    def _by_position(self) -> bool:
        return isinstance(self.images.names, Positions)

    def _finder(self) -> Callable[[str], tuple[str, ...]]:
        index: list[NameIndex] = []

        def find(written: str) -> tuple[str, ...]:
            if not index:  # slow with many images, and most files need none
                index.append(self.images.index(self.place))
            with suppress(AmbiguousNameError):
                return index[0].find(written)
            return ()

        return find

    def _of_classes(self) -> dict[str, str]:
        """Return the labels of readable images that name a class."""
        return {name: label for name, label in self.store.labels().items() if not is_no_label(label)}

    def row_of(self, name: str) -> int:
        """Return the number of an image."""
        return int(name) if self._by_position else self._rows[name]

    def said(self) -> dict[int, str]:
        """Return all labels by image, including `NONE_OF_THESE`."""
        return {self.row_of(name): label for name, label in self.store.labels().items()}

    def describe(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Return what a page shows of images: their labels, and the predictions of the model."""
        said = self.said()
        predictions = self.learner.predictions(np.array(rows, np.int64)) or [("", 0.0)] * len(rows)
        return [
            {
                "number": row,
                "name": printable(self.images.names[row]),
                "label": said.get(row),
                "prediction": prediction,
                "confidence": round(confidence, 4),
            }
            for row, (prediction, confidence) in zip(rows, predictions, strict=True)
        ]

    def next(self, count: int, page: str) -> list[dict[str, Any]]:
        """Return the images to label next."""
        return self.describe(self.queue.take(min(count, MOST_AT_ONCE), page, self.said()))

    def label(self, page: str, labels: Mapping[int, str | None]) -> None:
        """Write labels; they are on disk when this returns.

        Parameters
        ----------
        page : str
            Identifier of the page.
        labels : mapping of int to str or None
            A class or `NONE_OF_THESE` by the number of an image; None removes a label.
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
        """Undo the last labels of a page unless another has changed them since; return the images."""
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
        """Do not show images again until all others were shown, or the program is restarted."""
        self.queue.skip(self.checked(row) for row in rows)

    def add_class(self, name: str) -> None:
        """Add a class."""
        with self._lock:
            self._classes[class_name(name)] = None

    def suspects(self) -> list[dict[str, Any]]:
        """Return labels that look wrong, the least likely first, without the confirmed ones."""
        rows = self._suspect_rows()
        found = {self.row_of(own.path): own for own in self.learner.status.suspects}
        return [
            {**shown, "prediction": found[row].suggested, "confidence": round(found[row].confidence, 4)}
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
        """Confirm labels that look wrong, until the program is restarted."""
        said = self.said()
        self._right |= {row: said[row] for row in map(self.checked, rows) if row in said}

    def labelled(self, label: str, start: int, count: int) -> list[dict[str, Any]]:
        """Return images with this label, at most `count`."""
        rows = sorted(row for row, own in self.said().items() if own == label)
        return self.describe(rows[start : start + min(count, MOST_AT_ONCE)])

    def write(self) -> None:
        """Request that a model is fitted and written.

        Raises
        ------
        UsageError
            If fewer than two classes have labels.
        """
        if len(set(self._of_classes().values())) < 2:
            raise UsageError("a model needs labels of at least two classes")
        self.learner.write()

    def state(self) -> dict[str, Any]:
        """Return the overall state that a page shows."""
        said = list(self.said().values())
        status = self.learner.status
        counts = dict.fromkeys(self._classes, 0)
        for label in said:
            if not is_no_label(label):
                counts[label] = counts.get(label, 0) + 1
        estimate = status.estimate
        return {
            "images": self.digest,
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
            "beginning": status.beginning,
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
        """Return a valid number of an image, or raise."""
        if not 0 <= row < len(self.images):
            raise UsageError(f"there is no image {row}")
        return row


def class_name(name: str) -> str:
    """Return the name of a class in its normal form.

    Raises
    ------
    UsageError
        If it is empty, stands for no label, is too long or has invisible characters.
    """
    name = clean(name)
    name = unify_numbers([name]).get(name, name)  # as it will be read again
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise UsageError(f"a class needs a name of 1 to {LONGEST_NAME} letters, in one line")
    if is_no_label(name):
        raise UsageError(f"{name!r} stands for no label and is not allowed as a class")
    return name
