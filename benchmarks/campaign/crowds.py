"""Concurrent commands on the same files: one wins or all agree, and nothing is mixed."""

import random
import time

from benchmarks.campaign.program import Done, run, start
from benchmarks.campaign.world import (
    CHECK,
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

ONE_WINS = {"fit": FIT, "run": RUN}
"""Commands that lock their folder."""

ALL_WIN = {"predict": PREDICT, "encode": ENCODE, "check": CHECK, "suggest": SUGGEST}
"""Commands that may write the same file."""


def together(world: World, rng: random.Random, number: int) -> str | None:
    """Start the same command two or three times, a little apart."""
    names = [*ONE_WINS, *ALL_WIN, "resume"]
    name = names[number % len(names)]
    words = {**ONE_WINS, **ALL_WIN, "resume": RESUME}[name]
    made = {"predict": ("model",), "resume": ("stopped-run",)}.get(name, ())
    with world.copy(None, *made) as folder:
        running = []
        for _ in range(rng.randint(2, 3)):
            running.append(start(folder, *words))
            time.sleep(rng.choice((0.0, rng.uniform(0, 1.0))))
        done = [own.wait() for own in running]
        for own in done:
            if wrong := complaint(own, 0) if name in ALL_WIN and name != "suggest" else complaint(own, 0, 2):
                return f"{name} at once: {wrong}"
        won = [own for own in done if own.code == 0]
        if not won or (name in ONE_WINS and len(won) != 1):
            return f"{len(won)} of {len(done)} at once of {name} succeeded: {done[0].stderr}"
        return differs(world, "run" if name == "resume" else name, folder, won[0])


def others_at_once(world: World, rng: random.Random, number: int) -> str | None:
    """Start different commands on one cache at once, or predict while the model is being written."""
    with world.copy() as folder:
        fitting = start(folder, *FIT)
        found: list[Done] = []
        if rng.random() < 0.5:
            others = [("check", CHECK), ("encode", ENCODE), ("suggest", SUGGEST)]
            running = [(name, start(folder, *words)) for name, words in rng.sample(others, 2)]
            for name, own in running:
                done = own.wait()
                if (wrong := complaint(done, 0)) is not None:
                    return f"{name} during a fit: {wrong}"
        else:
            for _ in range(4):
                found.append(run(folder, *PREDICT))
                if (wrong := complaint(found[-1], 0, 2)) is not None:
                    return f"predict while the model is written: {wrong}"
        done = fitting.wait()
        if (wrong := complaint(done, 0)) is not None:
            return f"fit during other commands: {wrong}"
        wrong = differs(world, "predict", folder, done) if any(own.code == 0 for own in found) else None
        return wrong or differs(world, "fit", folder, done)
