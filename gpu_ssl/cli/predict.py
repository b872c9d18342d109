"""``gpu-ssl predict``: images in; classes, confidence and a score for what the model has never seen out."""

import csv
import json
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click
import numpy as np

from gpu_ssl.errors import DataError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gpu_ssl.data.decoding import ImageShape
    from gpu_ssl.fitted.model import Answers
    from gpu_ssl.fitted.records import ModelRecord

COLUMNS = ("path", "label", "confidence", "second_label", "ood_score")
BLOCK = 1024
"""Images that are in memory at a time."""

LISTED = 20


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("data", type=click.Path(path_type=Path, allow_dash=True))
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Where the answers go; written whole or not at all.  [default: stdout]",
)
@click.option(
    "--format",
    "kind",
    type=click.Choice(["csv", "jsonl"]),
    help="CSV with a header, or a JSON object a line.  [default: by the name of --output; csv]",
)
@click.option(
    "--device", default="auto", show_default=True, metavar="DEVICE", help="auto, cpu, cuda or cuda:N."
)
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
def command(model: Path, data: Path, output: Path | None, kind: str | None, device: str, quiet: bool) -> None:
    """Name the classes of images by a model that gpu-ssl fit made.

    DATA is a folder of images, one image, an .npy or .npz file, or - for paths on stdin, one a line. A
    million images take no more memory than a thousand, but for their names.

    confidence is the probability of the label, calibrated on the labelled images. ood_score tells how
    unlike an image is to all that the model has learned from: above 1 more than one training image in twenty.

    \b
      gpu-ssl predict model photos > answers.csv
      find . -name '*.jpg' | gpu-ssl predict model - --format jsonl
    """
    from gpu_ssl.cli.display import make_progress
    from gpu_ssl.fitted.storage import load

    fitted, record = load(model, device)
    source = _Source(data, record.image_shape)
    kind = kind or ("jsonl" if output is not None and output.suffix in (".jsonl", ".ndjson") else "csv")
    seen = 0
    with _opened(output) as file, make_progress(quiet).task("predict", source.total or 0) as advance:
        write = _writer(kind, file)
        for names, images in source:
            seen += _known(images, record)
            _write_answers(write, names, fitted.predict(images), record)
            advance("", len(names))
        _tell_of_trouble(source, seen)
        if not source.n_read:
            raise DataError(f"there was no readable image in {data}")


@contextmanager
def _opened(output: Path | None) -> Iterator[TextIO]:
    """Give stdout, or a file that is there when the block has ended well."""
    from gpu_ssl.runtime.files import atomic_path

    if output is None:
        yield sys.stdout
        return
    with (
        atomic_path(output) as path,
        path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        # File names need not be UTF-8; they go out as they came in.
        yield file


class _Source:
    """Blocks of names and images, and what could not be read."""

    def __init__(self, data: Path, shape: "ImageShape") -> None:
        self.data, self.shape = data, shape
        self.skipped: list[str] = []
        self.n_skipped = self.n_read = 0
        self.total: int | None = None
        self._blocks = self._open()

    def __iter__(self) -> Iterator[tuple[list[str], "NDArray[np.uint8]"]]:
        for names, images in self._blocks:
            self.n_read += len(names)
            yield names, images

    def _open(self) -> Iterator[tuple[list[str], "NDArray[np.uint8]"]]:
        from gpu_ssl.data.decoding import suffixes
        from gpu_ssl.data.own import find_images

        if str(self.data) == "-":
            lines = (os.fsdecode(line.rstrip(b"\n")) for line in sys.stdin.buffer)
            return self._files((line, Path(line)) for line in lines if line)
        if self.data.is_dir():
            found = find_images(self.data)
            self.total = len(found)
            return self._files((name, self.data / name) for name in found)
        if not self.data.is_file():
            raise UsageError(f"{self.data} does not exist; give a folder of images, a file, or - for stdin")
        if self.data.suffix.lower() in suffixes():
            self.total = 1
            return self._files([(str(self.data), self.data)])
        return self._array()

    def _array(self) -> Iterator[tuple[list[str], "NDArray[np.uint8]"]]:
        from gpu_ssl.data.own import read_arrays

        images, _ = read_arrays(self.data)
        self.total = len(images)
        if images.shape[1:] != self.shape:
            raise UsageError(
                f"{self.data} holds images of shape {images.shape[1:]}; the model takes {self.shape}"
            )
        return (
            ([str(i) for i in range(start, min(start + BLOCK, len(images)))], images[start : start + BLOCK])
            for start in range(0, len(images), BLOCK)
        )

    def _files(self, files: Iterable[tuple[str, Path]]) -> Iterator[tuple[list[str], "NDArray[np.uint8]"]]:
        from gpu_ssl.data.decoding import decode_all

        waiting: deque[str] = deque()

        def paths() -> Iterator[Path]:
            for name, path in files:
                waiting.append(name)
                yield path

        decoded = (pair for pairs in decode_all(paths(), self.shape) for pair in pairs)
        while block := [(waiting.popleft(), pixels) for _, pixels in islice(decoded, BLOCK)]:
            good = [(name, pixels) for name, pixels in block if not isinstance(pixels, DataError)]
            for name, problem in block:
                if isinstance(problem, DataError):
                    self._skip(name, problem)
            if good:
                yield [name for name, _ in good], np.stack([pixels for _, pixels in good])

    def _skip(self, name: str, problem: DataError) -> None:
        self.n_skipped += 1
        if len(self.skipped) < LISTED:
            self.skipped.append(f"{name}: {problem}")


Write = Callable[[dict[str, Any]], Any]


def _writer(kind: str, file: TextIO) -> Write:
    if kind == "jsonl":
        return lambda row: file.write(json.dumps(row) + "\n")
    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    writer.writeheader()
    return writer.writerow


def _write_answers(write: Write, names: list[str], answers: "Answers", record: "ModelRecord") -> None:
    order = np.argsort(-answers.probabilities, axis=1, kind="stable")
    rows = np.arange(len(names))
    second = np.where(order[:, 0] == answers.classes, order[:, 1], order[:, 0])
    confidences = answers.probabilities[rows, answers.classes]
    for i, name in enumerate(names):
        write(
            {
                "path": name,
                "label": record.class_names[answers.classes[i]],
                "confidence": round(float(confidences[i]), 4),
                "second_label": record.class_names[second[i]],
                "ood_score": round(float(answers.ood_scores[i]), 3),
            }
        )


def _known(images: "NDArray[np.uint8]", record: "ModelRecord") -> int:
    """Count the images whose label the model was given."""
    from gpu_ssl.data.own import image_key

    keys = set(record.labelled_keys)
    return sum(image_key(image) in keys for image in images)


def _tell_of_trouble(source: _Source, seen: int) -> None:
    if source.n_skipped:
        click.echo(f"gpu-ssl: {source.n_skipped} files skipped, which are no readable images:", err=True)
        for line in source.skipped:
            click.echo(f"  {line}", err=True)
        if source.n_skipped > len(source.skipped):
            click.echo(f"  and {source.n_skipped - len(source.skipped)} more", err=True)
    if seen:
        click.echo(
            f"gpu-ssl: {seen} of these images carried a label when the model was fitted; leave them out to "
            "measure its accuracy",
            err=True,
        )
