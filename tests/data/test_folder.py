"""Which files of a folder are images, and what is reported about the others."""

import os
from pathlib import Path

import pytest
from PIL import Image

from gpu_ssl.data import opening
from gpu_ssl.data.folder import find_images, found_problems
from gpu_ssl.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    root.mkdir()
    Image.new("L", (8, 8)).save(root / "a.jpg")
    return root


def test_content_decides_where_the_ending_says_nothing(folder: Path) -> None:
    photo = (folder / "a.jpg").read_bytes()
    for name in ("saved", "web.jpg_large", "x.tmp"):
        (folder / name).write_bytes(photo)
    (folder / "notes.txt").write_text("beside the images")
    (folder / "labels.csv").write_text("path,label")
    found = find_images(folder)
    assert found.images == ["a.jpg", "saved", "web.jpg_large", "x.tmp"]
    assert found.left_out == {}


def test_what_is_not_read_is_told_by_ending(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "formats", lambda: opening.COMMON)
    monkeypatch.setattr(opening, "reads_dicom", lambda: False)
    content = {
        "1.dcm": bytes(128) + b"DICM" + bytes(60),
        "2.bin": b"\0\0\0\x18ftypheic" + bytes(90),
        "3.CR2": b"II*\0" + bytes(99),
        "4.svg": b"<?xml version='1.0'?><svg></svg>",
        "5.mp4": b"\0\0\0\x18ftypmp42" + bytes(90),
        "6": b"rubbish",
        "7.pdf": b"%PDF-1.7",
    }
    for name, data in content.items():
        (folder / name).write_bytes(data)
    os.mkfifo(folder / "8.pipe")
    (folder / "9.link").symlink_to(folder / "missing")
    found = find_images(folder)
    assert found.images == ["a.jpg"]
    assert sorted(found.left_out) == [*sorted(content), "8.pipe", "9.link"]
    (problem,) = found_problems(found)
    assert (problem.kind, problem.count) == ("unsupported-format", 9)
    for words in (
        "1 .dcm (DICOM",
        "HEIC needs pillow-heif",
        "camera raw files",
        "SVG",
        "video",
        "1 no ending",
        "PDF",
    ):
        assert words in problem.message


def test_of_a_folder_without_images_the_error_tells_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "scan.nef").write_bytes(b"II*\0" + bytes(99))
    with pytest.raises(DataError, match=r"no image in .*1 \.nef \(camera raw files"):
        find_images(tmp_path)
