"""Drawings of lines, dots, boxes and text, as SVG in a page or as PNG.

They replace matplotlib here, because its import and the layout of four figures took a large part of a ``fit``
with cached encoders.
"""

import io
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from markupsafe import Markup, escape

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

INK: Final = "currentColor"
"""The text colour of the page in SVG, black in PNG."""

SIZE: Final = 12.0
"""Default font size, in units of a drawing."""

DASH: Final = 4.0

PIXELS, FINER = 2, 2
"""Pixels per unit in PNG, and the factor of supersampling for smooth edges."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """A line through some points."""

    points: tuple[Point, ...]
    colour: str = INK
    width: float = 1.5
    dashed: bool = False
    opacity: float = 1.0


@dataclass(frozen=True)
class Dot:
    """A filled circle."""

    place: Point
    radius: float = 3.0
    colour: str = INK


@dataclass(frozen=True)
class Box:
    """A filled rectangle from its upper left corner."""

    place: Point
    width: float
    height: float
    colour: str


@dataclass(frozen=True)
class Text:
    """A line of text, centred vertically at `place`; `upright` text is rotated and read from below."""

    place: Point
    words: str
    anchor: Literal["start", "middle", "end"] = "start"
    size: float = SIZE
    colour: str = INK
    upright: bool = False


Shape = Line | Dot | Box | Text


@dataclass(frozen=True)
class Drawing:
    """Shapes in a frame; the origin is the upper left corner."""

    width: float
    height: float
    shapes: tuple[Shape, ...]


def side_by_side(drawings: Sequence[Drawing]) -> Drawing:
    """Join drawings from left to right."""
    shapes: list[Shape] = []
    left = 0.0
    for drawing in drawings:
        shapes += [_moved(shape, left) for shape in drawing.shapes]
        left += drawing.width
    return Drawing(left, max(drawing.height for drawing in drawings), tuple(shapes))


def _moved(shape: Shape, right: float) -> Shape:
    if isinstance(shape, Line):
        return replace(shape, points=tuple((x + right, y) for x, y in shape.points))
    return replace(shape, place=(shape.place[0] + right, shape.place[1]))


def to_svg(drawing: Drawing, description: str) -> Markup:
    """Return a drawing as an SVG element without styles or ids, for a page that forbids inline styles.

    Parameters
    ----------
    drawing : Drawing
        The drawing.
    description : str
        Alternative text.
    """
    head = Markup('<svg viewBox="0 0 {:g} {:g}" role="img" aria-label="{}" fill="currentColor">')
    shapes = Markup("").join(map(_element, drawing.shapes))
    return head.format(drawing.width, drawing.height, description) + shapes + Markup("</svg>")


def _element(shape: Shape) -> Markup:
    if isinstance(shape, Line):
        points = " ".join(f"{x:.5g},{y:.5g}" for x, y in shape.points)
        dashes = Markup(f' stroke-dasharray="{DASH:g}"') if shape.dashed else ""
        return Markup(
            '<polyline points="{}" fill="none" stroke="{}" stroke-width="{:g}" opacity="{:g}"{}/>'
        ).format(points, shape.colour, shape.width, shape.opacity, dashes)
    x, y = (f"{value:.5g}" for value in shape.place)
    if isinstance(shape, Dot):
        return Markup('<circle cx="{}" cy="{}" r="{:.3g}" fill="{}"/>').format(
            x, y, shape.radius, shape.colour
        )
    if isinstance(shape, Box):
        return Markup('<rect x="{}" y="{}" width="{:.5g}" height="{:.5g}" fill="{}"/>').format(
            x, y, shape.width, shape.height, shape.colour
        )
    turned = Markup(f' transform="rotate(-90 {x} {y})"') if shape.upright else ""
    return Markup(
        '<text x="{}" y="{}" dy=".35em" text-anchor="{}" font-size="{:g}" fill="{}"{}>{}</text>'
    ).format(x, y, shape.anchor, shape.size, shape.colour, turned, escape(shape.words))


def to_png(drawing: Drawing) -> bytes:
    """Return the content of a PNG file with a drawing on white."""
    from PIL import Image, ImageDraw

    scale = PIXELS * FINER
    size = round(drawing.width * scale), round(drawing.height * scale)
    image = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(image)
    for shape in drawing.shapes:
        _paint(image, draw, shape, scale)
    file = io.BytesIO()
    image.reduce(FINER).save(file, "PNG")
    return file.getvalue()


def _paint(image: "Image", draw: "ImageDraw", shape: Shape, scale: int) -> None:
    if isinstance(shape, Line):
        for part in _dashes(shape.points) if shape.dashed else [shape.points]:
            ends = [(x * scale, y * scale) for x, y in part]
            draw.line(ends, _paint_of(shape.colour, shape.opacity), round(shape.width * scale), "curve")
        return
    x, y = (value * scale for value in shape.place)
    if isinstance(shape, Dot):
        radius = shape.radius * scale
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), _paint_of(shape.colour))
    elif isinstance(shape, Box):
        draw.rectangle((x, y, x + shape.width * scale, y + shape.height * scale), _paint_of(shape.colour))
    else:
        _write(image, draw, shape, scale)


def _write(image: "Image", draw: "ImageDraw", text: Text, scale: int) -> None:
    from PIL import Image

    font, (x, y) = _font(text.size * scale), (value * scale for value in text.place)
    colour = _paint_of(text.colour)
    if not text.upright:
        draw.text((x, y), text.words, colour, font, {"start": "lm", "middle": "mm", "end": "rm"}[text.anchor])
        return
    left, top, right, bottom = font.getbbox(text.words)
    mask = Image.new("L", (round(right), round(bottom)))
    mask_draw = type(draw)(mask)
    mask_draw.text((0, 0), text.words, 255, font)
    turned = mask.crop((round(left), round(top), round(right), round(bottom))).transpose(
        Image.Transpose.ROTATE_90
    )
    # Text that is read from below starts at its lower end.
    lower = {"start": 1.0, "middle": 0.5, "end": 0.0}[text.anchor]
    image.paste(colour, (round(x - turned.width / 2), round(y - lower * turned.height)), turned)


def _dashes(points: tuple[Point, ...]) -> Iterator[tuple[Point, Point]]:
    """Split a line into dashes, separately between each two points."""
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        length = ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5
        for i in range(0, int(length / DASH) + 1, 2):
            first, last = (min(1.0, n * DASH / max(length, DASH)) for n in (i, i + 1))
            yield (
                (x0 + first * (x1 - x0), y0 + first * (y1 - y0)),
                (
                    x0 + last * (x1 - x0),
                    y0 + last * (y1 - y0),
                ),
            )


def _paint_of(colour: str, opacity: float = 1.0) -> tuple[int, ...]:
    """Return a colour blended with white."""
    from PIL import ImageColor

    rgb = ImageColor.getrgb("black" if colour == INK else colour)
    return tuple(round(255 + opacity * (value - 255)) for value in rgb[:3])


@cache
def _font(size: float) -> "FreeTypeFont | ImageFont":
    """Return DejaVu Sans, which comes with matplotlib and has most alphabets; else Pillow's own font."""
    from PIL import ImageFont

    found = find_spec("matplotlib")  # which does not import it
    places = [] if found is None else found.submodule_search_locations or []
    for place in places:
        path = Path(place) / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
        if path.is_file():
            return ImageFont.truetype(path, size)
    return ImageFont.load_default(size)
