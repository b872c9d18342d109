"""Averages over small shifts: what depends on where cells and strides fall is gone from sums of encoders."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from gpu_ssl.encoders.averaged import Averaged, averaged, plain, shift_of
from gpu_ssl.encoders.encoder import Encoder, encode
from gpu_ssl.encoders.hog import HOG
from gpu_ssl.encoders.pixels import Pixels
from gpu_ssl.encoders.saving import EncoderRecord, build_encoder, describe_encoder
from gpu_ssl.methods.representation import ENCODER, SavedEncoder
from gpu_ssl.methods.view import View
from gpu_ssl.runtime import state
from tests.encoders import fitted, photographs
from tests.methods import view_of


@pytest.fixture(scope="module")
def images() -> NDArray[np.uint8]:
    return photographs(28)[::4]


@pytest.fixture(scope="module")
def encoders(images: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Encoder]:
    return fitted(images, tmp_path_factory.mktemp("averaged"), "hog", "vae+hog")


def shifted(images: NDArray[np.uint8], down: int, right: int) -> Tensor:
    """Shift images with NumPy, the edges repeated."""
    height, width = images.shape[2:]
    wide = np.pad(images, ((0, 0), (0, 0), (2, 2), (2, 2)), mode="edge")
    part = wide[:, :, 2 - down : 2 - down + height, 2 - right : 2 - right + width]
    return torch.from_numpy(np.ascontiguousarray(part))


@pytest.mark.parametrize(
    ("height", "width", "shift"),
    [(8, 8, 0), (27, 27, 0), (28, 28, 1), (32, 32, 1), (56, 56, 2), (28, 60, 2), (1, 64, 0), (16, 64, 0)],
)
def test_images_are_shifted_by_a_little_of_their_size(height: int, width: int, shift: int) -> None:
    """Small ones and rows of numbers are not: a pixel is too much of them."""
    shape = (1, height, width)
    assert shift_of(shape) == shift
    encoder = Pixels(shape)
    assert (averaged(encoder) is encoder) == (shift == 0)


@pytest.mark.parametrize("side", [28, 56])
def test_features_are_means_over_the_image_and_its_four_shifts(side: int) -> None:
    images = photographs(side)[:20]
    encoder = HOG((3, side, side))
    step = side // 28
    moves = ((0, 0), (-step, 0), (step, 0), (0, -step), (0, step))
    expected = torch.stack([encode(encoder, shifted(images, *move)) for move in moves]).mean(0)
    features = encode(averaged(encoder), torch.from_numpy(images))
    torch.testing.assert_close(features, expected, rtol=1e-5, atol=1e-6)


def test_a_shift_changes_averaged_features_less(images: NDArray[np.uint8]) -> None:
    encoder = HOG((3, 28, 28))

    def change(encoder: Encoder) -> float:
        there, moved = encode(encoder, torch.from_numpy(images)), encode(encoder, shifted(images, 1, 0))
        return float((there - moved).norm() / there.norm())

    assert change(averaged(encoder)) < 0.7 * change(encoder)


def test_sums_average_their_parts_and_parts_alone_stay_as_they_are(encoders: dict[str, Encoder]) -> None:
    """Both share what was learned: the VAE is trained once."""
    vae, hog = encoders["vae+hog"].parts
    assert isinstance(vae, Averaged)
    assert isinstance(hog, Averaged)
    assert (vae.name, hog.name) == ("vae", "hog")
    assert plain(vae) is encoders["vae"]
    assert plain(hog) is encoders["hog"]
    assert plain(encoders["vae"]) is encoders["vae"]
    assert not isinstance(encoders["hog"], Averaged)


def test_averages_are_saved_as_what_they_are(
    encoders: dict[str, Encoder], images: NDArray[np.uint8], tmp_path: Path
) -> None:
    for encoder in (encoders["vae+hog"], encoders["vae+hog"].parts[0], encoders["vae"]):
        path = tmp_path / "encoder.json"
        saved = SavedEncoder(encoder=EncoderRecord.model_validate(describe_encoder(encoder)))
        state.save(path, ENCODER, saved, dict(encoder.state_dict()))
        found, tensors = state.load(path, ENCODER)
        read = build_encoder(found.encoder.model_dump(), tensors)
        assert [isinstance(part, Averaged) for part in read.parts] == [
            isinstance(part, Averaged) for part in encoder.parts
        ]
        some = torch.from_numpy(images)
        assert torch.equal(encode(read, some), encode(encoder, some))


def test_a_view_keeps_averages_apart_from_what_they_average(
    encoders: dict[str, Encoder], images: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They have the same name; and the parts of a sum, which are no encoders of the view, are kept too."""
    view: View = view_of(images, encoders.values())
    both = encoders["vae+hog"]
    alone = view.features(encoders["hog"])
    joined = view.features(both)
    assert not torch.allclose(view.features(both.parts[1]), alone)
    torch.testing.assert_close(joined, encode(both, torch.from_numpy(images)), rtol=1e-4, atol=1e-5)

    def refuse(*_: object) -> None:
        raise AssertionError("features were worked out again")

    monkeypatch.setattr(view, "_encode", refuse)
    assert torch.equal(view.features(both), joined)
    assert torch.equal(view.features(both.parts[1]) / both.state_dict()["scales"][1], joined[:, 16:])
