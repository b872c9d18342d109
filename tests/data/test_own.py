"""Images of the user's own: which are found, which labels they get, and that they are decoded once."""

import os
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gpu_ssl.data import decoding, pixel_cache
from gpu_ssl.data.collection import Reading
from gpu_ssl.data.folder import find_images
from gpu_ssl.data.own import UNLABELLED, OwnImages, load_own, require_classes
from gpu_ssl.data.preparation import ImageShape, Preparation
from gpu_ssl.data.problems import Problem
from gpu_ssl.errors import DataError, UsageError


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("GPU_SSL_CACHE_DIR", str(folder))
    return folder / pixel_cache.KIND


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Nine images of different grey levels, in a folder and two below it."""
    root = tmp_path / "data"
    for i, name in enumerate(
        ["a.png", "b.png", "cat/1.png", "cat/2.png", "dog/1.png", "dog/old/2.png", "unlabelled/x.png"]
    ):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.full((8, 8), 10 * i, np.uint8)
        pixels[i // 3, i % 3] += 5  # not of one colour
        Image.fromarray(pixels).save(path)
    return root


def label_file(folder: Path, *rows: str) -> Path:
    path = folder.parent / "labels.csv"
    path.write_text("path,label\n" + "".join(f"{row}\n" for row in rows))
    return path


def named(images: OwnImages) -> dict[str, str]:
    return {
        name: images.class_names[label]
        for name, label in zip(images.names, images.labels.tolist(), strict=True)
        if label != UNLABELLED
    }


def test_folders_name_classes(folder: Path) -> None:
    images = load_own(folder)
    assert images.class_names == ("cat", "dog")
    assert named(images) == {
        "cat/1.png": "cat",
        "cat/2.png": "cat",
        "dog/1.png": "dog",
        "dog/old/2.png": "dog",
    }
    assert len(images) == 7
    for i, name in enumerate(images.names):
        assert images.images[i].max() == 5 + 10 * find_images(folder).images.index(name)


def kinds(images: OwnImages) -> dict[str, Problem]:
    return {problem.kind: problem for problem in images.problems}


def test_a_label_file_names_classes_and_folders_do_where_that_is_asked_for(folder: Path) -> None:
    rows = label_file(folder, "a.png,bird", f"{folder}/b.png,cat", "dog/1.png,cat")
    images = load_own(folder, [rows])
    assert named(images) == {"a.png": "bird", "b.png": "cat", "dog/1.png": "cat"}
    found = kinds(images)
    assert found["folder-overruled"].paths == ("dog/1.png",)
    assert found["folder-names"].paths == ("cat/1.png", "cat/2.png")
    images = load_own(folder, [rows], Reading(folders_too=True))
    assert named(images) == {
        "a.png": "bird",
        "b.png": "cat",
        "cat/1.png": "cat",
        "cat/2.png": "cat",
        "dog/1.png": "cat",
        "dog/old/2.png": "dog",
    }
    assert "are labelled" in kinds(images)["folder-names"].message


def test_of_different_labels_what_most_rows_say_counts(folder: Path) -> None:
    rows = ("a.png,cat", "./a.png,dog", "a.png,dog", "b.png,cat", "b.png,dog", "cat/1.png,cat")
    images = load_own(folder, [label_file(folder, *rows)])
    assert named(images) == {"a.png": "dog", "cat/1.png": "cat"}
    assert kinds(images)["conflicting-labels"].paths == ("a.png", "b.png")


def test_labels_of_unreadable_images_are_told_with_the_class_that_is_lost(folder: Path) -> None:
    (folder / "a.png").write_bytes((folder / "a.png").read_bytes()[:40])
    (folder / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(90))
    rows = label_file(folder, "a.png,fox", "photo.heic,cat", "b.png,cat", "dog/1.png,dog")
    images = load_own(folder, [rows])
    assert named(images) == {"b.png": "cat", "dog/1.png": "dog"}
    assert set(kinds(images)["lost-label"].paths) == {"a.png", "photo.heic"}
    assert kinds(images)["lost-class"].paths == ("fox",)
    assert set(images.skipped) == {"a.png", "photo.heic"}


def test_groups_come_from_a_column_and_from_the_pages_of_a_file(folder: Path) -> None:
    path = folder.parent / "labels.csv"
    path.write_text("path,label,patient\na.png,cat,x\nb.png,dog,y\ncat/1.png,dog,x\n")
    groups = load_own(folder, [path]).groups
    assert groups is not None
    assert groups.tolist() == [0, 1, 0, -1, -1, -1, -1]
    frames = [Image.new("L", (8, 8), value) for value in (0, 100, 200)]
    frames[0].save(folder / "cat" / "z.tif", save_all=True, append_images=frames[1:])
    first = load_own(folder)
    assert kinds(first)["pages"].paths == ("cat/z.tif",)
    images = load_own(folder, [], Reading(how=Preparation(pages="all")))
    assert [name for name in images.names if "z.tif" in name] == [f"cat/z.tif#{n}" for n in (1, 2, 3)]
    assert images.groups is not None
    assert images.groups.tolist() == [-1, -1, -1, -1, 0, 0, 0, -1, -1, -1]
    assert named(images)["cat/z.tif#2"] == "cat"
    images = load_own(folder, [label_file(folder, "z,cat", "a,dog")], Reading(how=Preparation(pages="all")))
    assert named(images) == {"a.png": "dog"} | {f"cat/z.tif#{n}": "cat" for n in (1, 2, 3)}


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (
            ("a.png,cat", "nowhere.png,dog"),
            "names 1 image that is not in .*'nowhere.png'.*such as 'a.png'",
        ),
        (("1,cat", "b.png,dog"), "'1' may mean 'cat/1.png' or 'dog/1.png'; write the path relative to"),
        (("a.png,bird",), "only class 'bird' has labelled images, but a classifier needs at least 2"),
    ],
)
def test_labels_that_cannot_be_are_refused(folder: Path, rows: tuple[str, ...], words: str) -> None:
    with pytest.raises((DataError, UsageError), match=words):
        require_classes(load_own(folder, [label_file(folder, *rows)]), folder)


def test_unreadable_files_are_skipped_and_told(folder: Path) -> None:
    (folder / "cat" / "1.png").write_bytes(b"")
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden.png").write_bytes(b"")
    images = load_own(folder)
    assert list(images.skipped) == ["cat/1.png"]
    assert "cat/1.png" not in images.names
    assert len(images) == len(images.images) == len(images.labels) == 6
    assert named(images)["cat/2.png"] == "cat"


def test_names_and_pixels_stay_together_when_a_broken_link_moves(folder: Path) -> None:
    (folder / "z.png").symlink_to(folder / "missing")
    first = load_own(folder)
    (folder / "z.png").rename(folder / "0.png")
    again = load_own(folder)
    assert list(again.skipped) == ["0.png"]
    assert again.names == first.names
    assert len(again.names) == len(again.images)
    assert np.array_equal(again.images, first.images)


def test_what_could_not_be_reached_is_tried_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = decoding.decode

    def denied(path: Path, shape: ImageShape, how: Preparation) -> decoding.Decoded:
        if path.name == "a.png":
            raise decoding.OutOfReachError("Permission denied")
        return original(path, shape, how)

    with monkeypatch.context() as patch:
        patch.setattr(decoding, "decode", denied)
        assert load_own(folder).skipped == {"a.png": "Permission denied"}
    assert load_own(folder).skipped == {}


def test_a_folder_may_lie_in_one_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(4):
        path = tmp_path / "photos" / "photos" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 10 * i).save(path)
    rows = [f"photos/{i}.png,{'ab'[i % 2]}" for i in range(4)]
    monkeypatch.chdir(tmp_path)
    images = load_own(Path("photos"), [label_file(tmp_path / "photos", *rows)])
    assert named(images) == {f"photos/{i}.png": "ab"[i % 2] for i in range(4)}


def test_folders_that_are_no_utf_8_stay_apart(tmp_path: Path) -> None:
    for name in (b"x\xff", b"x\xfe"):
        path = tmp_path / os.fsdecode(name) / "1.png"
        path.parent.mkdir()
        Image.new("L", (8, 8)).save(path)
    assert load_own(tmp_path).class_names == ("x\\xfe", "x\\xff")


def test_links_to_folders_are_followed_each_folder_once(folder: Path) -> None:
    (folder / "cat" / "circle").symlink_to(folder)
    (folder / "elsewhere").symlink_to(folder / "dog")
    outside = folder.parent / "outside"
    outside.mkdir()
    Image.new("L", (8, 8), 99).save(outside / "1.png")
    for name in ("bird", "robin"):
        (folder / name).symlink_to(outside)
    found = find_images(folder)
    assert len(found.images) == 8
    assert "bird/1.png" in found.images
    assert set(found.left_out) == {"cat/circle", "elsewhere", "robin"}


def test_images_are_decoded_once_and_again_when_they_change(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load_own(folder)
    decoded = []
    original = pixel_cache.decode_all
    monkeypatch.setattr(pixel_cache, "decode_all", lambda *a: decoded.append(1) or original(*a))
    again = load_own(folder)
    assert decoded == []
    assert np.array_equal(first.images, again.images)
    assert first.sha256 == again.sha256
    Image.new("L", (8, 8), 255).save(folder / "a.png")
    os.utime(folder / "a.png", ns=(time.time_ns(), time.time_ns() + 10**9))
    changed = load_own(folder)
    assert decoded == [1]
    assert changed.images[0].max() == 255
    assert changed.sha256 != first.sha256
    assert not [path for path in cache.iterdir() if path.name.startswith(".")]


def test_an_interrupted_decoding_leaves_nothing(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pixel_cache, "decode_all", interrupted)
        with pytest.raises(KeyboardInterrupt):
            load_own(folder)
    assert list(cache.iterdir()) == []
    assert len(load_own(folder)) == 7


@pytest.mark.parametrize("labels", [np.array([2, -1, 2, 7]), np.array(["2", "", "2", "7"])])
def test_labels_lie_beside_arrays(tmp_path: Path, labels: np.ndarray) -> None:
    np.savez(tmp_path / "x.npz", images=np.zeros((4, 8, 8), np.uint8), labels=labels)
    images = load_own(tmp_path / "x.npz")
    assert images.class_names == ("2", "7")
    assert images.labels.tolist() == [0, -1, 0, 1]
    assert tuple(images.names) == ("0", "1", "2", "3")
    more = tmp_path / "labels.csv"
    more.write_text("path,label\n1,9\n3,8\n")  # then those in the file count for nothing
    again = load_own(tmp_path / "x.npz", [more])
    assert (again.class_names, again.labels.tolist()) == (("8", "9"), [-1, 1, -1, 0])


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        load_own(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="there is no image in"):
        load_own(tmp_path / "empty")


def test_the_same_image_under_two_labels_is_found(folder: Path) -> None:
    Image.open(folder / "cat" / "1.png").save(folder / "dog" / "copy.png")
    Image.open(folder / "cat" / "2.png").save(folder / "cat" / "copy.png")
    found = kinds(load_own(folder))
    assert found["conflicting-labels"].paths == ("cat/1.png", "dog/copy.png")
    assert found["duplicate"].count == 2
    assert "of duplicates" in found["duplicate"].message


def test_pixels_of_twelve_bits_are_as_bright_as_their_camera_meant(tmp_path: Path) -> None:
    for i, name in enumerate(("a", "b")):
        (tmp_path / name).mkdir()
        Image.fromarray(np.full((8, 8), 4095 - 1000 * i, np.uint16)).save(tmp_path / name / "1.png")
    images = load_own(tmp_path)
    assert (images.how.low, images.how.high) == (0, 4095)
    assert images.images[:, 0, 0, 0].tolist() == [255, 193]


def test_damaged_pixels_in_the_cache_are_decoded_again(folder: Path, cache: Path) -> None:
    first = load_own(folder).images.copy()
    (kept,) = cache.glob("*.npy")
    for damage in (b"", kept.read_bytes()[:-5], b"no array"):
        kept.write_bytes(damage)
        assert np.array_equal(load_own(folder).images, first)
    (kept.with_suffix(".json")).write_text("{")
    assert np.array_equal(load_own(folder).images, first)


@pytest.mark.parametrize("name", ["*.npy", "*.json"])
def test_a_bit_that_flips_in_the_cache_changes_nothing(
    folder: Path, cache: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """Neither pixels, nor the names of skipped files: these decide which name goes with which pixels."""
    caplog.set_level("INFO")
    (folder / "00-broken.png").write_bytes(b"no image")
    first = load_own(folder)
    assert first.skipped
    (kept,) = cache.glob(name)
    whole = kept.read_bytes()
    for place in np.linspace(0, len(whole) - 1, 40).astype(int):
        kept.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        again = load_own(folder)
        assert np.array_equal(again.images, first.images)
        assert (again.names, again.skipped) == (first.names, first.skipped)
    assert "is damaged" in caplog.text


def test_pixels_of_other_images_cannot_take_their_place(folder: Path, cache: Path, tmp_path: Path) -> None:
    first = load_own(folder)
    (kept,) = cache.glob("*.npy")
    before = [(path, path.read_bytes()) for path in cache.iterdir()]
    for path in sorted(folder.rglob("*.png")):
        Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
    load_own(folder)
    (other,) = set(cache.glob("*.npy")) - {kept}
    for path, content in before:
        other.with_suffix(path.suffix).write_bytes(content)
    assert np.array_equal(load_own(folder).images, 255 - first.images)


def set_of(place: Path, *names: str, value: int = 0) -> Path:
    """Write images with different pixels below a folder."""
    for i, name in enumerate(names):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.full((8, 8), 100 + value, np.uint8)
        pixels[0, i] = 7
        Image.fromarray(pixels).save(place / name)
    return place


@pytest.mark.parametrize("written", ["test/{}", "{root}/test/{}", "Test_Set/{}"])
def test_labels_of_another_part_are_not_those_of_images_with_the_same_names(
    tmp_path: Path, written: str
) -> None:
    names = ("1.png", "2.png", "3.png")
    train = set_of(tmp_path / "train", *names)
    set_of(tmp_path / "test", *names, value=50)
    rows = [f"{written.format(name, root=tmp_path)},{'ab'[i % 2]}" for i, name in enumerate(names)]
    with pytest.raises(
        DataError, match=r"names 3 images that are not in .*train: .*; expected paths relative"
    ):
        load_own(train, [label_file(train, *rows)])
    assert len(named(load_own(tmp_path / "test", [label_file(train, *rows)]))) == 3


def test_a_file_of_the_same_name_elsewhere_is_another_image_unless_it_is_a_copy(tmp_path: Path) -> None:
    mine = set_of(tmp_path / "mine", "1.png", "2.png")
    rows = [f"{tmp_path}/others/{i}.png,{'ab'[i - 1]}" for i in (1, 2)]
    for place in ("others", "unrelated"):  # of which the former has copies
        set_of(tmp_path / place, "1.png", "2.png")
    (problem,) = (p for p in load_own(mine, [label_file(mine, *rows)]).problems if p.kind == "other-folders")
    assert problem.message.startswith("2 names in `labels` give another folder than the image has")
    assert f"'{tmp_path}/others/1.png' is taken for '1.png'" in problem.message
    set_of(tmp_path / "others", "1.png", "2.png", value=9)
    for given in (rows, [row.removeprefix(f"{tmp_path}/") for row in rows]):
        with pytest.raises(DataError, match="names 2 images that are not in"):
            load_own(mine, [label_file(mine, *given)])


def test_folders_of_another_machine_are_told_and_the_own_are_not(folder: Path) -> None:
    for given, kinds in (
        ("C:\\cats\\a.png", ["other-folders"]),
        ("/home/x/a.png", ["other-folders"]),
        ("data/a.png", []),
        (f"{folder}/a.png", []),
        ("./a.png", []),
        ("a", []),
    ):
        images = load_own(folder, [label_file(folder, f"{given},x", "b.png,y")])
        assert named(images).items() >= {"a.png": "x", "b.png": "y"}.items()
        assert [p.kind for p in images.problems if p.kind == "other-folders"] == kinds, given


def test_thumbnails_and_trash_of_file_servers_are_no_images(tmp_path: Path) -> None:
    data = set_of(tmp_path / "data", "cat/1.png", "dog/2.png")
    set_of(data, "cat/@eaDir/1.png/SYNOPHOTO_THUMB_M.jpg", "__MACOSX/cat/1.png", "#recycle/9.png")
    images = load_own(data)
    assert named(images) == {"cat/1.png": "cat", "dog/2.png": "dog"}
    assert len(images) == 2
    assert not [p for p in images.problems if p.kind == "empty-folder"]


@pytest.mark.parametrize(
    ("labels", "doubtful"),
    [
        (("a|b", "c"), ["a|b"]),
        (("a; b", "c"), ["a; b"]),
        (("a", "a, b"), ["a, b"]),
        (("top", "T-shirt/top"), ["T-shirt/top"]),
        (("c", "T-shirt/top"), []),
        (("a, b", "c"), []),
        (("|", ";)"), []),
    ],
)
def test_labels_that_look_like_several_are_told(
    folder: Path, labels: tuple[str, str], doubtful: list[str]
) -> None:
    images = load_own(
        folder, [label_file(folder, *(f'{n},"{own}"' for n, own in zip("ab", labels, strict=True)))]
    )
    told = [p.message for p in images.problems if "look like several labels" in p.message]
    assert told == [f"class names that look like several labels: {each!r}" for each in doubtful]


def test_with_a_label_file_folders_are_not_told_about(tmp_path: Path) -> None:
    data = set_of(tmp_path / "data", "train/1.png", "train/2.png", "test/3.png")
    assert "split-folders" in [problem.kind for problem in load_own(data).problems]
    found = load_own(data, [label_file(data, "1.png,a", "2.png,b")])
    assert "split-folders" not in [problem.kind for problem in found.problems]


def test_pixels_that_nobody_used_for_long_are_deleted(folder: Path, cache: Path) -> None:
    load_own(folder)
    (used,) = cache.glob("*.npy")
    (old, left) = (cache / "old.npy", cache / ".half-written.npy")
    for path, days in (
        (old, 31),
        (old.with_suffix(".json"), 31),
        (left, 2),
        (used, 31),
        (used.with_suffix(".json"), 31),
    ):
        path.touch()
        os.utime(path, (time.time() - days * 86_400,) * 2)
    load_own(folder)  # is used again
    load_own(folder, [], Reading(9))  # and this makes room
    names = {path.name for path in cache.iterdir()}
    assert not {old.name, "old.json", left.name} & names
    assert {used.name, used.with_suffix(".json").name} <= names


def test_labels_of_another_part_of_a_data_set_are_refused(tmp_path: Path) -> None:
    """The files of train/ and val/ may have equal names."""
    train = tmp_path / "set" / "train"
    (train / "images").mkdir(parents=True)
    for i in range(6):
        Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) + 10 * i).save(train / f"images/{i}.png")
    rows = ["train/images/0.png,cat", "train/images/1.png,dog"]
    assert named(load_own(train, [label_file(train, *rows)])) == {
        "images/0.png": "cat",
        "images/1.png": "dog",
    }
    with pytest.raises(DataError, match=r"1 image that is not in .*'val/images/3.png'"):
        load_own(train, [label_file(train, *rows, "val/images/3.png,bird")])
    # Of a folder that has moved, all paths begin elsewhere.
    moved = [f"/old/place/images/{i}.png,{label}" for i, label in enumerate(("cat", "dog"))]
    assert len(named(load_own(train, [label_file(train, *moved)]))) == 2
    mixed = [*moved, "images/2.png,cat", "2/images/3.png,dog"]
    assert len(named(load_own(train, [label_file(train, *mixed)]))) == 4
