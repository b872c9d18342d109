"""A view computes features once, and returns the same to every method."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from gpu_ssl.data.image_set import Dataset
from gpu_ssl.encoders.encoder import encode
from gpu_ssl.encoders.hog import HOG
from gpu_ssl.encoders.pixels import Pixels
from gpu_ssl.encoders.sums import Sum, fit_sum
from gpu_ssl.errors import TrainingError, UsageError
from gpu_ssl.methods import view as view_module
from gpu_ssl.methods.method import Labelled, Options, fit_method
from gpu_ssl.methods.view import View
from tests.methods import choose, view_of

SHAPE = (1, 8, 8)


class CountedPixels(Pixels):
    """Counts the images that it encodes."""

    encoded = 0

    def forward(self, images: Tensor) -> Tensor:
        self.encoded += len(images)
        return super().forward(images)


class CountedHOG(HOG):
    encoded = 0

    def forward(self, images: Tensor) -> Tensor:
        self.encoded += len(images)
        return super().forward(images)


@pytest.fixture
def pixels() -> CountedPixels:
    return CountedPixels(SHAPE)


@pytest.fixture
def hog() -> CountedHOG:
    return CountedHOG(SHAPE)


@pytest.fixture
def both(pixels: CountedPixels, hog: CountedHOG) -> Sum:
    return Sum([pixels, hog], [2.0, 3.0])


@pytest.fixture
def view(digits: Dataset, pixels: CountedPixels, hog: CountedHOG, both: Sum) -> View:
    return view_of(digits.train.images, [pixels, hog, both])


def test_features_are_worked_out_once(view: View, digits: Dataset, pixels: CountedPixels) -> None:
    assert pixels.encoded == 0, "nothing is worked out before it is asked for"
    features = view.features(pixels)
    assert pixels.encoded == len(digits.train)
    assert view.features(pixels) is features
    assert torch.equal(view.rows(pixels, np.array([5, 700])), features[[5, 700]])
    assert np.array_equal(view.points(pixels), features.numpy())
    view.graph(pixels)
    assert pixels.encoded == len(digits.train)
    assert torch.equal(features, encode(pixels, torch.from_numpy(digits.train.images)))
    assert features.stride() == (1, len(digits.train))


def test_a_sum_is_made_of_what_its_parts_gave(
    view: View, digits: Dataset, pixels: CountedPixels, hog: CountedHOG, both: Sum
) -> None:
    alone = view.features(pixels)
    joined = view.features(both)
    assert (pixels.encoded, hog.encoded) == (len(digits.train), len(digits.train))
    assert torch.equal(joined[:, :64], alone / 2)
    assert torch.equal(joined[:, 64:], view.features(hog) / 3)
    assert torch.equal(view.rows(both, np.array([0, 1346])), joined[[0, 1346]])
    assert (pixels.encoded, hog.encoded) == (len(digits.train), len(digits.train))


def test_some_rows_cost_no_more_than_these(
    view: View, digits: Dataset, pixels: CountedPixels, both: Sum
) -> None:
    """An SVM on few labelled images does not wait for all the others."""
    rows = np.array([3, 4, 1000])
    found = view.rows(pixels, rows)
    assert pixels.encoded == 3
    assert torch.equal(found, encode(Pixels(SHAPE), torch.from_numpy(digits.train.images[rows])))
    assert view.points(both, rows).shape == (3, both.width)
    assert pixels.encoded == 6, "nobody asked to remember them"


def test_remembered_rows_are_worked_out_once(
    view: View, digits: Dataset, pixels: CountedPixels, hog: CountedHOG, both: Sum
) -> None:
    """As cross-validation needs them repeatedly, in other parts."""
    known = np.arange(0, 1000, 10)
    view.remember(known)
    assert pixels.encoded == 0
    first = view.rows(both, known[20:])
    assert pixels.encoded == hog.encoded == 100
    assert torch.equal(view.rows(both, known[:50])[20:], first[:30])
    assert torch.equal(view.rows(pixels, known[20:]), first[:, :64] * 2)
    view.remember(known.copy())
    view.rows(both, known)
    assert pixels.encoded == hog.encoded == 100, "the same rows are still known"
    # Rows that are not among them are computed, and not confused with others.
    assert torch.equal(
        view.rows(pixels, np.array([5, 10])),
        encode(Pixels(SHAPE), torch.from_numpy(digits.train.images[[5, 10]])),
    )
    view.remember(known[:5])
    before = pixels.encoded
    view.rows(pixels, known[:5])
    assert pixels.encoded == before, "some of the known rows are known"
    view.remember(np.array([5, 10]))
    view.rows(pixels, np.array([5, 10]))
    assert pixels.encoded == before + 2, "others take their place"


def test_encoders_of_others_are_not_kept(view: View, digits: Dataset) -> None:
    """A network that one split trained is of no use to the next one."""
    other = CountedPixels(SHAPE)
    features = view.features(other)
    assert torch.equal(view.features(other), features)
    assert other.encoded == 2 * len(digits.train)
    view.keep(other, features)
    assert view.features(other) is features


def test_a_subset_has_the_features_of_the_whole(
    view: View, digits: Dataset, pixels: CountedPixels, hog: CountedHOG, both: Sum
) -> None:
    rows = np.array([7, 8, 9, 500, 1300])
    expected = view.features(both)[rows]
    some = view.subset(rows)
    assert len(some) == 5
    assert np.array_equal(some.pixels, digits.train.images[rows])
    encoded = pixels.encoded, hog.encoded
    assert torch.equal(some.features(both), expected)
    assert torch.equal(some.features(pixels), view.features(pixels)[rows])
    assert (pixels.encoded, hog.encoded) == encoded, "what is known of them is taken over"
    assert some.stopwatch is view.stopwatch
    # The subset computes only its own rows of new features.
    fresh = view_of(digits.train.images, [pixels, hog, both]).subset(rows)
    assert torch.equal(fresh.features(both), expected)
    assert pixels.encoded == encoded[0] + 5


def test_a_subset_of_remembered_rows_takes_them_over(view: View, pixels: CountedPixels) -> None:
    known = np.arange(0, 1000, 10)
    view.remember(known)
    expected = view.rows(pixels, known)
    some = view.subset(known[30:40])
    assert torch.equal(some.features(pixels), expected[30:40])
    assert pixels.encoded == 100


@pytest.fixture(params=["memory map", "array", "resident"])
def anywhere(request: pytest.FixtureRequest, digits: Dataset, both: Sum, tmp_path: Path) -> View:
    """The same images as a file that is mapped, in memory, and on the device."""
    images = digits.train.images
    if request.param == "memory map":
        np.save(tmp_path / "images.npy", images)
        return view_of(np.load(tmp_path / "images.npy", mmap_mode="c"), [both])
    resident = torch.from_numpy(images.copy()) if request.param == "resident" else None
    return view_of(images, [both], images=resident)


def test_features_do_not_depend_on_where_the_images_lie(
    anywhere: View, digits: Dataset, both: Sum, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor on how they are cut into blocks; and a file larger than memory is read block by block."""
    monkeypatch.setattr(view_module, "block_of", lambda encoder, device: 100)
    expected = encode(both, torch.from_numpy(digits.train.images))
    rows = np.array([0, 99, 100, 1346])
    assert torch.equal(anywhere.rows(both, rows), expected[rows])
    assert torch.equal(anywhere.features(both), expected)
    assert anywhere.stopwatch.seconds["upload"] == 0


def test_images_are_placed_on_the_device_once(anywhere: View, digits: Dataset) -> None:
    assert torch.equal(anywhere.images, torch.from_numpy(digits.train.images))
    assert anywhere.images is anywhere.images


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_features_that_are_no_numbers_stop_the_work(
    view: View, pixels: CountedPixels, monkeypatch: pytest.MonkeyPatch, bad: float
) -> None:
    """An SVM would fail on them, or worse, would not; the message names what to change."""

    def spoiled(self: Pixels, images: Tensor) -> Tensor:
        return torch.full((len(images), self.width), bad)

    monkeypatch.setattr(CountedPixels, "forward", spoiled)
    with pytest.raises(TrainingError, match=r"encoder pixels are not finite; .*precision"):
        view.features(pixels)
    with pytest.raises(TrainingError, match="not finite"):
        view.points(pixels, np.array([1]))


def test_an_unknown_encoder_is_named_with_those_there_are(view: View, digits: Dataset) -> None:
    with pytest.raises(
        UsageError, match=r"no encoder 'vae' for these images; there are pixels, hog, pixels\+hog"
    ):
        view.encoder("vae")
    with pytest.raises(UsageError, match="no encoder 'vae'"):
        fit_method(view, choose(digits, 50), Options("m1"))
    rows_of_numbers = view_of(digits.train.images.reshape(-1, 1, 1, 64), [Pixels((1, 1, 64))])
    assert not rows_of_numbers.holds_images
    assert view.holds_images
    with pytest.raises(UsageError, match="no encoder 'hog' for these embeddings; there are pixels"):
        rows_of_numbers.encoder("hog")


def test_a_graph_and_its_neighbourhoods_are_made_once(
    view: View, digits: Dataset, pixels: CountedPixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each costs the time of all pairs of images; every split asks for them."""
    asked: list[int] = []
    honest = view_module.NeighbourGraph.neighbourhood

    def neighbourhood(self, queries):  # type: ignore[no-untyped-def]
        asked.append(len(queries))
        return honest(self, queries)

    monkeypatch.setattr(view_module.NeighbourGraph, "neighbourhood", neighbourhood)
    graph = view.graph(pixels)
    assert view.graph(pixels) is graph
    test = view_of(digits.test.images, [pixels])
    first = test.neighbourhood(pixels, graph)
    assert test.neighbourhood(pixels, graph) is first
    assert asked == [450]
    # That of another graph is another.
    other = view_of(digits.train.images[:200], [pixels]).graph(pixels)
    assert test.neighbourhood(pixels, other) is not first


def phases_of(view: View, labelled: Labelled, method: str) -> Iterator[tuple[str, float]]:
    classifier = fit_method(view, labelled, Options(method))
    classifier.predict(view)
    yield from view.stopwatch.seconds.items()


@pytest.mark.parametrize("method", ["raw-svc", "graph"])
def test_each_second_is_of_one_phase(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch, method: str, pixels: CountedPixels
) -> None:
    """What encodes within a fit counts as encoding, so that phases add up to no more than the total."""
    view = view_of(digits.train.images, [pixels])
    view.encoders = {"pixels": pixels, "vae+hog": pixels}
    seconds = dict(phases_of(view, choose(digits, 100), method))
    assert set(seconds) == {"encode", "handoff", "fit", "score"}
    assert all(value > 0 for value in seconds.values())
    assert sum(seconds.values()) <= view.stopwatch.total()


def test_a_view_of_an_encoder_on_real_images_scales_like_the_encoder(digits: Dataset) -> None:
    """`fit_sum` scales by images of the training set; the view applies it to any."""
    parts, images = (Pixels(SHAPE), HOG(SHAPE)), torch.from_numpy(digits.train.images[:1000])
    encoder = fit_sum(parts, [encode(part, images) for part in parts])
    view = view_of(digits.test.images, [encoder])
    expected = encode(encoder, torch.from_numpy(digits.test.images))
    np.testing.assert_array_equal(view.points(encoder), expected)
