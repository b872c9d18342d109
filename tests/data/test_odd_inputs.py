"""Odd inputs that people have: nothing is lost, guessed or misread in silence."""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from gpu_ssl.data.collection import Reading
from gpu_ssl.data.decoding import decode
from gpu_ssl.data.label_columns import Columns
from gpu_ssl.data.label_tables import read_table
from gpu_ssl.data.own import OwnImages, load_own
from gpu_ssl.data.preparation import Preparation, choose_range, choose_shape, usual_shape
from gpu_ssl.data.problems import printable
from gpu_ssl.errors import DataError, UsageError
from tests.data.test_fuzz import dicom

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def noise(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(0, 256, (20, 20, 3), np.uint8)).save(path, "PNG")
    return path


def folder(tmp_path: Path, names: Iterable[str] = ("0.png", "1.png", "2.png")) -> Path:
    for name in names:
        noise(tmp_path / "data" / name)
    return tmp_path / "data"


def classes(found: OwnImages) -> dict[str, str]:
    return {
        name: found.class_names[code]
        for name, code in zip(found.names, found.labels.tolist(), strict=True)
        if code >= 0
    }


def told(found: OwnImages) -> dict[str, str]:
    return {problem.kind: problem.message for problem in found.problems}


def labelled(
    tmp_path: Path, content: str | bytes, names: Iterable[str] = ("0.png", "1.png", "2.png")
) -> OwnImages:
    path = tmp_path / "labels.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return load_own(folder(tmp_path, names), [path])


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("cat,0.png\ndog,1.png\n", "cat dog"),
        ('"path","label"\n"1","0.png","cat"\n"2","1.png","dog"\n'.replace("path", "path"), "cat dog"),
        ("path,label\n0.png,001\n1.png,1\n", "001 1"),
        ("path,label\n0.png,1.0\n1.png,2\n", "1 2"),
        ("path,label\n0.png,1_0\n1.png,10\n", "1_0 10"),
        ('image,choice\n0.png,"{""choices"":[""cat""]}"\n1.png,dog\n', "cat dog"),
        ('{"cat": ["0.png"], "dog": ["1.png"]}', "cat dog"),
        ('{"path": {"0": "0.png", "1": "1.png"}, "label": {"0": "cat", "1": "dog"}}', "cat dog"),
        ('{"path": "0.png", "label": "a\u2028b"}\n{"path": "1.png", "label": "c"}', "a\u2028b c"),
        ("path,label\n./data/0.png,cat\n/else/data/1.PNG,dog\n", "cat dog"),
        ("path,label\n C:\\x\\0.png , cat\n1.Png,dog\n", "cat dog"),
        ("path,label\r\n0.png,cat\r1.png,dog\n", "cat dog"),
        ("path,label,,\n0.png,cat,,\n1.png,dog,,\n", "cat dog"),
        ("filename,x,y,kind\n0.png,3,4,cat\n1.png,5,6,dog\n".replace("kind", "label"), "cat dog"),
    ],
)
def test_labels_mean_what_their_writer_meant(tmp_path: Path, content: str, expected: str) -> None:
    assert list(classes(labelled(tmp_path, content)).values()) == expected.split(" ")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("path,label\n0.png,cat, tabby\n1.png,dog\n", "line 2: expected 2 cells as in the first line, got 3"),
        ("path,label,label\n0.png,cat,dog\n", "several columns 'label'"),
        ('image,choice\n0.png,"{""choices"":[""cat"",""dog""]}"\n', "expected one label per image"),
        (b"PK\3\4" + bytes(99), "a workbook or an archive; expected a table of labels"),
        (b"\x1f\x8b\x08\0xxx", "is compressed"),
        (b"\x89PNG\r\n\0\0\0\0", "is a binary file"),
        ("path,label\ndata/0.png,cat\nval/1.png,dog\n", "names 1 image that is not in .*'val/1.png'"),
        (
            "path,label\ntrain/0.png,cat\nval/0.png,dog\n",
            "'val/0.png' and 'train/0.png' have different labels",
        ),
        (
            "filename,x,y,kind\n0.png,3,4,cat\n1.png,5,6,dog\n",
            "no column label: its columns are filename, x, y, kind",
        ),
        ('[{"data": {"image": "0.png"}, "annotations": []}]', "no choices.*: 1 without annotations"),
        ("path,label\n0.png,cat\n20240131-1.png,dog\n", "names 1 image that is not in .*'20240131-1.png'"),
        ("a\x1b[2J,b,c\nx,y,z\n", r"its columns are a\\x1b\[2J, b"),
    ],
)
def test_labels_that_may_be_misread_are_refused(tmp_path: Path, content: str | bytes, words: str) -> None:
    with pytest.raises(DataError, match=words):
        labelled(tmp_path, content)


def test_a_choice_among_columns_is_told(tmp_path: Path) -> None:
    found = labelled(tmp_path, "path,label,class_name\n0.png,0,cat\n1.png,1,dog\n")
    assert "from column 'label', not from class_name" in told(found)["columns"]


def test_odd_names_of_files_are_told_apart(tmp_path: Path) -> None:
    names = (" 0.png", "0.png", "[1].png", "my photo (1).png", "new\nline\u2028 \U0001f431.png", "x,y.png")
    content = (
        "[1].png,a\n 0.png,b\n0.png,c\n/data/upload/1/1234abcd-my_photo_1.png,d\n"
        '"new\nline\u2028 \U0001f431.png",e\n"x,y.png",f\n'
    )
    found = classes(labelled(tmp_path, content, names))
    assert found == dict(zip(names, "bcadef", strict=True))


def test_a_hundred_thousand_names_take_seconds(tmp_path: Path) -> None:
    import time

    from gpu_ssl.data.names import NameIndex

    index = NameIndex([f"{i % 100}/im{i}.png" for i in range(20_000)], tmp_path)
    start = time.process_time()
    assert all(index.find(f"im{i}") for i in range(20_000))
    assert time.process_time() - start < 10


def test_what_lies_beside_images_is_told(tmp_path: Path) -> None:
    data = folder(tmp_path, ("cat/0.png", "dog/1.png", "unknown/2.png", "none/3.png"))
    (data / "bird").mkdir()
    (data / "cow" / "old").mkdir(parents=True)
    (data / "cow" / "old" / "1.cr2").write_bytes(b"II*\0" + bytes(99))
    (data / "metadata.csv").write_text("file_name,label\ncat/0.png,x\n")
    found = load_own(data)
    problems = [problem for problem in found.problems if problem.kind == "suspicious-class"]
    assert told(found)["empty-folder"] == "2 folders contain no supported image: bird, cow"
    assert "metadata.csv is not read" in told(found)["label-file"]
    assert [("unknown" in p.message, "'none'" in p.message) for p in problems] == [
        (True, False),
        (False, True),
    ]
    assert "label-file" not in told(load_own(data, [data / "metadata.csv"]))


def test_a_single_class_is_told(tmp_path: Path) -> None:
    assert "cat is the only class" in str(load_own(folder(tmp_path, ("cat/0.png", "1.png"))).problems)


def test_what_is_no_folder_of_images_is_told_what_it_is(tmp_path: Path) -> None:
    data = folder(tmp_path)
    with pytest.raises(UsageError, match=r"0\.png is a single image; give the folder"):
        load_own(data / "0.png")
    images = pa.array([(data / "0.png").read_bytes()] * 2)
    (tmp_path / "hub" / "data").mkdir(parents=True)
    pq.write_table(pa.table({"image": images}), tmp_path / "hub" / "data" / "a.parquet")
    with pytest.raises(DataError, match=r"no image in .*hub; give .*data$"):
        load_own(tmp_path / "hub")
    shutil.copy(tmp_path / "hub" / "data" / "a.parquet", tmp_path / "a.pq")
    assert len(load_own(tmp_path / "a.pq")) == 2


def test_pages_and_files_of_one_name_are_refused(tmp_path: Path) -> None:
    data = folder(tmp_path, ("a.tif#2",))
    frames = [Image.new("L", (20, 20), i) for i in range(2)]
    frames[0].save(data / "a.tif", save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match=r"a\.tif#2 is the name of both a file and a page"):
        load_own(data, (), Reading(how=Preparation(pages="all")))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("x_train", "y_train", "x_test", "y_test"), True),
        (("trainX", "trainY", "testX", "testY"), True),
        (("x_train", "filenames", "x_test", "y_test"), False),
        (("train_images", "train_labels", "train_masks", "class_names"), True),
    ],
)
def test_labels_of_another_part_are_not_taken(tmp_path: Path, names: tuple[str, ...], expected: bool) -> None:
    images = RNG.integers(0, 256, (4, 16, 16), np.uint8)
    labels = np.array([0, 1, 0, 1])
    np.savez(tmp_path / "x.npz", **dict(zip(names, (images, labels, images, labels + 5), strict=True)))
    found = load_own(tmp_path / "x.npz")
    assert classes(found) == ({"0": "0", "1": "1", "2": "0", "3": "1"} if expected else {})
    assert all(name in str(found.problems) for name in names[2:])


def test_arrays_tell_of_blank_images_and_words_for_no_label(tmp_path: Path) -> None:
    images = RNG.integers(0, 256, (4, 16, 16), np.uint8)
    images[2] = 7
    np.savez(tmp_path / "x.npz", images=images, labels=np.array(["a", "unknown", "b", "a"]))
    found = load_own(tmp_path / "x.npz")
    assert [problem.paths for problem in found.problems if problem.kind == "blank"] == [("2",)]
    assert "1 label is treated as missing: 'unknown'" in told(found)["suspicious-class"]
    np.savez(tmp_path / "x.npz", images=images, labels=np.array([0, 1, np.inf, 1]))
    with pytest.raises(DataError, match="whole numbers or words"):
        load_own(tmp_path / "x.npz")


def test_parquet_of_paths_sees_that_files_change(tmp_path: Path) -> None:
    data = folder(tmp_path, ("0.png", "1.png"))
    path = data / "x.parquet"
    pq.write_table(pa.table({"path": ["0.png", "1.png", "2.png"], "label": pa.nulls(3)}), path)
    before = load_own(path)
    noise(data / "0.png")
    noise(data / "2.png")
    after = load_own(path)
    assert (len(before), len(after)) == (2, 3)
    assert not np.array_equal(before.images[0], after.images[0])


@pytest.mark.parametrize("kind", ["string_view", "large_string", "dictionary", "null"])
def test_parquet_labels_of_every_kind_of_text(tmp_path: Path, kind: str) -> None:
    words = pa.array(["a", "b", None])
    labels = {"dictionary": words.dictionary_encode(), "null": pa.nulls(3)}.get(kind)
    if labels is None:
        labels = words.cast(getattr(pa, kind)())
    content = noise(tmp_path / "0.png").read_bytes()
    images = pa.array([content] * 3, pa.binary_view())
    told_names = {"info": {"features": {"label": {"names": ["x"]}}}}
    table = pa.table({"image": images, "label": labels})
    pq.write_table(
        table.replace_schema_metadata({"huggingface": json.dumps(told_names)}), tmp_path / "x.parquet"
    )
    assert classes(load_own(tmp_path / "x.parquet")) == ({} if kind == "null" else {"0": "a", "1": "b"})
    pq.write_table(table.slice(0, 0), tmp_path / "x.parquet")
    with pytest.raises(DataError, match="holds no rows"):
        load_own(tmp_path / "x.parquet")


@pytest.mark.parametrize(
    ("low", "high", "dtype", "expected"),
    [
        (0, 0.001, np.float32, (0, 0.001)),
        (0, 1, np.float32, (0, 1)),
        (0, 2, np.int32, (0, 1)),
        (100, 400, np.uint16, (100, 399)),
        (0, 4000, np.uint16, (0, 4095)),
    ],
)
def test_numbers_that_fill_little_of_their_range_are_spread(
    tmp_path: Path, low: float, high: float, dtype: type, expected: tuple[float, float]
) -> None:
    """A hot pixel does not hide the others, and small floats do not become blank."""
    values = RNG.uniform(low, high, (100, 100)).astype(dtype)
    if dtype == np.uint16 and high < 1000:
        values[3, 3] = 65535
    Image.fromarray(values).save(tmp_path / "a.tif")
    found = choose_range([tmp_path / "a.tif"])
    assert found == pytest.approx(expected, abs=0.01 * (high - low))
    assert decode(tmp_path / "a.tif", (1, 99, 99), Preparation(low=found[0], high=found[1])).pixels.std() > 40


@pytest.mark.parametrize("ending", ["jpg", "png", "tif", "webp"])
def test_turned_images_of_every_format_have_their_proportions(tmp_path: Path, ending: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.new("L", (60, 30))
    image.paste(255, (0, 0, 20, 30))
    path = tmp_path / f"a.{ending}"
    image.convert("RGB").save(path, exif=exif)
    shape = choose_shape(usual_shape([path]))
    assert shape == (3, 60, 30)
    pixels = decode(path, shape).pixels
    assert pixels[:, :18].min() > 240
    assert pixels[:, 22:].max() < 15


@pytest.mark.parametrize("mode", ["I;16", "F", "RGB", "L", "1"])
def test_large_scans_of_every_mode_are_reduced(
    tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gpu_ssl.data import decoding

    monkeypatch.setattr(decoding, "LARGE", 1000)
    half = Image.new("L", (200, 200))
    half.paste(255, (0, 0, 100, 200))
    array = np.asarray(half)
    image = {
        "I;16": Image.fromarray(array.astype(np.uint16) * 257),
        "F": Image.fromarray(array.astype(np.float32)),
    }.get(mode, half.convert(mode) if mode in ("RGB", "L", "1") else half)
    image.save(tmp_path / "a.tif")
    row = decode(tmp_path / "a.tif", (1, 8, 8)).pixels[0, 4].tolist()
    assert (row[:3], row[-3:]) == ([255] * 3, [0] * 3)
    strip = Image.new("L", (10, 5000), 9)
    strip.save(tmp_path / "b.png")
    assert decode(tmp_path / "b.png", (1, 8, 8)).squeezed


def test_dicom_in_colour_keeps_its_colours() -> None:
    colours = np.zeros((16, 16, 3), np.uint16)
    colours[..., 0] = 65535
    assert decode(dicom(colours), (3, 16, 16)).pixels[:, 0, 0].tolist() == [255, 0, 0]
    numbers = np.full((16, 16), 1, np.uint8)
    palette = {
        "PhotometricInterpretation": "PALETTE COLOR",
        **{f"{c}PaletteColorLookupTableDescriptor": [4, 0, 8] for c in ("Red", "Green", "Blue")},
        "RedPaletteColorLookupTableData": bytes([0, 200, 0, 0]),
        "GreenPaletteColorLookupTableData": bytes([0, 100, 0, 0]),
        "BluePaletteColorLookupTableData": bytes([0, 50, 0, 0]),
    }
    assert decode(dicom(numbers, **palette), (3, 16, 16)).pixels[:, 0, 0].tolist() == [200, 100, 50]


def test_annotations_that_are_no_choices_are_told(tmp_path: Path) -> None:
    def task(name: str, kind: str, **more: object) -> dict[str, object]:
        result = [{"type": kind, "value": {kind: ["cat"]}}]
        return {"data": {"image": name}, "annotations": [{"result": result, **more}]}

    tasks = [
        task("0.png", "choices"),
        task("1.png", "rectanglelabels"),
        task("2.png", "choices", was_cancelled=True),
        {"data": {"image": "2.png"}, "annotations": []},
    ]
    found = labelled(tmp_path, json.dumps(tasks))
    assert classes(found) == {"0.png": "cat"}
    assert told(found)["columns"].endswith(
        "only choices are read as labels, left out: 1 of type rectanglelabels, 1 cancelled"
    )


def test_columns_without_a_header_are_named_by_their_numbers(tmp_path: Path) -> None:
    path = tmp_path / "vertex.csv"
    path.write_text("TRAIN,gs://bucket/0.png,cat\nTEST,gs://bucket/1.png,dog\n")
    images = folder(tmp_path)
    with pytest.raises(DataError, match="its columns are 1, 2, 3"):
        load_own(images, [path])
    found = load_own(images, [path], Reading(columns=Columns(path="2", label="3")))
    assert classes(found) == {"0.png": "cat", "1.png": "dog"}
    with pytest.raises(UsageError, match="has no column '4'"):
        load_own(images, [path], Reading(columns=Columns(path="2", label="4")))


@pytest.mark.parametrize("name", ["a/x\\y.png", "a/bad\udcff.png"])
def test_odd_names_below_a_folder_are_found(tmp_path: Path, name: str) -> None:
    """A backslash is no folder, nor is the escape by which a byte is written."""
    rows = ((printable(name), "cat"), ("a/0.png", "dog"), ("b/1.png", "cat"))
    content = "path,label\n" + "".join(f"{path},{label}\n" for path, label in rows)
    found = labelled(tmp_path, content, (name, "a/0.png", "b/1.png"))
    assert classes(found) == {name: "cat", "a/0.png": "dog", "b/1.png": "cat"}


def test_positions_from_one_are_told(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", RNG.integers(0, 256, (6, 8, 8), np.uint8))
    for first, said in ((1, True), (0, False)):
        rows = "".join(f"{first + i},{'cat' if i % 2 else 'dog'}\n" for i in range(4))
        (tmp_path / "labels.csv").write_text(f"id,label\n{rows}")
        found = load_own(tmp_path / "images.npy", [tmp_path / "labels.csv"])
        assert ("images 1 to 4, and not 0" in told(found).get("columns", "")) == said


def test_labels_in_any_column_of_a_parquet_file(tmp_path: Path) -> None:
    names, words = ["0.png", "1.png"], ["cat", "dog"]
    number = {"info": {"features": {"label": {"names": words, "_type": "ClassLabel"}}}}
    tables = {
        "list": {"path": names, "label": [["cat"], ["dog"]]},
        "struct": {"path": names, "label": [{"name": "cat"}, {"name": "dog"}]},
        "binary": {"path": pa.array([b"0.png", b"1.png"], pa.large_binary()), "label": words},
        "numbers": {"path": names, "label": [0, 1]},
        "vectors": {"path": names, "vector": [[0.5] * 9, [1.0] * 9], "label": words},
        "images": {"image": [{"bytes": bytes(9999), "path": "x"}] * 2, "file": names, "label": words},
    }
    for kind, columns in tables.items():
        table = pa.table(columns).replace_schema_metadata(
            {"huggingface": json.dumps(number)} if kind == "numbers" else {}
        )
        pq.write_table(table, tmp_path / "labels.csv")
        found = load_own(folder(tmp_path), [tmp_path / "labels.csv"])
        assert classes(found) == {"0.png": "cat", "1.png": "dog"}, kind
        assert not {"vector", "image"} & set(read_table(tmp_path / "labels.csv").columns)
