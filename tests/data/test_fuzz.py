"""Hostile and damaged input of every kind gives images, or one error of ours; never a traceback or a hang.

``GPU_SSL_FUZZ=2000`` tries that many inputs of each kind; the suite tries a few.
"""

import io
import json
import math
import os
import random
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from gpu_ssl.data.arrays import read_arrays
from gpu_ssl.data.collection import Reading
from gpu_ssl.data.decoding import decode
from gpu_ssl.data.embeddings import Embeddings
from gpu_ssl.data.label_columns import NO_COLUMNS
from gpu_ssl.data.label_file import read_labels
from gpu_ssl.data.opening import formats
from gpu_ssl.data.own import load_own
from gpu_ssl.data.preparation import Preparation, choose_preparation, choose_shape, usual_shape
from gpu_ssl.data.stream import ImageStream
from gpu_ssl.errors import GpuSslError

INPUTS = int(os.environ.get("GPU_SSL_FUZZ", "150"))
SECONDS = 10
SHAPE = (3, 16, 16)

a_few = settings(
    max_examples=INPUTS,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(autouse=True)
def quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def in_time(what: str) -> Iterator[None]:
    def too_long(*_: object) -> None:
        pytest.fail(f"{what} takes more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def saved(image: Image.Image, kind: str, **how: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **how)
    return file.getvalue()


def dicom(values: np.ndarray, **more: object) -> bytes:
    pydicom = pytest.importorskip("pydicom")
    content = pydicom.Dataset()
    content.file_meta = pydicom.dataset.FileMetaDataset()
    content.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    content.file_meta.MediaStorageSOPClassUID = pydicom.uid.CTImageStorage
    content.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    bits = 8 * values.itemsize
    content.Rows, content.Columns = values.shape[:2]
    content.SamplesPerPixel = 3 if values.ndim == 3 else 1
    content.PhotometricInterpretation = "RGB" if values.ndim == 3 else "MONOCHROME2"
    content.PlanarConfiguration = 0
    content.BitsAllocated, content.BitsStored, content.HighBit, content.PixelRepresentation = (
        bits,
        bits,
        bits - 1,
        0,
    )
    for name, value in more.items():
        setattr(content, name, value)
    content.PixelData = values.tobytes()
    file = io.BytesIO()
    content.save_as(file, enforce_file_format=True)
    return file.getvalue()


@cache
def pictures() -> dict[str, bytes]:
    """One small file of every format that can be written, and of some of their variants."""
    formats()
    colour = np.random.default_rng(0).integers(0, 256, (32, 24, 3), np.uint8)
    image = Image.fromarray(colour)
    kinds: dict[str, bytes] = {}
    for kind in sorted(set(Image.SAVE) & set(formats())):
        for mode in ("RGB", "L", "P", "1", "RGBA"):
            with suppress(Exception):
                kinds[f"{kind} {mode}"] = saved(image.convert(mode), kind)
                break
    exif = Image.Exif()
    exif[0x0112] = 6
    frames = [image.rotate(90 * i, expand=False) for i in range(3)]
    for kind in ("GIF", "PNG", "TIFF", "WEBP", "AVIF", "MPO"):
        with suppress(KeyError, OSError):
            kinds[f"{kind} frames"] = saved(frames[0], kind, save_all=True, append_images=frames[1:])
    kinds |= {
        "PNG alpha": saved(image.convert("RGBA"), "PNG"),
        "PNG palette": saved(image.convert("P"), "PNG", transparency=bytes(range(256))),
        "PNG 16": saved(Image.fromarray(colour[..., 0].astype(np.uint16) * 100), "PNG"),
        "JPEG turned": saved(image, "JPEG", exif=exif),
        "JPEG CMYK": saved(image.convert("CMYK"), "JPEG"),
        "JPEG progressive": saved(image, "JPEG", progressive=True),
        "TIFF float": saved(Image.fromarray(colour[..., 0].astype(np.float32) - 100), "TIFF"),
        "TIFF turned": saved(image, "TIFF", exif=exif),
    }
    for compression in ("tiff_lzw", "jpeg", "packbits", "tiff_adobe_deflate", "group4"):
        mode = "1" if compression == "group4" else "RGB"
        with suppress(OSError):
            kinds[f"TIFF {compression}"] = saved(image.convert(mode), "TIFF", compression=compression)
    with suppress(pytest.skip.Exception):
        kinds["DICOM"] = dicom(colour[..., 0].astype(np.uint16) * 16, RescaleIntercept=-1024, RescaleSlope=1)
        kinds["DICOM colour"] = dicom(colour)
        kinds["DICOM inverted"] = dicom(colour[..., 0].copy(), PhotometricInterpretation="MONOCHROME1")
    return kinds


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Change bytes, cut, repeat or fill parts, mostly near the start, where headers are."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        if not data:
            break
        at = rng.randrange(min(len(data), rng.choice((64, 512, len(data)))))
        how = rng.randrange(6)
        if how == 0:
            data[at] = rng.randrange(256)
        elif how == 1:
            data[at] ^= 1 << rng.randrange(8)
        elif how == 2:
            data[at : at + 4] = rng.choice((b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", b"\0\0\xff\xff"))
        elif how == 3:
            del data[rng.randrange(at, len(data)) :]
        elif how == 4:
            del data[at : at + rng.randrange(1, 40)]
        else:
            data[at:at] = data[at : at + rng.randrange(1, 40)]
    return bytes(data)


def try_picture(content: bytes, what: str) -> None:
    for how in (Preparation(), Preparation(pages="all", low=0, high=4000)):
        with in_time(what), suppress(GpuSslError):
            found = decode(content, SHAPE, how)
            assert found.pixels.shape == SHAPE
            assert found.pixels.dtype == np.uint8
    with in_time(what), suppress(GpuSslError):
        shape = choose_shape(usual_shape([content]))
        assert shape[0] in (1, 3)
        assert min(shape[1:]) >= 8
        how = choose_preparation([content], Preparation())
        assert how.low is None or how.high is None or how.low < how.high


@given(number=st.integers(0, 2**32))
@a_few
def test_damaged_pictures_of_every_format(number: int) -> None:
    rng = random.Random(number)
    kind, content = rng.choice(sorted(pictures().items()))
    try_picture(mutated(content, rng), f"{kind} {number}")


@given(content=st.binary(max_size=300), start=st.sampled_from([b"", *(c[:40] for c in pictures().values())]))
@a_few
def test_any_bytes_after_any_beginning(content: bytes, start: bytes) -> None:
    try_picture(start + content, repr(start + content))


@pytest.mark.parametrize("kind", sorted(pictures()))
def test_a_whole_picture_of_every_format_is_read(kind: str) -> None:
    assert decode(pictures()[kind], SHAPE).pixels.shape == SHAPE


def try_data(path: Path, labels: tuple[Path, ...] = ()) -> None:
    for reading in (Reading(), Reading(how=Preparation(pages="all"), folders_too=True)):
        with suppress(GpuSslError):
            found = load_own(path, labels, reading)
            n = len(found)
            assert len(found.images) == len(found.labels) == n
            if found.are_embeddings:
                assert np.isfinite(found.images).all()
            else:
                assert found.images.dtype == np.uint8
            assert found.labels.min() >= -1
            assert found.labels.max() < max(1, len(found.class_names))
            json.dumps([problem.message for problem in found.problems])
    for shape, embeddings in ((SHAPE, False), ((1, 1, 8), True)):
        with suppress(GpuSslError):
            for block in ImageStream(path, shape, embeddings=embeddings):
                assert block.images.shape == (len(block.names), *shape)


FOLDERS = ("", "cat/", "Dog/", "train/cat/", "test/", "unlabelled/", "a b/\u00e9/", "train/")
ENDINGS = (".png", ".jpg", ".dcm", ".heic", ".tif", "", ".JPG", ".txt", ".cr2")


@given(number=st.integers(0, 2**32))
@settings(a_few, max_examples=max(5, INPUTS // 5))
def test_folders_of_damaged_pictures(number: int, tmp_path: Path) -> None:
    rng = random.Random(number)
    folder = tmp_path / f"{number}"
    names = []
    for i in range(rng.randrange(1, 6)):
        content = rng.choice(sorted(pictures().values()))
        name = f"{rng.choice(FOLDERS)}{i}{rng.choice(ENDINGS)}"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content if rng.randrange(2) else mutated(content, rng))
        names.append(name)
    table = "path,label\n" + "".join(f"{name},{rng.choice('ab')}\n" for name in names if rng.randrange(2))
    labels = folder / "labels.csv"
    labels.write_bytes(table.encode() if rng.randrange(2) else mutated(table.encode(), rng))
    with in_time(f"folder {number}"):
        try_data(folder, (labels,) if rng.randrange(2) else ())


def arrays(rng: random.Random) -> bytes:
    file = io.BytesIO()
    n, side = rng.randrange(0, 5), rng.choice((1, 8, 16))
    shape = rng.choice(
        ((n, side, side), (n, side, side, 3), (n, 3, side, side), (n, side), (n, 4, side, side))
    )
    kind = rng.choice(("u1", "i1", "i2", ">u2", "f2", "f4", ">f8", "?", "i8", "u8", "c8", "U3", "M8[s]"))
    numbers = np.random.default_rng(rng.randrange(2**32)).integers(-300, 300, shape)
    with np.errstate(all="ignore"):
        images = numbers.astype(kind)
    if images.dtype.kind == "f" and images.size:
        images.flat[0] = rng.choice((np.nan, np.inf, -np.inf, 1e30))
    labels = rng.choice(
        (
            np.arange(n),
            np.arange(n)[:, None] - 1,
            np.full(n, rng.choice((np.nan, np.inf, 1.5, -1))),
            np.array(["", "a", "nan", "\0"])[np.arange(n) % 4],
            np.array([b"", b"\xff"])[np.arange(n) % 2],
            np.zeros(n, "f4, i4"),
        )
    )
    if rng.randrange(3) == 0:
        np.save(file, images)
    else:
        names = rng.choice((("images", "labels"), ("x_train", "y_test"), ("trainX", "trainY"), ("a", "b")))
        np.savez(file, **dict(zip(names, (images, labels), strict=True)))
    return file.getvalue()


@given(number=st.integers(0, 2**32))
@a_few
def test_damaged_files_of_arrays(number: int, tmp_path: Path) -> None:
    rng = random.Random(number)
    path = tmp_path / f"{number}.npz"
    content = arrays(rng)
    path.write_bytes(content if rng.randrange(2) else mutated(content, rng))
    with in_time(f"arrays {number}"):
        with suppress(GpuSslError):
            found = read_arrays(path)
            if isinstance(found.pixels, Embeddings):
                assert sum(map(len, found.pixels.blocks())) == len(found.pixels)
            else:
                assert found.pixels.ndim == 4
                assert found.pixels.shape[1] in (1, 3)
            assert set(found.labels) <= set(map(str, range(len(found.pixels))))
        try_data(path)
    path.unlink()


def parquet(rng: random.Random) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    some = [rng.choice(sorted(pictures().values())) for _ in range(3)]
    images = rng.choice(
        (
            pa.array([*some, None]),
            pa.array([{"bytes": each, "path": "a.png"} for each in [*some, None]]),
            pa.array([{"bytes": None, "path": path} for path in ("/no", "x\0y", "", None)]),
            pa.array(["a.png", "", None, "../x"]),
            pa.array([[1, 2], None, [], [3]]),
            pa.array([[1.0] * 8, None, [math.nan] * 8, rng.choice(([], [2.0] * 7, [3.0] * 8, [None] * 8))]),
        )
    )
    labels = rng.choice(
        (
            pa.array([0, 1, None, -1]),
            pa.array(["a", "", None, "unknown"]),
            pa.nulls(4),
            pa.array([0.0, float("nan"), float("inf"), 2.5]),
            pa.array([True, False, None, True]),
            pa.array([[1], [], None, [2]]),
            pa.array(["a", "b", None, "a"]).dictionary_encode(),
        )
    )
    table = pa.table({"image": images, "label": labels})
    if rng.randrange(2):
        names = rng.choice((["a"], ["a", None], {"x": 1}, []))
        told = {"info": {"features": {"label": {"names": names}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(told)})
    file = io.BytesIO()
    pq.write_table(table.slice(0, rng.choice((0, 4))), file)
    return file.getvalue()


@given(number=st.integers(0, 2**32))
@a_few
def test_damaged_parquet_files(number: int, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    rng = random.Random(number)
    path = tmp_path / f"{number}.parquet"
    content = parquet(rng)
    path.write_bytes(content if rng.randrange(2) else mutated(content, rng))
    with in_time(f"parquet {number}"):
        try_data(path)
        with suppress(GpuSslError):
            read_labels([path], NO_COLUMNS, lambda _: False)
    path.unlink()


TASKS = [
    {"data": {"image": "a.png"}, "annotations": [{"result": [{"value": {"choices": ["cat"]}}]}]},
    {"data": {"image": "b.png"}, "annotations": [{"result": [], "was_cancelled": True}]},
]
TABLES: tuple[tuple[str, str], ...] = (
    ("path,label\na.png,cat\nb.png,dog\n", "utf-8"),
    ("\ufeffpath;label\r\na.png;K\u00e4se\r\n", "utf-8"),
    ("path\tlabel\na.png\tK\u00e4se\n", "utf-16"),
    ("path,label\na.png,K\u00e4se\n", "cp1252"),
    ('id,image,choice\n1,a.png,"{""choices"": [""cat""]}"\n', "utf-8"),
    ("a.png cat\nb.png dog\n", "utf-8"),
    ('{"a.png": "cat", "b.png": "dog"}', "utf-8"),
    ('{"cat": ["a.png"], "dog": ["b.png", "c.png"]}', "utf-8"),
    ('{"path": {"0": "a.png"}, "label": {"0": "cat"}}', "utf-8"),
    ('{"file_name": "a.png", "label": 1}\n{"file_name": "b.png", "label": null}\n', "utf-8"),
    (json.dumps(TASKS), "utf-8"),
    ('[{"image": "a.png", "choice": {"choices": ["cat"]}}, {"image": "b.png", "choice": 1e400}]', "utf-8"),
)


def try_labels(content: bytes, path: Path) -> None:
    path.write_bytes(content)
    with suppress(GpuSslError):
        found = read_labels([path], NO_COLUMNS, lambda name: name in ("a.png", "b.png"))
        for row in found.rows:
            assert all(isinstance(cell, str) for cell in row)
            assert row[2] == row[2].strip()
        assert any(label for _, _, label, _ in found.rows)


@given(number=st.integers(0, 2**32))
@a_few
def test_damaged_files_of_labels(number: int, tmp_path: Path) -> None:
    rng = random.Random(number)
    text, encoding = rng.choice(TABLES)
    with in_time(f"labels {number}"):
        try_labels(mutated(text.encode(encoding), rng), tmp_path / "labels")


def rows(cells: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    lines = st.lists(st.lists(cells, max_size=4), max_size=5)
    return st.builds(
        lambda rows, mark: "\n".join(mark.join(row) for row in rows), lines, st.sampled_from(",;\t| ")
    )


WORDS = st.sampled_from(
    ["path", "label", "a.png", "b.png", "cat", '"', "1", "-1", "001", "nan", "", "#", "{", "[]"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | WORDS,
    lambda each: (
        st.lists(each, max_size=3)
        | st.dictionaries(
            WORDS | st.sampled_from(["data", "annotations", "result", "value", "choices"]), each, max_size=3
        )
    ),
    max_leaves=8,
)


@given(content=rows(WORDS | st.text(max_size=5)) | VALUES.map(json.dumps) | st.binary(max_size=60))
@a_few
def test_any_text_or_json_as_labels(content: str | bytes, tmp_path: Path) -> None:
    data = content if isinstance(content, bytes) else content.encode(errors="surrogatepass")
    with in_time(repr(content)):
        try_labels(data, tmp_path / "labels")
