"""A saved classifier comes back whole: answers, scale of the numbers, kind of the labels, parameters."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_iris

import gpu_ssl
from gpu_ssl import SemiSupervisedClassifier
from gpu_ssl.data.image_set import Dataset
from gpu_ssl.errors import StorageError, UsageError
from gpu_ssl.fitted import storage
from gpu_ssl.methods import network
from tests.program import run_program


def classifier(**parameters: Any) -> SemiSupervisedClassifier:
    """One whose methods and encoders are soon fitted."""
    known = {"method": "svm", "encoder": "pixels", "mirror": False, "random_state": 0, "device": "cpu"}
    return SemiSupervisedClassifier(**{**known, **parameters})


def few(digits: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """300 digits (300, 8, 8), a hundred of them with a label."""
    return digits.train.images[:300, 0], np.where(np.arange(300) < 100, digits.train.labels[:300], -1)


def assert_same_answers(
    before: SemiSupervisedClassifier, after: SemiSupervisedClassifier, X: np.ndarray
) -> None:
    for name in ("predict", "predict_proba", "transform", "ood_score"):
        ours, theirs = (getattr(own, name)(X) for own in (before, after))
        assert ours.dtype == theirs.dtype, name
        assert np.array_equal(ours, theirs), name


@pytest.mark.parametrize("method", ["auto", "hybrid", "graph"])
def test_uint8_images_are_answered_alike(digits: Dataset, tmp_path: Path, method: str) -> None:
    before = classifier(method=method, encoder=None, latent_dim=16, epochs=2).fit(*few(digits))
    before.save(tmp_path / "model")
    after = gpu_ssl.load(tmp_path / "model", device="cpu")
    assert isinstance(after, SemiSupervisedClassifier)
    assert_same_answers(before, after, digits.test.images[:, 0])
    asked = {**before.get_params(), "network": "conv", "random_state": before.record_.config.seed}
    assert after.get_params() == asked
    assert after.n_features_in_ == before.n_features_in_ == 8
    assert (
        after.record_.model_dump_json()
        == before.record_.model_copy(
            update={"pixels": after.record_.pixels, "class_labels": after.record_.class_labels}
        ).model_dump_json()
    )


@pytest.mark.parametrize(
    "scale", [lambda X: X / 255, lambda X: 1000.0 - 3.7 * X, lambda X: X.astype(np.int32)]
)
@pytest.mark.parametrize("image_shape", [None, (1, 8, 8)])
def test_the_scale_of_numbers_goes_into_the_file(
    digits: Dataset, tmp_path: Path, scale: Any, image_shape: tuple[int, int, int] | None
) -> None:
    X, y = few(digits)
    X, new = scale(X), scale(digits.test.images[:, 0])
    if image_shape:
        X, new = X.reshape(len(X), -1), new.reshape(len(new), -1)
    before = classifier(image_shape=image_shape).fit(X, y)
    before.save(tmp_path)
    after = gpu_ssl.load(tmp_path)
    assert after.get_params()["image_shape"] == image_shape
    assert_same_answers(before, after, new)
    assert after.score(new, digits.test.labels) > 0.8
    with pytest.raises(ValueError, match=r"as in fit|is expecting"):
        after.predict(new[:, :5])


def test_colours_come_back_in_the_layout_that_was_fitted(digits: Dataset, tmp_path: Path) -> None:
    X, y = few(digits)
    tints = np.random.default_rng(0).uniform(0.5, 1, (300, 1, 1, 3))
    colours = (X[..., None] * tints).astype(np.uint8)
    for number, images in enumerate((colours, colours.transpose(0, 3, 1, 2))):
        before = classifier(encoder="hog").fit(images, y)
        before.save(tmp_path / str(number))
        assert_same_answers(before, gpu_ssl.load(tmp_path / str(number)), images)


def test_rows_of_numbers_are_no_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each column has its own scale; no encoder for images is requested."""
    monkeypatch.setattr(network, "FEWEST", 10)
    monkeypatch.setattr(network, "PASSES", 1)
    X, y = load_iris(return_X_y=True)
    X = X * [1, 10, 100, -1000]
    partly = np.where(np.arange(150) % 5 < 2, y, -1)
    for method, encoder in (("auto", None), ("m1", None), ("svm", "pixels"), ("consistency", "vae")):
        before = classifier(method=method, encoder=encoder, latent_dim=2, epochs=20).fit(X, partly)
        if method != "consistency":
            assert before.score(X, y) > 0.8, method
        before.save(tmp_path / method)
        assert_same_answers(before, gpu_ssl.load(tmp_path / method), X)
    np.save(tmp_path / "rows.npy", X)
    (tmp_path / "pictures").mkdir()
    for data in ("rows.npy", "pictures"):
        done = run_program(tmp_path, "predict", "m1", data, "--device", "cpu")
        assert (done.returncode, done.stdout) == (2, "")
        assert "the model was fitted in Python to rows of 4 numbers, which are no images" in done.stderr
    for changes in ({"method": "hybrid", "encoder": None}, {"encoder": "hog"}):
        with pytest.raises(UsageError, match="these are embeddings"):
            classifier(latent_dim=2, epochs=1).set_params(**changes).fit(X, partly)


@pytest.mark.parametrize(
    "name",
    [
        lambda y: y,
        lambda y: y.astype(np.int32) * 10 - 30,
        lambda y: np.array([f"digit {k}" if k >= 0 else "" for k in y]),
        lambda y: np.array([f"digit {k}" if k >= 0 else "" for k in y], dtype=object),
        lambda y: np.array(["0123456789"[k] if k >= 0 else "-1" for k in y]),
        lambda y: np.where(y < 0, y, y + 1.0),
    ],
    ids=["int", "int32", "str", "object", "digits as words", "float"],
)
def test_labels_keep_their_kind(digits: Dataset, tmp_path: Path, name: Any) -> None:
    X, y = few(digits)
    before = classifier().fit(X[:100], name(y)[:100])
    before.save(tmp_path)
    after = gpu_ssl.load(tmp_path)
    assert type(after.classes_.tolist()[0]) is type(before.classes_.tolist()[0])
    assert after.classes_.tolist() == before.classes_.tolist()
    assert after.predict(X).tolist() == before.predict(X).tolist()
    assert after.score(X[:100], name(y)[:100]) > 0.9


def test_truth_values_stay_truth_values(digits: Dataset, tmp_path: Path) -> None:
    X, y = few(digits)
    before = classifier().fit(X[:100], y[:100] > 4)
    before.save(tmp_path)
    after = gpu_ssl.load(tmp_path)
    assert after.predict(X).dtype == bool
    assert np.array_equal(after.predict(X), before.predict(X))


def test_the_program_scales_files_by_their_own_range(digits: Dataset, tmp_path: Path) -> None:
    """A model of numbers from 0 to 1 reads 16-bit files as it reads 8-bit ones."""
    X, y = few(digits)
    ours = classifier().fit(X / 16, y)
    ours.save(tmp_path / "ours")
    (tmp_path / "files").mkdir()
    for i, image in enumerate(digits.test.images[:20, 0]):
        Image.fromarray(image.astype(np.uint16) * 257).save(tmp_path / "files" / f"{i:02d}.png")
    done = run_program(tmp_path, "predict", "ours", "files", "--format", "jsonl")
    assert done.returncode == 0, done.stderr
    labels = [json.loads(line)["label"] for line in done.stdout.splitlines()]
    expected = ours.predict(digits.test.images[:20, 0] / 255 * X.max() / 16)
    assert labels == expected.astype(str).tolist()


@pytest.mark.parametrize("scale", [lambda X: X / 128.0 - 1, lambda X: X.astype(np.uint16) * 16])
def test_python_and_the_program_scale_numbers_alike(digits: Dataset, tmp_path: Path, scale: Any) -> None:
    """Some images do not span the range of all, by which a model was fitted."""
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    X, y = few(digits)
    X, new = scale(X), scale(digits.test.images[:50, 0] // 2)
    np.save(tmp_path / "new.npy", new)

    def said(model: str) -> list[str]:
        done = run_program(tmp_path, "predict", model, "new.npy", "--format", "jsonl", environment=cache)
        assert done.returncode == 0, done.stderr
        return [json.loads(line)["label"] for line in done.stdout.splitlines()]

    ours = classifier().fit(X, y)
    ours.save(tmp_path / "ours")
    assert said("ours") == ours.predict(new).astype(str).tolist()

    np.savez(tmp_path / "all.npz", images=X, labels=y)
    fit = "fit all.npz --output theirs --method svm --encoder pixels --no-mirror --device cpu"
    done = run_program(tmp_path, *fit.split(), environment=cache)
    assert done.returncode == 0, done.stderr
    theirs = gpu_ssl.load(tmp_path / "theirs", device="cpu")
    assert theirs.predict(new).astype(str).tolist() == said("theirs")


def test_the_program_scales_bytes_with_the_values_of_fit(digits: Dataset, tmp_path: Path) -> None:
    """Images from 0 to 15 are the same as floats and as uint8."""
    X, y = few(digits)
    ours = classifier().fit((X // 16).astype(np.float32), y)
    ours.save(tmp_path / "ours")
    new = digits.test.images[:50, 0] // 16
    np.save(tmp_path / "new.npy", new)
    done = run_program(tmp_path, "predict", "ours", "new.npy", "--format", "jsonl")
    assert done.returncode == 0, done.stderr
    labels = [json.loads(line)["label"] for line in done.stdout.splitlines()]
    assert labels == ours.predict(new.astype(np.float32)).astype(str).tolist()
    assert len(set(labels)) > 5


def test_a_model_of_the_program_is_loaded_and_the_program_reads_one_of_ours(
    digits: Dataset, tmp_path: Path
) -> None:
    for i, image in enumerate(digits.train.images[:300]):
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.fromarray(image[0]).save(tmp_path / "images" / f"{i:04d}.png")
    rows = "".join(f"{i:04d}.png,digit {digits.train.labels[i]}\n" for i in range(100))
    (tmp_path / "labels.csv").write_text(f"path,label\n{rows}")
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    fit = "fit images --labels labels.csv --output model --method hybrid --epochs 2 --no-mirror"
    done = run_program(tmp_path, *fit.split(), "--device", "cpu", environment=cache)
    assert done.returncode == 0, done.stderr
    loaded = gpu_ssl.load(tmp_path / "model", device="cpu")
    assert loaded.classes_.tolist() == [f"digit {k}" for k in range(10)]
    X = digits.test.images[:100, 0]
    model, _ = storage.load(tmp_path / "model", "cpu")
    answers = model.predict(X[:, None])
    assert np.array_equal(loaded.predict(X), loaded.classes_[answers.classes])
    assert np.array_equal(loaded.predict_proba(X), answers.probabilities.astype(np.float32))
    assert np.array_equal(loaded.ood_score(X), answers.ood_scores)
    with pytest.raises(UsageError, match="multiply X by 255"):
        loaded.predict(X / 255)

    ours = classifier().fit(*few(digits))
    ours.save(tmp_path / "ours")
    done = run_program(tmp_path, "predict", "ours", "images", "--format", "jsonl", environment=cache)
    assert done.returncode == 0, done.stderr
    labels = [json.loads(line)["label"] for line in done.stdout.splitlines()]
    assert labels == ours.predict(digits.train.images[:300, 0]).astype(str).tolist()
    assert (tmp_path / "ours" / "README.md").is_file()
    page = tmp_path / "ours" / "report.html"
    assert "A classifier of images into" in (written := page.read_text())
    page.unlink()
    assert run_program(tmp_path, "report", "ours").returncode == 0
    assert page.read_text() == written


def test_a_model_is_not_overwritten_and_nothing_is_no_model(digits: Dataset, tmp_path: Path) -> None:
    fitted = classifier().fit(*few(digits))
    fitted.save(tmp_path)
    with pytest.raises(UsageError, match="holds a model already"):
        fitted.save(tmp_path)
    with pytest.raises(UsageError, match="holds no model"):
        gpu_ssl.load(tmp_path / "none")
    (tmp_path / "model.json").write_text("{}")
    with pytest.raises(StorageError, match=r"model\.json is not a gpu-ssl model; fit the model again"):
        gpu_ssl.load(tmp_path)


def test_an_empty_path_is_no_folder() -> None:
    """Python takes it for the current one."""
    with pytest.raises(UsageError, match="empty"):
        gpu_ssl.load("")


def test_column_names_and_names_of_classes_are_kept(digits: Dataset, tmp_path: Path) -> None:
    X, y = few(digits)
    rows = X.reshape(len(X), -1)
    before = classifier(method="raw-svc", encoder=None).fit(rows, np.where(y < 0, np.nan, y))
    assert before.record_.class_names == tuple("0123456789")
    before.feature_names_in_ = np.array([f"p{i}" for i in range(64)], dtype=object)
    before.save(tmp_path / "model")
    after = gpu_ssl.load(tmp_path / "model", device="cpu")
    assert after.feature_names_in_.tolist() == before.feature_names_in_.tolist()
    assert after.classes_.tolist() == before.classes_.tolist() == list(range(10))
    with pytest.warns(UserWarning, match="fitted with feature names"):
        assert_same_answers(before, after, rows)
