"""The program starts quickly, has help texts, and prints its version."""

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import click
import numpy as np
import pytest
from PIL import Image

import gpu_ssl
from gpu_ssl.cli import main
from gpu_ssl.cli.paths import GivenPath
from tests.conftest import RunCli
from tests.program import start_program


def test_the_version_is_that_of_the_installed_package(run_cli: RunCli) -> None:
    assert gpu_ssl.__version__ == metadata.version("gpu-ssl") != "0+unknown"
    assert run_cli("--version").stdout.strip() == f"gpu-ssl, version {gpu_ssl.__version__}"


@pytest.mark.parametrize(
    "arguments", [["--help"], ["run", "--help"], ["data", "--help"], ["data", "list", "-h"]]
)
def test_help_teaches(run_cli: RunCli, arguments: list[str]) -> None:
    done = run_cli(*arguments)
    assert done.returncode == 0
    assert done.stdout.startswith("Usage:")


def test_help_of_run_shows_defaults_and_examples(run_cli: RunCli) -> None:
    text = run_cli("run", "--help").stdout
    assert "\\b" not in text
    assert "\n    gpu-ssl run --labels all\n" in text
    for words in ("gpu-ssl run --labels all", "[default: all]", "fashion-mnist", "--resume", "full"):
        assert words in text


@pytest.mark.parametrize(
    "code",
    [
        "import gpu_ssl",
        "from click.testing import CliRunner; from gpu_ssl.cli import main;"
        "assert CliRunner().invoke(main, ['--help']).exit_code == 0",
        "from click.testing import CliRunner; from gpu_ssl.cli import main;"
        "assert CliRunner().invoke(main, ['data', 'list']).exit_code == 0",
        "from click.testing import CliRunner; from gpu_ssl.cli import main;"
        "assert all(CliRunner().invoke(main, [n, '-h']).exit_code == 0 for n in ('run', 'fit', 'predict'))",
    ],
    ids=["import", "--help", "data list", "help of commands"],
)
def test_heavy_libraries_are_imported_only_when_they_are_needed(code: str) -> None:
    check = (
        "; import sys; print({'torch', 'sklearn', 'matplotlib', 'scipy', 'torchvision'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code + check], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "set()"


def test_who_predicts_imports_neither_what_fits_nor_what_draws() -> None:
    """A quarter of the time of `predict` went there."""
    code = (
        "import sys; import gpu_ssl.cli.predict, gpu_ssl.fitted.storage, gpu_ssl.methods.svm; "
        "import gpu_ssl.report.card; "
        "from gpu_ssl.records import Choice; from gpu_ssl.svm.backend import resolve_backend; "
        "resolve_backend('auto', Choice(requested='cpu', used='cpu', reason='asked for')); "
        "print({'sklearn', 'matplotlib', 'scipy', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "{'torch'}"


WATCHED = "{'sklearn', 'matplotlib', 'scipy', 'numpy.f2py', 'torch._dynamo', 'pandas'}"


def imported_by(*arguments: str, folder: Path) -> str:
    """Run the program, and return which of some large modules it has imported."""
    code = (
        "import atexit, sys; from gpu_ssl.cli import entry_point; "
        f"atexit.register(lambda: print(sorted({WATCHED} & set(sys.modules)), file=sys.stderr)); "
        f"entry_point({list(arguments)})"
    )
    environment = {**os.environ, "GPU_SSL_CACHE_DIR": str(folder / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    return done.stderr.strip().splitlines()[-1]


def test_a_fit_with_few_labels_imports_no_library_that_it_does_not_need(tmp_path: Path) -> None:
    """It trains on few images; what scikit-learn and SciPy would do takes less time than their import."""
    rng = np.random.default_rng(0)
    for name, place in (("left", 4), ("right", 12)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(12):
            pixels = rng.integers(0, 60, (16, 16), dtype=np.uint8)
            pixels[:, place] += 150
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{i}.png")
    settings = ("--output", "model", "--device", "cpu", "--epochs", "1", "--quiet")
    assert imported_by("fit", "photos", *settings, folder=tmp_path) == "[]"
    assert (tmp_path / "model" / "report.html").is_file()


def test_a_run_with_few_labels_imports_no_library_that_it_does_not_need(tmp_path: Path) -> None:
    settings = ("--dataset", "digits", "--labels", "20", "--splits", "2", "--epochs", "1", "--device", "cpu")
    assert imported_by("run", *settings, "--quiet", "--output", "run", folder=tmp_path) == "[]"
    assert (tmp_path / "run" / "report.html").is_file()


@pytest.mark.parametrize("arguments", [[], ["data"]])
def test_no_command_shows_the_help(run_cli: RunCli, arguments: list[str]) -> None:
    done = run_cli(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("Usage:")
    assert done.stderr.count("\n") > 5


def test_an_unknown_command_is_refused(run_cli: RunCli) -> None:
    done = run_cli("rum")
    assert done.returncode == 2
    assert done.stderr.startswith("gpu-ssl: error: No such command 'rum'")


@pytest.mark.parametrize(
    ("redirection", "code", "words"),
    [
        (">/dev/full", 1, "gpu-ssl: error: cannot write: No space left on device"),
        (">&-", 0, ""),
        ("| head -c 5 >/dev/null", 0, ""),
    ],
)
@pytest.mark.parametrize("arguments", ["data list", "doctor --device cpu", "--version"])
def test_a_stdout_that_takes_nothing_is_no_traceback(
    redirection: str, code: int, words: str, arguments: str
) -> None:
    command = f"set -o pipefail; {sys.executable} -m gpu_ssl {arguments} {redirection}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert done.stderr.strip() == words


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full", "2> >(exec true)", "<&- >&- 2>&-"])
@pytest.mark.parametrize(("arguments", "code"), [("data list", 0), ("nonsense", 2)])
def test_a_stderr_that_takes_nothing_stops_no_work(redirection: str, arguments: str, code: int) -> None:
    command = f"{sys.executable} -m gpu_ssl {arguments} {redirection}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, "")
    assert ("fashion-mnist" in done.stdout) == (code == 0 and ">&- 2" not in redirection)


def test_a_deleted_current_folder_is_one_line(tmp_path: Path) -> None:
    """torch aborts the process there."""
    (tmp_path / "gone").mkdir()
    command = f"cd gone; rmdir ../gone; {sys.executable} -m gpu_ssl doctor"
    environment = {**os.environ, "PYTHONPATH": str(Path(gpu_ssl.__file__).parent.parent)}
    done = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr == (
        "gpu-ssl: error: the current folder no longer exists; change to another one (cd)\n"
    )


def test_no_file_gets_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    """What a library says there would be written into it."""
    code = (
        "from gpu_ssl.cli.process import prepare_streams; prepare_streams()\n"
        "import os, sys; print(os.open('x', os.O_WRONLY | os.O_CREAT), file=sys.__stdout__)"
    )
    command = f'{sys.executable} -c "{code}" <&- 2>&-'
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert int(done.stdout) > 2


def test_a_terminal_of_few_characters_shows_a_table_all_the_same(tmp_path: Path) -> None:
    arguments = ["run", "--dataset", "digits", "--labels", "50", "--epochs", "1", "--no-plots"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    process = start_program(tmp_path, *arguments, env=environment, stdout=subprocess.PIPE)
    stdout, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stderr
    assert " ? " in stdout  # what was the plus-minus sign


@pytest.mark.parametrize(
    "arguments",
    [
        ("predict", "", "x"),
        ("predict", "x", ""),
        ("fit", "", "--output", "m"),
        ("check", "x", "--labels", ""),
        ("suggest", ""),
    ],
)
def test_an_empty_path_is_refused(run_cli: RunCli, arguments: tuple[str, ...]) -> None:
    """A shell makes one of a variable that is not set, and Python the current folder of that."""
    done = run_cli(*arguments)
    assert done.returncode == 2
    assert "the path is empty; is a variable of the shell not set?" in done.stderr


def test_every_option_that_takes_a_path_refuses_an_empty_one() -> None:
    def commands(group: click.Group) -> Iterator[tuple[str, click.Command]]:
        for name in group.list_commands(click.Context(group)):
            command = group.get_command(click.Context(group), name)
            assert command is not None
            if isinstance(command, click.Group):
                yield from commands(command)
            else:
                yield name, command

    taken = {
        (name, parameter.name): parameter.type
        for name, command in commands(main)
        for parameter in command.params
        if isinstance(parameter.type, click.Path)
    }
    assert len(taken) > 25
    assert [own for own, kind in taken.items() if not isinstance(kind, GivenPath)] == []
