"""Charts: where values lie, what words are written, and that both formats show all of it."""

import io
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from gpu_ssl.report.charts import Axis, Series, chart, log_ticks_of, ticks_of
from gpu_ssl.report.confusion import confusion_figure
from gpu_ssl.report.plots import (
    accuracy_against_labels,
    accuracy_against_seconds,
    image_rows,
    training_curves,
)
from gpu_ssl.report.shapes import PIXELS, Box, Dot, Drawing, Line, Text, side_by_side, to_png, to_svg
from tests.report.test_report import REPORT


def words_of(drawing: Drawing) -> list[str]:
    return [shape.words for shape in drawing.shapes if isinstance(shape, Text)]


def dots_of(drawing: Drawing) -> list[Dot]:
    return [shape for shape in drawing.shapes if isinstance(shape, Dot)]


def test_points_lie_where_their_values_are() -> None:
    own = Series([(0, 0), (5, 50), (10, 100)], dots=True)
    dots = dots_of(chart(Axis("x", (0, 10)), Axis("y", (0, 100)), [own]))
    (x0, y0), (x1, y1), (x2, y2) = (dot.place for dot in dots)
    assert x1 - x0 == pytest.approx(x2 - x1)
    assert y0 - y1 == pytest.approx(y1 - y2)
    assert y0 > y2, "larger values are higher"
    logs = dots_of(chart(Axis("x", log=True), Axis("y"), [Series([(1, 1), (10, 2), (100, 3)], dots=True)]))
    assert logs[1].place[0] - logs[0].place[0] == pytest.approx(logs[2].place[0] - logs[1].place[0])


def test_ticks_are_round() -> None:
    assert [words for _, words in ticks_of(0, 1.02)] == ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]
    assert [value for value, _ in ticks_of(980, 5020)] == [1000, 2000, 3000, 4000, 5000]
    assert [words for _, words in log_ticks_of(-1, 1)] == ["0.1", "0.2", "0.5", "1", "2", "5", "10"]
    assert 2 <= len(ticks_of(0.9999, 1.0001)) <= 8


def test_one_value_and_none_make_a_chart() -> None:
    for points in ([], [(1.0, 1.0)], [(1.0, float("nan"))]):
        drawing = chart(Axis("x"), Axis("y"), [Series(points, "name", dots=True)])
        assert "name" in words_of(drawing)
        assert to_png(drawing).startswith(b"\x89PNG")


def test_charts_of_a_run_say_what_its_report_says() -> None:
    words = words_of(accuracy_against_labels(REPORT))
    assert {"100", "60,000", "labelled images", "SVM on raw pixels", "somebody"} <= set(words)
    assert "60,000" in words_of(accuracy_against_seconds(REPORT))
    assert REPORT.training is not None
    assert {"step", "reconstruction loss", "KL divergence"} <= set(
        words_of(side_by_side(training_curves(REPORT.training)))
    )


def test_an_svg_holds_every_shape_and_nothing_that_a_page_forbids() -> None:
    shapes = (
        Line(((0, 0), (5, 5)), dashed=True),
        Dot((1, 2), colour="#123456"),
        Box((1, 1), 3, 4, "#abcdef"),
        Text((1, 1), "<script>&", upright=True),
    )
    text = to_svg(Drawing(10, 20, shapes), 'what "it" is')
    root = ElementTree.fromstring(text)
    assert [child.tag for child in root] == ["polyline", "circle", "rect", "text"]
    assert root[3].text == "<script>&"
    assert root.get("aria-label") == 'what "it" is'
    assert root[0].get("stroke") == "currentColor"
    assert not re.search(r"style=|id=|#000000|href", text)


def test_a_png_has_the_colours_in_their_places() -> None:
    shapes = (Box((0, 0), 10, 10, "#ff0000"), Dot((30, 30), 5, "#0000ff"), Line(((0, 50), (40, 50)), width=4))
    with Image.open(io.BytesIO(to_png(Drawing(40, 60, shapes)))) as image:
        assert image.size == (40 * PIXELS, 60 * PIXELS)
        assert [
            image.getpixel((PIXELS * x, PIXELS * y)) for x, y in ((5, 5), (30, 30), (20, 50), (35, 5))
        ] == [
            (255, 0, 0),
            (0, 0, 255),
            (0, 0, 0),
            (255, 255, 255),
        ]


def test_upright_text_is_as_high_as_it_is_wide() -> None:
    flat, upright = (
        np.asarray(Image.open(io.BytesIO(to_png(Drawing(100, 100, (own,)))))).min(axis=2) < 128
        for own in (Text((50, 50), "words", "middle"), Text((50, 50), "words", "middle", upright=True))
    )
    spans = [[int(np.ptp(np.flatnonzero(ink.any(axis=axis)))) for axis in (0, 1)] for ink in (flat, upright)]
    assert spans[0][0] > 2 * spans[0][1]
    assert abs(spans[0][0] - spans[1][1]) <= 2


def test_drawings_side_by_side_do_not_meet() -> None:
    one = Drawing(10, 20, (Dot((3, 4)), Line(((0, 0), (1, 1)))))
    both = side_by_side([one, one])
    assert (both.width, both.height) == (20, 20)
    assert [dot.place for dot in dots_of(both)] == [(3, 4), (13, 4)]


def test_a_confusion_matrix_is_coloured_by_shares_of_rows() -> None:
    matrix = np.array([[9, 1], [0, 0]])
    drawing = confusion_figure(matrix, ["cat\n", "d" * 60], "title")
    assert {"90", "10", "cat\\n", "title", "true", "predicted"} <= set(words_of(drawing))
    assert all(len(words) < 30 for words in words_of(drawing))
    cells = [shape for shape in drawing.shapes if isinstance(shape, Box)][1:]
    assert len(cells) == 2
    dark, light = (int(cell.colour[1:3], 16) for cell in cells)
    assert dark < light


@pytest.mark.parametrize("channels", [1, 3])
def test_rows_of_images_of_different_lengths_are_one_image(channels: int) -> None:
    rows = [np.zeros((n, channels, 8, 8), np.float32) for n in (3, 5)]
    image = np.asarray(image_rows(rows))
    assert image.shape[1] > 5 * 8
    assert image[0, 0].min() == 0
    assert image[0, -1].min() == 255, "where a row has no image"
