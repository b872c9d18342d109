"""Full disks and too little memory: one line, no partly written file, and the same command resumes."""

import os
import random
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.campaign.program import Fault, run
from benchmarks.campaign.world import (
    CHECK,
    COMMANDS,
    ENCODE,
    FIT,
    PREDICT,
    RESUME,
    RUN,
    World,
    complaint,
    differs,
)

STREAMS = ((2,), (1, 2), (0, 2), (0, 1, 2), (0,))
"""Streams that are closed together."""


@contextmanager
def _disk(root: Path, kilobytes: int) -> Iterator[Path | None]:
    """Yield a file system of limited size, or None if mounting is not possible."""
    folder = root / f"disk-{os.urandom(4).hex()}"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
        folder.rmdir()


def full_disk(world: World, rng: random.Random, number: int) -> str | None:
    """Run a command on a disk that becomes full; then free space, and repeat it."""
    name, words, made = (
        ("fit", FIT, ()),
        ("run", RUN, ()),
        ("predict", PREDICT, ("model",)),
        ("encode", ENCODE, ()),
    )[number % 4]
    with _disk(world.root, 10**6) as disk:
        if disk is None:
            return None
        with world.copy(None, *made, place=disk) as folder:
            found = os.statvfs(disk)
            used = (found.f_blocks - found.f_bfree) * found.f_frsize // 1024
            room = rng.choice((rng.randint(0, 200), rng.randint(0, 20_000)))
            _resize(disk, used + room)
            done = run(folder, *words)
            if (wrong := complaint(done, 0, 1)) is not None:
                return f"{name} with {room} KiB: {wrong}"
            if done.code == 1:
                if not any(word in done.stderr for word in ("No space left", "are free on its disk")):
                    return f"{name} with {room} KiB says {done.stderr}"
                half = [path for path in folder.rglob(".*") if path.is_file()]
                if half:
                    return f"{name} with {room} KiB left {half[0].name}"
                _resize(disk, 10**6)
                done = run(folder, *_again(name, words, folder))
                if (wrong := complaint(done, 0)) is not None:
                    return f"{name} once there was room: {wrong}"
            return differs(world, name, folder, done)


def _again(name: str, words: tuple[str, ...], folder: Path) -> tuple[str, ...]:
    return RESUME if name == "run" and (folder / "run" / "config.json").exists() else words


def _resize(disk: Path, kilobytes: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={max(kilobytes, 4)}k", str(disk)], check=True)


def little_memory(world: World, rng: random.Random, number: int) -> str | None:
    """Run a command with a limit of memory.

    Code that oneDNN compiles within torch crashes if its last pages are unavailable (SIGSEGV), which a Python
    program cannot prevent. That counts as a kill: the same command must then resume.
    """
    name, words, made = (
        ("predict", PREDICT, ("model",)),
        ("fit", FIT, ()),
        ("run", RUN, ()),
        ("encode", ENCODE, ()),
        ("check", CHECK, ()),
    )[number % 5]
    megabytes = rng.choice((rng.randint(1, 20), rng.randint(1, 300)))
    with world.copy(None, *made) as folder:
        done = run(folder, *words, fault=Fault(megabytes=megabytes))
        what = f"{name} with {megabytes} MB"
        if (wrong := complaint(done, 0, 1, -signal.SIGSEGV)) is not None:
            return f"{what}: {wrong}"
        if done.code == 1 and "memory" not in done.stderr:
            return f"{what} says {done.stderr}"
        if done.code != 0:
            done = run(folder, *_again(name, words, folder))
            if (wrong := complaint(done, 0)) is not None:
                return f"{what}, then with enough: {wrong}"
        return differs(world, name, folder, done)


def closed_streams(world: World, rng: random.Random, number: int) -> str | None:
    """Run a command without stdin, stdout or stderr."""
    name, words, _ = COMMANDS[number % len(COMMANDS)]
    closed = rng.choice(STREAMS)
    with world.copy(None, *(("model",) if name == "predict" else ())) as folder:
        done = run(folder, *words, fault=Fault(closed=closed))
        if (wrong := complaint(done, 0)) is not None:
            return f"{name} without streams {closed}: {wrong}"
        # Without stdout there is no output to compare.
        return None if 1 in closed and name == "check" else differs(world, name, folder, done)
