"""All checks and measurements that need a GPU, in one JSON file.

Each step is a process with its own time limit, and is recorded as soon as it ends; one that fails or takes
too long is recorded, and the rest still runs. The plan of 8 minutes starts with the most
informative steps; that of 30 adds the contract tests, a comparison of CPU and GPU, and the cases of
``python -m benchmarks``.
No step downloads anything: data sets must be in the cache or in ``--data-dir``.

    scripts/check-gpu                                     30 minutes
    scripts/check-gpu --minutes 8 --output gpu.json
    scripts/check-gpu --only cells --only replay          repeat these; the others are kept
    scripts/check-gpu --rehearse                          on the CPU, to try it without a GPU
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import click

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"
COMMIT = "GPU_SSL_COMMIT"
"""Names the commit where there is no git."""

LEAST_AGREEMENT = 0.9995
"""Share of the test images on which float32 on the GPU must decide as scikit-learn's SVC does."""

RUN = ("gpu_ssl", "run", "--labels", "all", "--no-baselines", "--no-plots", "--json")


@dataclass(frozen=True)
class Step:
    """A process to run: ``python -m`` with `arguments`, in which ``{device}``, ``{file}`` are filled in.

    Parameters
    ----------
    name : str
        Its name in the record.
    seconds : int
        How long it may take.
    arguments : tuple of str
        Module and options. What it writes to ``{file}``, or prints, is JSON and goes into the record.
    short : bool
        Whether it is in the plan of 8 minutes.
    data : bool
        Whether it takes ``--data-dir``.
    options : tuple of str
        Options of Python itself.
    """

    name: str
    seconds: int
    arguments: tuple[str, ...]
    short: bool = True
    data: bool = False
    options: tuple[str, ...] = ()


def probe(name: str, seconds: int) -> Step:
    return Step(name, seconds, ("benchmarks.gpu_probes", name, "--device", "{device}", "--output", "{file}"))


def run(name: str, seconds: int, *more: str, short: bool = True, options: tuple[str, ...] = ()) -> Step:
    return Step(name, seconds, (*RUN, "--output", "{folder}", *more), short, True, options)


def pytest_step(name: str, seconds: int, *arguments: str, short: bool = True) -> Step:
    return Step(name, seconds, ("pytest", "-v", "--durations=10", "--junitxml={file}", *arguments), short)


def benchmark(name: str, seconds: int, *more: str, short: bool = False) -> Step:
    return Step(name, seconds, (f"benchmarks.{name}", *more, "--output", "{file}"), short)


ON_GPU = ("--device", "{device}")
STEPS: tuple[Step, ...] = (
    probe("facts", 60),
    Step("doctor", 60, ("gpu_ssl", "doctor", "--device", "{device}", "--json")),
    probe("replay", 60),
    benchmark("cells", 60, *ON_GPU, "--repeats", "5", short=True),
    run("run_cold", 60, *ON_GPU, options=("-X", "importtime")),
    run("run_warm", 30, *ON_GPU),
    run("run_warm_2", 30, *ON_GPU),
    run("run_batched", 30, *ON_GPU, "--svm", "batched"),
    run("run_sklearn", 40, *ON_GPU, "--svm", "sklearn"),
    run("run_methods", 150, *ON_GPU, "--method", "m1,graph,consistency"),
    pytest_step("gpu_tests", 150, "--require-gpu", "-m", "gpu", "tests"),
    probe("streams", 60),
    probe("cell", 40),
    probe("sizes", 60),
    pytest_step("contract", 120, "tests/contract", short=False),
    run("run_cpu", 300, "--device", "cpu", short=False),
    benchmark("svm", 600, *ON_GPU, "--labels", "100,600,1000,3000,60000", "--repeats", "3"),
    *(
        Step(case, 400, ("benchmarks", "--only", case, "--repeats", "3", "--output", "{file}"), short=False)
        for case in ("recipe", "roofline", "phases", "elbo")
    ),
)
CASES = ("cells", "svm", "recipe", "roofline", "phases", "elbo")
"""Steps whose records are under ``cases``, as in the records of ``python -m benchmarks``."""


def run_step(command: list[str], limit: float) -> tuple[int | None, str, str]:
    """Run a command; return its exit code, None where it took too long, and what it printed."""
    with subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            out, err = process.communicate(timeout=limit)
        except BaseException as error:
            # Its child processes end with it.
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            return None, out, err
    return process.returncode, out, err


def outcome_of(
    step: Step, code: int | None, seconds: float, printed: tuple[str, str], file: Path
) -> dict[str, Any]:
    """Return the record of a step."""
    out, err = printed
    outcome: dict[str, Any] = {"ok": code == 0, "seconds": round(seconds, 3), "exit_code": code}
    if code is None:
        outcome["timed_out"] = True
    if code != 0:
        lines = (out + err).strip().splitlines()
        outcome["last_lines"] = [line for line in lines if not line.startswith("import time:")][-15:]
    if step.arguments[0] == "pytest":
        return outcome | (_test_counts(file) if file.is_file() else {"ok": False})
    if step.options:
        outcome["imports"] = slowest_imports(err)
    text = file.read_text(encoding="utf-8") if file.is_file() else out
    try:
        record = json.loads(text)
    except ValueError:
        return outcome | {"ok": False}
    if step.arguments[0] == "benchmarks":
        record = record["cases"].get(step.name)
    outcome["record"] = record
    return outcome | _judged(step.name, record)


def _judged(name: str, record: dict[str, Any]) -> dict[str, Any]:
    """Return why a step failed according to its record, or an empty text."""
    if name == "doctor":
        return {} if record["works"] else {"ok": False}
    if name == "svm":
        found = [
            result["agreement"]
            for case in record["cases"]
            for who, result in case["results"].items()
            if "cuML" in who or "batched" in who
        ]
        return {"agreements": found} | ({} if min(found) >= LEAST_AGREEMENT else {"ok": False})
    return {}


def _test_counts(file: Path) -> dict[str, Any]:
    """Return the numbers of test outcomes; no test at all is a failure."""
    suite = next(ElementTree.parse(file).getroot().iter("testsuite"))
    counts = {key: int(suite.get(key, 0)) for key in ("tests", "failures", "errors", "skipped")}
    failed = {
        f"{case.get('classname')}::{case.get('name')}": part.get("message", "")
        for case in suite.iter("testcase")
        for part in case
        if part.tag in ("failure", "error")
    }
    return {**counts, "failed": failed} | ({} if counts["tests"] else {"ok": False})


def slowest_imports(text: str) -> dict[str, float]:
    """Return the seconds of the packages that took longest to import, from what ``-X importtime`` prints."""
    own: dict[str, float] = {}
    for line in text.splitlines():
        found = re.match(r"import time:\s+(\d+) \|\s+\d+ \|\s+([\w.]+)$", line)
        if found:
            package = found[2].partition(".")[0]
            own[package] = own.get(package, 0.0) + int(found[1]) / 1e6
    return dict(sorted(own.items(), key=lambda item: -item[1])[:12])


def slug(name: str) -> str:
    """Turn the name of a GPU into that of a file."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def commit() -> str:
    """Return the commit that is checked, as far as git or the environment tells."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
        )
    except OSError:
        return os.environ.get(COMMIT, "unknown")
    return done.stdout.strip() or os.environ.get(COMMIT, "unknown")


def run_steps(
    steps: list[Step], device: str, data: tuple[str, ...], minutes: float, folder: Path
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name and the outcome of each step, also of steps without time left."""
    end = time.monotonic() + 60 * minutes
    for step in steps:
        left = end - time.monotonic()
        if left < 1:
            yield step.name, {"ok": False, "not_run": f"the {minutes:g} minutes were over"}
            continue
        file = folder / f"{step.name}.out"
        filled = [part.format(device=device, file=file, folder=folder / step.name) for part in step.arguments]
        command = [sys.executable, *step.options, "-m", *filled, *(data if step.data else ())]
        limit = min(step.seconds, left)
        click.echo(f"== {step.name} (at most {limit:.0f} s): python -m {' '.join(filled)}", err=True)
        start = time.monotonic()
        code, *printed = run_step(command, limit)
        outcome = outcome_of(step, code, time.monotonic() - start, (printed[0], printed[1]), file)
        click.echo(f"   {'ok' if outcome['ok'] else 'FAILED'} in {outcome['seconds']:.1f} s", err=True)
        for line in outcome.get("last_lines", ()):
            click.echo(f"   | {line}", err=True)
        yield step.name, outcome


MINUTES = (
    "Time limit. 8: doctor, GPU tests, runs and the most informative timings; 30: also the contract tests, a "
    "comparison of CPU and GPU, and longer timings."
)


@click.command()
@click.option("--minutes", type=click.Choice(["8", "30"]), default="30", show_default=True, help=MINUTES)
@click.option(
    "--only",
    type=click.Choice([step.name for step in STEPS]),
    multiple=True,
    help="Run only this step, and keep the record of the others. run_...: gpu-ssl run; gpu_tests, contract: "
    "pytest; facts, replay, streams, cell, sizes: benchmarks.gpu_probes; others: benchmarks of this name.",
)
@click.option("--dataset", default="fashion-mnist", show_default=True, help="What runs work on.")
@click.option("--data-dir", metavar="DIR", help="Folder that holds its files.")
@click.option("--output", type=click.Path(path_type=Path), help="[default: in benchmarks/results]")
@click.option("--rehearse", is_flag=True, help="Run everything on the CPU, to try it where there is no GPU.")
def main(
    minutes: str,
    only: tuple[str, ...],
    dataset: str,
    data_dir: str | None,
    output: Path | None,
    rehearse: bool,
) -> None:
    """Run all checks that need a GPU and write the results; exit with 1 if one failed."""
    from gpu_ssl.runtime.device import cuda_problem
    from gpu_ssl.runtime.environment import describe_environment
    from gpu_ssl.runtime.files import write_text

    problem = None if rehearse else cuda_problem()
    if problem:
        raise click.ClickException(f"{problem} (gpu-ssl doctor --device cuda); --rehearse takes the CPU")
    environment = describe_environment()
    name = "rehearsal" if rehearse else f"gpu-{slug(environment['gpus'][0]['name'])}"
    output = output or RESULTS / f"{name}.json"
    earlier = json.loads(output.read_text(encoding="utf-8")) if only and output.is_file() else {}
    about = {"taken": datetime.now(UTC).isoformat(timespec="seconds"), "commit": commit()}
    record = earlier | {"schema": 3, "what": "scripts/check-gpu", **about, "environment": environment}
    # Timings have the same names as in the records of python -m benchmarks.
    cases = record.setdefault("cases", {})
    steps = [step for step in STEPS if (step.name in only if only else step.short or minutes == "30")]
    data = ("--dataset", dataset, *(("--data-dir", data_dir) if data_dir else ()))
    good = {}
    with tempfile.TemporaryDirectory() as folder:
        device = "cpu" if rehearse else "cuda"
        for step, outcome in run_steps(steps, device, data, float(minutes), Path(folder)):
            if step in CASES:
                cases[step] = outcome.pop("record", None)
            # Other steps of the record may be of another day, and of other code.
            record[step] = outcome | about
            good[step] = outcome["ok"]
            write_text(output, json.dumps(record, indent=1) + "\n")
    for step, ok in good.items():
        click.echo(f"{'ok    ' if ok else 'FAILED'} {step}")
    click.echo(f"Written to {output}; add it to benchmarks/results in a pull request")
    sys.exit(0 if all(good.values()) else 1)


if __name__ == "__main__":
    main()
