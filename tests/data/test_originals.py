"""Images decoded again at another size: the readable ones, in their order, from every kind of source."""

import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image

from gpu_ssl.data import decoding
from gpu_ssl.data.collection import Reading
from gpu_ssl.data.originals import Originals
from gpu_ssl.data.own import OwnImages, load_own
from gpu_ssl.data.preparation import Preparation
from gpu_ssl.errors import DataError

SHAPE = (3, 20, 20)
N = 150
"""Images: two blocks and a part of one."""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def drawn(number: int, side: int = 16) -> Image.Image:
    """Return an image that identifies its number."""
    return Image.new("RGB", (side, side), (number, 255 - number, 7))


def numbers(blocks: list[NDArray[np.uint8]]) -> list[int]:
    return [int(image[0, 10, 10]) for block in blocks for image in block]


def all_blocks(images: OwnImages, start: int = 0) -> list[NDArray[np.uint8]]:
    assert images.originals is not None
    blocks = list(images.originals.blocks(SHAPE, start))
    for block in blocks:
        assert block.shape[1:] == SHAPE
        assert block.dtype == np.uint8
    return blocks


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files of which some are broken, at the start, at the edge of a block, and at the end."""
    root = tmp_path / "images"
    (root / "deep").mkdir(parents=True)
    for number in range(N):
        path = root / ("deep" if number % 3 == 0 else ".") / f"{number:03d}.png"
        if number in BROKEN:
            path.write_bytes(b"\x89PNG\r\n\x1a\n broken")
        else:
            drawn(number).save(path)
    return root


BROKEN = (0, 1, 63, 64, 65, 149)


def readable(images: OwnImages) -> list[int]:
    return [int(Path(name).stem) for name in images.names]


def test_they_come_in_the_order_of_the_images_without_those_that_were_skipped(folder: Path) -> None:
    images = load_own(folder)
    expected = readable(images)
    assert sorted(expected) == [number for number in range(N) if number not in BROKEN]
    assert set(images.skipped) == {f"{'deep/' if n % 3 == 0 else ''}{n:03d}.png" for n in BROKEN}
    blocks = all_blocks(images)
    assert numbers(blocks) == expected
    # As many at a time as are decoded at a time, so that resuming in the middle gives the same blocks.
    assert [len(block) for block in blocks] == [decoding.BLOCK, decoding.BLOCK, len(expected) - 2 * 64]
    assert images.images[:, 0, 5, 5].tolist() == expected


@pytest.mark.parametrize("start", [0, 1, 64, 100, 143, 144])
def test_they_go_on_in_the_middle(folder: Path, start: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes before is not decoded again."""
    images = load_own(folder)
    honest, asked = decoding.decode, []

    def counted(source: object, *arguments: object) -> decoding.Decoded:
        asked.append(source)
        return honest(source, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(decoding, "decode", counted)
    assert numbers(all_blocks(images, start)) == readable(images)[start:]
    assert len(asked) == len(images) - start


def test_they_are_prepared_as_the_small_ones_were(tmp_path: Path) -> None:
    """On the same ground, and with the same numbers for black and white."""
    root = tmp_path / "deep"
    root.mkdir()
    for number in range(8):
        deep = np.full((30, 60), 100 * number, np.uint16)
        deep[0, 0] = 4095
        Image.fromarray(deep).save(root / f"{number}.png")
    images = load_own(root, reading=Reading(image_size=16))
    assert images.how.high == 4095
    (block,) = all_blocks(images)
    np.testing.assert_allclose(block[:, 0, 10, 10], np.arange(8) * 100 * 255 / 4095, atol=1)
    assert images.originals == Originals(images.originals.encoded, images.how, frozenset())  # type: ignore[union-attr]

    transparent = tmp_path / "transparent"
    transparent.mkdir()
    for number in range(8):
        drawing = Image.new("RGBA", (40, 20), (0, 0, 0, 0))
        drawing.paste((0, 0, 0, 255), (10, 5, 20, 15))
        drawing.save(transparent / f"{number}.png")
    images = load_own(transparent)
    assert images.how.ground == 255
    (block,) = all_blocks(images)
    assert block[0, 0, 0, 0] == block[0, 0, 19, 19] == 255  # next to the image as well
    assert block[0, 0, 10, 7] == 0


def test_rows_of_parquet_files_come_too(tmp_path: Path) -> None:
    root = tmp_path / "rows"
    root.mkdir()
    for shard in range(2):
        rows = []
        for number in range(shard * 75, shard * 75 + 75):
            content = io.BytesIO()
            drawn(number).save(content, "PNG")
            rows.append(
                {"bytes": b"broken" if number in BROKEN else content.getvalue(), "path": f"{number}.png"}
            )
        pq.write_table(pa.table({"image": rows}), root / f"{shard}.parquet", row_group_size=10)
    images = load_own(root)
    expected = [number for number in range(N) if number not in BROKEN]
    assert [int(name) for name in images.names] == expected
    assert numbers(all_blocks(images)) == expected
    assert numbers(all_blocks(images, 70)) == expected[70:]


def test_pages_of_tiffs_come_too(tmp_path: Path) -> None:
    root = tmp_path / "scans"
    root.mkdir()
    for file in range(3):
        first, *others = [drawn(10 * file + page) for page in range(file + 1)]
        first.save(root / f"{file}.tif", save_all=True, append_images=others)
    images = load_own(root, reading=Reading(how=Preparation(pages="all")))
    assert images.names == ("0.tif", "1.tif#1", "1.tif#2", "2.tif#1", "2.tif#2", "2.tif#3")
    assert numbers(all_blocks(images)) == [0, 10, 11, 20, 21, 22]
    assert numbers(all_blocks(images, 2)) == [11, 20, 21, 22]
    first_pages = load_own(root)
    assert numbers(all_blocks(first_pages)) == [0, 10, 20]


def test_arrays_have_none(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((10, 8, 8), np.uint8))
    assert load_own(tmp_path / "x.npy").originals is None


@pytest.mark.parametrize(
    "happens",
    [
        Path.unlink,
        lambda path: path.write_bytes(b""),
        lambda path: os.truncate(path, 40),
        lambda path: (path.unlink(), path.mkdir()),
    ],
    ids=["gone", "empty", "cut", "a folder"],
)
def test_a_file_that_vanished_in_between_is_one_error(
    folder: Path, happens: Callable[[Path], object]
) -> None:
    """Its place among the images is known to labels and features: it cannot be left out."""
    images = load_own(folder)
    name = images.names[100]
    happens(folder / name)
    assert images.originals is not None
    blocks = images.originals.blocks(SHAPE)
    assert numbers([next(blocks)]) == readable(images)[:64]
    with pytest.raises(DataError) as told:
        next(blocks)
    assert str(told.value).startswith(f"{name} was readable before but cannot be read now: ")
    assert "\n" not in str(told.value)


def test_a_parquet_file_that_vanished_in_between_is_one_error(tmp_path: Path) -> None:
    root = tmp_path / "rows"
    root.mkdir()
    content = io.BytesIO()
    drawn(3).save(content, "PNG")
    path = root / "x.parquet"
    pq.write_table(pa.table({"image": [{"bytes": content.getvalue(), "path": None}] * 9}), path)
    images = load_own(root)
    path.unlink()
    with pytest.raises(DataError, match=r"x\.parquet"):
        all_blocks(images)
    pq.write_table(pa.table({"image": [{"bytes": content.getvalue(), "path": None}] * 4}), path)
    with pytest.raises(DataError):
        all_blocks(images)
