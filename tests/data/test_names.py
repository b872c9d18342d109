"""Names in label files find their images, however they are written, and never another image."""

import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_ssl.data.names import AmbiguousNameError, NameIndex
from gpu_ssl.data.positions import Positions

PLACE = Path("/data/photos")
NAMES = (
    "0.jpg",
    "cat/1.jpg",
    "cat/K\u00e4se.png",
    "dog/1.jpg",
    "dog/v1.2",
    "with space.jpg",
    os.fsdecode(b"\xe4.png"),
)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("0.jpg", "0.jpg"),
        ("0", "0.jpg"),
        ("./0.jpg", "0.jpg"),
        ("0.png", "0.jpg"),
        ("/data/photos/0.jpg", "0.jpg"),
        ("photos/cat/1.jpg", "cat/1.jpg"),
        ("D:\\photos\\cat\\1.jpg", "cat/1.jpg"),
        ("cat\\1.jpg", "cat/1.jpg"),
        ("cat/1", "cat/1.jpg"),
        (unicodedata.normalize("NFD", "K\u00e4se.png"), "cat/K\u00e4se.png"),
        ("v1.2", "dog/v1.2"),
        ("with%20space.jpg", "with space.jpg"),
        ("/data/upload/3/9f3ac0d1-0.jpg", "0.jpg"),
        ("/data/upload/3/20240131-0.jpg", "0.jpg"),
        ("upload/12345678-0.jpg", "0.jpg"),
        ("9f3ac0d1-0.jpg", "0.jpg"),
        ("20240131-0.jpg", None),
        ("facade-0.jpg", None),
        ("/data/local-files/?d=photos/cat/1.jpg", "cat/1.jpg"),
        ("https://host/images/0.jpg?token=1", "0.jpg"),
        ("\u00e4.png", os.fsdecode(b"\xe4.png")),
        ("\\xe4.png", os.fsdecode(b"\xe4.png")),
        ("nothing.jpg", None),
        ("bird/1.jpg", None),
        ("", None),
        ("..", None),
        ("a\0b", None),
        ("http://[", None),
    ],
)
def test_the_image_that_is_meant_is_found(written: str, meant: str | None) -> None:
    assert NameIndex(NAMES, PLACE).find(written) == ((meant,) if meant else ())


def test_a_mark_against_formulas_is_no_part_of_a_name() -> None:
    index = NameIndex(("-a.png", "=b.png", "'c.png", "'-d.png", "-d.png"), PLACE)
    for written, meant in (("'-a.png", "-a.png"), ("'=b.png", "=b.png"), ("'c.png", "'c.png")):
        assert index.find(written) == (meant,)
    assert index.find("'-d.png") == ("'-d.png",)


def test_what_may_mean_several_is_refused() -> None:
    with pytest.raises(AmbiguousNameError, match=r"'1.jpg' may mean 'cat/1.jpg' or 'dog/1.jpg'"):
        NameIndex(NAMES, PLACE).find("1.jpg")


def test_an_image_that_is_read_comes_before_one_that_is_not() -> None:
    index = NameIndex(("IMG_1.jpg",), PLACE, others=["IMG_1.heic", "IMG_2.heic"])
    assert index.find("IMG_1") == ("IMG_1.jpg",)
    assert index.find("IMG_2") == ("IMG_2.heic",)


def test_a_file_stands_for_its_pages_and_a_page_for_itself() -> None:
    pages = ["a/scan.tif#1", "a/scan.tif#2"]
    index = NameIndex(pages, PLACE, {"a/scan.tif": pages})
    assert index.find("scan") == tuple(pages)
    assert index.find("a/scan.tif#2") == ("a/scan.tif#2",)


def test_positions_are_numbers() -> None:
    index = NameIndex(Positions(3), PLACE)
    assert [index.find(name) for name in ("2", " 02", "2.0", "3", "x", "2.5")] == [
        *[("2",)] * 3,
        *[()] * 3,
    ]


@given(st.lists(st.text(min_size=1).filter(lambda name: "\0" not in name), unique=True), st.text())
def test_every_name_finds_itself_and_none_fails(names: list[str], other: str) -> None:
    index = NameIndex(names, PLACE)
    assert all(index.find(name) == (name,) for name in names)
    try:
        found = index.find(other)
    except AmbiguousNameError:
        return
    assert len(found) <= 1
