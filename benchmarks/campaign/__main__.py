"""Fault injection: kills, damaged files, concurrent commands, full disks, misuse.

    python -m benchmarks.campaign --tries 1500     an hour on two idle cores, or less
    python -m benchmarks.campaign --each 1         what the tests run

Every try works on a copy of a small world. It must give a result bitwise identical to an undisturbed one, or
one line of error and an exit code; never a traceback, and no leftover files. Tries are determined by the
seed, their kind and their number; ``--only KIND --first NUMBER --tries 1`` repeats one. Kills at random
moments also depend on the machine."""

import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import click

from benchmarks.campaign import crowds, flips, kills, limits, misuse
from benchmarks.campaign.program import PRELOADED, SERVER
from benchmarks.campaign.world import World

Try = Callable[[World, random.Random, int], str | None]
"""Performs a try, given the world, its random numbers and its number; returns what is wrong, or None."""

KINDS: dict[str, tuple[Try, int, str]] = {
    "kill-at-write": (kills.at_a_write, 6, "killed at each fsync, rename, unlink, mkdir; then given again"),
    "kill-any-moment": (
        kills.at_any_moment,
        3,
        "SIGKILL, SIGTERM, SIGINT, SIGHUP at random times; then again",
    ),
    "signal-at-start": (kills.at_a_start, 1, "SIGINT, SIGTERM, SIGHUP while it starts; given again"),
    "damage": (flips.flip, 9, "a bit or more flipped, a file cut, emptied, swapped, replaced, gone"),
    "exchange": (flips.exchange, 1, "a file of another model in a model"),
    "together": (crowds.together, 3, "the same command two or three times at once"),
    "others-at-once": (
        crowds.others_at_once,
        1,
        "several commands at once; predict while a model is written",
    ),
    "full-disk": (limits.full_disk, 2, "a disk that gets full; then room, and given again"),
    "little-memory": (limits.little_memory, 3, "a limit of memory; then enough, and given again"),
    "closed-streams": (limits.closed_streams, 1, "without stdin, stdout or stderr"),
    "odd-options": (misuse.odd_options, 8, "options with odd values"),
    "hostile-names": (misuse.hostile_names, 1, "names of files and classes with escapes, markup, formulas"),
    "hostile-files": (
        misuse.hostile_files,
        6,
        "what is no image, array or table of labels, or a damaged one",
    ),
}
"""Kinds of tries by name: function, number per round, and description."""


TOLD = 50
"""Number of tries between progress messages."""


@click.command()
@click.option("--tries", default=1500, show_default=True, help="How many, of all kinds.")
@click.option("--each", type=int, help="As many of every kind, in place of --tries.")
@click.option("--seconds", default=10_800.0, show_default=True, help="No try begins after these.")
@click.option("--seed", default=0, show_default=True)
@click.option("--only", "kinds", multiple=True, type=click.Choice(list(KINDS)), help="Kinds of tries.")
@click.option("--first", default=0, show_default=True, help="Number of the first try of each kind.")
@click.option("--output", type=click.Path(path_type=Path), help="JSON file for the outcome.")
def main(
    tries: int,
    each: int | None,
    seconds: float,
    seed: int,
    kinds: tuple[str, ...],
    first: int,
    output: Path | None,
) -> None:
    """Run hostile tries, and print how many came out right and wrong; exit with 1 if one was wrong."""
    began = time.monotonic()
    round_of = [name for name in kinds or KINDS for _ in range(each or KINDS[name][1])]
    tries = len(round_of) if each else tries
    numbers: Counter[str] = Counter(dict.fromkeys(round_of, first))
    wrong: list[tuple[str, int, str]] = []
    order = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="campaign-") as root:
        world = World(Path(root))
        click.echo(f"{sum(world.writes.values())} writes to be killed at", err=True)
        for done in range(tries):
            if time.monotonic() - began > seconds:
                break
            if done % len(round_of) == 0:
                order.shuffle(round_of)
            name = round_of[done % len(round_of)]
            number = numbers[name]
            numbers[name] += 1
            told = KINDS[name][0](world, random.Random(f"{seed} {name} {number}"), number)
            if told is not None:
                wrong.append((name, number, told))
                click.echo(f"wrong: {name} {number}: {told}", err=True)
            if (done + 1) % TOLD == 0:
                click.echo(f"{done + 1:,} tries, {len(wrong)} wrong: {dict(numbers)}", err=True)
    tried = {name: numbers[name] - first for name in numbers}
    click.echo(table(tried, Counter(name for name, _, _ in wrong)))
    if output is not None:
        told_as = {"seed": seed, "tried": tried, "wrong": wrong, "seconds": time.monotonic() - began}
        output.write_text(json.dumps(told_as, indent=1) + "\n")
    if wrong:
        raise SystemExit(1)


def table(tried: dict[str, int], wrong: Counter[str]) -> str:
    """Return the outcome in Markdown."""
    lines = ["| what is done | tried | right | wrong |", "|---|---|---|---|"]
    for name, (_, _, words) in KINDS.items():
        if tried.get(name):
            lines.append(f"| {words} | {tried[name]} | {tried[name] - wrong[name]} | {wrong[name]} |")
    total, bad = sum(tried.values()), sum(wrong.values())
    return "\n".join([*lines, f"| all | {total} | {total - bad} | {bad} |"])


if __name__ == "__main__":
    SERVER.set_forkserver_preload(PRELOADED)
    main()
