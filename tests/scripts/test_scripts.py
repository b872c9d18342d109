"""The two commands: what they install, when, and what they say when something is missing."""

import os
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
BASH = shutil.which("bash")
pytestmark = pytest.mark.skipif(BASH is None, reason="the scripts are for bash")


class Sandbox:
    """A copy of the scripts with stand-ins for the programs they call, which write down their arguments."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "clone"
        self.bin = folder / "bin"
        self.log = folder / "log"
        (self.root / ".venv" / "bin").mkdir(parents=True)
        self.bin.mkdir()
        shutil.copytree(ROOT / "scripts", self.root / "scripts")
        shutil.copy(ROOT / "pyproject.toml", self.root)
        for name in ("dirname", "basename", "cksum", "tr", "awk", "head", "grep", "tail", "df", "flock"):
            (self.bin / name).symlink_to(shutil.which(name) or "/missing")
        self.stand_in(self.root / ".venv" / "bin" / "python", f'echo "python $*" >> {self.log}')
        self.stand_in(self.root / ".venv" / "bin" / "gpu-ssl", 'echo "ran: $*"')

    def stand_in(self, path: Path, body: str) -> None:
        path.write_text(f"#!{BASH}\n{body}\n")
        path.chmod(0o755)

    def run(self, script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(BASH), str(self.root / "scripts" / script), *arguments],
            env={"PATH": str(self.bin), **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    def installs(self) -> list[str]:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [line for line in lines if " install " in line and "--editable" in line]


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    return Sandbox(tmp_path)


def test_the_first_start_installs_and_the_second_does_not(sandbox: Sandbox) -> None:
    for _ in range(2):
        done = sandbox.run("run", "--labels", "all")
        assert (done.returncode, done.stdout) == (0, "ran: run --labels all\n")
    (install,) = sandbox.installs()
    assert install.endswith(f"--editable {sandbox.root}")


def test_pip_is_brought_up_to_date_first(sandbox: Sandbox) -> None:
    sandbox.run("run")
    lines = [line for line in sandbox.log.read_text().splitlines() if " install " in line]
    assert lines[0].endswith("--upgrade pip")
    assert len(lines) == 2


def test_the_contract_has_an_environment_of_its_own(sandbox: Sandbox) -> None:
    own = sandbox.root / ".venv-contract" / "bin"
    own.mkdir(parents=True)
    sandbox.stand_in(own / "python", f'echo "contract python $*" >> {sandbox.log}')
    done = sandbox.run("test-contract", "-k", "dlpack")
    assert done.returncode == 0, done.stderr
    (install,) = sandbox.installs()
    assert install.startswith("contract python")
    assert install.endswith("[dev,gpu]")
    assert sandbox.log.read_text().splitlines()[-1].endswith("pytest tests/contract -k dlpack")


def test_a_second_start_is_quick(sandbox: Sandbox) -> None:
    sandbox.run("run")
    start = time.perf_counter()
    sandbox.run("run")
    assert time.perf_counter() - start < 3


def test_a_changed_pyproject_is_installed(sandbox: Sandbox) -> None:
    sandbox.run("run")
    with (sandbox.root / "pyproject.toml").open("a") as file:
        file.write("# one more dependency\n")
    sandbox.run("run")
    assert len(sandbox.installs()) == 2


@pytest.mark.parametrize(
    ("version", "extra"), [("580.65.06", True), ("590.10", True), ("570.124", False), ("", False)]
)
def test_the_gpu_extra_needs_a_new_enough_driver(sandbox: Sandbox, version: str, extra: bool) -> None:
    sandbox.stand_in(sandbox.bin / "nvidia-smi", f"echo '{version}'")
    assert sandbox.run("run").returncode == 0
    (install,) = sandbox.installs()
    assert install.endswith("[gpu]") == extra


def test_a_broken_driver_is_no_driver(sandbox: Sandbox) -> None:
    sandbox.stand_in(sandbox.bin / "nvidia-smi", "echo 'NVIDIA-SMI has failed'; exit 9")
    assert sandbox.run("run").returncode == 0
    assert not sandbox.installs()[0].endswith("[gpu]")


def assert_one_line(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if "error:" in line]
    assert len(errors) == 1
    for word in words:
        assert word in errors[0]


def test_an_old_python_is_one_line(sandbox: Sandbox) -> None:
    shutil.rmtree(sandbox.root / ".venv")
    sandbox.stand_in(sandbox.bin / "python3", 'case $1 in --version) echo "Python 3.9.2";; *) exit 1;; esac')
    assert_one_line(sandbox.run("run"), "3.11", "Python 3.9.2", "PYTHON=")


def test_a_full_disk_is_one_line(sandbox: Sandbox) -> None:
    shutil.rmtree(sandbox.root / ".venv")
    sandbox.stand_in(sandbox.bin / "python3", "exit 0")
    (sandbox.bin / "df").unlink()
    sandbox.stand_in(sandbox.bin / "df", "echo header; echo 'disk 9 9 2097152 9% /'")
    assert_one_line(sandbox.run("run"), "2 GiB", "10 GiB")


def test_a_named_python_that_is_none_is_one_line(sandbox: Sandbox) -> None:
    shutil.rmtree(sandbox.root / ".venv")
    assert_one_line(sandbox.run("run", PYTHON="/nowhere/python"), "/nowhere/python")


def test_an_environment_that_was_never_finished_is_made_anew(sandbox: Sandbox) -> None:
    broken = sandbox.root / ".venv" / "bin" / "python"
    sandbox.stand_in(broken, "exit 1")  # no pip in it, as after Ctrl-C or without python3-venv
    whole = broken.with_name("whole")
    sandbox.stand_in(whole, f'echo "python $*" >> {sandbox.log}')
    making = f'case "$*" in *"-m venv --clear"*) {shutil.which("cp")} {whole} {broken};; esac'
    sandbox.stand_in(sandbox.bin / "python3", making)
    assert sandbox.run("run").stdout == "ran: run\n"
    assert len(sandbox.installs()) == 1


def test_of_two_starts_at_once_one_installs(sandbox: Sandbox) -> None:
    slow = f'echo "python $*" >> {sandbox.log}; case "$*" in *install*) {shutil.which("sleep")} 1;; esac'
    sandbox.stand_in(sandbox.root / ".venv" / "bin" / "python", slow)
    with ThreadPoolExecutor() as pool:
        done = list(pool.map(lambda _: sandbox.run("run"), range(3)))
    assert [d.stdout for d in done] == ["ran: run\n"] * 3
    assert len(sandbox.installs()) == 1


def test_a_registry_that_does_not_answer_is_one_line(sandbox: Sandbox) -> None:
    failing = """case "$*" in *install*) echo 'ERROR: No matching distribution found'; exit 1;; esac"""
    sandbox.stand_in(sandbox.root / ".venv" / "bin" / "python", failing)
    assert_one_line(sandbox.run("run"), "No matching distribution", "install.log")
    assert "ran" not in sandbox.run("run").stdout


def test_the_tests_fail_when_one_check_fails(sandbox: Sandbox) -> None:
    tools = sandbox.root / ".venv" / "bin"
    for name in ("ruff", "mypy", "lint-imports"):
        sandbox.stand_in(tools / name, "exit 0")
    assert sandbox.run("test").returncode == 0
    assert [line.rpartition("[")[2] for line in sandbox.installs()] == ["dev]"]
    assert "python -m pytest" in sandbox.log.read_text().splitlines()
    sandbox.stand_in(tools / "mypy", "exit 1")
    assert sandbox.run("test").returncode == 1


def test_no_test_is_a_failure(sandbox: Sandbox) -> None:
    for name in ("ruff", "mypy", "lint-imports"):
        sandbox.stand_in(sandbox.root / ".venv" / "bin" / name, "exit 0")
    sandbox.run("test")
    # pytest's exit status where it ran no test
    sandbox.stand_in(sandbox.root / ".venv" / "bin" / "python", "exit 5")
    assert sandbox.run("test", "-k", "nothing").returncode == 5


def test_the_gate_calls_the_test_command() -> None:
    gate = ROOT / ".ci" / "run"
    assert os.access(gate, os.X_OK)
    assert gate.read_text().splitlines()[-2:] == ["scripts/test", "scripts/test-contract"]
