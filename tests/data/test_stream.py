"""Streams of images: all that can be read come through in order, in blocks, whatever the source."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gpu_ssl.data import stream
from gpu_ssl.data.stream import ImageStream
from gpu_ssl.errors import DataError, UsageError

SHAPE = (1, 8, 8)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(stream, "BLOCK", 10)
    root = tmp_path / "images"
    (root / "deep").mkdir(parents=True)
    for i in range(25):
        Image.new("L", (8, 8), 10 * i).save(root / "deep" / f"{i:02d}.png")
    return root


def gone_through(images: ImageStream) -> tuple[list[int], list[str], list[int]]:
    sizes, names, values = [], [], []
    for block_names, pixels, _ in images:
        assert pixels.shape == (len(block_names), *SHAPE)
        sizes.append(len(block_names))
        names += block_names
        values += pixels[:, 0, 0, 0].tolist()
    return sizes, names, values


def test_a_folder_comes_in_blocks_and_in_order(folder: Path) -> None:
    images = ImageStream(folder, SHAPE)
    assert images.total == 25
    sizes, names, values = gone_through(images)
    assert sizes == [10, 10, 5]
    assert names == [f"deep/{i:02d}.png" for i in range(25)]
    assert values == [10 * i for i in range(25)]
    assert (images.n_read, images.n_skipped) == (25, 0)


def test_unreadable_files_are_counted_and_the_first_are_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "REMEMBERED", 3)
    for i in range(5):
        (folder / "deep" / f"{i:02d}.png").write_bytes(b"")
    images = ImageStream(folder, SHAPE)
    assert gone_through(images)[2] == [10 * i for i in range(5, 25)]
    assert (images.n_read, images.n_skipped, len(images.skipped)) == (20, 5, 3)
    assert images.skipped[0] == "deep/00.png: it is empty"


def test_paths_are_read_as_they_come(folder: Path) -> None:
    asked = []

    def paths():  # type: ignore[no-untyped-def]
        for i in (3, 1, 2):
            asked.append(i)
            yield str(folder / "deep" / f"{i:02d}.png")

    images = ImageStream(paths(), SHAPE)
    assert images.total is None
    assert gone_through(images)[2] == [30, 10, 20]
    assert asked == [3, 1, 2]


def test_one_image_and_arrays_are_sources_too(folder: Path, tmp_path: Path) -> None:
    assert gone_through(ImageStream(folder / "deep" / "07.png", SHAPE))[2] == [70]
    np.save(tmp_path / "x.npy", np.arange(25, dtype=np.uint8)[:, None, None] * np.ones((8, 8), np.uint8))
    images = ImageStream(tmp_path / "x.npy", SHAPE)
    sizes, names, values = gone_through(images)
    assert (sizes, names, values) == ([10, 10, 5], [str(i) for i in range(25)], list(range(25)))


def test_what_is_no_source_is_refused_at_once(folder: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((2, 9, 8), np.uint8))
    with pytest.raises(UsageError, match=r"expects images of shape \(1, 8, 8\), got \(1, 9, 8\)"):
        ImageStream(tmp_path / "x.npy", SHAPE)
    with pytest.raises(UsageError, match="does not exist"):
        ImageStream(tmp_path / "none", SHAPE)
    (tmp_path / "text.txt").write_text("text")
    with pytest.raises(DataError, match=r"neither an image nor an [.]npy"):
        ImageStream(tmp_path / "text.txt", SHAPE)


def test_the_values_of_dark_images_do_not_depend_on_their_dtype(tmp_path: Path) -> None:
    dark = np.arange(30, 40)[:, None, None] * np.ones((8, 8), int)
    for dtype in ("uint8", "int32", "float32"):
        np.save(tmp_path / "x.npy", dark.astype(dtype))
        assert gone_through(ImageStream(tmp_path / "x.npy", SHAPE))[2] == list(range(30, 40)), dtype
