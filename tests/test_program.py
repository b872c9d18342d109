"""What runs the program for the tests runs it as it is."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from tests.program import PRELOADED, run_program, run_ranks, start_program


@pytest.mark.parametrize("name", PRELOADED)
def test_what_is_imported_beforehand_is_there(name: str) -> None:
    importlib.import_module(name)


@pytest.mark.parametrize("arguments", [("--version",), ("run", "--labels", "few"), ("predict", "no", "x")])
def test_a_forked_program_says_and_ends_as_a_started_one(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    process = start_program(tmp_path, *arguments, stdout=-1)
    stdout, stderr = process.communicate(timeout=120)
    done = run_program(tmp_path, *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (process.returncode, stdout, stderr)


def test_forked_ranks_say_and_end_as_started_ones(tmp_path: Path) -> None:
    torchrun = ["--standalone", "--nproc-per-node=2"]
    wrong = ["run", "--resume", "nowhere"]
    command = [sys.executable, "-m", "torch.distributed.run", *torchrun, "-m", "gpu_ssl", *wrong]
    started = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    forked = run_ranks(tmp_path, torchrun, *wrong)
    assert (forked.returncode, forked.stdout) == (started.returncode, started.stdout)
    for words in ("gpu-ssl: ", "exitcode  : 2 "):
        # One rank may have ended the other before that could say the same; on a busy machine it says so.
        ours, theirs = (
            {line.partition("(")[0] for line in done.stderr.splitlines() if words in line}
            - {"gpu-ssl: error: stopped by SIGTERM, which torchrun sends when another process ends"}
            for done in (forked, started)
        )
        assert ours == theirs != set()
