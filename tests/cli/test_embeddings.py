"""Embeddings from the command line: into fit and what follows it, and out of encode."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pyarrow.parquet as pq
import pytest
from PIL import Image

from gpu_ssl.data.image_set import Dataset
from gpu_ssl.data.splits import labelled_indices
from tests.cli.test_fit import answers, assert_same_answers, program

FIT = ("--labels", "labels.csv", "--method", "svm")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, digits: Dataset) -> Path:
    """Digits as files and as histograms of gradients, 150 labels, and a model of each."""
    root = tmp_path_factory.mktemp("embeddings")
    for part, images in (("train", digits.train.images[:600]), ("test", digits.test.images[:200])):
        (root / part).mkdir()
        for i, image in enumerate(images):
            Image.fromarray(image[0]).save(root / part / f"{i:04d}.png")
    rows = labelled_indices(digits.train.labels[:600], 150, 0, 0)
    lines = [f"{i:04d}.png,digit {digits.train.labels[i]}" for i in rows]
    (root / "labels.csv").write_text("path,label\n" + "\n".join(lines) + "\n")
    for arguments in (
        ("encode", "hog", "train", "--output", "train.parquet"),
        ("encode", "hog", "test", "--output", "test.npy"),
        ("fit", "train", *FIT, "--encoder", "hog", "--output", "images"),
        ("fit", "train.parquet", *FIT, "--output", "model"),
    ):
        done = program(root, *arguments)
        assert done.returncode == 0, done.stderr
        (root / f"{arguments[-1]}.said").write_text(done.stdout)
    return root


def test_what_encode_writes_is_taken_by_fit_and_answers_as_the_images_do(home: Path) -> None:
    assert "200 embeddings of 324 numbers, written to test.npy" in (home / "test.npy.said").read_text()
    said = (home / "model.said").read_text()
    assert "600 embeddings of width 324; 150 labelled, 10 classes" in said
    assert "raw pixels" not in said
    assert "use it with: gpu-ssl predict model EMBEDDINGS\nEMBEDDINGS are rows of 324 numbers" in said
    for page in ("README.md", "report.html"):
        written = (home / "model" / page).read_text()
        assert "gpu-ssl predict THIS_FOLDER EMBEDDINGS" in written
        assert "IMAGES" not in written
    assert "Inputs are embeddings of 324 numbers" in (home / "model" / "README.md").read_text()
    expected = answers(program(home, "predict", "images", "test").stdout)
    done = program(home, "predict", "model", "test.npy")
    assert (done.returncode, done.stderr) == (0, "")
    assert_same_answers(answers(done.stdout), expected)


def test_files_of_embeddings_have_the_paths(home: Path) -> None:
    names = [f"{i:04d}.png" for i in range(200)]
    assert (home / "test.paths.txt").read_text().split() == names
    numbers = np.load(home / "test.npy")
    assert (numbers.shape, numbers.dtype) == ((200, 324), np.float32)
    # A model gives the features that its classifier works on.
    done = program(home, "encode", "images", "test", "--output", "test.parquet")
    assert done.returncode == 0, done.stderr
    table = pq.read_table(home / "test.parquet")
    assert (table.column_names, table["path"].to_pylist()) == (["path", "embedding"], names)
    np.testing.assert_allclose(np.stack(table["embedding"].to_numpy()), numbers, atol=1e-5)


def test_a_model_encodes_at_its_own_size(home: Path) -> None:
    done = program(home, "encode", "images", "test", "--image-size", "16", "--output", "small.npy")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "--image-size 16: a model has a size of its own" in done.stderr
    assert not (home / "small.npy").exists()


def test_an_onnx_file_takes_embeddings(home: Path) -> None:
    done = program(home, "export", "model", "--onnx", "model.onnx")
    assert "embeddings (n, 324) as float32 in" in done.stdout
    metadata = {p.key: json.loads(p.value) for p in onnx.load(home / "model.onnx").metadata_props}
    assert metadata["preparation"]["input"].startswith("float32, embeddings")
    session = onnxruntime.InferenceSession(home / "model.onnx")
    classes, probabilities, scores = session.run(None, {"embeddings": np.load(home / "test.npy")})
    for row, number, own, score in zip(
        answers(program(home, "predict", "model", "test.npy").stdout),
        classes,
        probabilities,
        scores,
        strict=True,
    ):
        assert row["label"] == metadata["class_names"][number]
        assert float(row["confidence"]) == pytest.approx(own.max(), abs=2e-4)
        assert float(row["ood_score"]) == pytest.approx(score, abs=2e-3)


def test_suggest_works_on_embeddings(home: Path) -> None:
    for place in (("model", "test.npy"), ("train.parquet",)):
        done = program(home, "suggest", *place, "-n", "12")
        rows = list(csv.DictReader(io.StringIO(done.stdout)))
        assert len({row["path"] for row in rows}) == 12
        assert all(row["path"].endswith(".png") for row in rows)
    done = program(home, "suggest", "model", "test.npy", "--sheet", "sheet.png")
    assert done.returncode == 2
    assert "--sheet needs images, and these are embeddings" in done.stderr


def test_auto_compares_what_works_on_embeddings(home: Path) -> None:
    arguments = ("train.parquet", *FIT[:2], "--effort", "best", "--output", "auto")
    done = program(home, "fit", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)["chosen"]["shares"]) == {"svm", "graph"}


@pytest.mark.parametrize("options", [("--method", "m1"), ("--method", "consistency"), ("--encoder", "hog")])
def test_what_needs_images_is_refused(home: Path, options: tuple[str, ...]) -> None:
    done = program(home, "fit", "train.parquet", "--labels", "labels.csv", "--output", "other", *options)
    assert done.returncode == 2
    assert "the methods that work on them are svm, graph, auto" in done.stderr
    assert not (home / "other").exists()


def test_images_are_no_embeddings(home: Path) -> None:
    for command in ("fit", "run"):
        data = ("train", "--labels", "labels.csv", "--output", "o") if command == "fit" else ()
        done = program(home, command, *data, "--encoder", "given", "--method", "svm")
        assert done.returncode == 2, done.stderr
        if command == "fit":
            assert "--encoder given expects embeddings" in done.stderr
    for model, data in (("model", "test"), ("images", "test.npy")):
        done = program(home, "predict", model, data)
        assert done.returncode == 2
        assert "but the model expects" in done.stderr


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("vae", "the encoder vae learns from images: fit a model and give its folder"),
        ("vae+hog", "the encoder vae+hog learns the scales of its parts: fit a model"),
        ("given", "takes existing embeddings"),
        ("train", "neither the folder of a model nor an encoder; encoders without a fit are hog, pixels"),
        ("hog:x", "'hog' has no variants"),
    ],
)
def test_encode_refuses_what_must_be_fitted(home: Path, what: str, words: str) -> None:
    done = program(home, "encode", what, "test", "--output", "z.npy")
    assert done.returncode == 2
    assert words in done.stderr
    assert not (home / "z.npy").exists()


def test_encode_tells_what_it_skips_and_leaves_nothing_half_written(home: Path) -> None:
    (home / "odd").mkdir()
    Image.new("L", (8, 8), 9).save(home / "odd" / "a.png")
    (home / "odd" / "b.png").write_bytes(b"")
    Image.new("L", (8, 8), 200).save(home / "odd" / "c.png")
    done = program(home, "encode", "pixels", "odd", "--output", "odd.npy")
    assert (done.returncode, "b.png: it is empty" in done.stderr) == (0, True)
    assert np.load(home / "odd.npy")[:, 0] == pytest.approx([9 / 255, 200 / 255])
    assert (home / "odd.paths.txt").read_text() == "a.png\nc.png\n"
    for output, words in (("z.csv", "ends in .npy or .parquet"), ("odd", "ends in .npy or .parquet")):
        done = program(home, "encode", "pixels", "odd", "--output", output)
        assert (done.returncode, words in done.stderr) == (2, True)
    for name in ("a.png", "c.png"):
        (home / "odd" / name).write_bytes(b"")
    for output in ("y.npy", "y.parquet"):
        assert program(home, "encode", "images", "odd", "--output", output).returncode == 1
    assert not [*home.glob("y.*"), *home.glob(".y*")]
