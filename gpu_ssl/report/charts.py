"""Line charts and scatter plots with axes, a grid, and a legend below."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gpu_ssl.report.shapes import INK, SIZE, Dot, Drawing, Line, Point, Shape, Text

COLOURS = (
    *("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd"),
    *("#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf"),
)
"""Colours of classes and lines, used in turn."""

LEFT, RIGHT, TOP, BOTTOM = 62.0, 14.0, 26.0, 44.0
"""Margins around the axes."""

ROW = 18.0
"""Height of a row of the legend."""

SMALL = 10.5
"""Font size of tick labels and legends."""

TICKS = 6
"""Maximum number of intervals between ticks."""

Ticks = tuple[tuple[float, str], ...]
"""Values with their labels."""


@dataclass(frozen=True)
class Series:
    """Points, and their style.

    Parameters
    ----------
    points : sequence of (float, float)
        Values on both axes.
    name : str
        Name in the legend; none if empty.
    colour : str
        Colour.
    line, dots, dashed : bool
        Elements to draw.
    sizes : sequence of float
        Radius of each dot, 3 by default.
    errors : sequence of float
        Half the length of the error bar of each point.
    notes : sequence of str
        Text next to each point.
    """

    points: Sequence[Point]
    name: str = ""
    colour: str = INK
    line: bool = True
    dots: bool = False
    dashed: bool = False
    sizes: Sequence[float] = ()
    errors: Sequence[float] = ()
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Axis:
    """An axis; its limits and ticks follow from the values by default."""

    label: str
    limits: tuple[float, float] | None = None
    log: bool = False
    ticks: Ticks = ()

    def place(self, value: float) -> float:
        """Return a value, or its logarithm on a logarithmic axis."""
        return math.log10(value) if self.log else value


def chart(
    x: Axis, y: Axis, series: Sequence[Series], title: str = "", width: float = 520, height: float = 320
) -> Drawing:
    """Return a chart of some series."""
    inner = width - LEFT - RIGHT, height - TOP - BOTTOM
    x_limits = _limits(x, [px for own in series for px, _ in own.points])
    y_limits = _limits(
        y,
        [
            py + sign * error
            for own in series
            for (_, py), error in zip(own.points, own.errors or [0.0] * len(own.points), strict=True)
            for sign in (-1, 1)
        ],
    )

    def at(px: float, py: float) -> Point:
        right, up = _share(x.place(px), x_limits), _share(y.place(py), y_limits)
        return LEFT + right * inner[0], TOP + (1 - up) * inner[1]

    shapes: list[Shape] = _frame(x, y, x_limits, y_limits, title, width, height)
    for own in series:
        shapes += _drawn(own, at)
    named = [own for own in series if own.name]
    for i, own in enumerate(named):
        shapes += _entry(own, height + (i + 0.5) * ROW)
    return Drawing(width, height + len(named) * ROW, tuple(shapes))


def _share(value: float, limits: tuple[float, float]) -> float:
    return (value - limits[0]) / (limits[1] - limits[0])


def _limits(axis: Axis, values: Sequence[float]) -> tuple[float, float]:
    """Return the limits of an axis, as logarithms on a logarithmic axis."""
    if axis.limits is not None:
        low, high = map(axis.place, axis.limits)
        return low, high
    finite = [axis.place(value) for value in values if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=1.0)
    margin = 0.05 * (high - low) or 0.5
    return low - margin, high + margin


def ticks_of(low: float, high: float) -> Ticks:
    """Return round values from `low` to `high`: multiples of 1, 2 or 5 times a power of ten."""
    step: float = 10.0 ** math.floor(math.log10((high - low) / TICKS))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (factor * step) <= TICKS)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    numbers = range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    return tuple((number * step, f"{number * step:,.{digits}f}") for number in numbers)


def log_ticks_of(low: float, high: float) -> Ticks:
    """Return 1, 2 and 5 times powers of ten, from 10^low to 10^high."""
    values = [
        factor * 10.0**power
        for power in range(math.floor(low), math.ceil(high) + 1)
        for factor in (1, 2, 5)
        if low <= math.log10(factor * 10.0**power) <= high
    ]
    return tuple((value, f"{value:,g}") for value in values)


def _frame(
    x: Axis,
    y: Axis,
    x_limits: tuple[float, float],
    y_limits: tuple[float, float],
    title: str,
    width: float,
    height: float,
) -> list[Shape]:
    """Return the grid, the tick labels, the axis labels and the title."""
    right, bottom = width - RIGHT, height - BOTTOM
    shapes: list[Shape] = []
    for value, words in x.ticks or (log_ticks_of if x.log else ticks_of)(*x_limits):
        place = LEFT + _share(x.place(value), x_limits) * (right - LEFT)
        shapes.append(Line(((place, TOP), (place, bottom)), width=0.6, opacity=0.25))
        shapes.append(Text((place, bottom + 11), words, "middle", SMALL))
    for value, words in y.ticks or ticks_of(*y_limits):
        place = bottom - _share(y.place(value), y_limits) * (bottom - TOP)
        shapes.append(Line(((LEFT, place), (right, place)), width=0.6, opacity=0.25))
        shapes.append(Text((LEFT - 6, place), words, "end", SMALL))
    corners = ((LEFT, TOP), (LEFT, bottom), (right, bottom))
    shapes.append(Line(corners, width=0.8))
    shapes.append(Text(((LEFT + right) / 2, bottom + 30), x.label, "middle"))
    shapes.append(Text((12, (TOP + bottom) / 2), y.label, "middle", upright=True))
    if title:
        shapes.append(Text(((LEFT + right) / 2, TOP / 2), title, "middle", SIZE))
    return shapes


def _drawn(own: Series, at: Callable[[float, float], Point]) -> list[Shape]:
    shapes: list[Shape] = []
    points = [(x, y) for x, y in own.points if math.isfinite(x + y)]
    places = tuple(at(x, y) for x, y in points)
    if own.line and len(places) > 1:
        shapes.append(Line(places, own.colour, dashed=own.dashed))
    for (x, y), error in zip(points, own.errors, strict=False):
        if error:
            shapes.append(Line((at(x, y - error), at(x, y + error)), own.colour))
    if own.dots:
        sizes = own.sizes or [3.0] * len(places)
        shapes += [Dot(place, size, own.colour) for place, size in zip(places, sizes, strict=True)]
    shapes += [
        Text((x + 6, y - 7), words, size=SMALL)
        for (x, y), words in zip(places, own.notes, strict=False)
        if words
    ]
    return shapes


def _entry(own: Series, y: float) -> list[Shape]:
    """Return the row of a series in the legend."""
    shapes: list[Shape] = []
    if own.line:
        shapes.append(Line(((LEFT, y), (LEFT + 24, y)), own.colour, dashed=own.dashed))
    if own.dots:
        shapes.append(Dot((LEFT + 12, y), 3.0, own.colour))
    return [*shapes, Text((LEFT + 32, y), own.name, size=SMALL)]
