"""``--encoder pretrained``: wrong names are one line of error, right ones work."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from tests.conftest import RunCli
from tests.program import run_program

NET = "pretrained:efficientnet_lite0@32"


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Write tiles of two photographs, each in a folder of its class."""
    rng = np.random.default_rng(0)
    for name, photograph in zip(("roofs", "flower"), load_sample_images().images, strict=True):
        folder = tmp_path / "pictures" / name
        folder.mkdir(parents=True)
        for number in range(12):
            y, x = rng.integers(0, 427 - 60), rng.integers(0, 640 - 80)
            Image.fromarray(photograph[y : y + 60, x : x + 80]).save(folder / f"{number}.png")
    return tmp_path / "pictures"


@pytest.mark.parametrize(
    ("encoder", "words"),
    [
        ("pretrained:nonsense", "--encoder pretrained:nonsense: there is no such network; did you mean "),
        ("pretrained:resnet-50", "resnet50"),
        ("pretrained:", "the encoder 'pretrained:' has no name after the colon; expected 'pretrained' or "),
        ("pretrained:efficientnet_lite0@", "expected a number of pixels after the @, such as 224"),
        ("pretrained:vit_b_16@97", "--encoder pretrained:vit_b_16@97 cannot be built: "),
        ("hog:x", "the encoder 'hog' has no variants; expected 'hog', got 'hog:x'"),
        ("vae+hog:x", "the encoder 'hog' has no variants"),
        (f"{NET}+{NET}", "repeats a part"),
        (":x", "there is no encoder ''; allowed are vae, hog"),
    ],
)
def test_a_wrong_name_is_one_line(encoder: str, words: str, pictures: Path, run_cli: RunCli) -> None:
    for done in (
        run_cli("fit", "pictures", "--output", "model", "--method", "svm", "--encoder", encoder),
        run_cli("run", "--dataset", "digits", "--method", "svm", "--labels", "50", "--encoder", encoder),
    ):
        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith("gpu-ssl: error: ")
        assert words in done.stderr
        assert done.stderr.count("\n") == 1
        assert "Traceback" not in done.stderr


def test_weights_out_of_reach_are_one_line(pictures: Path, run_cli: RunCli, tmp_path: Path) -> None:
    """With what to fetch elsewhere, and where to put it."""
    environment = {"GPU_SSL_CACHE_DIR": str(tmp_path / "c"), "https_proxy": "http://127.0.0.1:9"}
    command = ("fit", "pictures", "--output", "model", "--method", "svm", "--encoder", "pretrained:resnet18")
    done = run_cli(*command, **environment)
    assert done.returncode == 1
    assert done.stderr.startswith(
        "gpu-ssl: error: the weights resnet18-f37072fd.pth are not available locally and cannot be"
    )
    assert done.stderr.endswith(
        "; fetch https://download.pytorch.org/models/resnet18-f37072fd.pth elsewhere, and save it as "
        f"{tmp_path / 'c' / 'weights' / 'resnet18-f37072fd.pth'}\n"
    )
    assert done.stderr.count("\n") == 1


def test_a_model_is_fitted_and_answers(pictures: Path, tmp_path: Path) -> None:
    """The summary names the encoder, which is not the method's own, and the card its weights."""
    environment = {"GPU_SSL_CACHE_DIR": str(tmp_path / "cache")}
    command = ("fit", "pictures", "--output", "model", "--method", "svm", "--encoder", NET)
    done = run_program(tmp_path, *command, environment=environment)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[lines.index("Method: SVM on the selected encoder") + 1] == f"Encoder: {NET}"
    assert "The weights of efficientnet_lite0@32" in (tmp_path / "model" / "README.md").read_text()
    record = json.loads((tmp_path / "model" / "model.json").read_text())
    assert record["encoder"]["parts"][0]["settings"]["why"] == "requested"
    done = run_program(tmp_path, "predict", "model", "pictures", environment=environment)
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert len(rows) == 24
    assert np.mean([row["label"] == Path(row["path"]).parts[-2] for row in rows]) > 0.9


def test_an_encoder_that_is_the_method_s_own_is_not_named(pictures: Path, tmp_path: Path) -> None:
    environment = {"GPU_SSL_CACHE_DIR": str(tmp_path / "cache")}
    command = ("fit", "pictures", "--output", "model", "--method", "pca-svc")
    done = run_program(tmp_path, *command, environment=environment)
    assert done.returncode == 0, done.stderr
    assert "Encoder" not in done.stdout


def test_the_experiment_takes_it_too(run_cli: RunCli) -> None:
    """Grey digits of 8 x 8 pixels are made large and coloured; that it works is all that is asked."""
    done = run_cli(
        "run", "--dataset", "digits", "--labels", "100", "--encoder", NET, "--method", "svm,graph",
        "--splits", "1", "--no-plots",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "SVM on the selected encoder" in done.stdout
    assert "graph" in done.stdout
