"""Pages are printed whole, with what is folded, and in light colours; in a real browser."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import ViewportSize

from gpu_ssl.report.details import Confusion, RunDetails
from gpu_ssl.report.run_page import write_run_page
from tests.browser import started
from tests.report.test_model_page import write_hostile
from tests.report.test_page import HOSTILE, details

A4 = ViewportSize(width=688, height=1017)
"""What is left of the paper between the margins of 14 mm, at 96 pixels an inch."""

COLOURS = "(s => [s.backgroundColor, s.color])(getComputedStyle(document.body))"
CUT = """[...document.querySelectorAll("table, svg, img:not([hidden]), pre")]
    .map(own => [own.outerHTML.slice(0, 80), own.getBoundingClientRect().right])
    .filter(([, right]) => right > document.documentElement.clientWidth + 1)"""
"""What reaches beyond the paper."""
BREAKS = """[...new Set([...document.querySelectorAll("table, tr, figure, .images li, .map")]
    .map(own => getComputedStyle(own).breakInside))]"""
"""How parts may be broken at the end of a sheet."""


def run_page(folder: Path) -> Path:
    write_run_page(folder / "report.html", HOSTILE, details(n=50))
    return folder / "report.html"


@pytest.mark.parametrize("write", [run_page, write_hostile])
def test_a_page_is_printed_whole_and_light(write: Callable[[Path], Path], tmp_path: Path) -> None:
    """Also by somebody whose screen is dark."""
    path = write(tmp_path)
    with started() as browser:
        shown = browser.new_page(color_scheme="dark", viewport=A4)
        shown.goto(path.as_uri())
        assert shown.evaluate(COLOURS) == ["rgb(20, 23, 27)", "rgb(232, 234, 237)"]
        assert shown.pdf(format="A4").startswith(b"%PDF-")
        assert shown.evaluate("document.querySelectorAll('details[open]').length") > 2
        assert shown.evaluate("document.querySelectorAll('details:not([open])').length") == 0
        shown.emulate_media(media="print")
        assert shown.evaluate(COLOURS) == ["rgb(255, 255, 255)", "rgb(26, 29, 33)"]
        assert shown.evaluate(CUT) == []
        assert shown.evaluate(BREAKS) == ["avoid"]
        shaded = "getComputedStyle(document.querySelector('.confusion td')).printColorAdjust"
        assert shown.evaluate(shaded) == "exact"


def test_a_confusion_matrix_of_twenty_classes_fits_the_paper(tmp_path: Path) -> None:
    names = tuple(f"a class of some name {i}" for i in range(20))
    cells = tuple((i, j, 50 if i == j else 3) for i in range(20) for j in range(20))
    report = HOSTILE.model_copy(
        update={"dataset": HOSTILE.dataset.model_copy(update={"name": "x", "classes": names})}
    )
    of_many = RunDetails(confusions=(Confusion(method="m1", labels=100, cells=cells),))
    write_run_page(tmp_path / "report.html", report, of_many)
    with started() as browser:
        shown = browser.new_page(viewport=A4)
        shown.goto((tmp_path / "report.html").as_uri())
        shown.emulate_media(media="print")
        assert shown.evaluate("document.querySelectorAll('.confusion tbody td').length") == 400
        assert shown.evaluate(CUT) == []
