"""``gpu-ssl fit`` and ``gpu-ssl predict`` as a user meets them: real files, the real program."""

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pyarrow.parquet
import pytest
from PIL import Image

from gpu_ssl import catalog
from gpu_ssl.data.image_set import Dataset
from gpu_ssl.data.splits import labelled_indices
from tests.conftest import RunCli
from tests.program import run_program, start_program


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, digits: Dataset) -> Path:
    """A folder with the digits as PNG files, 200 labels, and a model fitted to them by the program."""
    root = tmp_path_factory.mktemp("own")
    for part, images in (("train", digits.train), ("test", digits.test)):
        (root / part).mkdir()
        for i, image in enumerate(images.images):
            Image.fromarray(image[0]).save(root / part / f"{i:04d}.png")
    rows = labelled_indices(digits.train.labels, 200, 0, 0)
    lines = [f"{i:04d}.png,digit {digits.train.labels[i]}" for i in rows]
    (root / "labels.csv").write_text("path,label\n" + "\n".join(lines) + "\n")
    command = ("fit", "train", "--labels", "labels.csv", "--output", "model", "--no-mirror")
    done = program(root, *command)
    assert done.returncode == 0, done.stderr
    assert all("look" in line or "near duplicates" in line for line in done.stderr.splitlines())
    (root / "said").write_text(done.stdout)
    return root


def program(
    root: Path, *arguments: str, stdin: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    cache = {"XDG_CACHE_HOME": str(root / "cache")}
    return run_program(root, *arguments, stdin=stdin, environment=cache | environment)


def answers(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def assert_same_answers(rows: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """Numbers may differ in their last digit: those of two processes once did, for a reason not found."""
    numbers = {"confidence": 1.5e-4, "ood_score": 1.5e-3}
    assert len(rows) == len(expected)
    for row, other in zip(rows, expected, strict=True):
        assert row.keys() == other.keys()
        for name in row:
            if name in numbers:
                assert float(row[name]) == pytest.approx(float(other[name]), abs=numbers[name])
            else:
                assert row[name] == other[name]


def test_a_fit_tells_what_to_expect(home: Path) -> None:
    said = (home / "said").read_text()
    assert "1,347 images at 8 x 8 pixels, grey; 200 labelled, 10 classes" in said
    assert "from 200 labelled images, each held out in turn" in said
    assert "gpu-ssl predict model IMAGES" in said
    assert said.endswith("Read model/report.html\n")
    names = sorted(path.name for path in (home / "model").iterdir() if path.suffix != ".safetensors")
    assert names == [
        "README.md",
        "confusion.json",
        "confusion.png",
        "data.json",
        "details.json",
        "model.json",
        "reliability.png",
        "report.html",
        "suspect-labels.csv",
    ]
    assert json.loads((home / "model" / "data.json").read_text())["labelled"] == 200


def test_predict_names_digits_and_keeps_their_order(home: Path, digits: Dataset) -> None:
    done = program(home, "predict", "model", "test")
    assert (done.returncode, done.stderr) == (0, "")
    rows = answers(done.stdout)
    assert [row["path"] for row in rows] == [f"{i:04d}.png" for i in range(len(digits.test))]
    right = [row["label"] == f"digit {label}" for row, label in zip(rows, digits.test.labels, strict=True)]
    assert np.mean(right) > 0.9
    for row in rows:
        assert 0 < float(row["confidence"]) <= 1
        assert row["second_label"] != row["label"]
        assert float(row["ood_score"]) >= 0
    confident = [float(row["confidence"]) > 0.9 for row in rows]
    assert np.mean(np.array(right)[confident]) > np.mean(right)


def test_what_is_unsure_or_strange_can_be_named_unknown(home: Path) -> None:
    usual = answers(program(home, "predict", "model", "test").stdout)
    done = program(
        home, "predict", "model", "test", "--min-confidence", "0.8", "--unknown-above", "1", "--probabilities"
    )
    assert (done.returncode, done.stderr) == (0, "")
    rows = answers(done.stdout)
    unknown = 0
    for row, before in zip(rows, usual, strict=True):
        probabilities = {name: float(row[name]) for name in row if name.startswith("p_")}
        assert len(probabilities) == 10
        assert sum(probabilities.values()) == pytest.approx(1, abs=1e-3)
        assert max(probabilities, key=probabilities.__getitem__) == f"p_{before['label']}"
        confidence, score = float(row["confidence"]), float(row["ood_score"])
        if abs(confidence - 0.8) < 1e-4 or abs(score - 1) < 1e-3:
            continue  # what is written is rounded
        refused = confidence < 0.8 or score > 1
        unknown += refused
        assert row["label"] == ("unknown" if refused else before["label"])
    assert 0 < unknown < len(rows)


def test_answers_can_be_given_back_as_labels(home: Path) -> None:
    """With any bytes in the names of files, in each format; unknown is not a label."""
    folder = home / "back"
    folder.mkdir()
    for i, name in enumerate(
        (b"a.png", b"comma, and \n line.png", b"\xff.png", "e\u0301.png".encode(), b"b.png")
    ):
        shutil.copy(home / "test" / f"{i:04d}.png", folder / os.fsdecode(name))
    for kind in ("csv", "jsonl", "parquet"):
        output = f"back.{kind}"
        assert program(home, "predict", "model", "back", "--output", output).returncode == 0
        found = json.loads(program(home, "check", "back", "--labels", output, "--json").stdout)
        assert found["labelled"] == 5, kind
    done = program(home, "predict", "model", "back", "--min-confidence", "1", "--output", "unknown.csv")
    assert done.returncode == 0
    assert "unknown.csv holds no label" in program(home, "check", "back", "--labels", "unknown.csv").stderr


def test_without_a_model_typical_images_are_suggested(home: Path) -> None:
    done = program(home, "suggest", "train", "-n", "30", "--output", "first.csv", "--sheet", "first.png")
    assert done.returncode == 0
    rows = answers((home / "first.csv").read_text())
    assert len({row["path"] for row in rows}) == 30
    assert all(row["label"] == "" and row["prediction"] == "" for row in rows)
    assert (home / "first.png").read_bytes().startswith(b"\x89PNG")
    for i, year in enumerate(("2023", "2024")):  # folders that are no classes
        (home / "years" / year).mkdir(parents=True)
        for name in (f"{i}000.png", f"{i}001.png"):
            shutil.copy(home / "train" / name, home / "years" / year / name)
    done = program(home, "suggest", "years", "-n", "4")
    assert (done.returncode, done.stdout.count("\n")) == (0, 5), done.stderr
    assert "all images lie in folders, whose names are not taken as classes here" in done.stderr
    done = program(home, "suggest", "train", "-n", "3", "--sheet", "first.jpg")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "expected a --sheet that ends in .png" in done.stderr
    image = home / "train" / next(iter({row["path"] for row in rows}))
    before = image.read_bytes()
    done = program(home, "suggest", "train", "-n", "3", "--sheet", str(image))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "is read by this command and would be lost" in done.stderr
    assert image.read_bytes() == before
    assert "no image has a label" not in program(home, "suggest", "train", "-n", "3").stderr
    done = program(home, "suggest", "model")
    assert done.returncode == 2
    assert "is a model; give the images as well: gpu-ssl suggest model IMAGES" in done.stderr
    assert program(home, "suggest", "-").returncode == 2


def test_json_lines_a_file_and_stdin_say_the_same(home: Path) -> None:
    table = answers(program(home, "predict", "model", "test").stdout)[:3]
    paths = "".join(f"test/{row['path']}\n" for row in table)
    lines = program(home, "predict", "model", "-", "--format", "jsonl", stdin=paths).stdout.splitlines()
    assert_same_answers(
        list(map(json.loads, lines)), [{**row, "path": f"test/{row['path']}"} for row in table]
    )
    assert program(home, "predict", "model", "test/0000.png", "--output", "one.jsonl").stdout == ""
    assert_same_answers([json.loads((home / "one.jsonl").read_text())], [json.loads(lines[0])])


def test_answers_go_out_as_parquet(home: Path) -> None:
    table = answers(program(home, "predict", "model", "test").stdout)
    odd = home / "odd"
    odd.mkdir()
    shutil.copy(home / "test" / "0000.png", odd / os.fsdecode(b"\xff.png"))
    done = program(home, "predict", "model", "test", "--output", "answers.parquet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    columns = pyarrow.parquet.read_table(home / "answers.parquet")
    assert_same_answers(columns.to_pylist(), table)
    assert program(home, "predict", "model", "odd", "--output", "odd.parquet").returncode == 0
    assert pyarrow.parquet.read_table(home / "odd.parquet")["path"].to_pylist() == ["\\xff.png"]


def test_a_parquet_file_is_fitted_and_predicted_as_its_images_are(home: Path, digits: Dataset) -> None:
    images = [{"bytes": (home / "test" / f"{i:04d}.png").read_bytes()} for i in range(len(digits.test))]
    labels = [int(c) if i < 100 else -1 for i, c in enumerate(digits.test.labels)]
    pyarrow.parquet.write_table(pyarrow.table({"image": images, "label": labels}), home / "test.parquet")
    table = answers(program(home, "predict", "model", "test").stdout)
    rows = answers(program(home, "predict", "model", "test.parquet").stdout)
    assert [row.pop("path") for row in rows] == [str(i) for i in range(len(table))]
    assert_same_answers(
        rows, [{name: value for name, value in row.items() if name != "path"} for row in table]
    )
    done = program(home, "fit", "test.parquet", "--output", "of-parquet", "--epochs", "1", "--json")
    assert done.returncode == 0
    assert all("look wrong: see" in line for line in done.stderr.splitlines())  # of one epoch
    assert sum(json.loads(done.stdout)["n_labelled"].values()) == 100


def test_arrays_are_predicted_too(home: Path, digits: Dataset) -> None:
    np.save(home / "test.npy", digits.test.images)
    table = answers(program(home, "predict", "model", "test").stdout)
    array = answers(program(home, "predict", "model", "test.npy").stdout)
    assert [row["path"] for row in array] == [str(i) for i in range(len(table))]
    assert [row["label"] for row in array] == [row["label"] for row in table]


def test_a_reader_that_has_seen_enough_is_no_failure(home: Path) -> None:
    process = start_program(home, "predict", "model", "test", stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    assert process.wait(60) == 0


def test_bad_files_are_skipped_named_and_counted(home: Path) -> None:
    folder = home / "mixed"
    shutil.copytree(home / "test", folder)
    (folder / "0001.png").write_bytes(b"")
    (folder / "line\nbreak, and comma.png").write_bytes((folder / "0000.png").read_bytes())
    done = program(home, "predict", "model", "mixed")
    assert done.returncode == 0
    rows = answers(done.stdout)
    assert len(rows) == 450
    assert "line\nbreak, and comma.png" in {row["path"] for row in rows}
    assert "0001.png" not in {row["path"] for row in rows}
    assert "1 image skipped, as unreadable" in done.stderr
    assert "0001.png: it is empty" in done.stderr


def test_images_that_were_labelled_are_told(home: Path) -> None:
    done = program(home, "predict", "model", "train")
    assert done.returncode == 0
    assert "200 of these images are among those that were labelled when the model was fitted" in done.stderr
    folder = home / "known"
    folder.mkdir()
    labelled = next(csv.reader((home / "labels.csv").read_text().splitlines()[1:]))[0]
    for name in ("one.png", "two.png"):
        shutil.copy(home / "train" / labelled, folder / name)
    done = program(home, "predict", "model", "known")
    assert (
        "2 of these images are among those that were labelled when the model was fitted, or equal to"
        in done.stderr
    )


def test_an_unknown_ending_is_not_written_as_csv(home: Path) -> None:
    done = program(home, "predict", "model", "test", "--output", "a.xlsx")
    assert done.returncode == 2
    assert "ends in .csv, .jsonl, .ndjson or .parquet, got a.xlsx; or give --format" in done.stderr
    assert program(home, "suggest", "model", "test", "--output", "a.xlsx").returncode == 2
    assert not (home / "a.xlsx").exists()
    assert program(home, "predict", "model", "test", "--output", "a.txt", "--format", "csv").returncode == 0
    assert (home / "a.txt").read_text().startswith("path,label,")


def test_what_suggest_leaves_out_is_told(home: Path) -> None:
    folder = home / "few"
    folder.mkdir()
    for name in ("0000.png", "0001.png"):
        shutil.copy(home / "test" / name, folder / name)
    shutil.copy(home / "test" / "0001.png", folder / "copy.png")
    done = program(home, "suggest", "model", "few", "-n", "9")
    assert done.stdout.count("\n") == 3
    assert (
        "only 2 images are left to suggest: labelled images, their copies and copies of each" in done.stderr
    )


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("predict", "none", "test"), 2, "none holds no model; make one with: gpu-ssl fit"),
        (("predict", "model", "none"), 2, "none does not exist"),
        (("predict", "model", "labels.csv"), 1, "labels.csv is neither an image nor an .npy, .npz, .par"),
        (("suggest", "model", "test", "--output", "labels.csv"), 2, "labels.csv exists, and may hold labels"),
        (("predict", "model", "empty"), 1, "there is no image in empty"),
        (("predict", "model", "test", "--output", "/dev/null/x.csv"), 1, "cannot write"),
        (("predict", "model", "test", "--device", "cuda"), 1, "--device cuda"),
        (("predict", "model", "wide.npy"), 2, "expects images of shape (1, 8, 8), got (1, 9, 8)"),
        (("fit", "train", "--output", "new"), 2, "train: no image has a label"),
        (("fit", "train", "--labels", "none.csv", "--output", "new"), 2, "cannot read none.csv"),
        (("fit", "train", "--labels", "labels.csv", "--output", "model"), 2, "holds a model already"),
        (("fit", "train", "--labels", "labels.csv", "--output", "test"), 2, "is not an empty folder"),
        (
            ("fit", "train", "--labels", "labels.csv", "--output", "new", "--image-size", "3"),
            2,
            "--image-size 3",
        ),
        (("fit", "none", "--output", "new"), 2, "none does not exist"),
        (
            ("fit", "train", "--labels", "labels.csv", "--output", "train/new"),
            2,
            "among its images; name a folder elsewhere",
        ),
        (("predict", "model", "test", "--output", "empty"), 2, "empty is a folder; name a file"),
        (("suggest", "model", "test", "--seed", "-1"), 2, "--seed"),
        (("predict", "model", "test", "--format", "parquet"), 2, "--format parquet is not for stdout"),
        (("predict", "model", "text.parquet"), 1, "text.parquet is not a readable Parquet file"),
        (("export", "model"), 2, "Missing option '--onnx'"),
        (("export", "none", "--onnx", "new"), 2, "none holds no model"),
        (("fit", "train"), 2, "Missing option '--output'"),
    ],
)
def test_a_mistake_is_one_line(home: Path, arguments: tuple[str, ...], code: int, words: str) -> None:
    if arguments[-1] == "cuda":
        import torch

        if torch.cuda.is_available():
            pytest.skip("there is a GPU, so this is no mistake")
    (home / "empty").mkdir(exist_ok=True)
    np.save(home / "wide.npy", np.zeros((3, 9, 8), np.uint8))
    (home / "text.parquet").write_text("no table")
    done = program(home, *arguments)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert done.stderr.startswith("gpu-ssl: error: ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert not (home / "new").exists()


def test_a_failed_prediction_leaves_no_file(home: Path) -> None:
    (home / "rubbish").mkdir(exist_ok=True)
    (home / "rubbish" / "a.png").write_bytes(b"rubbish")
    done = program(home, "predict", "model", "rubbish", "--output", "answers.csv")
    assert done.returncode == 1
    assert "no readable image in rubbish" in done.stderr
    assert not (home / "answers.csv").exists()


def test_an_interrupted_fit_resumes_where_it_was(home: Path) -> None:
    command = ["fit", "train", "--labels", "labels.csv", "--output", "late", "--no-mirror", "--epochs", "25"]
    process = start_program(home, *command, env={**os.environ, "XDG_CACHE_HOME": str(home / "cache")})
    for _ in range(1200):
        if (home / "late" / "checkpoint.json").exists():
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60)[1] == "gpu-ssl: error: interrupted; the same command resumes\n"
    assert process.returncode == 130
    refused = program(home, "predict", "late", "test")
    assert (refused.returncode, "holds an unfinished fit" in refused.stderr) == (2, True)
    other = program(home, *command[:-1], "3")
    assert other.returncode == 1
    assert "belongs to another training: plan differ" in other.stderr
    assert program(home, "--verbose", *command).returncode == 0
    assert not (home / "late" / "checkpoint.json").exists()
    assert program(home, "predict", "late", "test/0000.png").returncode == 0


def test_two_fits_into_one_folder_are_one_fit(home: Path) -> None:
    """The folder is the first one's from its start to its end, and a killed one's no longer."""
    command = [
        "fit",
        "train",
        "--labels",
        "labels.csv",
        "--output",
        "shared",
        "--epochs",
        "40",
        "--seed",
        "7",
    ]
    process = start_program(home, *command, env={**os.environ, "XDG_CACHE_HOME": str(home / "cache")})
    for _ in range(1200):
        if (home / "shared").exists():
            break
        time.sleep(0.05)
    other = program(home, *command[:-1], "8")
    assert other.returncode == 2
    assert "--output shared is being written to by another gpu-ssl" in other.stderr
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 143
    assert said in (
        "gpu-ssl: error: interrupted; the same command resumes\n",
        "gpu-ssl: error: interrupted\n",
    )
    assert not [path for path in home.rglob(".*") if "cache" not in str(path)]


@pytest.mark.parametrize("command", ["fit", "suggest", "encode", "predict", "export"])
def test_what_cannot_be_written_is_told_before_the_work(home: Path, command: str) -> None:
    """By a file in place of a folder: no permission keeps root from writing."""
    arguments = {
        "fit": ("train", "--labels", "labels.csv", "--output", "labels.csv/model"),
        "suggest": ("model", "train", "--output", "labels.csv/x.csv"),
        "encode": ("model", "train", "--output", "labels.csv/x.npy"),
        "predict": ("model", "train", "--output", "labels.csv/x.csv"),
        "export": ("model", "--onnx", "labels.csv/x.onnx"),
    }[command]
    done = program(home, command, *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert "cannot write" in done.stderr
    assert "Not a directory" in done.stderr


def test_suggestions_are_rows_to_fill_in_and_a_sheet(home: Path) -> None:
    done = program(
        home, "suggest", "model", "train", "-n", "12", "--output", "next.csv", "--sheet", "next.png"
    )
    assert (done.returncode, done.stdout) == (0, "")
    rows = answers((home / "next.csv").read_text())
    labelled = {row["path"] for row in answers((home / "labels.csv").read_text())}
    assert len({row["path"] for row in rows}) == 12
    assert not labelled & {row["path"] for row in rows}
    assert all(row["label"] == "" and row["prediction"].startswith("digit ") for row in rows)
    usual = answers(program(home, "predict", "model", "train").stdout)
    mean, mean_of_all = (np.mean([float(row["confidence"]) for row in some]) for some in (rows, usual))
    assert mean < mean_of_all - 0.05
    with Image.open(home / "next.png") as sheet:
        assert sheet.format == "PNG"
        assert sheet.size[0] > 1000
    piped = program(home, "suggest", "model", "train", "-n", "12", "-q").stdout
    assert piped == (home / "next.csv").read_text()
    none = program(home, "suggest", "model", f"train/{min(labelled)}")
    assert (none.returncode, "is unlabelled" in none.stderr) == (1, True)


def test_a_model_goes_out_as_onnx(home: Path, digits: Dataset) -> None:
    done = program(home, "export", "model", "--onnx", "model.onnx")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "Written to model.onnx: images (n, 1, height, width) as uint8 in; "
        "class, probabilities, ood_score out\n"
    )
    session = onnxruntime.InferenceSession(home / "model.onnx")
    names = json.loads(session.get_modelmeta().custom_metadata_map["class_names"])
    classes, probabilities, _ = session.run(None, {"images": digits.test.images})
    rows = answers(program(home, "predict", "model", "test").stdout)
    assert [names[c] for c in classes] == [row["label"] for row in rows]
    confidences = [float(row["confidence"]) for row in rows]
    np.testing.assert_allclose(probabilities.max(axis=1), confidences, atol=1e-4)


def test_help_teaches(run_cli: RunCli) -> None:
    for name, words in (
        ("fit", "Encoders are trained on all images without labels"),
        ("predict", "ood_score"),
        ("suggest", "label next"),
        ("export", "one ONNX file"),
    ):
        done = run_cli(name, "--help")
        assert done.returncode == 0
        assert words in " ".join(done.stdout.split())


def test_help_of_fit_names_every_method_and_encoder_that_can_be_asked_for(run_cli: RunCli) -> None:
    def packed(text: str) -> str:  # Lines break at hyphens, too.
        return "".join(text.split())

    text = packed(run_cli("fit", "--help").stdout)
    for method in catalog.METHODS:
        assert (packed(f"{method.name}: {method.help}.") in text) == (not method.baseline), method.name
    for encoder in catalog.ENCODERS:
        assert (packed(f"{encoder.name} ({encoder.help})") in text) == (not encoder.internal), encoder.name
