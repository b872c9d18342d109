"""The two commands: what they install, when, and what they say when something is missing."""

import os
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent.parent
BASH = shutil.which("bash")
pytestmark = pytest.mark.skipif(BASH is None, reason="the scripts are for bash")


TOOLS = ("dirname", "basename", "cksum", "tr", "awk", "head", "grep", "tail", "df", "flock", "mktemp")


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
        for name in TOOLS:
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


@pytest.mark.parametrize("script", ["contract", "oldest"])
def test_other_versions_have_an_environment_of_their_own(sandbox: Sandbox, script: str) -> None:
    """It borrows from .venv what it does not hold, and is made once."""
    own = sandbox.root / f".venv-{script}" / "bin"
    own.mkdir(parents=True)
    sandbox.stand_in(own / "python", f'echo "other python $*" >> {sandbox.log}; echo {own.parent}')
    answers = 'if [[ $1 == - ]]; then echo "a>=1"; echo b; elif [[ $1 == -c ]]; then echo /of-venv; fi'
    sandbox.stand_in(
        sandbox.root / ".venv" / "bin" / "python", f'echo "python $*" >> {sandbox.log}; {answers}'
    )
    for _ in range(2):
        done = sandbox.run(f"test-{script}", "-k", "dlpack")
        assert done.returncode == 0, done.stderr
    lines = sandbox.log.read_text().splitlines()
    (install,) = [line for line in lines if line.startswith("other python -m pip")]
    assert install.endswith("install --quiet --disable-pip-version-check --no-compile a>=1 b")
    assert (own.parent / "borrowed.pth").read_text() == "/of-venv\n"
    last = lines[-1]
    assert last.startswith("other python -m pytest")
    assert last.endswith("-k dlpack")


def test_a_package_that_cannot_be_compiled_is_no_failure(sandbox: Sandbox) -> None:
    body = f'echo "python $*" >> {sandbox.log}; case "$*" in *compileall*) exit 1;; esac'
    sandbox.stand_in(sandbox.root / ".venv" / "bin" / "python", body)
    assert sandbox.run("run").returncode == 0
    assert "python -m compileall" in sandbox.log.read_text()


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
    assert any(line.startswith("python -m slipcover --json") for line in sandbox.log.read_text().splitlines())
    sandbox.stand_in(tools / "mypy", "exit 1")
    assert sandbox.run("test").returncode == 1


def test_no_test_is_a_failure(sandbox: Sandbox) -> None:
    for name in ("ruff", "mypy", "lint-imports"):
        sandbox.stand_in(sandbox.root / ".venv" / "bin" / name, "exit 0")
    sandbox.run("test")
    # pytest's exit status where it ran no test
    sandbox.stand_in(sandbox.root / ".venv" / "bin" / "python", "exit 5")
    assert sandbox.run("test", "-k", "nothing").returncode == 5


def test_the_tests_install_a_browser_once_where_they_can(sandbox: Sandbox) -> None:
    for name in ("ruff", "mypy", "lint-imports"):
        sandbox.stand_in(sandbox.root / ".venv" / "bin" / name, "exit 0")
    assert "chromium" in sandbox.run("test").stderr  # no apt-get
    sandbox.stand_in(sandbox.bin / "id", "echo 1000")
    sandbox.stand_in(sandbox.bin / "apt-get", f'echo "apt-get $*" >> {sandbox.log}')
    assert "cannot be installed" in sandbox.run("test").stderr
    assert "apt-get" not in sandbox.log.read_text()
    sandbox.stand_in(sandbox.bin / "id", "echo 0")
    assert sandbox.run("test").returncode == 0
    asked = [line for line in sandbox.log.read_text().splitlines() if line.startswith("apt-get")]
    assert asked == ["apt-get update", "apt-get install --yes --no-install-recommends chromium"]
    sandbox.stand_in(sandbox.bin / "chromium", "exit 0")
    sandbox.run("test")
    assert sandbox.log.read_text().count("apt-get update") == 1


class TestGate:
    """The gate with stand-ins for its steps, each of which writes its name to a log."""

    STEPS = ("test", "docs", "check-wheel", "test-contract")

    def run(self, folder: Path, **bodies: str) -> subprocess.CompletedProcess[str]:
        (folder / ".ci").mkdir()
        (folder / "scripts").mkdir()
        shutil.copy(ROOT / ".ci" / "run", folder / ".ci" / "run")
        for name in self.STEPS:
            path = folder / "scripts" / name
            body = bodies.get(name.replace("-", "_"), "exit 0")
            path.write_text(f"#!{BASH}\necho {name} >> {folder / 'log'}\necho output of {name}\n{body}\n")
            path.chmod(0o755)
        return subprocess.run([folder / ".ci" / "run"], capture_output=True, text=True, check=False)

    def test_all_steps_run_after_the_tests_and_are_printed(self, tmp_path: Path) -> None:
        done = self.run(tmp_path)
        assert done.returncode == 0
        steps = (tmp_path / "log").read_text().split()
        assert steps[0] == "test"
        assert sorted(steps) == sorted(self.STEPS)
        assert all(f"output of {name}\n" in done.stdout for name in self.STEPS)

    @pytest.mark.parametrize("step", STEPS)
    def test_a_step_that_fails_fails_the_gate(self, tmp_path: Path, step: str) -> None:
        done = self.run(tmp_path, **{step.replace("-", "_"): "sleep 0.1; exit 3"})
        assert done.returncode == 3
        assert f"output of {step}\n" in done.stdout

    def test_nothing_is_left_running_if_a_step_fails(self, tmp_path: Path) -> None:
        """Not the pip that the last step started either."""
        started = f"sleep 60 & echo $! > {tmp_path / 'pid'}; wait"
        done = self.run(
            tmp_path, test_contract=started, docs=f"until [ -s {tmp_path / 'pid'} ]; do :; done; exit 3"
        )
        assert done.returncode == 3
        pid = int((tmp_path / "pid").read_text())
        for _ in range(50):
            state = subprocess.run(
                ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
            ).stdout.strip()
            if not state or state.startswith("Z"):
                return
            time.sleep(0.1)
        pytest.fail(f"process {pid} runs on")


class TestCloudSetup:
    """A fresh machine with and without a GPU, as stand-ins show it."""

    @pytest.fixture
    def machine(self, sandbox: Sandbox) -> Sandbox:
        for name in ("ln", "id", "sed"):
            (sandbox.bin / name).symlink_to(shutil.which(name) or "/missing")
        sandbox.stand_in(sandbox.bin / "python3", "exit 0")
        sandbox.stand_in(sandbox.root / ".venv" / "bin" / "gpu-ssl", f'echo "gpu-ssl $*" >> {sandbox.log}')
        return sandbox

    def setup(self, machine: Sandbox, *arguments: str, gpu: bool = False) -> subprocess.CompletedProcess[str]:
        for number, vendor, kind in (
            (0, "0x8086", "0x030000"),
            (1, "0x10de", "0x030200" if gpu else "0x020000"),
        ):
            place = machine.root.parent / "pci" / f"0000:0{number}:00.0"
            place.mkdir(parents=True, exist_ok=True)
            (place / "vendor").write_text(f"{vendor}\n")
            (place / "class").write_text(f"{kind}\n")
        return machine.run("cloud-setup", *arguments, PCI=str(machine.root.parent / "pci"))

    def test_without_a_gpu_it_is_the_cpu(self, machine: Sandbox) -> None:
        for _ in range(2):
            done = self.setup(machine)
            assert done.returncode == 0, done.stderr
            assert done.stdout.startswith("== device: cpu\n")
            assert "Ready. Next: ./.gpu-ssl bench --device cpu --output cpu.json\n" in done.stdout
            assert done.stdout.endswith("./.gpu-ssl run --labels all\n")
        assert machine.log.read_text().splitlines().count("gpu-ssl doctor --device cpu") == 2
        assert len(machine.installs()) == 1
        assert (machine.root / ".gpu-ssl").resolve() == machine.root / ".venv" / "bin" / "gpu-ssl"

    @pytest.mark.parametrize("version", ["570.124", ""])
    def test_a_gpu_without_a_driver_is_told_and_may_be_left(self, machine: Sandbox, version: str) -> None:
        if version:
            machine.stand_in(machine.bin / "nvidia-smi", f"echo {version}")
        assert_one_line(self.setup(machine, gpu=True), "driver 580", version, "--cpu", "apt-get install")
        assert not machine.installs()
        assert self.setup(machine, "--cpu", gpu=True).stdout.startswith("== device: cpu")

    def test_a_gpu_with_a_driver_gets_the_gpu_extra(self, machine: Sandbox) -> None:
        machine.stand_in(machine.bin / "nvidia-smi", "echo 580.65.06")
        assert self.setup(machine, gpu=True).returncode == 0
        assert machine.installs()[0].endswith("[gpu]")
        assert "gpu-ssl doctor --device cuda" in machine.log.read_text()

    @pytest.mark.parametrize(
        ("conda", "action"),
        [("conda", "env update"), ("mamba", "update --yes"), ("micromamba", "update --yes")],
    )
    def test_conda_makes_the_environment_on_request(self, machine: Sandbox, conda: str, action: str) -> None:
        machine.stand_in(machine.bin / "nvidia-smi", "echo 580.65.06")
        program = machine.root / ".venv" / "bin" / "gpu-ssl"
        answers = (
            f"""case $* in *which*) echo {program};; "env list") echo '  gpu-ssl  /envs/gpu-ssl';; esac"""
        )
        machine.stand_in(machine.bin / conda, f'echo "{conda} $*" >> {machine.log}; {answers}')
        done = self.setup(machine, "--conda", gpu=True)
        assert done.returncode == 0, done.stderr
        assert (
            f"{conda} {action} --name gpu-ssl --file environment.yml" in machine.log.read_text().splitlines()
        )
        assert not machine.installs()
        assert "Next: ./.gpu-ssl bench --device cuda --output gpu.json\n" in done.stdout

    def test_conda_is_not_used_unless_asked(self, machine: Sandbox) -> None:
        machine.stand_in(machine.bin / "nvidia-smi", "echo 580.65.06")
        machine.stand_in(machine.bin / "conda", f'echo "conda $*" >> {machine.log}')
        assert self.setup(machine, gpu=True).returncode == 0
        assert machine.installs()[0].endswith("[gpu]")
        assert "--file environment.yml" not in machine.log.read_text()

    def test_conda_without_a_gpu_or_a_conda_is_one_line(self, machine: Sandbox) -> None:
        assert_one_line(self.setup(machine, "--conda"), "environment.yml is for a GPU", "leave --conda out")
        machine.stand_in(machine.bin / "nvidia-smi", "echo 580.65.06")
        assert_one_line(self.setup(machine, "--conda", gpu=True), "none of micromamba, mamba and conda")
        assert self.setup(machine, "--conda", "--cpu").returncode == 2
        assert not machine.installs()

    def test_a_doctor_that_finds_something_missing_fails(self, machine: Sandbox) -> None:
        machine.stand_in(machine.root / ".venv" / "bin" / "gpu-ssl", "exit 1")
        done = self.setup(machine)
        assert done.returncode == 1
        assert "Ready" not in done.stdout

    def test_another_option_is_wrong_usage(self, machine: Sandbox) -> None:
        done = self.setup(machine, "--gpu")
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        shown = self.setup(machine, "--help").stdout
        assert "--cpu" in shown
        assert "--conda" in shown
        assert "set -euo" not in shown


class TestCheckGpu:
    """It uses the environment that cloud-setup made."""

    @pytest.fixture
    def clone(self, sandbox: Sandbox) -> Sandbox:
        (sandbox.bin / "readlink").symlink_to(shutil.which("readlink") or "/missing")
        own = sandbox.root.parent / "envs" / "gpu-ssl" / "bin"
        own.mkdir(parents=True)
        (sandbox.root / ".gpu-ssl").symlink_to(own / "gpu-ssl")
        return sandbox

    def test_it_takes_the_python_of_cloud_setup(self, clone: Sandbox) -> None:
        python = (clone.root / ".gpu-ssl").readlink().parent / "python"
        clone.stand_in(python, f'echo "conda python $*" >> {clone.log}')
        assert clone.run("check-gpu", "--minutes", "8").returncode == 0
        assert clone.log.read_text().splitlines()[-1] == "conda python -m benchmarks.check_gpu --minutes 8"
        assert not clone.installs()

    def test_the_extra_that_it_needs_is_named(self, clone: Sandbox) -> None:
        python = (clone.root / ".gpu-ssl").readlink().parent / "python"
        clone.stand_in(python, "exit 1")
        clone.stand_in(clone.root / ".venv" / "bin" / "python", "exit 1")
        done = clone.run("check-gpu")
        assert_one_line(done, f"{python} -m pip install --editable '.[dev]'")
        assert not clone.installs()

    def test_the_extra_is_added_to_its_venv(self, clone: Sandbox) -> None:
        (clone.root / ".gpu-ssl").unlink()
        venv = clone.root / ".venv" / "bin"
        (clone.root / ".gpu-ssl").symlink_to(venv / "gpu-ssl")
        clone.stand_in(venv / "python", f'echo "python $*" >> {clone.log}; [[ $1 != -c ]]')
        clone.stand_in(clone.bin / "nvidia-smi", "echo 580.65.06")
        done = clone.run("check-gpu")
        assert done.returncode == 0, done.stderr
        assert clone.installs()[0].endswith("[dev,gpu]")


def test_the_job_of_the_cloud_goes_on_where_it_was_stopped(sandbox: Sandbox, tmp_path: Path) -> None:
    """Started three times: stopped in the run, then in the benchmark, then not at all."""
    runs = tmp_path / "runs"
    (runs / "table").mkdir(parents=True)
    finishes = f'echo "$*" >> {sandbox.log}; case $1 in run) : > {runs}/table/report.json;; esac'
    stops = f'echo "$*" >> {sandbox.log}; : > {runs}/table/config.json; exit 130'
    sandbox.stand_in(sandbox.root / ".gpu-ssl", stops)
    assert sandbox.run("cloud/job", str(runs)).returncode == 130
    sandbox.stand_in(sandbox.root / ".gpu-ssl", finishes)
    assert sandbox.run("cloud/job", str(runs)).returncode == 0
    (runs / "bench.json").touch()
    assert sandbox.run("cloud/job", str(runs)).returncode == 0
    assert sandbox.log.read_text().splitlines() == [
        f"run --labels all --output {runs}/table",
        f"run --resume {runs}/table",
        f"bench --output {runs}/bench.json",
    ]


def test_the_task_for_skypilot_calls_what_is_there() -> None:
    task = yaml.safe_load((ROOT / "scripts" / "cloud" / "gpu-ssl.sky.yaml").read_text())
    for command in (task["setup"], task["run"]):
        assert os.access(ROOT / command.split()[0], os.X_OK)
    assert task["resources"]["use_spot"]
    assert list(task["file_mounts"]) == ["/runs"]
