"""Tables of ``run``, ``check`` and ``doctor`` on terminals, also narrow and without colours, and in pipes."""

import re
from pathlib import Path

import numpy as np
import pytest

from gpu_ssl.config import RunConfig
from gpu_ssl.records import Difference
from gpu_ssl.report.writing import REPORT_KIND, write_config
from gpu_ssl.runtime import state
from tests.program import run_program
from tests.report.test_report import REPORT, result
from tests.terminal import colours, lines_of, run_on_terminal

NARROW, USUAL, WIDE = 40, 60, 100
GREEN, YELLOW, RED = "32", "33", "31"

RESULTS = tuple(
    result(method, count, *(share + 0.001 * i for i in range(3)))
    for method, share in (("m1", 0.7), ("hybrid", 0.8), ("raw-svc", 0.6))
    for count in (100, 600, 1000, 3000)
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of four numbers of labels in ``run``, and images in ``images.npz``."""
    folder = tmp_path_factory.mktemp("terminal")
    differences = tuple(
        Difference(method=method, against="m1", labels=count, mean=sign * 0.1, low=low, high=high)
        for method, sign, low, high in (("hybrid", 1, 0.09, 0.11), ("raw-svc", -1, -0.11, -0.09))
        for count in (100, 600, 1000, 3000)
    )
    (folder / "run").mkdir()
    write_config(folder / "run", RunConfig())
    report = REPORT.model_copy(update={"results": RESULTS, "differences": differences})
    state.save(folder / "run" / "report.json", REPORT_KIND, report)
    rng = np.random.default_rng(0)
    labels = np.array(["grown-up cats"] * 9 + ["dog"] * 2 + [""] * 9)
    np.savez(folder / "images.npz", images=rng.integers(256, size=(20, 8, 8), dtype=np.uint8), labels=labels)
    return folder


def words(text: str) -> set[str]:
    return set(re.findall(r"\S+", text))


COMMANDS = {
    "run": ("run", "--resume", "run"),
    "check": ("check", "images.npz"),
    "doctor": ("doctor", "--device", "cpu"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_narrow_terminal_breaks_no_word_and_no_line(name: str, root: Path) -> None:
    piped = run_program(root, *COMMANDS[name])
    assert piped.returncode == 0, piped.stderr
    assert "\x1b" not in piped.stdout + piped.stderr
    for columns in (NARROW, USUAL, WIDE):
        shown = run_on_terminal(root, columns, *COMMANDS[name])
        # But for stderr: a message is one line, whatever the terminal.
        told = piped.stderr.splitlines()
        lines = [line for line in lines_of(shown) if line not in told]
        assert max(len(line) for line in lines) <= columns
        assert words(" ".join(lines)) <= words(piped.stdout)
        assert {"\x1b[1m"} <= set(re.findall(r"\x1b\[1m", shown))  # heads of tables


def test_the_table_of_a_run_stands_in_columns_or_one_below_the_other(root: Path) -> None:
    wide = lines_of(run_on_terminal(root, WIDE, *COMMANDS["run"]))
    assert any(re.search(r"100 labels +600 labels +1,000 labels +3,000 labels", line) for line in wide)
    narrow = lines_of(run_on_terminal(root, NARROW, *COMMANDS["run"]))
    for count in ("100", "600", "1,000", "3,000"):
        assert sum(line.strip() == f"{count} labels" for line in narrow) == 2  # of accuracies and differences
    assert sum("80.10 ± 1.00" in line for line in narrow) == 4


def test_good_and_bad_have_the_same_colours_everywhere(root: Path) -> None:
    run = run_on_terminal(root, WIDE, *COMMANDS["run"])
    assert f"\x1b[{GREEN}m+10.00 ± 1.00" in run
    assert f"\x1b[{RED}m-10.00 ± 1.00" in run
    doctor = run_on_terminal(root, WIDE, *COMMANDS["doctor"])
    assert f"\x1b[{GREEN}mok" in doctor
    assert f"\x1b[{GREEN}mworks" in doctor
    check = run_on_terminal(root, WIDE, *COMMANDS["check"])
    assert re.search(rf"\x1b\[{YELLOW}m *2\x1b", check)  # a class of two labels
    assert f"\x1b[{YELLOW}mgpu-ssl:\x1b[0m" in check
    failed = run_on_terminal(root, WIDE, "check", "nothing")
    assert failed.startswith(f"\x1b[{RED}mgpu-ssl:\x1b[0m error: nothing does not exist")


@pytest.mark.parametrize("name", COMMANDS)
def test_no_color_is_obeyed(name: str, root: Path) -> None:
    assert colours(run_on_terminal(root, WIDE, *COMMANDS[name]))
    assert not colours(run_on_terminal(root, WIDE, *COMMANDS[name], NO_COLOR="1"))


def test_a_pipe_gets_the_table_of_check_as_columns(root: Path) -> None:
    done = run_program(root, "check", "images.npz")
    lines = done.stdout.splitlines()
    assert lines[0] == "20 images at 8 x 8 pixels, grey; 11 labelled, 2 classes"
    assert [re.split(r" {2,}", line.strip()) for line in lines[1:]] == [
        ["class", "labels"],
        ["dog", "2"],
        ["grown-up cats", "9"],
    ]
