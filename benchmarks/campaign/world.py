"""The data of tries: a few images and labels, and the undisturbed results."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from benchmarks.campaign.program import Done, Fault, run

FIT = (
    *("fit", "images", "--labels", "labels.csv", "--output", "model", "--method", "m1", "--epochs", "2"),
    *("--no-mirror", "--device", "cpu"),
)
RUN = (
    *("run", "--dataset", "digits", "--labels", "20", "--splits", "2", "--method", "m1", "--epochs", "2"),
    *("--no-baselines", "--no-plots", "--device", "cpu", "--output", "run"),
)
RESUME = ("run", "--resume", "run")
PREDICT = ("predict", "model", "test", "--device", "cpu", "--output", "answers.csv")
ENCODE = ("encode", "hog", "images", "--device", "cpu", "--output", "z.npy")
SUGGEST = ("suggest", "images", "-n", "5", "--device", "cpu", "--output", "first.csv", "--sheet", "first.png")
CHECK = ("check", "images", "--labels", "labels.csv", "--json")

ERROR = re.compile(r"gpu-ssl: error: .+")
ESCAPES = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Control characters of terminals."""


@dataclass
class World:
    """A folder of input and of finished work, from which every try gets a copy.

    Parameters
    ----------
    root : Path
        An empty folder.
    """

    root: Path
    usual: dict[str, Any] = field(default_factory=dict)
    writes: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        base = self.root / "base"
        _make_input(base)
        with self.copy(base) as folder:
            for name, words, result in COMMANDS:
                done = run(folder, *words, fault=Fault(counts=True))
                if done.code != 0:
                    raise RuntimeError(f"{' '.join(words)} failed with nothing wrong: {done.stderr}")
                self.usual[name], self.writes[name] = result(folder, done), done.writes
            for name in ("model", "cache", "run"):
                shutil.copytree(folder / name, self.root / "made" / name)
        for name, words, there, missing in (
            ("run", RUN, "predictions", "report.json"),
            ("model", FIT, "checkpoint.json", "model.json"),
        ):
            self._keep_stopped(name, words, there, missing)

    def _keep_stopped(self, name: str, words: tuple[str, ...], there: str, missing: str) -> None:
        """Keep the folder of a command that was killed when one file was there, and another was not."""
        for at in range(self.writes[words[0]] - 2, 0, -3):
            with self.copy() as folder:
                run(folder, *words, fault=Fault(at=at))
                if (folder / name / there).exists() and not (folder / name / missing).exists():
                    shutil.copytree(folder / name, self.root / "made" / f"stopped-{name}")
                    return
        raise RuntimeError(f"{' '.join(words)} could not be stopped")

    @contextmanager
    def copy(self, base: Path | None = None, *made: str, place: Path | None = None) -> Iterator[Path]:
        """Yield a temporary copy of the input, and of finished work."""
        folder = (place or self.root) / f"try-{os.urandom(6).hex()}"
        shutil.copytree(base or self.root / "base", folder, copy_function=shutil.copy2)
        for name in made:
            shutil.copytree(self.root / "made" / name, folder / name.removeprefix("stopped-"))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _make_input(base: Path) -> None:
    digits = load_digits()
    lines = ["path,label"]
    for folder, first, count in (("images", 0, 60), ("test", 100, 12)):
        (base / folder).mkdir(parents=True)
        for i in range(count):
            path = base / folder / f"{i:03d}.png"
            Image.fromarray((digits.images[first + i] * 15).astype(np.uint8)).save(path)
            os.utime(path, ns=(10**18, 10**18))  # which decides where pixels are kept
            if folder == "images" and i < 40:
                lines.append(f"{i:03d}.png,{'odd' if digits.target[i] % 2 else 'even'}")
    (base / "images" / "broken.png").write_bytes(b"no image")
    (base / "labels.csv").write_text("\n".join(lines) + "\n")
    rows = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float16)
    np.save(base / "z16.npy", rows)


def model_of(folder: Path, done: Done) -> Any:
    """Return a model without times, and unexpected files."""
    told = json.loads((folder / "model" / "model.json").read_text())
    for name in ("created", "environment", "sha256"):
        told.pop(name, None)
    for epoch in (told["training"] or {}).get("history", ()):
        epoch.pop("seconds")
    return told, leftovers(folder)


def report_of(folder: Path, done: Done) -> Any:
    """Return a report without times, and unexpected files."""
    told = json.loads((folder / "run" / "report.json").read_text())
    for name in ("started", "environment", "sha256", "timings"):
        told.pop(name, None)
    for result in told["results"]:
        result.pop("seconds")
    for epoch in (told["training"] or {}).get("history", ()):
        epoch.pop("seconds")
    return told, leftovers(folder)


def files_of(*names: str) -> Any:
    """Return a function that computes hashes of files, and finds unexpected files."""

    def result(folder: Path, done: Done) -> Any:
        found = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
        return found, leftovers(folder)

    return result


def said(folder: Path, done: Done) -> Any:
    """Return what was printed."""
    return done.stdout.replace(folder.name, "FOLDER"), leftovers(folder)


def leftovers(folder: Path) -> list[str]:
    """Return files that a finished command must not leave: partly written ones, and checkpoints."""
    found = (path.relative_to(folder) for path in folder.rglob("*"))
    return sorted(str(path) for path in found if path.name.startswith((".", "checkpoint")))


COMMANDS = (
    ("fit", FIT, model_of),
    ("predict", PREDICT, files_of("answers.csv")),
    ("run", RUN, report_of),
    ("encode", ENCODE, files_of("z.npy", "z.paths.txt")),
    ("suggest", SUGGEST, files_of("first.csv")),
    ("check", CHECK, said),
)
"""Commands by name, with what to compare of their results."""


def complaint(done: Done, *allowed: int) -> str | None:
    """Return what is wrong with the exit of a process that may have one of several codes, or None."""
    if done.code is None:
        return "it hangs"
    if "Traceback" in done.stderr or "unexpected error" in done.stderr:
        return f"a traceback: {done.stderr[-600:]}"
    if done.code not in allowed:
        return f"exit code {done.code}: {done.stderr[-300:]}"
    if ESCAPES.search(done.stdout + done.stderr):
        return f"letters that a terminal obeys: {(done.stdout + done.stderr)[:300]!r}"
    errors = [line for line in done.stderr.splitlines() if line.startswith("gpu-ssl: error: ")]
    if done.code in (1, 2) and len(errors) != 1:
        return f"{len(errors)} lines of error: {done.stderr[-300:]!r}"
    return None


def differs(world: World, name: str, folder: Path, done: Done) -> str | None:
    """Return how the result of a command differs from the undisturbed one, or None."""
    result = next(result for own, _, result in COMMANDS if own == name)
    found = json.loads(json.dumps(result(folder, done)))
    usual = json.loads(json.dumps(world.usual[name]))
    if found == usual:
        return None
    if found[1] != usual[1]:
        return f"left behind: {found[1]}"
    if isinstance(found[0], dict):
        names = [key for key in usual[0] | found[0] if usual[0].get(key) != found[0].get(key)]
        return f"another result of {name}: {', '.join(names)}"
    return f"another result of {name}"
