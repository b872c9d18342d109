"""A short campaign of hostile tries: killed, damaged, starved and misused, the program stays right."""

import pytest
from click.testing import CliRunner

from benchmarks.campaign.__main__ import KINDS, main
from benchmarks.campaign.program import Done
from benchmarks.campaign.world import complaint


def test_no_hostile_try_comes_out_wrong() -> None:
    """One of each kind; ``python -m benchmarks.campaign`` does some thousands."""
    done = CliRunner().invoke(main, ["--each", "1"])
    assert done.exit_code == 0, done.output
    total = len(KINDS)
    assert f"| all | {total} | {total} | 0 |" in done.stdout


@pytest.mark.parametrize(
    ("done", "words"),
    [
        (Done(0, "x\n", "", 0), None),
        (Done(1, "", "gpu-ssl: error: no\n", 0), None),
        (Done(None, "", "", 0), "it hangs"),
        (Done(1, "", "Traceback (most recent call last)\n", 0), "a traceback"),
        (Done(1, "", "gpu-ssl: error: unexpected error: x\n", 0), "a traceback"),
        (Done(-11, "", "", 0), "exit code -11"),
        (Done(1, "", "", 0), "0 lines of error"),
        (Done(2, "", "gpu-ssl: error: a\ngpu-ssl: error: b\n", 0), "2 lines of error"),
        (Done(0, "\x1b[31m", "", 0), "letters that a terminal obeys"),
    ],
)
def test_what_is_wrong_with_an_end_is_found(done: Done, words: str | None) -> None:
    """The campaign must be able to fail."""
    found = complaint(done, 0, 1, 2)
    assert (found is None) if words is None else (found or "").startswith(words)
