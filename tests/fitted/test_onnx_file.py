"""The ONNX file answers as the model does: onnxruntime, which shares no code with us, is asked."""

import json
import logging
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image, ImageOps

from gpu_ssl.config import FitConfig, TrainConfig
from gpu_ssl.data.decoding import decode
from gpu_ssl.data.image_set import Dataset
from gpu_ssl.data.own import UNLABELLED, OwnImages
from gpu_ssl.data.preparation import Preparation
from gpu_ssl.encoders.averaged import Averaged
from gpu_ssl.encoders.hog import HOG
from gpu_ssl.errors import DependencyError, StorageError
from gpu_ssl.fitted.fitting import Fit, fit
from gpu_ssl.fitted.onnx_file import describe_preparation, export, input_shape
from gpu_ssl.fitted.records import PixelScale
from gpu_ssl.runtime.optional import install_advice
from gpu_ssl.runtime.progress import SILENT
from tests.fitted.conftest import CONFIG, own


def session(fitted: Fit, folder: Path) -> onnxruntime.InferenceSession:
    export(fitted.model, fitted.record, folder / "model.onnx")
    assert [path.name for path in folder.iterdir()] == ["model.onnx"]
    return onnxruntime.InferenceSession(folder / "model.onnx")


def assert_same(
    fitted: Fit, run: onnxruntime.InferenceSession, images: np.ndarray, atol: float = 1e-5
) -> None:
    ours = fitted.model.predict(images)
    classes, probabilities, scores = run.run(None, {"images": images})
    assert (classes.dtype, probabilities.dtype, scores.dtype) == (np.int64, np.float32, np.float32)
    assert np.array_equal(classes, ours.classes)
    assert np.array_equal(probabilities.argmax(axis=1), classes)
    np.testing.assert_allclose(probabilities, ours.probabilities, atol=atol)
    np.testing.assert_allclose(scores, ours.ood_scores, rtol=1e-3, atol=1e-4)


@pytest.fixture(scope="module")
def m1(fitted: Fit, digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Fit:
    """An SVM on the latents, with the encoder of the model of the folder, which itself has HOG, too."""
    config, checkpoint = (
        CONFIG.model_copy(update={"method": "m1"}),
        tmp_path_factory.mktemp("m1") / "c.json",
    )
    return fit(own(digits, 100), config, checkpoint, SILENT, base=(fitted.model, fitted.record))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Fit:
    """Two classes, colours, sides of no nice number, and no augmentation."""
    rng = np.random.default_rng(0)
    labels = np.where(np.arange(40) < 20, np.arange(40) % 2, UNLABELLED)
    images = rng.integers(0, 256, (40, 3, 9, 13), dtype=np.uint8)
    own = OwnImages(tuple(map(str, range(40))), images, labels, ("été", "winter"), {})
    config = FitConfig(method="m1", device="cpu", train=TrainConfig.of(epochs=1, augment=False))
    return fit(own, config, tmp_path_factory.mktemp("tiny") / "checkpoint.json", SILENT)


@pytest.fixture(scope="module")
def tiny_run(tiny: Fit, tmp_path_factory: pytest.TempPathFactory) -> onnxruntime.InferenceSession:
    return session(tiny, tmp_path_factory.mktemp("tiny-onnx"))


def prepared(path: Path, told: dict[str, Any]) -> np.ndarray:
    """Prepare an image only by the metadata of the file."""
    image = ImageOps.exif_transpose(Image.open(path))
    if image.mode.startswith("I;16"):
        high = 65535 if told["high"] is None else told["high"]
        levels = np.rint((np.asarray(image, float) - (told["low"] or 0)) * 255 / (high - (told["low"] or 0)))
        image = Image.fromarray(levels.clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = Image.alpha_composite(
            Image.new("RGBA", image.size, (told["ground"],) * 3), image.convert("RGBA")
        )
    image = image.convert(told["mode"])
    width, height = told["width"], told["height"]
    proportion = (image.width / image.height) / (width / height)
    if max(proportion, 1 / proportion) > told["strip"]:
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    else:
        size = (width, round(image.height / image.width * width))
        if proportion < 1:
            size = (round(image.width / image.height * height), height)
        small = image.resize(size, Image.Resampling.BILINEAR)
        image = Image.new(
            told["mode"], (width, height), told["ground"] if told["mode"] == "L" else (told["ground"],) * 3
        )
        image.paste(small, (round((width - size[0]) * 0.5), round((height - size[1]) * 0.5)))
    pixels = np.asarray(image)
    return pixels[None] if told["mode"] == "L" else pixels.transpose(2, 0, 1)


@pytest.mark.parametrize("shape", [(1, 24, 24), (3, 17, 31)])
def test_the_file_tells_how_to_prepare_images(tiny: Fit, tmp_path: Path, shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(0)
    how = Preparation(low=0, high=4095, ground=255)
    record = tiny.record.model_copy(update={"image_shape": shape, "preparation": how})
    told = json.loads(json.dumps(describe_preparation(record)))
    colours = rng.integers(0, 256, (60, 90, 3), dtype=np.uint8)
    turned = Image.Exif()
    turned[0x0112] = 6
    files = {
        "photo.jpg": Image.fromarray(colours),
        "tall.png": Image.fromarray(colours[:, :33]),
        "strip.png": Image.fromarray(colours[:7]),
        "deep.png": Image.fromarray(rng.integers(0, 4096, (50, 40), dtype=np.uint16)),
        "glass.png": Image.fromarray(rng.integers(0, 256, (30, 44, 4), dtype=np.uint8)),
    }
    for name, image in files.items():
        image.save(tmp_path / name)
    files["photo.jpg"].save(tmp_path / "turned.jpg", exif=turned)
    for path in tmp_path.iterdir():
        difference = prepared(path, told).astype(int) - decode(path, shape, how).pixels
        # Grey JPEG is decoded without its colours, which rounds otherwise.
        assert np.abs(difference).max() <= (2 if path.suffix == ".jpg" else 0), path.name


def test_the_metadata_hold_all_of_it(tiny: Fit, tiny_run: onnxruntime.InferenceSession) -> None:
    told = tiny_run.get_modelmeta().custom_metadata_map
    assert json.loads(told["preparation"]) == json.loads(json.dumps(describe_preparation(tiny.record)))


RESIZED = Preparation(usual_shape=(3, 60, 90), ground=200)


@pytest.fixture(scope="module")
def resizing_run(tiny: Fit, tmp_path_factory: pytest.TempPathFactory) -> onnxruntime.InferenceSession:
    told = replace(tiny, record=tiny.record.model_copy(update={"preparation": RESIZED}))
    return session(told, tmp_path_factory.mktemp("resizing"))


@pytest.mark.parametrize("size", [(13, 9), (90, 60), (31, 8), (5, 200)])
def test_images_of_any_size_are_resized(
    tiny: Fit, resizing_run: onnxruntime.InferenceSession, tmp_path: Path, size: tuple[int, int]
) -> None:
    """Whoever has nothing but the file does not resize, or pad, and so cannot do it in another way."""
    run = resizing_run
    assert json.loads(run.get_modelmeta().custom_metadata_map["image_shape"]) == [3, 60, 90]
    smooth = np.random.default_rng(0).integers(0, 256, (8, 3, 4, 3), dtype=np.uint8)
    given, expected = [], []
    for number, pixels in enumerate(smooth):
        image = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)
        image.save(tmp_path / f"{number}.png")
        given.append(np.asarray(image).transpose(2, 0, 1))
        expected.append(decode(tmp_path / f"{number}.png", (3, 9, 13), RESIZED).pixels)
    ours = tiny.model.predict(np.stack(expected))
    classes, probabilities, _ = run.run(None, {"images": np.stack(given)})
    np.testing.assert_allclose(probabilities, ours.probabilities, atol=0.01)  # one grey level here and there
    sure = ours.probabilities.max(axis=1) > 0.51
    assert sure.sum() >= 4
    assert np.array_equal(classes[sure], ours.classes[sure])


@pytest.mark.parametrize("pixels", [None, PixelScale(sample_shape=(4,), low=(0.0,), high=(1.0,))])
def test_numbers_that_are_no_pictures_keep_their_shape(tiny: Fit, pixels: PixelScale | None) -> None:
    update = {"image_shape": (1, 1, 4), "pixels": pixels, "preparation": Preparation(low=0, high=1)}
    record = tiny.record.model_copy(update=update)
    assert input_shape(record) == (1, 1, 4)
    told = describe_preparation(record)
    assert (told["sample_shape"], told["low"], told["high"]) == ((4,), (0.0,), (1.0,))


@pytest.mark.parametrize("which", ["fitted", "m1"])
def test_onnxruntime_says_what_we_say(
    which: str, digits: Dataset, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(which)
    run = session(model, tmp_path)
    for n in (1, 2, len(digits.test)):
        assert_same(model, run, digits.test.images[:n])
    noise = np.random.default_rng(0).integers(0, 256, (50, 1, 8, 8), dtype=np.uint8)
    assert_same(model, run, noise)
    assert_same(model, run, np.zeros((1, 1, 8, 8), np.uint8))


def test_classes_that_are_far_apart_have_probabilities(m1: Fit, digits: Dataset, tmp_path: Path) -> None:
    """Where a sigmoid is 0 its logarithm is no number. The slope multiplies rounding of decisions, too."""
    calibration = replace(m1.model.calibration, slope=1000.0)
    sure = replace(m1, model=replace(m1.model, calibration=calibration))
    assert_same(sure, session(sure, tmp_path), digits.test.images, atol=1e-3)


def test_two_classes_in_colour(tiny: Fit, tiny_run: onnxruntime.InferenceSession) -> None:
    images = np.random.default_rng(1).integers(0, 256, (30, 3, 9, 13), np.uint8)
    assert_same(tiny, tiny_run, images)


def test_the_file_tells_what_it_takes_and_gives(tiny: Fit, tiny_run: onnxruntime.InferenceSession) -> None:
    told = tiny_run.get_modelmeta().custom_metadata_map
    assert json.loads(told["class_names"]) == ["été", "winter"]
    assert json.loads(told["image_shape"]) == [3, 9, 13]
    (images,) = tiny_run.get_inputs()
    assert (images.name, images.type) == ("images", "tensor(uint8)")
    assert images.shape[1:] == list(input_shape(tiny.record)) == [3, "height", "width"]
    assert [output.name for output in tiny_run.get_outputs()] == ["class", "probabilities", "ood_score"]


def test_a_missing_package_is_named(tiny: Fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpu_ssl.runtime.optional.find_spec", lambda name: None)
    with pytest.raises(DependencyError, match=re.escape(install_advice("onnx")) + "$"):
        export(tiny.model, tiny.record, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_an_older_torch_is_refused(tiny: Fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", "2.9.1+cpu")
    with pytest.raises(DependencyError, match=r"needs torch 2\.14 or newer, and this is 2\.9\.1\+cpu"):
        export(tiny.model, tiny.record, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_an_error_and_nothing_is_printed(
    tiny: Fit, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """The file is written at the end, after all at which torch may print."""
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.WARNING), pytest.raises(StorageError, match="cannot write"):
        export(tiny.model, tiny.record, tmp_path / "file" / "model.onnx")
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


def test_averages_over_shifts_are_one_small_graph(tmp_path: Path) -> None:
    """Traced as they are computed, five times with a chain of sums for each cell, they took minutes."""
    encoder = Averaged(HOG((3, 29, 34))).eval()
    images = torch.randint(
        0, 256, (5, 3, 29, 34), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    shapes = ({0: torch.export.Dim("n")},)
    program = torch.onnx.export(encoder, (images[:2],), dynamo=True, dynamic_shapes=shapes, verbose=False)
    assert program is not None
    assert len(program.model.graph) < 400
    program.save(tmp_path / "hog.onnx")
    (found,) = onnxruntime.InferenceSession(tmp_path / "hog.onnx").run(None, {"images": images.numpy()})
    np.testing.assert_allclose(found, encoder(images).numpy(), atol=1e-5)
