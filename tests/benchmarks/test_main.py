"""The run of all benchmarks: cases that exist, and a table that says what was and was not measured."""

import json
import math
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import __main__ as suite
from benchmarks.__main__ import CASES, growth, render
from tests.program import run_module

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize("name", CASES)
def test_every_case_is_a_program_that_takes_what_it_is_given(name: str) -> None:
    arguments = [part for part in CASES[name] if not part.startswith("{")]
    done = run_module(ROOT, *(a for a in arguments if a != "--device"), "--help")
    assert done.returncode == 0, done.stderr
    for option in ("--repeats", "--output", *(a for a in arguments if a.startswith("--"))):
        assert option in done.stdout


def test_growth_compares_an_image_among_most_with_one_among_fewest() -> None:
    rows = [
        ("encode", "cpu", 10, [1.0, 1.0, 9.0], [1000] * 3),
        ("encode", "cpu", 1000, [110.0, 110.0, 110.0], [100_990] * 3),
        ("encode", "cuda", 10, [1.0], [None]),
        ("encode", "cuda", 1000, [100.0], [None]),
        ("score", "cpu", 10, [1.0], [5]),
        ("score", "cpu", 1000, [50.0], [5]),
    ]
    names = ("phase", "device", "size", "seconds", "peak_bytes")
    found = growth({"measurements": [dict(zip(names, row, strict=True)) for row in rows]})
    assert found["encode on cpu"] == {
        "images": 1000,
        "time_an_image_ratio": pytest.approx(1.1),
        "bytes_an_image": pytest.approx(101),
    }
    assert found["score on cpu"]["time_an_image_ratio"] == pytest.approx(0.5)
    assert math.isnan(found["encode on cuda"]["bytes_an_image"])
    assert "score on cuda" not in found


def test_the_table_tells_who_was_not_measured() -> None:
    rounds = [{"seconds": 10.0, "test_elbo": -243.0}] * 3
    peers = {"pythae": {"share_of_time": 0.5, "nats_ahead": 0.1, "ok": False}, "Pyro": "not measured"}
    elbo = {
        "rounds": {"gpu-ssl": rounds, "pythae": [{"seconds": 20.0, "test_elbo": -243.1}] * 3},
        "peers": peers,
    }
    recipe = {"recipe": {"seconds": [100.0]}, "gpu_ssl": {"seconds": [20.0]}, "ratio_median": 5.0}
    lines = render({"cases": {"elbo": elbo, "recipe": recipe}}).splitlines()
    assert lines[2] == "| `run --labels all --no-baselines`; the recipe | 20.0 s | 100.0 s | 5.00 |"
    assert "10.0 s | 20.0 s | 2.00 |" in lines[3]
    assert lines[4] == "| the paper's VAE; Pyro | 10.0 s | not measured | |"


def test_a_case_measured_anew_leaves_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "machine.json"
    recipe = {"recipe": {"seconds": [100.0]}, "gpu_ssl": {"seconds": [20.0]}, "ratio_median": 5.0}
    path.write_text(json.dumps({"cases": {"recipe": recipe, "svm": "old"}}))
    monkeypatch.setattr(suite, "run_case", lambda name, repeats, device, folder: {"cases": [], "name": name})
    done = CliRunner().invoke(suite.main, ["--only", "svm", "--output", str(path)])
    assert done.exit_code == 0, done.output
    record = json.loads(path.read_text())
    assert record["cases"] == {"recipe": recipe, "svm": {"cases": [], "name": "svm"}}
    assert record["environment"]["cpus"] >= 1
