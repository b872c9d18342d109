"""Histograms of oriented gradients: scikit-image's values, on every device, for images of any size."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.feature import hog
from sklearn.datasets import load_digits, load_sample_images
from torch import Tensor

from gpu_ssl.encoders.hog import HOG, cell_side
from tests.training.fake_cuda import fake_cuda

Shape = tuple[int, int, int]


def noise(n: int, shape: Shape, seed: int = 0, most: int = 255) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, most + 1, (n, *shape), dtype=torch.uint8, generator=generator)


def digits(side: int) -> Tensor:
    images = torch.from_numpy(load_digits().images[:40] * 15)[:, None]
    return torch.nn.functional.interpolate(images, size=(side, side), mode="bicubic").clamp(0, 255).byte()


def photographs(channels: int, height: int, width: int) -> Tensor:
    crops = [
        photograph[row : row + height, column : column + width]
        for photograph in load_sample_images().images
        for row, column in ((0, 0), (100, 300), (250, 100), (330, 540))
    ]
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2)[:, :channels].contiguous()


def of_skimage(images: Tensor) -> np.ndarray:
    cell = cell_side((images.shape[1], images.shape[2], images.shape[3]))
    block = tuple(min(2, side // cell) for side in images.shape[2:])
    return np.stack(
        [hog(image, 9, (cell, cell), block, "L2-Hys", channel_axis=0) for image in images.numpy()]
    )


@pytest.mark.parametrize(
    "images",
    [
        pytest.param(digits(8), id="digits"),
        pytest.param(digits(28), id="digits of 28"),
        pytest.param(digits(45), id="digits of 45"),
        pytest.param(photographs(1, 64, 64), id="grey photographs"),
        pytest.param(photographs(3, 64, 64), id="photographs"),
        pytest.param(photographs(3, 32, 32), id="photographs of 32"),
        pytest.param(photographs(3, 50, 81), id="wide photographs"),
        pytest.param(photographs(3, 96, 31), id="tall photographs"),
        pytest.param(noise(20, (1, 28, 28)), id="noise"),
        pytest.param(noise(20, (3, 30, 30)), id="colour noise"),
        pytest.param(noise(20, (1, 28, 28), most=1), id="faint noise"),
        pytest.param(noise(20, (1, 20, 2)), id="one cell wide"),
        pytest.param(noise(20, (1, 3, 3)), id="one cell"),
    ],
)
def test_features_are_those_of_scikit_image(images: Tensor) -> None:
    features = HOG((images.shape[1], images.shape[2], images.shape[3]))(images)
    assert features.dtype == torch.float32
    np.testing.assert_allclose(features.numpy(), of_skimage(images), atol=1e-6)


def test_every_gradient_that_pixels_can_have_votes_for_its_bin() -> None:
    """Directions next to an edge between bins, and 180 degrees, which is 0; skimage divides them alike."""
    differences = torch.arange(-255, 256)
    vertical, horizontal = torch.cartesian_prod(differences, differences).unbind(1)
    images = torch.zeros(len(vertical), 1, 3, 3, dtype=torch.uint8)
    images[:, 0, 0, 1], images[:, 0, 2, 1] = (-vertical).clamp(min=0), vertical.clamp(min=0)
    images[:, 0, 1, 0], images[:, 0, 1, 2] = (-horizontal).clamp(min=0), horizontal.clamp(min=0)
    degrees = np.rad2deg(np.arctan2(vertical.double().numpy(), horizontal.double().numpy())) % 180
    expected = np.eye(9)[(degrees // 20).astype(int)] * ((vertical != 0) | (horizontal != 0)).numpy()[:, None]
    # One cell, of whose pixels only one has a gradient.
    np.testing.assert_allclose(HOG((1, 3, 3))(images).numpy(), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("side", "cell", "width"), [(8, 2, 324), (28, 4, 1296), (32, 4, 1764), (40, 5, 1764), (64, 9, 1296)]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_number_of_features_stays_the_same_for_any_image_size(
    side: int, cell: int, width: int, channels: int
) -> None:
    shape = (channels, side, side)
    assert (cell_side(shape), HOG(shape).cell, HOG(shape).width) == (cell, cell, width)


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(0, 5),
    shape=st.tuples(st.sampled_from([1, 3]), st.integers(1, 40), st.integers(1, 40)),
    most=st.sampled_from([0, 1, 255]),
    seed=st.integers(0, 100),
)
def test_images_of_any_shape_have_features_of_their_own(n: int, shape: Shape, most: int, seed: int) -> None:
    """Degenerate images have features too, an empty batch is one, and no image changes another's bits."""
    model, images = HOG(shape), noise(n, shape, seed, most)
    features = model(images)
    assert features.shape == (n, model.width)
    assert model.width >= 9
    assert torch.isfinite(features).all()
    assert (features >= 0).all()
    assert (features <= 1 + 1e-6).all()
    for row in range(n):
        assert torch.equal(features[row : row + 1], model(images[row : row + 1]))
    assert torch.equal(images, noise(n, shape, seed, most))


def test_features_in_a_large_batch_are_those_of_one_image() -> None:
    """Vectorized and threaded operations give the same bits wherever a row is."""
    model, images = HOG((3, 28, 28)), noise(1001, (3, 28, 28))
    features = model(images)
    for row in (0, 7, 500, 1000):
        assert torch.equal(features[row : row + 1], model(images[row : row + 1]))


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 64, 64), (3, 2, 5)])
def test_runs_on_the_meta_device(shape: Shape) -> None:
    """Nothing depends on a value or makes a tensor on another device."""
    model = HOG(shape)
    features = model(torch.empty(4, *shape, dtype=torch.uint8, device="meta"))
    assert (features.shape, features.dtype, features.device.type) == ((4, model.width), torch.float32, "meta")


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 64, 64), (3, 2, 5)])
def test_runs_on_cuda_without_a_wait(shape: Shape) -> None:
    with fake_cuda():
        model = HOG(shape).to("cuda")
        features = model(torch.zeros(4, *shape, dtype=torch.uint8, device="cuda"))
    assert (features.shape, features.dtype, features.device.type) == ((4, model.width), torch.float32, "cuda")


def test_there_is_nothing_to_learn_or_save() -> None:
    assert not HOG((1, 28, 28)).state_dict()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_onnx_gives_the_same_features_for_any_batch_size(tmp_path: Path) -> None:
    """Of colours, on sides that are no multiples of a cell; tests/fitted/test_onnx_file.py has grey ones."""
    shape = (3, 30, 21)
    model = HOG(shape).eval()
    program = torch.onnx.export(
        model, (noise(2, shape),), dynamo=True, dynamic_shapes=({0: torch.export.Dim("n")},), verbose=False
    )
    assert program is not None
    program.save(tmp_path / "hog.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "hog.onnx")
    for n in (1, 2, 9):
        images = noise(n, shape, seed=n)
        images[0, :, : shape[1] // 2] = 7  # Blocks without an edge have no direction, but are numbers.
        (features,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
        np.testing.assert_allclose(features, model(images).numpy(), atol=1e-6)
