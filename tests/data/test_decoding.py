"""Image files of every kind become arrays of one shape, and hostile ones an error with a reason."""

import io
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from gpu_ssl.data.decoding import (
    BLOCK,
    LEAST_SIDE,
    SIDE,
    WHITE,
    OutOfReachError,
    choose_shape,
    choose_white,
    decode,
    decode_all,
    suffixes,
)
from gpu_ssl.errors import DataError

GRADIENT = np.linspace(0, 255, 20 * 10).reshape(20, 10).astype(np.uint8)


def picture(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


def test_pixels_of_a_lossless_image_come_through_unchanged(tmp_path: Path) -> None:
    grey = picture(tmp_path / "a.png", Image.fromarray(GRADIENT))
    assert np.array_equal(decode(grey, (1, 20, 10))[0], GRADIENT)
    colours = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    path = picture(tmp_path / "b.bmp", Image.fromarray(colours))
    assert np.array_equal(decode(path, (3, 6, 5)), colours.transpose(2, 0, 1))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I", "I;16", "F"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_mode_of_a_grey_image_gives_that_grey(tmp_path: Path, mode: str, channels: int) -> None:
    white = np.full((8, 8), 255, np.uint8)
    if mode == "I;16":
        image = Image.fromarray(white.astype(np.uint16) * 257)
    elif mode == "I":
        image = Image.fromarray(white.astype(np.int32) * 257)
    elif mode == "F":
        image = Image.fromarray(white.astype(np.float32) / 255)
    else:
        image = Image.fromarray(white).convert("RGB").convert(mode)
    path = picture(tmp_path / "image.tiff", image)
    pixels = decode(path, (channels, 8, 8))
    assert pixels.shape == (channels, 8, 8)
    assert pixels.dtype == np.uint8
    assert pixels.min() >= 250


def test_what_is_transparent_is_black_and_the_first_frame_counts(tmp_path: Path) -> None:
    glass = Image.new("RGBA", (8, 8), (255, 255, 255, 0))
    assert decode(picture(tmp_path / "a.png", glass), (3, 8, 8)).max() == 0
    frames = [Image.new("L", (8, 8), value) for value in (200, 10)]
    moving = tmp_path / "b.gif"
    frames[0].save(moving, save_all=True, append_images=frames[1:])
    assert abs(int(decode(moving, (1, 8, 8)).mean()) - 200) <= 1


def test_an_image_is_turned_as_its_camera_says_and_fits_whole(tmp_path: Path) -> None:
    tall = Image.new("L", (10, 20), 255)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    turned = picture(tmp_path / "a.jpg", tall, exif=exif)
    assert choose_shape([turned]) == (1, 10, 20)
    inside = decode(picture(tmp_path / "b.png", tall), (1, 20, 20))[0]
    assert inside[:, 6:14].min() == 255  # scaled to a height of 20, in the middle
    assert inside[:, :4].max() == 0


def test_the_shape_follows_the_images(tmp_path: Path) -> None:
    small = picture(tmp_path / "a.png", Image.fromarray(GRADIENT))
    assert choose_shape([small]) == (1, 20, 10)
    assert choose_shape([small], side=40) == (1, 40, 20)
    large = picture(tmp_path / "b.png", Image.new("RGB", (640, 480)))
    assert choose_shape([large]) == (3, 48, SIDE)
    assert choose_shape([small, large]) == (3, SIDE, SIDE)
    assert choose_shape([small, large], side=30) == (3, 30, 30)


def hostile(tmp_path: Path, kind: str) -> Path:
    path = tmp_path / f"{kind}.png"
    whole = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(whole, "PNG")
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "truncated":
        path.write_bytes(whole.getvalue()[:2000])
    elif kind == "text":
        path.write_text("no image at all")
    elif kind == "bomb":
        Image.new("1", (40_000, 40_000)).save(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "fifo":
        os.mkfifo(path)
    return path


@pytest.mark.parametrize("kind", ["empty", "truncated", "text", "bomb", "folder", "loop", "fifo", "missing"])
def test_what_is_no_image_is_an_error_with_a_reason(tmp_path: Path, kind: str) -> None:
    path = hostile(tmp_path, kind)
    with pytest.raises(DataError) as caught:
        decode(path, (1, 8, 8))
    assert str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_format_that_takes_a_program_is_no_image(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    Image.new("L", (8, 8)).save(path, "EPS")
    with pytest.raises(DataError, match="not an image that Pillow knows"):
        decode(path, (1, 8, 8))
    assert not {".eps", ".ps"} & suffixes()


def test_what_may_be_read_another_time_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = picture(tmp_path / "a.png", Image.fromarray(GRADIENT))

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Image, "open", refuse)
        with pytest.raises(OutOfReachError, match="Permission denied"):
            decode(path, (1, 8, 8))
    path.write_bytes(b"")
    with pytest.raises(DataError) as caught:
        decode(path, (1, 8, 8))
    assert not isinstance(caught.value, OutOfReachError)


def test_narrow_images_get_a_side_that_networks_can_use(tmp_path: Path) -> None:
    assert choose_shape([picture(tmp_path / "a.png", Image.new("L", (4, 128)))]) == (1, SIDE, LEAST_SIDE)
    assert choose_shape([picture(tmp_path / "b.png", Image.new("L", (1, 1)))]) == (1, LEAST_SIDE, LEAST_SIDE)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(data=st.data())
def test_damaged_bytes_give_an_image_or_an_error(tmp_path: Path, data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "ICO"]))
    whole = io.BytesIO()
    Image.fromarray(GRADIENT).save(whole, kind)
    content = bytearray(whole.getvalue())
    for position in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=8)):
        content[position] = data.draw(st.integers(0, 255))
    path = tmp_path / f"damaged.{kind.lower()}"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            pixels = decode(path, (1, 8, 8))
        except DataError:
            return
    assert pixels.shape == (1, 8, 8)


def test_many_are_decoded_in_order_and_none_is_lost(tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.png" for i in range(3 * BLOCK + 5)]
    for i, path in enumerate(paths):
        Image.new("L", (4, 4), i % 256).save(path)
    paths[7].write_bytes(b"")
    found = [pair for block in decode_all(iter(paths), (1, 4, 4)) for pair in block]
    assert [path for path, _ in found] == paths
    for i, (_, pixels) in enumerate(found):
        assert isinstance(pixels, DataError) if i == 7 else int(pixels.mean()) == i % 256


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_white_is_as_deep_as_the_images_are(tmp_path: Path, bits: int) -> None:
    values = np.linspace(0, 2**bits - 1, 64).astype(np.uint16).reshape(8, 8)
    deep = [
        picture(tmp_path / "a.png", Image.fromarray(values)),
        picture(tmp_path / "b.png", Image.fromarray(values // 2)),
    ]
    others = [picture(tmp_path / "c.png", Image.fromarray(GRADIENT)), hostile(tmp_path, "text")]
    white = choose_white([*others, *deep])
    assert white == 2**bits - 1
    expected = np.rint(values * (255 / white))
    assert np.array_equal(decode(deep[0], (1, 8, 8), white)[0], expected)
    assert decode(deep[1], (1, 8, 8), white).max() == 127  # all are scaled alike
    assert choose_white(others) == WHITE


def test_bytes_are_decoded_as_their_file_is(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png", Image.fromarray(GRADIENT))
    assert np.array_equal(decode(path.read_bytes(), (1, 9, 9)), decode(path, (1, 9, 9)))
    with pytest.raises(DataError, match="no bytes"):
        decode(b"", (1, 9, 9))


def test_the_usual_endings_are_images() -> None:
    assert {".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".webp"} <= suffixes()
    assert not {".txt", ".csv", ".npy", ".pdf"} & suffixes()
