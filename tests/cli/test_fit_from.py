"""``gpu-ssl fit --from`` with more labels, and what the choice of a method may be."""

import csv
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gpu_ssl.data.image_set import Dataset
from gpu_ssl.encoders.encoder import Encoder
from gpu_ssl.fitted import storage
from gpu_ssl.fitted.records import SCHEMA
from tests.cli.test_fit import program

FIT = ("fit", "digits.npy", "--epochs", "2", "--no-mirror", "--device", "cpu", "--quiet", "--labels")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, digits: Dataset) -> Path:
    """300 digits, 60 labels and ten more, and a model of the 60."""
    root = tmp_path_factory.mktemp("from")
    np.save(root / "digits.npy", digits.train.images[:300])
    np.save(root / "fewer.npy", digits.train.images[:299])
    for name, n in (("few.csv", 60), ("more.csv", 70)):
        with (root / name).open("w", newline="") as file:
            csv.writer(file).writerows([("path", "label"), *enumerate(digits.train.labels[:n].tolist())])
    done = program(root, *FIT, "few.csv", "--output", "first", "--method", "hybrid")
    assert_fitted(done)
    return root


def assert_fitted(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stderr
    # Of two epochs some methods are no better than raw pixels.
    usual = ("warning: an SVM on the raw", "fewer than 5 labels", "wrong: see", "near duplicates")
    assert all(any(words in line for words in usual) for line in done.stderr.splitlines())


def description(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "model.json").read_text())
    return content


def parts(folder: Path) -> dict[str, Encoder]:
    model, _ = storage.load(folder, "cpu")
    return {encoder.name: encoder for encoder in model.encoders}


@pytest.mark.parametrize("method", ["hybrid", "graph", "auto"])
def test_encoders_are_taken_over_bit_for_bit_and_labels_are_learned(home: Path, method: str) -> None:
    """An epoch that is trained again takes another time, so equal records prove that none was."""
    output = f"second-{method}"
    done = program(home, *FIT, "more.csv", "--output", output, "--from", "first", "--method", method)
    assert_fitted(done)
    before, after = description(home / "first"), description(home / output)
    assert after["training"] == before["training"]
    assert all(epoch["seconds"] > 0 for epoch in after["training"]["history"])
    assert sum(after["n_labelled"].values()) == 70
    assert len(after["labelled_keys"]) == 70
    ours, theirs = parts(home / "first"), parts(home / output)
    assert "vae" in theirs
    for name in ours.keys() & theirs.keys():
        for key, value in ours[name].state_dict().items():
            assert torch.equal(value, theirs[name].state_dict()[key]), (name, key)
    assert not list((home / output).glob("checkpoint*"))
    third = program(home, *FIT, "few.csv", "--output", f"third-{method}", "--from", output, "--method", "m1")
    assert_fitted(third)
    assert description(home / f"third-{method}")["training"] == before["training"]


def test_an_encoder_is_trained_once_for_the_same_images(home: Path) -> None:
    """Without --from, too: the cache keeps it, until settings or images are others."""
    done = program(home, *FIT, "more.csv", "--output", "kept", "--method", "m1")
    assert_fitted(done)
    assert "Reused from an earlier fit to these images: vae" in done.stdout
    assert description(home / "kept")["training"] == description(home / "first")["training"]
    ours, theirs = (parts(home / name)["vae"].state_dict() for name in ("kept", "first"))
    assert all(torch.equal(value, theirs[key]) for key, value in ours.items())
    done = program(home, *FIT, "more.csv", "--output", "other-seed", "--method", "m1", "--seed", "5")
    assert_fitted(done)
    assert "Not trained" not in done.stdout
    kept = list((home / "cache" / "gpu-ssl" / "encoders").glob("vae-*.safetensors"))
    assert len(kept) >= 2
    for path in kept:
        path.write_bytes(path.read_bytes()[:-1])
    done = program(home, *FIT, "more.csv", "--output", "damaged", "--method", "m1")
    assert_fitted(done)
    assert "Not trained" not in done.stdout


def test_a_fit_that_was_stopped_before_its_last_file_goes_on(home: Path) -> None:
    shutil.copytree(home / "first", home / "stopped")
    (home / "stopped" / "model.json").unlink()
    (home / "stopped" / ".README-0a1b2c.md").write_text("half-written")
    done = program(home, *FIT, "few.csv", "--output", "stopped", "--method", "hybrid")
    assert_fitted(done)
    assert description(home / "stopped")["classifier"] == description(home / "first")["classifier"]
    for name in ("README.md", "photo.png"):
        own = home / f"with-{name}"
        own.mkdir()
        (own / name).write_text("# My own")
        done = program(home, *FIT, "few.csv", "--output", own.name, "--method", "hybrid")
        assert_one_line(done, 2, "exists and is not an empty folder")
        assert [path.name for path in own.iterdir()] == [name]


def test_what_the_other_model_lacks_is_fitted(home: Path) -> None:
    hog = ("--method", "svm", "--encoder", "hog")
    assert program(home, *FIT, "few.csv", "--output", "hog", *hog).returncode == 0
    assert description(home / "hog")["training"] is None
    done = program(home, *FIT, "more.csv", "--output", "with-vae", "--from", "hog", "--method", "hybrid")
    assert_fitted(done)
    assert description(home / "with-vae")["training"]["epochs"] == 2
    assert set(parts(home / "with-vae")) == {"vae", "hog", "vae+hog"}


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        (("--epochs", "3"), 2, "--from names a model whose VAE has other settings (train: epochs=2"),
        (
            ("--latent-dim", "8"),
            2,
            "--from names a model whose VAE has other settings (model: network='conv'",
        ),
        (("--mirror",), 2, "--from names a model whose VAE has other settings (mirror: False)"),
        (("--from", "none"), 2, "none holds no model"),
        (("--from", "digits.npy"), 2, "digits.npy holds no model"),
        (("--from", "unfinished"), 2, "unfinished holds an unfinished fit"),
        (
            ("--from", "old"),
            1,
            "old/model.json was written by an earlier gpu-ssl (schema 1): fit the model again",
        ),
        (("--from", "other"), 1, "other/model.json is not a gpu-ssl model"),
        (("--from", "changed"), 1, "changed/model.json is damaged or was changed"),
    ],
)
def test_a_model_that_does_not_fit_is_refused(
    home: Path, changes: tuple[str, ...], code: int, words: str
) -> None:
    for name, change in (("old", {"schema": 1}), ("other", {"kind": "zzz"}), ("changed", {"n_images": 3})):
        shutil.copytree(home / "first", home / name, dirs_exist_ok=True)
        (home / name / "model.json").write_text(json.dumps({**description(home / "first"), **change}))
    (home / "unfinished").mkdir(exist_ok=True)
    (home / "unfinished" / "checkpoint.json").write_text("{}")
    command = [*FIT, "more.csv", "--output", "new", "--from", "first", *changes]
    assert_one_line(program(home, *command), code, words)
    assert not (home / "new").exists()


def test_a_model_of_other_images_is_refused(home: Path) -> None:
    command = ["fewer.npy" if word == "digits.npy" else word for word in FIT]
    done = program(home, *command, "more.csv", "--output", "new", "--from", "first")
    assert_one_line(done, 2, "--from names a model of other images (other files, another --image-size, or")
    assert not (home / "new").exists()


def assert_one_line(done: subprocess.CompletedProcess[str], code: int, words: str) -> None:
    assert done.returncode == code, done.stderr
    *told, error = done.stderr.splitlines()
    assert all("fewer than 5 labels" in line for line in told)
    assert error.startswith("gpu-ssl: error: ")
    assert words in error
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ("--method", "zzz"),
            "--method 'zzz': there is no such method; allowed are m1, hybrid, svm, graph, con",
        ),
        (("--encoder", "zzz"), "--encoder 'zzz': there is no such encoder; allowed are vae, hog, pixels"),
        (("--encoder", "vae+"), "--encoder 'vae+': there is no encoder ''; allowed are vae, hog"),
        (("--encoder", "hog+hog"), "'hog+hog' repeats a part"),
        (("--encoder", "network"), "'network' is internal to methods and cannot be selected"),
        (("--effort", "zzz"), "'zzz' is not one of 'auto', 'quick', 'normal', 'best'"),
        (("--preset", "zzz"), "'zzz' is not one of 'modern', 'paper'"),
        (("--network", "zzz"), "'zzz' is not one of 'conv', 'mlp'"),
        (("--svm-c", "-1"), "--svm-c -1.0: Input should be greater than 0"),
        (("--latent-dim", "0"), "--latent-dim 0: Input should be greater than or equal to 1"),
        (
            ("--method", "m1", "--encoder", "hog"),
            "the method m1 works on vae, not on --encoder hog; the methods that take an encoder are svm",
        ),
    ],
)
def test_a_name_that_there_is_not_is_refused_with_what_is_allowed(
    home: Path, options: tuple[str, ...], words: str
) -> None:
    assert_one_line(program(home, *FIT, "few.csv", "--output", "new", *options), 2, words)
    assert not (home / "new").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--method", "graph"), ["Method: graph: label spreading"]),
        (("--method", "svm", "--encoder", "vae+pixels"), ["Method: SVM on the selected encoder"]),
        (
            (),
            [
                "Method: ",
                "Chosen by cross-validation: 60 labelled images held out in turn, mean of 5 divisions: m1 ",
            ],
        ),
        (
            ("--encoder", "hog"),
            [
                "Method: ",
                "Chosen by cross-validation: 60 labelled images held out in turn, mean of 5 divisions: svm ",
            ],
        ),
    ],
    ids=["graph", "svm", "auto", "auto on hog"],
)
def test_a_fit_names_its_method_and_why(
    home: Path, tmp_path: Path, options: tuple[str, ...], told: list[str]
) -> None:
    output = str(tmp_path / "model")
    done = program(home, *FIT, "few.csv", "--output", output, "--from", "first", *options)
    assert_fitted(done)
    for words in told:
        assert words in done.stdout
    assert ("Chosen by" in done.stdout) == ("--method" not in options)
    card = " ".join((tmp_path / "model" / "README.md").read_text().split())
    method = done.stdout.split("Method: ")[1].splitlines()[0]
    assert f"Method: {method}." in card


def test_json_is_what_the_file_holds(home: Path, tmp_path: Path) -> None:
    done = program(home, *FIT, "few.csv", "--output", str(tmp_path / "m"), "--from", "first", "--json")
    assert done.returncode == 0
    kept = description(tmp_path / "m")
    assert json.loads(done.stdout) == {n: v for n, v in kept.items() if n not in ("tensors", "sha256")}
    assert kept["schema"] == SCHEMA
    assert kept["chosen"]["method"] in kept["chosen"]["shares"]
    assert set(kept["chosen"]["shares"]) == {"m1", "hybrid", "graph"}
    assert kept["classifier"]["method"] == kept["chosen"]["method"]
