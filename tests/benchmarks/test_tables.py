"""The tables of the documentation hold the figures of the records."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import tables
from benchmarks.tables import MARKED, TABLES, main, pages, up_to_date


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_tables_are_those_of_the_records(page: Path) -> None:
    text = page.read_text("utf-8")
    assert up_to_date(text) == text, "python -m benchmarks.tables"


def test_every_table_stands_somewhere() -> None:
    marked = [found[1] for page in pages() for found in MARKED.findall(page.read_text("utf-8"))]
    assert sorted(marked) == sorted(TABLES)


def test_a_changed_figure_is_found_and_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    monkeypatch.setattr(tables, "pages", lambda: [page])
    right = f"before\n\n<!-- table: photographs -->\n{tables.photographs()}\nafter\n"
    page.write_text(right.replace("53.8", "63.8"), "utf-8")
    found = CliRunner().invoke(main, ["--check"])
    assert found.exit_code == 1
    assert "out of date in page.md" in found.output
    assert CliRunner().invoke(main).output == "changed: page.md\n"
    assert page.read_text("utf-8") == right
    assert CliRunner().invoke(main, ["--check"]).exit_code == 0
