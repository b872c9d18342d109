"""Everything that only a machine with a GPU can tell, in one JSON file to commit.

``gpu-ssl doctor``; the tests marked ``gpu`` (none may be skipped); the contract with cuML and CuPy;
``gpu-ssl run`` on the GPU and on the CPU; the SVM of both on the same latents, and whether they predict the
same; and the cases of ``python -m benchmarks``, as in its own records. Each step runs in a process of its
own and is written down as soon as it ends; one that fails is recorded, and the rest still runs.

    scripts/check-gpu
    scripts/check-gpu --only svm        this step anew; the others stay as they are in the record
"""

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import click

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"
BENCHMARKS = ("recipe", "roofline", "phases", "elbo")
CASES = ("svm", *BENCHMARKS)
STEPS = ("gpu_tests", "contract", "run_cuda", "run_cpu", *CASES)
LEAST_AGREEMENT = 0.9995
"""Share of the test images on which float32 on the GPU must decide as scikit-learn's SVC does."""


def run_step(name: str, *arguments: str, shown: bool = False) -> subprocess.CompletedProcess[str]:
    """Run a module of Python; stderr goes to the terminal, and so does what it prints if it is `shown`."""
    click.echo(f"== {name}: python -m {' '.join(arguments)}", err=True)
    stdout = sys.stderr if shown else subprocess.PIPE
    return subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, stdout=stdout, text=True, check=False)


def run_tests(name: str, folder: Path, *arguments: str) -> dict[str, Any]:
    """Run pytest with `arguments`; return how many tests ended how, and whether that is good."""
    report = folder / f"{name.replace(' ', '-')}.xml"
    done = run_step(name, "pytest", "-v", "--durations=10", f"--junitxml={report}", *arguments, shown=True)
    if not report.is_file():
        return {"ok": False, "exit_code": done.returncode}
    suite = next(ElementTree.parse(report).getroot().iter("testsuite"))
    counts = {key: int(suite.get(key, 0)) for key in ("tests", "failures", "errors", "skipped")}
    failed = {
        f"{case.get('classname')}::{case.get('name')}": outcome.get("message", "")
        for case in suite.iter("testcase")
        for outcome in case
        if outcome.tag in ("failure", "error")
    }
    return {"ok": done.returncode == 0 and counts["tests"] > 0, **counts, "failed": failed}


def run_pipeline(device: str, folder: Path) -> dict[str, Any]:
    """Run ``gpu-ssl run`` on `device`, start-up included; return its report and the seconds it took."""
    start = time.perf_counter()
    options = (
        "--labels",
        "all",
        "--no-baselines",
        "--device",
        device,
        "--json",
        "--output",
        str(folder / device),
    )
    done = run_step(f"run on {device}", "gpu_ssl", "run", *options)
    seconds = time.perf_counter() - start
    report = json.loads(done.stdout) if done.returncode == 0 else None
    return {"ok": report is not None, "seconds": seconds, "report": report}


def run_case(name: str, folder: Path, *options: str) -> dict[str, Any]:
    """Run a case of ``python -m benchmarks`` and return what it recorded."""
    path = folder / f"{name}.json"
    done = run_step(name, *options, "--output", str(path))
    click.echo(done.stdout, err=True)
    record = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    return {"ok": done.returncode == 0 and record is not None, "record": record}


def run_svm(folder: Path, labels: str, repeats: int) -> dict[str, Any]:
    """Time the SVM on both devices; good where every prediction agrees but for rounding."""
    options = ("--device", "cuda", "--labels", labels, "--repeats", str(repeats))
    outcome = run_case("svm", folder, "benchmarks.svm", *options)
    if outcome["ok"]:
        cases = outcome["record"]["cases"]
        agreements = [case["results"]["gpu-ssl cuML float32"]["agreement"] for case in cases]
        outcome |= {"ok": min(agreements) >= LEAST_AGREEMENT, "agreements": agreements}
    return outcome


def run_benchmark(case: str, folder: Path, repeats: int) -> dict[str, Any]:
    """Run a case by way of ``python -m benchmarks``."""
    outcome = run_case(case, folder, "benchmarks", "--only", case, "--repeats", str(repeats))
    if outcome["record"] is not None:
        outcome["record"] = outcome["record"]["cases"].get(case)
    return outcome


def slug(name: str) -> str:
    """Turn the name of a GPU into that of a file."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def commit() -> str:
    """Return the commit that is checked, as far as git tells."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
        )
    except OSError:
        return "unknown"
    return done.stdout.strip() or "unknown"


def run_steps(
    only: tuple[str, ...], labels: str, repeats: int, folder: Path
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name and the outcome of each step of `only`; of all where it is empty."""
    steps: dict[str, Callable[[], dict[str, Any]]] = {
        "gpu_tests": lambda: run_tests("GPU tests", folder, "--require-gpu", "-m", "gpu", "tests"),
        "contract": lambda: run_tests("contract", folder, "tests/contract"),
        "run_cuda": lambda: run_pipeline("cuda", folder),
        "run_cpu": lambda: run_pipeline("cpu", folder),
        "svm": lambda: run_svm(folder, labels, repeats),
        **{case: partial(run_benchmark, case, folder, repeats) for case in BENCHMARKS},
    }
    for name in STEPS:
        if name in only or not only:
            yield name, steps[name]()


@click.command()
@click.option("--labels", default="100,600,1000,3000,60000", show_default=True, help="Labels for the SVM.")
@click.option(
    "--repeats", type=click.IntRange(1), default=5, show_default=True, help="Rounds that are timed."
)
@click.option("--only", type=click.Choice(STEPS), multiple=True, help="Run this step; may be given again.")
@click.option(
    "--output", type=click.Path(path_type=Path), help="[default: benchmarks/results/gpu-<name>.json]"
)
def main(labels: str, repeats: int, only: tuple[str, ...], output: Path | None) -> None:
    """Run every check that needs a GPU and write what came out; exit with 1 where one failed."""
    doctor = run_step("doctor", "gpu_ssl", "doctor", "--device", "cuda", "--json")
    diagnosis = json.loads(doctor.stdout)
    if diagnosis["auto_device"]["used"] == "cpu":
        failed = [f"{c['name']}: {c['found']}" for c in diagnosis["checks"] if c["status"] == "failed"]
        raise click.ClickException(f"{'; '.join(failed)} (see: gpu-ssl doctor --device cuda)")
    from gpu_ssl.runtime.environment import describe_environment
    from gpu_ssl.runtime.files import write_text

    environment = describe_environment()
    output = output or RESULTS / f"gpu-{slug(environment['gpus'][0]['name'])}.json"
    earlier = json.loads(output.read_text(encoding="utf-8")) if only and output.is_file() else {}
    record = earlier | {
        "schema": 2,
        "what": "scripts/check-gpu",
        "taken": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "environment": environment,
        "doctor": {"ok": diagnosis["works"], **diagnosis},
    }
    # What was timed lies under the same names as in the records of python -m benchmarks.
    cases = record.setdefault("cases", {})
    good = {"doctor": diagnosis["works"]}
    with tempfile.TemporaryDirectory() as folder:
        for name, outcome in run_steps(only, labels, repeats, Path(folder)):
            if name in CASES:
                cases[name] = outcome.pop("record")
            # Other steps of the record may be of another day, and of other code.
            record[name] = outcome | {key: record[key] for key in ("taken", "commit")}
            good[name] = outcome["ok"]
            write_text(output, json.dumps(record, indent=1) + "\n")
    for name, ok in good.items():
        click.echo(f"{'ok    ' if ok else 'FAILED'} {name}")
    click.echo(f"Written to {output}; please commit it")
    sys.exit(0 if all(good.values()) else 1)


if __name__ == "__main__":
    main()
