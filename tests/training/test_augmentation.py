"""Augmentation acts on each image independently; canonical images do not depend on exposure."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gpu_ssl.training.augmentation import (
    ERASED,
    GAIN,
    ROTATION,
    SHEAR,
    SHIFT,
    STRETCH,
    STRONG_STRETCH,
    _grid,
    binarized,
    canonical,
    cut_mix,
    erased_view,
    random_view,
    strong_view,
    weak_view,
)

SHAPES = st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(1, 12), st.integers(1, 12))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(shape=SHAPES, seed=st.integers(0, 1000), mirror=st.booleans())
def test_views_are_images_and_leave_the_originals_alone(
    shape: tuple[int, int, int, int], seed: int, mirror: bool
) -> None:
    images = torch.rand(shape, generator=seeded(seed))
    before = images.clone()
    views = random_view(images, mirror, seeded(seed))
    assert views.shape == images.shape
    assert views.min() >= 0
    assert views.max() <= 1
    assert torch.equal(images, before)
    assert torch.equal(views, random_view(images, mirror, seeded(seed)))


def centres(views: torch.Tensor) -> torch.Tensor:
    """Centre of mass of each view in pixels from the middle, as (vertical, horizontal)."""
    side = views.shape[-1]
    offsets = torch.arange(side) - (side - 1) / 2
    mass = views.sum((1, 2, 3))
    return torch.stack([(views.sum((1, 3)) @ offsets), (views.sum((1, 2)) @ offsets)], 1) / mass[:, None]


def square(n: int, side: int = 56, half: int = 8) -> torch.Tensor:
    image = torch.zeros(n, 1, side, side)
    middle = side // 2
    image[..., middle - half : middle + half, middle - half : middle + half] = 0.5
    return image


def test_objects_move_both_ways_up_to_the_limit_and_not_beyond() -> None:
    moved = centres(random_view(square(2000), False, seeded()))
    # A stretched grid moves the centre by up to the stretch more.
    limit = SHIFT * 56 / (1 - STRETCH)
    assert moved.abs().max() <= limit + 0.1
    assert (moved.amax(0) > 0.8 * SHIFT * 56).all()
    assert (moved.amin(0) < -0.8 * SHIFT * 56).all()
    assert moved.mean(0).abs().max() < 0.3


def test_objects_change_size_in_each_direction_on_its_own() -> None:
    views = random_view(square(2000), False, seeded())
    height = (views.amax((1, 3)) > 0.1).sum(1).float() / 16
    width = (views.amax((1, 2)) > 0.1).sum(1).float() / 16
    for size in (height, width):
        assert size.min() < 0.95
        assert size.max() > 1.05
        assert size.max() <= 1 / (1 - STRETCH) + 0.15
    assert torch.corrcoef(torch.stack([height, width]))[0, 1].abs() < 0.1


def test_brightness_changes_up_to_the_limit() -> None:
    peaks = random_view(square(2000), False, seeded()).amax((1, 2, 3)) / 0.5
    assert 1 - GAIN <= peaks.min() < 1 - 0.8 * GAIN
    assert 1 + 0.8 * GAIN < peaks.max() <= 1 + GAIN


@pytest.mark.parametrize(("mirror", "low", "high"), [(True, 900, 1100), (False, 0, 0)])
def test_every_second_image_is_mirrored_if_asked_to(mirror: bool, low: int, high: int) -> None:
    left = torch.zeros(2000, 1, 56, 56)
    left[..., 10:20] = 0.5
    mirrored = int((centres(random_view(left, mirror, seeded()))[:, 1] > 0).sum())
    assert low <= mirrored <= high


UINT8 = hnp.arrays(np.uint8, SHAPES).map(torch.from_numpy)


@given(UINT8)
def test_a_canonical_picture_is_the_root_of_the_share_of_darker_pixels(images: torch.Tensor) -> None:
    pictures = canonical(images)
    for image, picture in zip(images.flatten(1), pictures.flatten(1), strict=True):
        darker = (image[None, :] < image[:, None]).double().mean(1)
        torch.testing.assert_close(picture, darker.sqrt().float())


@given(UINT8)
def test_exposure_does_not_change_the_canonical_picture(images: torch.Tensor) -> None:
    dark = images // 2  # keeps apart what then differs
    brighter = (dark.int() * 2 + 1).to(torch.uint8)
    assert torch.equal(canonical(dark), canonical(brighter))


def test_a_black_image_stays_black() -> None:
    assert not canonical(torch.zeros(2, 1, 4, 4, dtype=torch.uint8)).any()


def test_a_grid_is_that_of_torch() -> None:
    torch.manual_seed(0)
    matrices, shifts = torch.randn(5, 2, 2), torch.randn(5, 2, 1)
    expected = F.affine_grid(torch.cat([matrices, shifts], 2), [5, 1, 7, 12], align_corners=False)
    torch.testing.assert_close(_grid(matrices, shifts, 7, 12), expected)


@pytest.mark.parametrize("view", [weak_view, erased_view, strong_view])
@given(shape=SHAPES, seed=st.integers(0, 1000), mirror=st.booleans())
def test_views_of_a_classifier_are_images_and_leave_the_originals_alone(
    view: Callable[..., torch.Tensor], shape: tuple[int, int, int, int], seed: int, mirror: bool
) -> None:
    images = torch.rand(shape, generator=seeded(seed))
    before = images.clone()
    views = view(images, mirror, seeded(seed))
    assert views.shape == images.shape
    assert views.min() >= 0
    assert views.max() <= 1
    assert torch.equal(images, before)
    assert torch.equal(views, view(images, mirror, seeded(seed)))


def test_a_weak_view_moves_an_object_and_keeps_its_size_and_tones() -> None:
    images = square(500)
    views = weak_view(images, True, seeded())
    moved = centres(views)
    assert 0.8 * SHIFT * 56 < moved.abs().max() <= SHIFT * 56 + 0.1
    torch.testing.assert_close(views.sum((1, 2, 3)), images.sum((1, 2, 3)))
    assert views.max() <= 0.5 + 1e-5


def test_a_weak_view_blurs_nothing() -> None:
    images = torch.rand(300, 1, 28, 20, generator=seeded())
    padded = F.pad(images, (2, 2, 2, 2))
    shifted = [padded[..., y : y + 28, x : x + 20] for y in range(5) for x in range(5)]
    nearest = [(weak_view(images, False, seeded()) - each).abs().amax((1, 2, 3)) for each in shifted]
    distances, kinds = torch.stack(nearest).min(0)
    assert distances.max() < 1e-4
    assert len(kinds.unique()) >= 9


def test_a_weak_view_mirrors_half_of_the_images_only_if_asked_to() -> None:
    one_sided = torch.zeros(1000, 1, 28, 28)
    one_sided[..., :10] = 1
    on_the_right = weak_view(one_sided, True, seeded())[..., 14:].sum((1, 2, 3)) > 100
    assert 0.45 < on_the_right.float().mean() < 0.55
    assert not (weak_view(one_sided, False, seeded())[..., 14:].sum((1, 2, 3)) > 100).any()


def test_binarized_pixels_are_zero_or_one_with_the_intensity_as_their_mean() -> None:
    intensities = torch.tensor([0.0, 0.25, 0.8, 1.0]).expand(20_000, 1, 1, 4)
    pixels = binarized(intensities, seeded())
    assert set(pixels.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(pixels.mean(dim=0), intensities[0], atol=0.02, rtol=0)
    assert (pixels[..., 0] == 0).all()
    assert (pixels[..., 3] == 1).all()


def test_a_strong_view_erases_rectangles_of_every_size_up_to_the_limit() -> None:
    white = torch.ones(3000, 1, 60, 60)
    views = strong_view(white, False, seeded())
    # The corners rotate out of the image; its middle is black only where it was erased.
    erased = (views[..., 20:40, 20:40] == 0).float()
    rows = erased.amax((1, 3)).sum(1)
    assert rows.max() >= 0.9 * ERASED * 60
    assert rows.max() <= ERASED * 60 + 1
    assert 0.1 < (rows > 0).float().mean() < 0.6


def test_an_erased_view_is_a_weak_view_with_a_black_rectangle() -> None:
    white = torch.ones(300, 1, 60, 60)
    views = erased_view(white, False, seeded())
    kept = weak_view(white, False, seeded())
    black = (views == 0) & (kept > 0.5)
    torch.testing.assert_close(views[~black], kept[~black])
    rows, columns = black.amax((1, 3)).sum(1), black.amax((1, 2)).sum(1)
    assert torch.equal(black.sum((1, 2, 3)), rows * columns)
    assert (rows * columns > 0).float().mean() > 0.8


@given(shape=SHAPES, seed=st.integers(0, 1000))
def test_cut_mix_puts_a_rectangle_of_the_image_before_into_the_first_half(
    shape: tuple[int, int, int, int], seed: int
) -> None:
    n = shape[0]
    images = torch.arange(1, n + 1.0)[:, None, None, None].expand(shape).clone()
    before = images.clone()
    mixed, own = cut_mix(images, seeded(seed))
    assert torch.equal(images, before)
    for number, image in enumerate(mixed):
        kept, other = image == number + 1, image == (number - 1) % n + 1
        assert (kept | other).all()
        assert float(own[number]) == pytest.approx(float(kept.float().mean()), abs=1e-6)
        assert n == 1 or int((~kept[0]).sum()) == int((~kept[0]).any(0).sum() * (~kept[0]).any(1).sum())
    assert torch.equal(mixed[n // 2 :], images[n // 2 :])
    assert (own[n // 2 :] == 1).all()


def test_rectangles_of_cut_mix_have_every_area() -> None:
    own = cut_mix(torch.rand(4000, 1, 40, 60, generator=seeded()), seeded())[1][:2000]
    assert own.min() < 0.1
    assert own.max() > 0.98
    # An area is uniformly distributed, and on average a good third of a rectangle lies outside.
    assert 0.6 < own.mean() < 0.75


def test_rectangles_of_cut_mix_are_anywhere() -> None:
    n = 4000
    numbers = torch.arange(float(n))[:, None, None, None].expand(n, 1, 40, 40)
    other = (cut_mix(numbers, seeded())[0] != numbers)[: n // 2, 0]
    small = other[(other.float().mean((1, 2)) > 0) & (other.float().mean((1, 2)) < 0.1)].float()
    first = torch.stack([small.amax(2).argmax(1), small.amax(1).argmax(1)]).float()
    assert small.shape[0] > 200
    assert (first.amin(1) == 0).all()
    assert (first.amax(1) > 35).all()
    assert abs(float(torch.corrcoef(first)[0, 1])) < 0.2


def test_a_strong_view_turns_an_object_both_ways_up_to_the_limit() -> None:
    bar = torch.zeros(2000, 1, 57, 57)
    bar[..., 27:30, 8:49] = 1
    views = strong_view(bar, False, seeded())
    offsets = torch.arange(57.0) - 28
    mass = views.sum((1, 2, 3)).clamp(min=1)
    x = (views.sum((1, 2)) @ offsets) / mass
    y = (views.sum((1, 3)) @ offsets) / mass
    xy = torch.einsum("nchw,h,w->n", views, offsets, offsets) / mass - x * y
    xx = (views.sum((1, 2)) @ offsets.square()) / mass - x.square()
    angle = torch.atan(xy / xx.clamp(min=1))
    # Shear turns a bar too.
    limit = ROTATION + math.atan(SHEAR / (1 - STRONG_STRETCH))
    assert angle.abs().quantile(0.98) < limit
    assert angle.max() > 0.6 * limit
    assert angle.min() < -0.6 * limit
