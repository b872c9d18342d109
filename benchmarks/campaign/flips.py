"""Flipped bits and truncated, emptied or swapped files: refused in one line, or no difference."""

import os
import random
import shutil
from pathlib import Path

from benchmarks.campaign.program import run
from benchmarks.campaign.world import FIT, PREDICT, RESUME, World, complaint, differs

READ = (
    ("model", "model/*", "predict", PREDICT, ("model",)),
    ("checkpoint of a fit", "model/checkpoint*", "fit", FIT, ("stopped-model",)),
    ("checkpoint of a run", "run/checkpoint*", "run", RESUME, ("stopped-run",)),
    ("predictions", "run/predictions/*", "run", RESUME, ("stopped-run",)),
    ("classifiers", "run/classifiers/*", "run", RESUME, ("stopped-run",)),
    ("settings of a run", "run/config.json", "run", RESUME, ("stopped-run",)),
    ("report", "run/report.json", "run", RESUME, ("run",)),
    ("kept pixels", "cache/decoded/*", "fit", FIT, ("cache",)),
    ("kept encoders", "cache/encoders/*", "fit", FIT, ("cache",)),
)
"""Kinds of files, their place, and the command that reads them, with the finished work it needs."""

WRITTEN_FOR_PEOPLE = (".md", ".png", ".csv")
"""Files in a model's folder that no command reads."""


def flip(world: World, rng: random.Random, number: int) -> str | None:
    """Damage one file, and run the command that reads it."""
    kind, pattern, name, words, made = READ[number % len(READ)]
    with world.copy(None, *made) as folder:
        files = sorted(path for path in folder.glob(pattern) if path.suffix not in WRITTEN_FOR_PEOPLE)
        path = rng.choice(files)
        how = rng.choice((_bit, _bit, _bit, _bits, _cut, _longer, _emptied, _swapped, _another, _pipe, _gone))
        how(path, files, rng)
        done = run(folder, *words)
        what = f"{kind}, {path.name}, {how.__name__.strip('_')}"
        if (wrong := complaint(done, 0, 1, 2)) is not None:
            return f"{what}: {wrong}"
        if done.code == 0:
            wrong = differs(world, name, folder, done)
        elif path.is_relative_to(folder / "cache"):
            wrong = f"not made again: {done.stderr}"
        return wrong and f"{what}: {wrong}"


def _bit(path: Path, files: list[Path], rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    # Half of the flips in the first bytes, where the headers are.
    place = rng.randrange(min(len(content), 256) if rng.random() < 0.5 else len(content))
    content[place] ^= 1 << rng.randrange(8)
    _write(path, content)


def _bits(path: Path, files: list[Path], rng: random.Random) -> None:
    for _ in range(rng.randint(2, 20)):
        _bit(path, files, rng)


def _cut(path: Path, files: list[Path], rng: random.Random) -> None:
    os.truncate(path, rng.randrange(path.stat().st_size))


def _longer(path: Path, files: list[Path], rng: random.Random) -> None:
    _write(path, path.read_bytes() + rng.randbytes(rng.randint(1, 5000)))


def _emptied(path: Path, files: list[Path], rng: random.Random) -> None:
    _write(path, bytes(rng.choice((0, path.stat().st_size))))


def _swapped(path: Path, files: list[Path], rng: random.Random) -> None:
    """Swap it with another of its kind."""
    other = rng.choice([own for own in files if own.suffix == path.suffix])
    mine, theirs = path.read_bytes(), other.read_bytes()
    _write(path, theirs)
    _write(other, mine)


def _another(path: Path, files: list[Path], rng: random.Random) -> None:
    """Put something else in its place."""
    content = rng.choice(
        (
            b"{}",
            b"[]",
            b"null",
            b"[" * 10**6,
            b'{"a":' * 10**5,
            b"\xff\xfe",
            b"\x00" * 1000,
            rng.randbytes(1000),
        )
    )
    _write(path, content)


def _pipe(path: Path, files: list[Path], rng: random.Random) -> None:
    path.unlink()
    os.mkfifo(path)


def _gone(path: Path, files: list[Path], rng: random.Random) -> None:
    path.unlink() if rng.random() < 0.7 else _folder(path)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _write(path: Path, content: bytes | bytearray) -> None:
    found = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))  # as a disk does it


def exchange(world: World, rng: random.Random, number: int) -> str | None:
    """Mix the files of two models: predict refuses, or names the model that its tensors are of."""
    with world.copy(None, "model") as folder:
        shutil.copytree(folder / "model", folder / "second")
        words = [word.replace("model", "second") for word in FIT]
        shutil.rmtree(folder / "second")
        words += ["--seed", str(rng.randrange(1, 4)), "-q"]
        if (wrong := complaint(run(folder, *words), 0)) is not None:
            return wrong
        theirs = [path for path in (folder / "second").iterdir() if path.name.startswith("model")]
        path = rng.choice(theirs)
        if path.suffix == ".json":
            shutil.copy(path, folder / "model")
        else:
            (mine,) = (folder / "model").glob("*.safetensors")
            shutil.copy(path, mine)
        done = run(folder, *PREDICT)
        if (wrong := complaint(done, 1, 2)) is not None:
            return f"{path.name} of another model: {wrong}"
        return "answers were written" if (folder / "answers.csv").exists() else None
