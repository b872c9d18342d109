"""Names of files and classes are data: no terminal, spreadsheet or table obeys them."""

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_ssl.cli.messages import OnTerminal, line_of, no_formula
from gpu_ssl.data.problems import printable
from gpu_ssl.report.card import _cell
from tests.conftest import RunCli

HOSTILE = [
    "\x1b[31mred",
    "a\nb",
    "a\rb",
    "\u202ereversed",
    "\x9b2J",
    "a|b",
    "[x](http://y)",
    "\udcff",
    "\ud800",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_is_shown_and_never_obeyed(name: str) -> None:
    for shown in (line_of(name), printable(name), _cell(name)):
        assert shown.isprintable()
    assert "|" not in _cell(name)
    assert "[" not in _cell(name)


@given(st.text())
def test_printable_is_one_line_of_any_text_and_leaves_a_good_one(text: str) -> None:
    assert printable(text).isprintable()
    assert not text.isprintable() or printable(text) == text


def test_a_byte_of_a_file_name_is_shown_as_such() -> None:
    assert printable("\udcff.png") == "\\xff.png"


def test_data_on_a_terminal_keeps_its_lines_and_shows_the_rest() -> None:
    stream = io.StringIO()
    OnTerminal(stream).write('"\x1b[2Jx.png",cat\nü.png,dog\n')
    assert stream.getvalue() == '"\\x1b[2Jx.png",cat\nü.png,dog\n'


@pytest.mark.parametrize("cell", ["=cmd()", "+1", "-1", "@x", "\t=x", "plain", 0.5, ""])
def test_no_cell_is_a_formula_where_that_is_asked_for(cell: object) -> None:
    is_formula = isinstance(cell, str) and cell not in ("plain", "")
    assert no_formula(cell) == (f"'{cell}" if is_formula else cell)


def test_an_error_about_a_hostile_name_is_one_harmless_line(run_cli: RunCli, tmp_path: Path) -> None:
    name = "\x1b[31m[red]a\nb"
    for arguments in (
        ("check", name),
        ("fit", name, "--output", "m"),
        ("predict", name, name),
        ("run", name),
    ):
        done = run_cli(*arguments)
        assert done.returncode in (1, 2)
        assert done.stderr.count("\n") == 1
        assert "\x1b" not in done.stderr
