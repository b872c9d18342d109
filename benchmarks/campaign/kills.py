"""Killed at a write or at a random moment, and repeated: the same result, and no leftover files."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.campaign.program import Done, Fault, run, run_until
from benchmarks.campaign.world import (
    ENCODE,
    FIT,
    PREDICT,
    RESUME,
    RUN,
    SUGGEST,
    World,
    complaint,
    differs,
)

KILLED = {
    "fit": (FIT, ()),
    "fit again": (FIT, ("cache",)),
    "run": (RUN, ()),
    "predict": (PREDICT, ("model",)),
    "encode": (ENCODE, ()),
    "suggest": (SUGGEST, ()),
}
"""Commands, and the finished work that they need."""

SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def at_a_write(world: World, rng: random.Random, number: int) -> str | None:
    """Kill a command at one of its writes; the first tries go through all of them."""
    points = [(name, at) for name in KILLED for at in range(1, world.writes[name.split()[0]] + 1)]
    random.Random(0).shuffle(points)  # so that a short campaign has some of every command
    name, at = points[number] if number < len(points) else rng.choice(points)
    words, made = KILLED[name]
    with world.copy(None, *made) as folder:
        done = run(folder, *words, fault=Fault(at=at, after=rng.random() < 0.5))
        return _recovered(world, name.split()[0], words, folder, done)


def at_any_moment(world: World, rng: random.Random, number: int) -> str | None:
    """Send a signal to a command at any moment, up to three times."""
    name = rng.choice(list(KILLED))
    words, made = KILLED[name]
    with world.copy(None, *made) as folder:
        for _ in range(rng.randint(1, 3)):
            sent = rng.choice(SIGNALS)
            again = _again(name.split()[0], words, folder)
            done = run_until(folder, *again, seconds=rng.uniform(0.02, 2.5), number=sent)
            if done.code == 0:
                break
            if sent != signal.SIGKILL and (wrong := complaint(done, -sent, 128 + sent)) is not None:
                return f"{name} stopped by {sent.name}: {wrong}"
        return _recovered(world, name.split()[0], words, folder, done)


def at_a_start(world: World, rng: random.Random, number: int) -> str | None:
    """Send a signal to a fit in a new process, usually during its imports."""
    sent = rng.choice((signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    with world.copy() as folder:
        process = subprocess.Popen(
            [sys.executable, "-m", "gpu_ssl", *FIT],
            cwd=folder,
            env={**os.environ, "GPU_SSL_CACHE_DIR": str(folder / "cache")},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="backslashreplace",
        )
        time.sleep(rng.uniform(0.3, 8))
        process.send_signal(sent)
        stdout, stderr = process.communicate()
        done = Done(process.returncode, stdout, stderr, 0)
        return _recovered(world, "fit", FIT, folder, done) and f"{sent.name} at the start: {done}"


def _again(name: str, words: tuple[str, ...], folder: Path) -> tuple[str, ...]:
    """Return the arguments that resume a command."""
    if name == "run" and (folder / "run" / "config.json").exists():
        return RESUME
    if name == "suggest" and (folder / "first.csv").exists():
        (folder / "first.csv").unlink()  # which may hold labels, and is never replaced
    return words


def _recovered(world: World, name: str, words: tuple[str, ...], folder: Path, done: Done) -> str | None:
    if done.code not in (0, -signal.SIGKILL) and (wrong := complaint(done, 1, 2, 129, 130, 143, -1, -2, -15)):
        return f"{name}: {wrong}"
    if done.code != 0 and not (name == "fit" and (folder / "model" / "model.json").exists()):
        done = run(folder, *_again(name, words, folder))
        if (wrong := complaint(done, 0)) is not None:
            return f"{name} given again: {wrong}"
    return differs(world, name, folder, done)
