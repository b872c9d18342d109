"""What runs the program for the tests runs it as it is."""

import importlib
from pathlib import Path

import pytest

from tests.program import PRELOADED, run_program, start_program


@pytest.mark.parametrize("name", PRELOADED)
def test_what_is_imported_beforehand_is_there(name: str) -> None:
    importlib.import_module(name)


@pytest.mark.parametrize("arguments", [("--version",), ("run", "--labels", "few"), ("predict", "no", "x")])
def test_a_forked_program_says_and_ends_as_a_started_one(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    process = start_program(tmp_path, *arguments, stdout=-1)
    stdout, stderr = process.communicate(timeout=120)
    done = run_program(tmp_path, *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (process.returncode, stdout, stderr)
