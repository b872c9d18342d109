"""Everything that only a machine with a GPU can tell, in one JSON file to commit.

``gpu-ssl doctor``; the tests marked ``gpu`` (none may be skipped); the contract with cuML and CuPy; the SVM
on the CPU against cuML on the same latents, and whether they predict the same; ``gpu-ssl run`` on both; and
the cases of ``python -m benchmarks``, as in its own records. Each step runs in a process of its own; one that
fails is recorded, and the rest still runs.

    scripts/check-gpu
"""

import json
import re
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import click

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"
BENCHMARKS = ("recipe", "roofline", "phases", "elbo")
LEAST_AGREEMENT = 0.9995
"""Share of the test images on which float32 on the GPU must decide as scikit-learn's SVC does."""


def run_step(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a module of Python; stderr goes to the terminal."""
    click.echo(f"== {name}: python -m {' '.join(arguments)}", err=True)
    return subprocess.run(
        [sys.executable, "-m", *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False
    )


def run_tests(name: str, folder: Path, *arguments: str) -> dict[str, Any]:
    """Run pytest with `arguments`; return how many tests ended how, and whether that is good."""
    report = folder / f"{name.replace(' ', '-')}.xml"
    done = run_step(name, "pytest", "-q", f"--junitxml={report}", *arguments)
    click.echo(done.stdout, err=True)
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


def run_svm(folder: Path, labels: str, repeats: int) -> dict[str, Any]:
    """Time the SVM on both devices; good where every prediction agrees but for rounding."""
    path = folder / "svm.json"
    options = ("--device", "cuda", "--labels", labels, "--repeats", str(repeats), "--output", str(path))
    done = run_step("SVM", "benchmarks.svm", *options)
    click.echo(done.stdout, err=True)
    if not path.is_file():
        return {"ok": False, "exit_code": done.returncode}
    record = json.loads(path.read_text(encoding="utf-8"))
    agreements = [case["results"]["gpu-ssl cuML float32"]["agreement"] for case in record["cases"]]
    return {"ok": min(agreements) >= LEAST_AGREEMENT, "agreements": agreements, "record": record}


def run_benchmarks(folder: Path, repeats: int) -> dict[str, Any]:
    """Run the cases of ``python -m benchmarks`` that no other step runs."""
    path = folder / "benchmarks.json"
    only = [word for case in BENCHMARKS for word in ("--only", case)]
    done = run_step("benchmarks", "benchmarks", *only, "--repeats", str(repeats), "--output", str(path))
    click.echo(done.stdout, err=True)
    cases = json.loads(path.read_text(encoding="utf-8"))["cases"] if path.is_file() else {}
    return {"ok": done.returncode == 0, "exit_code": done.returncode, "cases": cases}


def slug(name: str) -> str:
    """Turn the name of a GPU into that of a file."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


@click.command()
@click.option("--labels", default="100,600,1000,3000,60000", show_default=True, help="Labels for the SVM.")
@click.option("--repeats", type=click.IntRange(1), default=5, show_default=True, help="Rounds of the SVM.")
@click.option(
    "--output", type=click.Path(path_type=Path), help="[default: benchmarks/results/gpu-<name>.json]"
)
def main(labels: str, repeats: int, output: Path | None) -> None:
    """Run every check that needs a GPU and write what came out; exit with 1 where one failed."""
    doctor = run_step("doctor", "gpu_ssl", "doctor", "--device", "cuda", "--json")
    diagnosis = json.loads(doctor.stdout)
    if diagnosis["auto_device"]["used"] == "cpu":
        failed = [f"{c['name']}: {c['found']}" for c in diagnosis["checks"] if c["status"] == "failed"]
        raise click.ClickException(f"{'; '.join(failed)} (see: gpu-ssl doctor --device cuda)")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        steps = {
            "doctor": {"ok": diagnosis["works"], **diagnosis},
            "gpu_tests": run_tests("GPU tests", folder, "--require-gpu", "-m", "gpu", "tests"),
            "contract": run_tests("contract", folder, "tests/contract"),
            "svm": run_svm(folder, labels, repeats),
            "run_cuda": run_pipeline("cuda", folder),
            "run_cpu": run_pipeline("cpu", folder),
            "benchmarks": run_benchmarks(folder, repeats),
        }
    # The same cases under the same names as in the records of python -m benchmarks.
    cases = steps["benchmarks"].pop("cases") | {"svm": steps["svm"].get("record")}
    from gpu_ssl.runtime.environment import describe_environment

    environment = describe_environment()
    record = {
        "schema": 1,
        "what": "scripts/check-gpu",
        "taken": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
        ).stdout.strip(),
        "environment": environment,
        **steps,
        "cases": cases,
    }
    output = output or RESULTS / f"gpu-{slug(environment['gpus'][0]['name'])}.json"
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    for step, outcome in steps.items():
        click.echo(f"{'ok    ' if outcome['ok'] else 'FAILED'} {step}")
    click.echo(f"Written to {output}; please commit it")
    sys.exit(0 if all(outcome["ok"] for outcome in steps.values()) else 1)


if __name__ == "__main__":
    main()
