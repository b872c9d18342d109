"""Embeddings of other programs: every kind of file gives the same values, and errors are reported."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from gpu_ssl.data import embedding_map, embeddings, parquet_embeddings, stream
from gpu_ssl.data.collection import Reading, embeddings_in
from gpu_ssl.data.embedding_file import embedding_file
from gpu_ssl.data.label_columns import Columns
from gpu_ssl.data.own import OwnImages, load_own
from gpu_ssl.data.stream import ImageStream
from gpu_ssl.errors import DataError, UsageError

N, WIDTH = 25, 6
NUMBERS = np.random.default_rng(0).integers(-50, 50, (N, WIDTH)).astype(np.float32) / 8
"""Which float16 and bfloat16 hold exactly."""


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Files of several blocks, and an empty cache."""
    for module in (embeddings, parquet_embeddings, stream):
        monkeypatch.setattr(module, "BLOCK", 10)
    monkeypatch.setenv("GPU_SSL_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path


def copies(folder: Path) -> list[Path]:
    return list((folder / "cache").rglob("*.npy"))


def table(numbers: np.ndarray, kind: pa.DataType, **columns: object) -> pa.Table:
    return pa.table({**columns, "z": pa.array(numbers.tolist(), kind)})


def lists(kind: pa.DataType) -> Callable[[Path], None]:
    return lambda path: pq.write_table(table(NUMBERS, kind), path, row_group_size=7)


def tensors(dtype: torch.dtype) -> Callable[[Path], None]:
    return lambda path: save_file({"z": torch.from_numpy(NUMBERS).to(dtype)}, path)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("z.npy", lambda path: np.save(path, NUMBERS)),
        ("z.npy", lambda path: np.save(path, NUMBERS.astype(np.float16))),
        ("z.npy", lambda path: np.save(path, NUMBERS.astype(np.float64))),
        ("z.npy", lambda path: np.save(path, NUMBERS.astype(">f4"))),
        ("z.npy", lambda path: np.save(path, np.asfortranarray(NUMBERS))),
        ("z.npz", lambda path: np.savez(path, z=NUMBERS)),
        ("z.npz", lambda path: np.savez_compressed(path, z=NUMBERS.astype(np.float16))),
        ("z.npz", lambda path: np.savez(path, z=np.asfortranarray(NUMBERS))),
        ("z.npz", lambda path: np.savez(path, x_train=NUMBERS, x_test=NUMBERS[:3])),
        ("z.safetensors", tensors(torch.float32)),
        ("z.safetensors", tensors(torch.bfloat16)),
        ("z.safetensors", tensors(torch.float16)),
        ("z.parquet", lists(pa.list_(pa.float32()))),
        ("z.parquet", lists(pa.list_(pa.float32(), WIDTH))),
        ("z.parquet", lists(pa.large_list(pa.float64()))),
        ("z.parquet", lists(pa.list_(pa.float16()))),
    ],
)
def test_every_kind_of_file_gives_the_same_numbers(
    tmp_path: Path, name: str, write: Callable[[Path], None]
) -> None:
    write(tmp_path / name)
    images = load_own(tmp_path / name)
    assert (images.image_shape, images.are_embeddings, len(images)) == ((1, 1, WIDTH), True, N)
    assert images.images.dtype == np.float32
    assert np.array_equal(images.images.reshape(N, WIDTH), NUMBERS)
    assert (images.skipped, images.names[24]) == ({}, "24")
    blocks = list(ImageStream(tmp_path / name, (1, 1, WIDTH), embeddings=True))
    assert np.array_equal(np.concatenate([block.images for block in blocks]), images.images)
    assert [name for block in blocks for name in block.names] == [str(i) for i in range(N)]


def test_float32_is_taken_as_it_lies_and_others_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file larger than memory is neither read whole nor copied; a second fit does not read it to look."""
    np.save(tmp_path / "z.npy", NUMBERS)
    np.save(tmp_path / "half.npy", NUMBERS.astype(np.float16))
    for name, n_copies in (("z.npy", 0), ("half.npy", 1)):
        first = load_own(tmp_path / name)
        assert len(copies(tmp_path)) == n_copies
        assert isinstance(first.images, np.memmap)
    monkeypatch.setattr(embedding_map, "_looked_through", None)
    for name in ("z.npy", "half.npy"):
        assert np.array_equal(load_own(tmp_path / name).images.reshape(N, WIDTH), NUMBERS)
    np.save(tmp_path / "z.npy", NUMBERS + 1)
    with pytest.raises(TypeError):  # for another content it would
        load_own(tmp_path / "z.npy")


@pytest.mark.parametrize("name", ["z.npy", "z.parquet"])
def test_rows_that_are_not_finite_are_left_out_and_named(tmp_path: Path, name: str) -> None:
    numbers = NUMBERS.copy()
    numbers[3, 2], numbers[17, 0] = np.nan, -np.inf
    if name == "z.npy":
        np.save(tmp_path / name, numbers)
    else:
        short = [[1.0, 2.0], None]
        rows = [*numbers[:3].tolist(), short[0], *numbers[4:17].tolist(), short[1], *numbers[18:].tolist()]
        pq.write_table(pa.table({"z": pa.array(rows, pa.list_(pa.float32()))}), tmp_path / name)
    (tmp_path / "labels.csv").write_text("path,label\n3,a\n4,b\n5,a\n")
    images = load_own(tmp_path / name, [tmp_path / "labels.csv"])
    good = np.delete(NUMBERS, [3, 17], axis=0)
    assert np.array_equal(images.images.reshape(-1, WIDTH), good)
    assert list(images.skipped) == ["3", "17"]
    assert images.names[3] == "4"
    assert np.flatnonzero(images.labels >= 0).tolist() == [3, 4]
    kinds = {problem.kind: problem for problem in images.problems}
    assert kinds["unreadable"].message.startswith("2 rows cannot be read: 3 (expected 6 finite")
    assert kinds["lost-label"].paths == ("3",)
    there = ImageStream(tmp_path / name, (1, 1, WIDTH), embeddings=True)
    assert np.array_equal(np.concatenate([block.images for block in there]).reshape(-1, WIDTH), good)
    assert (there.n_read, there.n_skipped, there.skipped[0][:2]) == (23, 2, "3:")


def test_columns_that_tell_nothing_or_too_much_are_told(tmp_path: Path) -> None:
    numbers = NUMBERS.copy()
    numbers[:, 1] = 7
    numbers[:, 4] = 1e6 + numbers[:, 4]  # far from 0, and as spread as the others
    np.save(tmp_path / "z.npy", numbers)
    assert told(load_own(tmp_path / "z.npy")) == {"constant-columns": ("1",)}
    numbers[:, 2] *= 1000
    np.save(tmp_path / "z.npy", numbers)
    found = told(load_own(tmp_path / "z.npy"))
    assert found["scales"][0] == "2"
    np.save(tmp_path / "z.npy", np.ones((N, WIDTH), np.float32))
    assert set(told(load_own(tmp_path / "z.npy"))) == {"constant-columns", "duplicate"}


def told(images: OwnImages) -> dict[str, tuple[str, ...]]:
    return {problem.kind: problem.paths for problem in images.problems if problem.kind != "few-labels"}


def message_of(images: OwnImages) -> str:
    return "\n".join(problem.message for problem in images.problems)


def test_equal_rows_are_copies_and_similar_ones_are_not(tmp_path: Path) -> None:
    numbers = NUMBERS.copy()
    numbers[9], numbers[12] = numbers[2], numbers[3] * 1.0001
    np.save(tmp_path / "z.npy", numbers)
    assert told(load_own(tmp_path / "z.npy")) == {"duplicate": ("2", "9")}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (np.zeros((N, WIDTH), np.uint8), r"reshape flat pixels to \(n, height, width\)"),
        (np.zeros((N, 1), np.float32), "one array of images"),
        (np.zeros(N, np.float32), "one array of images"),
        (np.full((N, WIDTH), np.nan), "no row of 6 finite numbers"),
        (np.zeros((0, WIDTH), np.float32), "no row of 6 finite numbers"),
        (np.zeros((0, WIDTH), np.float16), "no row of 6 finite numbers"),
    ],
)
def test_what_holds_no_embeddings_is_refused(tmp_path: Path, content: np.ndarray, words: str) -> None:
    np.save(tmp_path / "z.npy", content)
    with pytest.raises(DataError, match=words):
        load_own(tmp_path / "z.npy")


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "z.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{broken}")
    with pytest.raises(DataError, match="not a readable"):
        load_own(tmp_path / "z.safetensors")
    np.savez(tmp_path / "z.npz", z=NUMBERS)
    content = bytearray((tmp_path / "z.npz").read_bytes())
    content[300] ^= 255  # within the values, which their checksum detects
    (tmp_path / "z.npz").write_bytes(content)
    with pytest.raises(DataError, match="Bad CRC"):
        load_own(tmp_path / "z.npz")


def test_labels_and_names_may_lie_beside_the_numbers(tmp_path: Path) -> None:
    words, codes = ["a", "b", "", "a"], np.array([0, 1, -1, 0])
    few = NUMBERS[:4]
    np.savez(tmp_path / "z.npz", embeddings=few, labels=codes)
    save_file({"z": torch.from_numpy(few), "y": torch.from_numpy(codes)}, tmp_path / "z.safetensors")
    kind = pa.list_(pa.float32())
    names = ["x/1.png", "x/2.png", "y/1.png", "y/2.png"]
    pq.write_table(table(few, kind, label=words, path=names), tmp_path / "z.parquet")
    pq.write_table(table(few, kind, label=words, path=["same"] * 4), tmp_path / "same.parquet")
    for name, own in (("z.npz", None), ("z.safetensors", None), ("z.parquet", names), ("same.parquet", None)):
        images = load_own(tmp_path / name)
        assert images.labels.tolist() == [0, 1, -1, 0], name
        assert list(images.names) == (own or ["0", "1", "2", "3"]), name
        if name == "same.parquet":
            assert "unused-names" in told(images)
            assert f"column path of {tmp_path / name} has the name 'same' 4 times" in message_of(images)
        else:
            assert "unused-names" not in told(images), name
    # And a file of paths next to an .npy file names its rows, if it has as many.
    np.save(tmp_path / "z.npy", few)
    embeddings.names_beside(tmp_path / "z.npy").write_text("\ufeff" + "\n".join(names))
    assert list(load_own(tmp_path / "z.npy").names) == names
    embeddings.names_beside(tmp_path / "z.npy").write_text("\n".join(names) + "\n")
    (tmp_path / "labels.csv").write_text("path,label\nphotos/x/2.png,b\ny/2.png,a\n")
    images = load_own(tmp_path / "z.npy", [tmp_path / "labels.csv"])
    assert (list(images.names), images.labels.tolist()) == (names, [-1, 1, -1, 0])
    embeddings.names_beside(tmp_path / "z.npy").write_text("one.png\n")
    images = load_own(tmp_path / "z.npy")
    assert list(images.names) == ["0", "1", "2", "3"]
    wanted = f"{tmp_path / 'z.paths.txt'} has 1 name for 4 rows; the rows are named by their positions"
    assert wanted in message_of(images)


@pytest.mark.parametrize("name", ["z.npz", "z.safetensors"])
def test_images_beside_embeddings_are_told(tmp_path: Path, name: str) -> None:
    """A fit takes the images, a model of embeddings the embeddings; nothing is left out silently."""
    pixels = np.random.default_rng(0).integers(0, 256, (N, 8, 9), dtype=np.uint8)
    if name == "z.npz":
        np.savez(tmp_path / name, pixels=pixels, z=NUMBERS)
    else:
        save_file({"pixels": torch.from_numpy(pixels), "z": torch.from_numpy(NUMBERS)}, tmp_path / name)
    images = load_own(tmp_path / name)
    assert (images.image_shape, told(images)["unused-arrays"]) == ((1, 8, 9), ("z",))
    of_images = ImageStream(tmp_path / name, (1, 8, 9))
    of_rows = ImageStream(tmp_path / name, (1, 1, WIDTH), embeddings=True)
    for stream_of, unused in ((of_images, "z"), (of_rows, "pixels")):
        assert [problem.message for problem in stream_of.problems] == [f"unused arrays: {unused}"]
    assert np.array_equal(np.concatenate([block.images for block in of_rows])[:, 0, 0], NUMBERS)


def test_of_several_columns_one_is_to_be_named_and_images_come_first(tmp_path: Path) -> None:
    kind = pa.list_(pa.float32())
    two = table(NUMBERS, kind, w=pa.array((NUMBERS + 1).tolist(), kind))
    pq.write_table(two, tmp_path / "z.parquet")
    with pytest.raises(DataError, match="several columns of embeddings: w, z; choose one with `path_column`"):
        load_own(tmp_path / "z.parquet")
    images = load_own(tmp_path / "z.parquet", reading=Reading(columns=Columns(path="w")))
    assert np.array_equal(images.images.reshape(N, WIDTH), NUMBERS + 1)
    with_images = two.append_column("image", pa.array([b"x"] * N))
    pq.write_table(with_images, tmp_path / "z.parquet")
    assert embeddings_in(tmp_path / "z.parquet")[0] is None
    assert embeddings_in(tmp_path / "z.parquet", Columns(path="z"))[0] is not None


def test_a_folder_of_parquet_files_is_one_data_set(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    for number, rows in enumerate((NUMBERS[:12], NUMBERS[12:])):
        pq.write_table(table(rows, pa.list_(pa.float32())), tmp_path / "parts" / f"{number}.parquet")
    assert np.array_equal(load_own(tmp_path / "parts").images.reshape(N, WIDTH), NUMBERS)


def test_streams_refuse_what_the_model_does_not_take(tmp_path: Path) -> None:
    np.save(tmp_path / "z.npy", NUMBERS)
    pq.write_table(table(NUMBERS, pa.list_(pa.float32())), tmp_path / "z.parquet")
    np.save(tmp_path / "images.npy", np.zeros((3, 8, 8), np.uint8))
    for name in ("z.npy", "z.parquet"):
        with pytest.raises(UsageError, match="holds embeddings, but the model expects images"):
            ImageStream(tmp_path / name, (1, 8, 8))
        with pytest.raises(
            UsageError, match="embeddings of width 6, but the model expects embeddings of width 7"
        ):
            ImageStream(tmp_path / name, (1, 1, 7), embeddings=True)
    (tmp_path / "photos").mkdir()
    for place in (tmp_path / "images.npy", tmp_path / "photos", iter(["a.png"])):
        with pytest.raises(UsageError, match="no embeddings, but the model expects embeddings of width 6"):
            ImageStream(place, (1, 1, WIDTH), embeddings=True)


@pytest.mark.parametrize("column", ["id", "number_of_mine"])
def test_ids_name_the_rows_of_embeddings(tmp_path: Path, column: str) -> None:
    """They are shuffled, so that taken for positions they would be those of other rows."""
    ids = np.random.default_rng(0).permutation(N)
    kind = pa.list_(pa.float32())
    pq.write_table(table(NUMBERS, kind, **{column: ids.tolist()}), tmp_path / "z.parquet")
    rows = [f"{i},{'even' if i % 2 == 0 else 'odd'}" for i in range(6)]
    (tmp_path / "labels.csv").write_text("\n".join([f"{column},label", *rows]))
    reading = Reading(columns=Columns(path=None if column == "id" else column))
    images = load_own(tmp_path / "z.parquet", [tmp_path / "labels.csv"], reading)
    assert list(images.names) == list(map(str, ids))
    found = {int(name): code for name, code in zip(images.names, images.labels.tolist(), strict=True)}
    assert found == {i: (i % 2 if i < 6 else -1) for i in range(N)}


def test_embeddings_are_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "large").mkdir()
    (tmp_path / "z.npy").symlink_to(tmp_path / "large/z.npy")
    for n in (3, 4):
        with embedding_file(tmp_path / "z.npy", 2) as write:
            write([f"{i}.png" for i in range(n)], np.ones((n, 2), np.float32))
        assert (tmp_path / "z.npy").is_symlink()
        assert list(load_own(tmp_path / "z.npy").names) == [f"{i}.png" for i in range(n)]
