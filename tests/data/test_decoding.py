"""Image files of every kind become arrays of one shape, and hostile ones an error with a reason."""

import io
import os
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from gpu_ssl.data import opening
from gpu_ssl.data.decoding import BLOCK, Decoded, OutOfReachError, decode, decode_all
from gpu_ssl.data.opening import Page, count_pages, suffixes
from gpu_ssl.data.preparation import (
    LEAST_SIDE,
    SIDE,
    Preparation,
    choose_ground,
    choose_range,
    choose_shape,
    usual_shape,
)
from gpu_ssl.errors import DataError

GRADIENT = np.linspace(0, 255, 20 * 10).reshape(20, 10).astype(np.uint8)


def pixels_of(*what: object) -> np.ndarray:
    return decode(*what).pixels  # type: ignore[arg-type]


def picture(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


def test_pixels_of_a_lossless_image_come_through_unchanged(tmp_path: Path) -> None:
    grey = picture(tmp_path / "a.png", Image.fromarray(GRADIENT))
    assert np.array_equal(pixels_of(grey, (1, 20, 10))[0], GRADIENT)
    colours = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    path = picture(tmp_path / "b.bmp", Image.fromarray(colours))
    assert np.array_equal(pixels_of(path, (3, 6, 5)), colours.transpose(2, 0, 1))


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
    pixels = pixels_of(path, (channels, 8, 8))
    assert pixels.shape == (channels, 8, 8)
    assert pixels.dtype == np.uint8
    assert pixels.min() >= 250


def test_of_several_frames_the_first_counts_unless_another_is_asked_for(tmp_path: Path) -> None:
    frames = [Image.new("L", (8, 8), value) for value in (200, 10)]
    for name in ("a.gif", "b.tif"):
        path = tmp_path / name
        frames[0].save(path, save_all=True, append_images=frames[1:])
        first = decode(path, (1, 8, 8))
        assert (abs(int(first.pixels.mean()) - 200) <= 1, first.paged) == (True, True)
        assert count_pages(path) == 2
        assert abs(int(pixels_of(Page(path, 1), (1, 8, 8), Preparation(pages="all")).mean()) - 10) <= 1
    assert not decode(picture(tmp_path / "c.png", frames[0]), (1, 8, 8)).paged


@pytest.mark.parametrize(
    ("inks", "ground"),
    [((0, 30), 255), ((255, 220), 0), ((0, 255), 128), ((100, 140), 255)],
)
@pytest.mark.parametrize("mode", ["RGBA", "LA", "trns"])
def test_ink_on_glass_is_seen_on_the_ground_that_is_chosen(
    tmp_path: Path, inks: tuple[int, int], ground: int, mode: str
) -> None:
    paths = []
    for i, ink in enumerate(inks):
        drawn = Image.new("LA", (28, 28), (ink, 0))
        drawn.paste((ink, 255), (8, 4 + i, 12, 24))
        if mode == "trns":
            flat = Image.new("L", (28, 28), 77)
            flat.paste(ink, (8, 4 + i, 12, 24))
            paths.append(picture(tmp_path / f"{i}.png", flat, transparency=77))
        else:
            paths.append(picture(tmp_path / f"{i}.png", drawn.convert(mode)))
    assert choose_ground(paths) == ground
    for path in paths:
        found = decode(path, (1, 28, 28), Preparation(ground=ground))
        assert not found.blank
        assert found.pixels.std() > 8
        assert found.pixels[0, 0, 0] == ground


def test_without_transparency_the_ground_is_black(tmp_path: Path) -> None:
    opaque = Image.new("RGBA", (8, 8), (0, 0, 0, 255))
    assert (
        choose_ground([picture(tmp_path / "a.png", opaque), picture(tmp_path / "b.jpg", opaque.convert("L"))])
        == 0
    )


@pytest.mark.parametrize(
    ("size", "squeezed"), [((40, 40), False), ((80, 40), False), ((400, 10), True), ((3, 90), True)]
)
def test_of_a_strip_at_least_as_much_is_left_as_squeezing_leaves(
    tmp_path: Path, size: tuple[int, int], squeezed: bool
) -> None:
    stripes = np.zeros(size[::-1], np.uint8)
    stripes[..., size[0] // 2 :] = 255
    found = decode(picture(tmp_path / "a.png", Image.fromarray(stripes)), (1, 32, 32))
    assert found.squeezed == squeezed
    bright = (found.pixels > 128).mean()
    assert bright > (0.45 if squeezed else 0.2)


def test_strips_give_the_shape_of_strips(tmp_path: Path) -> None:
    strips = [picture(tmp_path / f"{i}.png", Image.new("L", (300 + 10 * i, 30))) for i in range(3)]
    assert usual_shape(strips) == (1, 30, 310)
    assert choose_shape(usual_shape(strips)) == (1, LEAST_SIDE, SIDE)
    squares = [picture(tmp_path / f"s{i}.png", Image.new("L", (50, 50))) for i in range(4)]
    assert choose_shape(usual_shape([*strips, *squares])) == (1, 50, 50)


def test_an_image_of_one_colour_is_blank_whatever_lies_around_it(tmp_path: Path) -> None:
    assert decode(picture(tmp_path / "a.png", Image.new("RGB", (20, 10), (1, 2, 3))), (3, 20, 20)).blank
    assert not decode(picture(tmp_path / "b.png", Image.fromarray(GRADIENT)), (1, 20, 20)).blank


def test_colours_are_brought_from_their_profile_to_srgb(tmp_path: Path) -> None:
    """In a profile whose red and green change places."""
    from PIL import ImageCms

    plain = picture(tmp_path / "a.png", Image.new("RGB", (8, 8), (200, 30, 30)))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    same = picture(tmp_path / "b.png", Image.new("RGB", (8, 8), (200, 30, 30)), icc_profile=srgb)
    assert np.array_equal(pixels_of(plain, (3, 8, 8)), pixels_of(same, (3, 8, 8)))
    tags = {
        srgb[132 + 12 * i : 136 + 12 * i]: 132 + 12 * i for i in range(int.from_bytes(srgb[128:132], "big"))
    }
    swapped = bytearray(srgb.replace(b"s\0R\0G\0B", b"o\0t\0h\0e").replace(b"sRGB", b"othe"))
    red, green = tags[b"rXYZ"], tags[b"gXYZ"]
    swapped[red + 4 : red + 12], swapped[green + 4 : green + 12] = (
        srgb[green + 4 : green + 12],
        srgb[red + 4 : red + 12],
    )
    odd = picture(tmp_path / "c.png", Image.new("RGB", (8, 8), (200, 30, 30)), icc_profile=bytes(swapped))
    red_level, green_level, _ = pixels_of(odd, (3, 8, 8))[:, 0, 0].tolist()
    assert green_level > 150 > red_level
    damaged = picture(tmp_path / "d.png", Image.new("RGB", (8, 8), (200, 30, 30)), icc_profile=b"no profile")
    assert np.array_equal(pixels_of(plain, (3, 8, 8)), pixels_of(damaged, (3, 8, 8)))


def test_scans_of_more_pixels_than_pillow_allows_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    half = Image.new("1", (64, 64))
    half.paste(1, (0, 0, 32, 64))
    for name in ("a.png", "a.tif", "a.bmp"):
        row = pixels_of(picture(tmp_path / name, half), (1, 8, 8))[0, 4].tolist()
        assert (row[:3], row[-3:]) == ([255] * 3, [0] * 3)
    monkeypatch.setattr(opening, "LARGEST", 4000)
    path = tmp_path / "a.png"
    with pytest.raises(DataError, match=r"64 x 64 pixels take .* GiB of memory; set `large_images`"):
        decode(path, (1, 8, 8))
    assert pixels_of(path, (1, 8, 8), Preparation(large_images=True))[0, 4, 0] == 255
    assert (
        pixels_of(picture(tmp_path / "b.jpg", half.convert("RGB")), (1, 8, 8))[0, 4, 0] > 250
    )  # is read reduced


def test_files_are_what_they_hold_whatever_their_name(tmp_path: Path) -> None:
    pytest.importorskip("pillow_heif")
    image = Image.fromarray(GRADIENT).convert("RGB").resize((64, 64))
    heic = picture(tmp_path / "a.heic", image)
    renamed = tmp_path / "b.jpg"
    renamed.write_bytes(heic.read_bytes())
    expected = np.asarray(image).transpose(2, 0, 1).astype(float)
    for path in (heic, renamed):
        assert np.abs(pixels_of(path, (3, 64, 64)) - expected).mean() < 6


@pytest.mark.parametrize("inverted", [False, True])
def test_dicom_gives_what_its_numbers_stand_for(tmp_path: Path, inverted: bool) -> None:
    pydicom = pytest.importorskip("pydicom")
    frames = np.stack([np.full((16, 16), 1024, np.uint16), np.zeros((16, 16), np.uint16)])
    frames[:, :8] = 3072
    content = pydicom.Dataset()
    content.file_meta = pydicom.dataset.FileMetaDataset()
    content.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    content.file_meta.MediaStorageSOPClassUID = pydicom.uid.CTImageStorage
    content.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    content.Rows, content.Columns, content.NumberOfFrames = 16, 16, 2
    content.SamplesPerPixel, content.BitsAllocated, content.BitsStored, content.HighBit = 1, 16, 16, 15
    content.PixelRepresentation, content.RescaleIntercept, content.RescaleSlope = 0, -1024, 1
    content.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
    content.PixelData = frames.tobytes()
    path = tmp_path / "slice"
    content.save_as(path, enforce_file_format=True)
    assert opening.begins_as_image(path.read_bytes()[:200])
    low, high = choose_range([path]) or (0, 0)
    assert (low, high) == (0, 2048)
    first = decode(path, (1, 16, 16), Preparation(low=low, high=high))
    assert first.paged
    assert first.pixels[0, :, 0].tolist() == ([0] * 8 + [255] * 8 if inverted else [255] * 8 + [0] * 8)
    assert count_pages(path) == 2
    second = pixels_of(Page(path, 1), (1, 16, 16), Preparation(low=low, high=high))
    assert second[0, 15, 0] == (255 if inverted else 0)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.linspace(0, 1, 256, dtype=np.float32), (0, 1)),
        (np.linspace(-1, 1, 256, dtype=np.float32), (-1, 1)),
        (np.linspace(-1000, 3000, 256, dtype=np.float32), (-1000, 3000)),
        (np.linspace(-1000, 3000, 256).astype(np.int32), (-1000, 3000)),
        (np.array([-3.4e38, np.nan, 0.25, 0.75] * 64, np.float32), (0, 1)),
    ],
)
def test_numbers_of_any_range_become_grey_levels(
    tmp_path: Path, values: np.ndarray, expected: tuple[float, float]
) -> None:
    path = picture(tmp_path / "a.tif", Image.fromarray(values.reshape(16, 16)))
    low, high = choose_range([path]) or (0, 0)
    assert (low, high) == pytest.approx(expected, rel=0.02)
    found = decode(path, (1, 16, 16), Preparation(low=low, high=high)).pixels
    valid = np.abs(values) < 1e30
    levels = np.where(valid, (np.where(valid, values, low) - low) / (high - low) * 255, 0).clip(0, 255)
    assert np.abs(found.ravel() - levels).max() <= 1


def test_numbers_of_which_none_is_finite_are_no_image(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.tif", Image.fromarray(np.full((8, 8), np.nan, np.float32)))
    with pytest.raises(DataError, match="no finite number"):
        decode(path, (1, 8, 8))


def test_an_image_is_turned_as_its_camera_says_and_fits_whole(tmp_path: Path) -> None:
    tall = Image.new("L", (10, 20), 255)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    turned = picture(tmp_path / "a.jpg", tall, exif=exif)
    assert choose_shape(usual_shape([turned])) == (1, 10, 20)
    inside = pixels_of(picture(tmp_path / "b.png", tall), (1, 20, 20))[0]
    assert inside[:, 6:14].min() == 255  # scaled to a height of 20, in the middle
    assert inside[:, :4].max() == 0


def test_the_shape_follows_the_images(tmp_path: Path) -> None:
    small = picture(tmp_path / "a.png", Image.fromarray(GRADIENT))
    assert choose_shape(usual_shape([small])) == (1, 20, 10)
    assert choose_shape(usual_shape([small]), side=40) == (1, 40, 20)
    large = picture(tmp_path / "b.png", Image.new("RGB", (640, 480)))
    assert usual_shape([large]) == (3, 480, 640)
    assert choose_shape(usual_shape([large])) == (3, 48, SIDE)
    assert usual_shape([small, large]) == (3, 330, 330)
    assert choose_shape(usual_shape([small, large])) == (3, SIDE, SIDE)
    assert choose_shape(usual_shape([small, large]), side=30) == (3, 30, 30)


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
        Image.new("1", (40_000, 1)).save(path)
        content = bytearray(path.read_bytes())
        content[20:24] = (40_000).to_bytes(4, "big")  # the height, and the checksum of the header
        content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
        path.write_bytes(content)
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
        pixels_of(path, (1, 8, 8))
    assert str(caught.value)
    assert "\n" not in str(caught.value)
    assert ("40,000 x 40,000 pixels take" in str(caught.value)) == (kind == "bomb")


def test_a_format_that_takes_a_program_is_no_image(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    Image.new("L", (8, 8)).save(path, "EPS")
    with pytest.raises(DataError, match="not an image that Pillow can read"):
        pixels_of(path, (1, 8, 8))
    assert not {".eps", ".ps"} & suffixes()


def test_what_may_be_read_another_time_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = picture(tmp_path / "a.png", Image.fromarray(GRADIENT))

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Image, "open", refuse)
        with pytest.raises(OutOfReachError, match="Permission denied"):
            pixels_of(path, (1, 8, 8))
    path.write_bytes(b"")
    with pytest.raises(DataError) as caught:
        pixels_of(path, (1, 8, 8))
    assert not isinstance(caught.value, OutOfReachError)


def test_narrow_images_get_a_side_that_networks_can_use() -> None:
    assert choose_shape((1, 128, 4)) == (1, SIDE, LEAST_SIDE)
    assert choose_shape((3, 1, 1)) == (3, LEAST_SIDE, LEAST_SIDE)


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
            pixels = pixels_of(path, (1, 8, 8))
        except DataError:
            return
    assert pixels.shape == (1, 8, 8)


def test_many_are_decoded_in_order_and_none_is_lost(tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.png" for i in range(3 * BLOCK + 5)]
    for i, path in enumerate(paths):
        Image.new("L", (4, 4), i % 256).save(path)
    paths[7].write_bytes(b"")
    found = [outcome for block in decode_all(iter(paths), (1, 4, 4)) for outcome in block]
    assert len(found) == len(paths)
    for i, outcome in enumerate(found):
        if i == 7:
            assert isinstance(outcome, DataError)
        else:
            assert isinstance(outcome, Decoded)
            assert int(outcome.pixels.mean()) == i % 256


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_white_is_as_deep_as_the_images_are(tmp_path: Path, bits: int) -> None:
    values = np.linspace(0, 2**bits - 1, 64).astype(np.uint16).reshape(8, 8)
    deep = [
        picture(tmp_path / "a.png", Image.fromarray(values)),
        picture(tmp_path / "b.png", Image.fromarray(values // 2)),
    ]
    others = [picture(tmp_path / "c.png", Image.fromarray(GRADIENT)), hostile(tmp_path, "text")]
    low, white = choose_range([*others, *deep]) or (0, 0)
    assert (low, white) == (0, 2**bits - 1)
    how = Preparation(low=low, high=white)
    expected = np.rint(values * (255 / white))
    assert np.array_equal(pixels_of(deep[0], (1, 8, 8), how)[0], expected)
    assert pixels_of(deep[1], (1, 8, 8), how).max() == 127  # all are scaled alike
    assert choose_range(others) is None


def test_bytes_are_decoded_as_their_file_is(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png", Image.fromarray(GRADIENT))
    assert np.array_equal(pixels_of(path.read_bytes(), (1, 9, 9)), pixels_of(path, (1, 9, 9)))
    with pytest.raises(DataError, match="it is empty"):
        pixels_of(b"", (1, 9, 9))


def test_the_usual_endings_are_images() -> None:
    assert {".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".webp"} <= suffixes()
    assert not {".txt", ".csv", ".npy", ".pdf"} & suffixes()


@pytest.mark.parametrize("size", [(500, 400), (400, 500), (2000, 60), (60, 2000)])
@pytest.mark.parametrize("side", [32, 224])
def test_jpegs_are_decoded_at_no_less_than_they_need(
    tmp_path: Path, size: tuple[int, int], side: int
) -> None:
    """At part of their size where that is enough, in less time, but strips keep their short side."""
    across, down = (np.sin(60 * np.arange(length) / length) for length in size)
    image = Image.fromarray((127 + 60 * (across[None] + down[:, None])).astype(np.uint8))
    image.save(tmp_path / "a.jpg", quality=95)
    image.save(tmp_path / "a.png")
    jpeg, png = (pixels_of(tmp_path / name, (1, side, side)).astype(float) for name in ("a.jpg", "a.png"))
    assert np.abs(jpeg - png).mean() < 2
