"""The documentation is correct: its tutorials run, and its commands and options exist."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from gpu_ssl.cli import main, predict, suggest
from gpu_ssl.fitted.records import SuspectLabel
from gpu_ssl.fitted.storage import MODEL
from gpu_ssl.report.card import FILES
from gpu_ssl.report.details import DETAILS
from gpu_ssl.report.html import PAGE
from gpu_ssl.report.model_page import FOUND
from tests.program import run_program

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
TUTORIALS = [DOCS / "get-started.md", *sorted((DOCS / "tutorials").glob("[!i]*.md"))]
"""All but the index."""

BLOCK = re.compile(
    r"^```(?:\{code-block\} )?\w+\n(?::caption: (\S+)\n\n)?(.*?)^```$", re.MULTILINE | re.DOTALL
)
COMMAND = re.compile(r"^(?: {4}|\$ )gpu-ssl (.*?)(?:  +.*)?$", re.MULTILINE)


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_a_tutorial_runs_as_it_stands(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are those of blocks with a caption, commands what follows a dollar sign."""
    monkeypatch.setenv("GPU_SSL_CACHE_DIR", str(tmp_path / "cache"))
    folder = tmp_path / "work"
    folder.mkdir()
    ran = 0
    for caption, content in BLOCK.findall(page.read_text("utf-8")):
        if caption:
            (folder / caption).write_text(content, "utf-8")
        for line in content.splitlines():
            if line.startswith("$ "):
                program, *arguments = shlex.split(line[2:])
                if program == "gpu-ssl":
                    done = run_program(folder, *arguments)
                else:
                    assert program == "python"
                    command = [sys.executable, *arguments]
                    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
                assert done.returncode == 0, f"{line}: {done.stderr}"
                ran += 1
    assert ran >= 1


def commands() -> Iterator[tuple[str, str]]:
    """Yield each command line of gpu-ssl in README and documentation, with its file."""
    for page in [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]:
        for found in COMMAND.finditer(page.read_text("utf-8")):
            yield str(page.relative_to(ROOT)), found[1]


def test_every_command_of_the_documentation_exists_with_its_options() -> None:
    lines = list(commands())
    assert len(lines) > 25
    for page, line in lines:
        words = shlex.split(line.split(" > ")[0].split(" | ")[0], comments=True)
        command: click.Command = main
        context = click.Context(main)
        while isinstance(command, click.Group) and words and command.get_command(context, words[0]):
            found = command.get_command(context, words.pop(0))
            assert found is not None
            command = found
        assert command is not main or words[0].startswith("-"), f"{page}: no such command: gpu-ssl {line}"
        known = {name for own in command.params for name in (*own.opts, *own.secondary_opts)} | {"--help"}
        given = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        assert given <= known, f"{page}: gpu-ssl {line}: {', '.join(given - known)}"


def test_the_page_of_formats_lists_every_file_and_column() -> None:
    text = (DOCS / "reference" / "formats.md").read_text("utf-8")
    files = (*FILES, FOUND, DETAILS, PAGE, MODEL)
    columns = (*suggest.COLUMNS, *predict.COLUMNS, *SuspectLabel._fields)
    missing = [name for name in (*files, *columns) if f"`{name}`" not in text]
    assert not missing


def test_images_are_called_images() -> None:
    """One term for one thing; CONTRIBUTING.md lists the terms."""
    for page in [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]:
        found = re.search(r"\bpictures?\b", page.read_text("utf-8"), re.IGNORECASE)
        assert found is None, page


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))], ids=lambda page: page.name
)
def test_links_lead_to_files(page: Path) -> None:
    """Sphinx warns of no absolute link; those below its root are written {doc}."""
    for link in re.findall(r"\]\(((?!https?:|#|mailto:)[^)]+)\)", page.read_text("utf-8")):
        assert not link.startswith("/"), link
        assert (page.parent / link.partition("#")[0]).exists(), link
