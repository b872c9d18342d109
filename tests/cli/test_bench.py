"""``gpu-ssl bench`` as a user meets it."""

import json
from pathlib import Path

import pytest
import torch

from gpu_ssl.cli.bench import _print_record
from tests.bench import record
from tests.conftest import RunCli

SMALL = ("--dataset", "digits", "--labels", "20,100", "--images", "100,500", "--repeats", "2")
without_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")


def test_a_size_of_one_device_leaves_the_cells_of_others_empty(capsys: pytest.CaptureFixture[str]) -> None:
    _print_record(
        record(
            {("fit", 10, "cpu"): (1.0,), ("fit", 10, "cuda"): (2.0,), ("fit batched", 60_000, "cuda"): (3.0,)}
        )
    )
    lines = capsys.readouterr().out.splitlines()
    columns = [(line[lines[0].index("cpu, s") : lines[0].index("cuda, s")], line) for line in lines]
    both, alone = columns[1:]
    assert "1.0000" in both[0]
    assert "3.0000" in alone[1]
    assert not alone[0].strip()


@without_cuda
def test_a_record_with_its_plots_and_its_comparison(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "random.py").touch()  # a module of Python, but not here
    done = run_cli("bench", *SMALL, "--output", "a.json", "--json")
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert printed == json.loads((tmp_path / "a.json").read_text())
    assert (tmp_path / "a.png").stat().st_size > 5000
    assert (tmp_path / "a.svg").read_text().startswith("<?xml")
    assert "driver" in printed["not_measured"]["cuda"]
    assert {m["device"] for m in printed["measurements"]} == {"cpu"}
    assert all(len(m["seconds"]) == 2 for m in printed["measurements"])
    assert printed["config"]["labels"] == [20, 100]
    compared = run_cli("bench", "compare", "a.json", "a.json")
    assert compared.returncode == 2
    assert "cuda was not measured" in compared.stderr


def write(folder: Path, name: str, seconds: tuple[float, ...], **changes: object) -> None:
    made = record({("fit", 100, "cpu"): seconds, ("encode", 1000, "cpu"): (1.0, 1.2)}, **changes)
    (folder / name).write_text(made.to_json())


def test_a_comparison_tells_ratios_and_doubt(run_cli: RunCli, tmp_path: Path) -> None:
    write(tmp_path, "a.json", (4.0, 4.2, 4.1, 4.0), taken="1")
    write(tmp_path, "b.json", (2.0, 2.1, 2.05, 2.0), taken="2")
    done = run_cli("bench", "compare", "a.json", "b.json", "--plot", "ratios")
    assert done.returncode == 0, done.stderr
    assert "first: a.json" in done.stdout
    assert "second: b.json" in done.stdout
    assert "Written to ratios.png, ratios.svg" in done.stdout
    fit, encode = (
        next(line for line in done.stdout.splitlines() if word in line) for word in ("fit", "encode")
    )
    assert fit.split()[-2:] == ["2.00", "yes"]
    assert encode.rstrip().endswith("no: within the spread")
    assert (tmp_path / "ratios.png").stat().st_size > 2000
    assert (tmp_path / "ratios.svg").exists()
    again = run_cli("bench", "compare", "a.json", "b.json", "--plot", "ratios")
    assert again.returncode == 2
    assert "ratios.png, ratios.svg would be replaced" in again.stderr


def test_records_of_other_sizes_are_refused_with_what_to_do(run_cli: RunCli, tmp_path: Path) -> None:
    write(tmp_path, "a.json", (1.0,), config={"images": [1000]})
    write(tmp_path, "b.json", (1.0,), config={"images": [500]})
    done = run_cli("bench", "compare", "a.json", "b.json")
    assert done.returncode == 2
    assert "images is [1000] and [500]" in done.stderr
    assert done.stderr.endswith("with the same --dataset, --images, --labels and --seed for both\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--labels", "many"], "--labels 'many': positive whole numbers"),
        (["--images", "0"], "--images '0'"),
        (["--dataset", "imagenet"], "unknown data set"),
        (["--dataset", "digits", "--labels", "5"], "digits allows 10 to 1347 labels"),
        (["compare", "nowhere.json"], "cannot read nowhere.json"),
        (["--repeats", "3", "compare", "a.json"], "--repeats is for measuring"),
    ],
)
def test_wrong_usage_is_one_line(run_cli: RunCli, arguments: list[str], words: str) -> None:
    done = run_cli("bench", *arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["a.json", "a.png", "a.svg"])
def test_an_existing_file_is_kept(run_cli: RunCli, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    done = run_cli("bench", *SMALL, "--output", "a.json")
    assert done.returncode == 2
    assert (tmp_path / name).read_text() == "mine"


@pytest.mark.parametrize(
    ("output", "code", "words"),
    [("a.png", 2, "must end in .json"), ("/proc/x/a.json", 1, "cannot write into /proc/x")],
)
def test_a_place_that_cannot_be_written_is_told_before_measuring(
    run_cli: RunCli, output: str, code: int, words: str
) -> None:
    done = run_cli("bench", *SMALL, "--repeats", "1000", "--output", output)
    assert done.returncode == code
    assert words in done.stderr


def test_something_else_is_no_record(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"schema": 9}')
    done = run_cli("bench", "compare", "a.json")
    assert done.returncode == 2
    assert "not a record of gpu-ssl bench" in done.stderr
