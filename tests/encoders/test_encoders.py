"""What every encoder promises, on grey and on colour images: to methods, to files, and on a GPU."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch._subclasses.fake_tensor import unset_fake_temporarily

from gpu_ssl import catalog
from gpu_ssl.data.image_set import Dataset
from gpu_ssl.encoders import encoder as encoder_module
from gpu_ssl.encoders.encoder import Encoder, encode
from gpu_ssl.encoders.fitting import Training, TrainingImages, fit_encoders
from gpu_ssl.encoders.network import NetworkFeatures
from gpu_ssl.encoders.pixels import Pixels
from gpu_ssl.encoders.saving import EncoderRecord, build_encoder, describe_encoder
from gpu_ssl.methods.representation import ENCODER, SavedEncoder
from gpu_ssl.networks.classifier import ClassifierNetwork
from gpu_ssl.runtime import device as device_module
from gpu_ssl.runtime import state
from gpu_ssl.training.augmentation import canonical
from gpu_ssl.training.optimizers import build
from tests.encoders import CONFIG, CPU, fitted, photographs
from tests.training import fake_cuda

PRETRAINED = "pretrained:efficientnet_lite0@64"
"""With real weights, and images of 64 pixels to be quick."""

NAMES = [
    *(
        PRETRAINED if spec.name == "pretrained" else spec.name
        for spec in catalog.ENCODERS
        if not spec.embeddings  # which has no images: see test_given.py
    ),
    "vae+hog",
    f"hog+{PRETRAINED}",
]
CUDA = torch.device("cuda", 0)

WIDTHS = {
    "grey": {
        "vae": 16,
        "hog": 324,
        "pixels": 64,
        "pca": 50,
        "ranks": 64,
        "network": 128,
        "vae+hog": 340,
        PRETRAINED: 1280,
        f"hog+{PRETRAINED}": 1604,
    },
    "colour": {
        "vae": 16,
        "hog": 1296,
        "pixels": 2352,
        "pca": 50,
        "ranks": 2352,
        "network": 128,
        "vae+hog": 1312,
        PRETRAINED: 1280,
        f"hog+{PRETRAINED}": 2576,
    },
}
"""Of digits of 8 x 8 pixels, and of photographs of 28 x 28, which sums average over shifts."""

EXACT = ("hog", "pixels", "ranks")
"""Whose features are the same bits whatever the batch; matrix products round differently."""


@pytest.fixture(scope="module")
def images(digits: Dataset) -> dict[str, NDArray[np.uint8]]:
    return {"grey": digits.train.images[:300], "colour": photographs(28)[::4]}


@pytest.fixture(scope="module")
def encoders(
    images: dict[str, NDArray[np.uint8]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Encoder]]:
    return {kind: _all(pixels, tmp_path_factory.mktemp(kind)) for kind, pixels in images.items()}


def _all(pixels: NDArray[np.uint8], folder: Path) -> dict[str, Encoder]:
    """Fit all encoders; the one that methods train gets some running statistics instead."""
    channels, height, width = pixels.shape[1:]
    network = build(lambda: ClassifierNetwork((channels, height, width), 10), CPU, 0).train()
    network(torch.from_numpy(pixels).float() / 255)
    public = [name for name in NAMES if name != "network"]
    return {**fitted(pixels, folder, *public), "network": NetworkFeatures(network.eval(), mirror=True)}


@pytest.fixture(params=["grey", "colour"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=NAMES)
def encoder(request: pytest.FixtureRequest, kind: str, encoders: dict[str, dict[str, Encoder]]) -> Encoder:
    return encoders[kind][request.param]


@pytest.fixture
def some(kind: str, images: dict[str, NDArray[np.uint8]]) -> Tensor:
    return torch.from_numpy(images[kind][:60].copy())


def agree(name: str, features: Tensor, expected: Tensor) -> None:
    if name in EXACT:
        assert torch.equal(features, expected)
    else:
        torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-4)


def test_features_are_what_solvers_take_without_a_copy(kind: str, encoder: Encoder, some: Tensor) -> None:
    """Of the width that is said, float32, column-major, and no part of a graph of gradients."""
    features = encode(encoder, some)
    assert encoder.width == WIDTHS[kind][encoder.name]
    channels, *sides = some.shape[1:]
    assert encoder.image_shape == (channels, *((64, 64) if encoder.own_shape else sides))
    assert (features.shape, features.dtype) == ((60, encoder.width), torch.float32)
    assert features.stride() == (1, 60)
    assert not features.requires_grad
    assert bool(features.isfinite().all())
    # Features of different images differ.
    assert len(torch.unique(features, dim=0)) > 50


def test_the_features_of_an_image_do_not_depend_on_its_block(
    monkeypatch: pytest.MonkeyPatch, encoder: Encoder, some: Tensor
) -> None:
    """Or a set that is encoded on another machine, or in shards, would have others."""
    whole = encode(encoder, some)
    monkeypatch.setattr(encoder_module, "BLOCK", 7)
    agree(encoder.name, encode(encoder, some), whole)
    agree(encoder.name, encode(encoder, some.flip(0)).flip(0), whole)


def test_images_are_left_as_they_are(encoder: Encoder, some: Tensor) -> None:
    """They may be a memory map of the user's file."""
    before = some.clone()
    encode(encoder, some)
    assert torch.equal(some, before)


def test_no_image_has_no_features(encoder: Encoder, some: Tensor) -> None:
    assert encode(encoder, some[:0]).shape == (0, encoder.width)


def test_an_encoder_that_is_read_back_gives_the_same_bits(
    encoder: Encoder, some: Tensor, tmp_path: Path
) -> None:
    """Through safetensors and JSON, and without what it was made with."""
    path = tmp_path / "encoder.json"
    saved = SavedEncoder(encoder=EncoderRecord.model_validate(describe_encoder(encoder)))
    state.save(path, ENCODER, saved, dict(encoder.state_dict()))
    found, tensors = state.load(path, ENCODER)
    read = build_encoder(found.encoder.model_dump(), tensors)
    assert (read.name, read.image_shape, read.width) == (encoder.name, encoder.image_shape, encoder.width)
    assert not read.training
    assert torch.equal(encode(read, some), encode(encoder, some))
    # And writing it again gives the same.
    assert json.dumps(describe_encoder(read)) == json.dumps(describe_encoder(encoder))
    assert {name: value.dtype for name, value in read.state_dict().items()} == {
        name: value.dtype for name, value in encoder.state_dict().items()
    }


def test_tensors_of_another_encoder_are_refused(encoder: Encoder) -> None:
    description = describe_encoder(encoder)
    with pytest.raises(RuntimeError, match="state_dict"):
        build_encoder(description, {"other": torch.zeros(3)})
    with pytest.raises((KeyError, TypeError, ValueError, RuntimeError)):
        build_encoder({**description, "image_shape": None}, dict(encoder.state_dict()))


def test_precision_is_no_part_of_what_is_saved(encoder: Encoder) -> None:
    """A saved encoder computes in float32, whatever trained it."""
    own = copy.deepcopy(encoder)
    for part in own.parts:
        part.precision = torch.bfloat16
    read = build_encoder(describe_encoder(own), dict(own.state_dict()))
    assert {part.precision for part in read.parts} == {torch.float32}


@pytest.mark.parametrize("name", ["hog", "pixels", "pca", "ranks"])
def test_an_encoder_runs_on_the_meta_device(
    name: str, kind: str, encoders: dict[str, dict[str, Encoder]]
) -> None:
    """No feature depends on a value on the host, and no tensor is made elsewhere."""
    encoder = copy.deepcopy(encoders[kind][name]).to("meta")
    images = torch.empty(4, *encoder.image_shape, dtype=torch.uint8, device="meta")
    features = encode(encoder, images)
    assert (features.shape, features.dtype, features.device.type) == (
        (4, encoder.width),
        torch.float32,
        "meta",
    )


@pytest.fixture
def on_fake_cuda() -> Iterator[None]:
    with (
        patch.object(device_module, "free_bytes", lambda device: 2**34),
        fake_cuda.fake_cuda(),
    ):
        yield


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_an_encoder_runs_on_cuda_without_a_wait(
    encoder: Encoder, precision: torch.dtype, on_fake_cuda: None
) -> None:
    """A fake tensor raises where its value is asked for, or where it meets a tensor of the host."""
    with unset_fake_temporarily():
        own = copy.deepcopy(encoder)
    for part in own.parts:
        part.precision = precision
    own.to(CUDA)
    features = encode(own, torch.zeros(5, *own.image_shape, dtype=torch.uint8, device=CUDA))
    assert (features.shape, features.dtype, features.device) == ((5, own.width), torch.float32, CUDA)
    assert features.stride() == (1, 5)


@pytest.mark.parametrize(
    "planted",
    [
        lambda features: features / float(features.max()),
        lambda features: features[features[:, 0] > 0],
        lambda features: features - torch.zeros(features.shape),
        lambda features: torch.from_numpy(features.numpy()),
    ],
    ids=["float", "mask", "host", "numpy"],
)
def test_a_planted_wait_is_found(planted, on_fake_cuda: None) -> None:  # type: ignore[no-untyped-def]
    class Waits(Pixels):
        def forward(self, images: Tensor) -> Tensor:
            features: Tensor = planted(super().forward(images))
            return features

    images = torch.zeros(5, 1, 8, 8, dtype=torch.uint8, device=CUDA)
    encode(Pixels((1, 8, 8)).to(CUDA), images)
    with pytest.raises((RuntimeError, TypeError)):
        encode(Waits((1, 8, 8)).to(CUDA), images)


def test_only_the_vae_reconstructs_and_has_pictures(encoder: Encoder, some: Tensor) -> None:
    errors = encoder.reconstruction_errors(some, encode(encoder, some))
    exhibits = encoder.exhibits(some)
    if encoder.name == "vae":
        assert errors is not None
        assert (errors.shape, [exhibit.name for exhibit in exhibits]) == (
            (60,),
            ["reconstructions", "prior-samples"],
        )
    else:
        assert (errors, exhibits) == (None, [])


def test_pixels_are_the_pixels(digits: Dataset, encoders: dict[str, dict[str, Encoder]]) -> None:
    images = digits.test.images
    features = encode(encoders["grey"]["pixels"], torch.from_numpy(images))
    np.testing.assert_array_equal(features.numpy(), images.reshape(450, 64).astype(np.float32) / 255)
    assert (features.min(), features.max()) == (0, 1)


def test_ranks_are_the_pictures_that_the_vae_draws(
    digits: Dataset, encoders: dict[str, dict[str, Encoder]]
) -> None:
    images = torch.from_numpy(digits.test.images)
    features = encode(encoders["grey"]["ranks"], images)
    assert torch.equal(features, canonical(images).reshape(450, 64))


def test_the_features_of_a_network_are_averaged_over_the_mirror_image(
    encoders: dict[str, dict[str, Encoder]], some: Tensor, kind: str
) -> None:
    encoder = encoders[kind]["network"]
    assert isinstance(encoder, NetworkFeatures)
    torch.testing.assert_close(encode(encoder, some.flip(3)), encode(encoder, some), rtol=1e-4, atol=1e-5)
    alone = NetworkFeatures(encoder.network, mirror=False)
    one, other = encode(alone, some), encode(alone, some.flip(3))
    assert (one - other).abs().max() > 1e-3
    torch.testing.assert_close(encode(encoder, some), (one + other) / 2, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        logits = encoder.network.head(encoder.network.features(some.float() / 255))
        torch.testing.assert_close(encoder.network(some.float() / 255), logits)


def test_each_encoder_is_fitted_once(
    digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sum takes the parts that stand alone beside it, and what was fitted before is taken over."""
    from gpu_ssl.encoders import hog, pca, pixels

    asked: list[str] = []
    for module in (hog, pca, pixels):
        honest = module.fit

        def fit(images: TrainingImages, training: Training, honest=honest) -> Encoder:  # type: ignore[no-untyped-def]
            encoder: Encoder = honest(images, training)
            asked.append(encoder.name)
            return encoder

        monkeypatch.setattr(module, "fit", fit)
    first = fitted(digits.train.images, tmp_path, "pca", "pca+hog", "hog+pca")
    assert asked == ["pca", "hog"]
    assert list(first) == ["pca", "hog", "pca+hog", "hog+pca"]
    assert first["pca+hog"].parts == (first["pca"], first["hog"])
    training = Training(CONFIG, tmp_path / "checkpoint.json")
    images = TrainingImages(digits.train.images, CPU, False, "")
    then = fit_encoders(["hog", "pixels+hog"], images, training, first.values())
    assert asked == ["pca", "hog", "pixels"]
    assert then["hog"] is first["hog"]
    assert then["pixels+hog"].parts == (then["pixels"], first["hog"])
