"""The queue of images to label, suggested by a model or clusters; no image is on two pages."""

import time
from collections.abc import Collection, Iterable
from threading import Lock

import numpy as np

HELD = 900.0
"""Seconds for which images are reserved for a page."""


class Queue:
    """Numbers of images in the order in which they are shown.

    Parameters
    ----------
    n : int
        Number of images.
    seed : int
        Seed of the order of images without a suggestion.
    """

    def __init__(self, n: int, seed: int = 0) -> None:
        self._n = n
        self._rng = np.random.default_rng(seed)
        self._lock = Lock()
        self._order: list[int] = []
        self._held: dict[int, tuple[str, float]] = {}
        self._skipped: set[int] = set()

    def suggest(self, rows: Iterable[int]) -> None:
        """Show these next, in this order, replacing earlier suggestions."""
        with self._lock:
            self._order = list(rows)

    def skip(self, rows: Iterable[int]) -> None:
        """Do not show images again unless nothing else is left."""
        with self._lock:
            self._skipped.update(rows)

    def first(self, rows: Iterable[int]) -> None:
        """Show these before all others, for instance after their label was removed."""
        with self._lock:
            rows = list(rows)
            self._skipped.difference_update(rows)
            for row in rows:
                self._held.pop(row, None)
            self._order = [*rows, *(row for row in self._order if row not in set(rows))]

    def take(self, count: int, page: str, done: Collection[int]) -> list[int]:
        """Return up to `count` images for a page, neither labelled (`done`) nor on another page."""
        with self._lock:
            now = time.monotonic()
            self._held = {
                row: held for row, held in self._held.items() if held[0] != page and now - held[1] < HELD
            }
            taken: dict[int, None] = {}
            for pool in (self._order, self._others(count, done), sorted(self._skipped)):
                usable = (row for row in pool if row not in done and row not in self._held)
                for row in usable:
                    if len(taken) == count:
                        break
                    if pool is self._order and row in self._skipped:
                        continue
                    taken[row] = None
            self._skipped.difference_update(taken)
            self._held |= dict.fromkeys(taken, (page, now))
            return list(taken)

    def _others(self, count: int, done: Collection[int]) -> list[int]:
        """Return random images, shown while there is no better suggestion."""
        busy = {*done, *self._held, *self._skipped}
        drawn = dict.fromkeys(self._rng.integers(self._n, size=16 * count).tolist())
        free = [row for row in drawn if row not in busy]
        if len(free) < count:  # few are left of many, or there are few
            rest = np.setdiff1d(np.arange(self._n), np.fromiter(busy, np.int64, len(busy)))
            free = self._rng.permutation(rest).tolist()
        return free
