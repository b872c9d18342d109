"""Parquet files of encoded images: labels, pixels and order come through, and hostile files are refused."""

import io
import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from gpu_ssl.data import parquet
from gpu_ssl.data.collection import Reading
from gpu_ssl.data.label_columns import Columns
from gpu_ssl.data.own import load_own
from gpu_ssl.data.parquet import ParquetImages
from gpu_ssl.data.stream import ImageStream
from gpu_ssl.errors import DataError, DependencyError, UsageError
from gpu_ssl.runtime.optional import install_advice

SHAPE = (1, 8, 8)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def encoded(value: int, kind: str = "PNG") -> bytes:
    content = io.BytesIO()
    Image.new("L", (8, 8), value).save(content, kind)
    return content.getvalue()


def hugging_face(path: Path, labels: list[int | None], names: list[str] | None = None) -> Path:
    """Write images of grey 0, 10, 20 ... as the library datasets does."""
    images = [{"bytes": encoded(10 * i), "path": None} for i in range(len(labels))]
    table = pa.table({"image": images, "label": pa.array(labels, pa.int64())})
    if names is not None:
        features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
        told = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": told})
    path.parent.mkdir(exist_ok=True)
    pq.write_table(table, path, row_group_size=4)
    return path


def test_images_labels_and_names_of_classes_come_through(tmp_path: Path) -> None:
    labels = [0, None, 1, -1, 1, 0, 7, None, None, 0]
    path = hugging_face(tmp_path / "x.parquet", labels, ["cat", "dog"])
    images = load_own(path)
    assert images.class_names == ("7", "cat", "dog")
    assert tuple(images.names) == tuple(map(str, range(10)))
    assert images.labels.tolist() == [1, -1, 2, -1, 2, 1, 0, -1, -1, 1]
    assert images.image_shape == SHAPE
    assert images.images[:, 0, 0, 0].tolist() == [10 * i for i in range(10)]


def test_labels_may_be_words_and_images_plain_bytes(tmp_path: Path) -> None:
    words = pa.array(["a", "", None, "b"]).dictionary_encode()
    pq.write_table(pa.table({"png": [encoded(i) for i in range(4)], "labels": words}), tmp_path / "x.parquet")
    images = load_own(tmp_path / "x.parquet")
    assert (images.class_names, images.labels.tolist()) == (("a", "b"), [0, -1, -1, 1])


def test_with_a_label_file_labels_in_the_file_count_for_nothing(tmp_path: Path) -> None:
    path = hugging_face(tmp_path / "x.parquet", [0, None, 1, None])
    (tmp_path / "labels.csv").write_text("path,label\n3,new\n2,newer\n")
    images = load_own(path, [tmp_path / "labels.csv"])
    assert (images.class_names, images.labels.tolist()) == (("new", "newer"), [-1, -1, 1, 0])
    (tmp_path / "labels.csv").write_text("path,label\n4,new\n")
    with pytest.raises(DataError, match=r"names 1 image that is not in .*: '4'"):
        load_own(path, [tmp_path / "labels.csv"])


def test_what_is_no_image_is_skipped_and_told(tmp_path: Path) -> None:
    images = [{"bytes": encoded(0)}, {"bytes": None}, {"bytes": b"text"}, None, {"bytes": encoded(30)}]
    pq.write_table(pa.table({"image": images, "label": [0, 0, 0, 0, 1]}), tmp_path / "x.parquet")
    own = load_own(tmp_path / "x.parquet")
    assert own.names == ("0", "4")
    assert own.skipped == {
        "1": "it is empty",
        "2": "not an image that Pillow can read",
        "3": "it is empty",
    }
    assert own.images[:, 0, 0, 0].tolist() == [0, 30]


def test_a_stream_gives_all_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "ROWS", 3)
    stream = ImageStream(hugging_face(tmp_path / "x.parquet", [None] * 10), SHAPE)
    assert stream.total == 10
    ((names, pixels, _),) = list(stream)
    assert names == list(map(str, range(10)))
    assert pixels[:, 0, 0, 0].tolist() == [10 * i for i in range(10)]


def test_the_survey_looks_all_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "ROW_GROUPS", 2)
    images = ParquetImages(hugging_face(tmp_path / "x.parquet", [None] * 12))  # groups 0-3, 4-7, 8-11
    seen = [np.asarray(Image.open(io.BytesIO(source)))[0, 0] // 10 for source in images.survey()]
    assert seen == [0, 1, 2, 3, 8, 9, 10, 11]


def test_images_are_decoded_again_when_the_file_changes(tmp_path: Path) -> None:
    path = hugging_face(tmp_path / "x.parquet", [0, 1])
    assert len(load_own(path)) == 2
    assert len(load_own(hugging_face(path, [0, 1, 1]))) == 3


def test_two_columns_of_images_have_their_own_pixels(tmp_path: Path) -> None:
    """Of equal size, in one file: they share all but the column."""
    front, back = ([encoded(value + 10 * i) for i in range(4)] for value in (0, 100))
    structs = [{"bytes": content, "path": None} for content in back]
    pq.write_table(pa.table({"front": front, "back": structs}), tmp_path / "x.parquet")
    for _ in range(2):
        for name, value in (("front", 0), ("back", 100)):
            images = load_own(tmp_path / "x.parquet", (), Reading(columns=Columns(path=name))).images
            assert images[:, 0, 0, 0].tolist() == [value + 10 * i for i in range(4)]


def test_groups_come_from_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    columns = {"image": [encoded(10 * i) for i in range(5)], "label": ["a", "b", "a", "b", None]}
    patients, eyes = ["p", "p", None, "q", "r"], [1, 2, 1, 2, 1]
    pq.write_table(pa.table({**columns, "patient": patients, "eye": eyes}), path)
    for requested, expected in (
        (None, [0, 0, -1, 1, 2]),
        ("patient", [0, 0, -1, 1, 2]),
        ("eye", [0, 1, 0, 1, 0]),
    ):
        images = load_own(path, (), Reading(columns=Columns(group=requested)))
        assert images.groups is not None
        assert images.groups.tolist() == expected
        assert images.class_names == ("a", "b")
        assert [p.kind for p in images.problems].count("columns") == 1
    with pytest.raises(DataError, match="has no column 'person'; its columns are image, label, patient, eye"):
        load_own(path, (), Reading(columns=Columns(group="person")))
    with pytest.raises(UsageError, match="column 'eye' holds the labels"):
        load_own(path, (), Reading(columns=Columns(label="eye", group="eye")))


def test_groups_of_embeddings_come_from_the_file(tmp_path: Path) -> None:
    rows = [[float(i), 1.0, 2.0] for i in range(4)]
    table = {"path": ["a", "b", "c", "d"], "z": rows, "label": ["x", "y", "x", "y"], "scene": [7, 7, 8, 8]}
    pq.write_table(pa.table(table), tmp_path / "z.parquet")
    images = load_own(tmp_path / "z.parquet")
    assert images.groups is not None
    assert images.groups.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("column", ["path", "label", "group"])
def test_a_column_is_refused_where_nothing_has_columns(tmp_path: Path, column: str) -> None:
    for i, name in enumerate(("a", "b")):
        (tmp_path / "images" / name).mkdir(parents=True)
        Image.new("L", (8, 8), 90 * i).save(tmp_path / "images" / name / "1.png")
    np.save(tmp_path / "x.npy", np.zeros((4, 8, 8), np.uint8))
    reading = Reading(columns=Columns(**{column: "foo"}))
    for place in ("images", "x.npy"):
        with pytest.raises(UsageError, match=f"`{column}_column` 'foo': .* has no columns"):
            load_own(tmp_path / place, (), reading)
    (tmp_path / "labels.csv").write_text("foo,bar\na/1.png,x\nb/1.png,y\n")
    if column == "path":
        assert load_own(
            tmp_path / "images", [tmp_path / "labels.csv"], Reading(columns=Columns("foo", "bar"))
        )


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"label": [0, 1]}, "expected one column of encoded images or of their paths, got label"),
        ({"a": [b"x", b"y"], "b": [b"x", b"y"]}, "expected one column of encoded images"),
        (
            {"image": [b"x", b"y"], "label": [0.5, 1.5]},
            "expected labels that are whole numbers or words, got 0.5",
        ),
    ],
)
def test_other_tables_are_refused(tmp_path: Path, columns: dict[str, list[object]], words: str) -> None:
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    with pytest.raises(DataError, match=words):
        load_own(tmp_path / "x.parquet")


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = hugging_face(tmp_path / "x.parquet", [0, 1])
    monkeypatch.setattr("gpu_ssl.runtime.optional.find_spec", lambda name: None)
    with pytest.raises(DependencyError, match=re.escape(install_advice("parquet")) + "$"):
        load_own(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100, deadline=None)
@given(data=st.data())
def test_damaged_files_give_images_or_an_error(tmp_path: Path, data: st.DataObject) -> None:
    path = hugging_face(tmp_path / "damaged.parquet", [0, 1, None], ["a", "b"])
    content = bytearray(path.read_bytes())
    for position in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=8)):
        content[position] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(len(content) - 20, len(content)))])
    try:
        images = load_own(path)
    except DataError:
        return
    assert len(images) == len(images.images) == len(images.labels)


def test_a_folder_of_shards_is_one_data_set(tmp_path: Path) -> None:
    """As Hugging Face cuts large ones; rows are counted through all of them."""
    folder = tmp_path / "data"
    folder.mkdir()
    hugging_face(folder / "train-00000-of-00002.parquet", [0, None, 1, None, 1], ["cat", "dog"])
    hugging_face(folder / "train-00001-of-00002.parquet", [None, 1, 0], ["cat", "dog"])
    (folder / ".hidden.parquet").write_bytes(b"")
    (folder / "README.md").write_text("about")
    images = load_own(folder)
    assert tuple(images.names) == tuple(map(str, range(8)))
    assert images.class_names == ("cat", "dog")
    assert images.labels.tolist() == [0, -1, 1, -1, 1, -1, 1, 0]
    assert images.images[:, 0, 0, 0].tolist() == [0, 10, 20, 30, 40, 0, 10, 20]
    stream = ImageStream(folder, SHAPE)
    assert stream.total == 8
    ((names, pixels, _),) = stream
    assert names == list(images.names)
    assert np.array_equal(pixels, images.images)
    hugging_face(folder / "train-00001-of-00002.parquet", [0, 0, 0], ["cat", "dog"])
    assert load_own(folder).labels.tolist()[5:] == [0, 0, 0]


def test_where_there_are_images_a_parquet_file_beside_them_is_none_of_them(tmp_path: Path) -> None:
    """Such as answers that gpu-ssl predict wrote there."""
    folder = tmp_path / "photos"
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        (folder / name / "1.png").write_bytes(encoded(9))
    hugging_face(folder / "answers.parquet", [0, 1])
    assert load_own(folder).names == ("cat/1.png", "dog/1.png")


def test_a_shard_that_is_damaged_is_named(tmp_path: Path) -> None:
    hugging_face(tmp_path / "a.parquet", [0, 1])
    (tmp_path / "b.parquet").write_bytes(b"PAR1 and nothing")
    with pytest.raises(DataError, match=r"b\.parquet is not a readable Parquet file"):
        load_own(tmp_path)


def test_rows_may_hold_paths_and_the_column_of_labels_any_usual_name(tmp_path: Path) -> None:
    for i in range(4):
        (tmp_path / f"{i}.png").write_bytes(encoded(10 * i))
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = [{"bytes": None, "path": f"{tmp_path}/{i}.png" if i else "0.png"} for i in range(4)]
    table = {"image": pa.array(rows, kind), "fine_label": [0.0, 1.0, None, 1.0], "coarse_label": [0] * 4}
    pq.write_table(pa.table(table), tmp_path / "x.parquet")
    images = load_own(tmp_path / "x.parquet")
    assert images.images[:, 0, 0, 0].tolist() == [0, 10, 20, 30]
    assert (images.class_names, images.labels.tolist()) == (("0", "1"), [0, 1, -1, 1])
    assert next(p for p in images.problems if p.kind == "columns").paths == ("fine_label", "coarse_label")
    reading = Reading(columns=Columns(label="coarse_label"))
    assert load_own(tmp_path / "x.parquet", [], reading).class_names == ("0",)
    with pytest.raises(DataError, match="has no column 'nothing'; its columns are image, fine_label"):
        load_own(tmp_path / "x.parquet", [], Reading(columns=Columns(label="nothing")))
    pq.write_table(pa.table({"file_name": [f"{i}.png" for i in range(4)]}), tmp_path / "names.parquet")
    assert load_own(tmp_path / "names.parquet").images[:, 0, 0, 0].tolist() == [0, 10, 20, 30]


@pytest.mark.parametrize("columns", [Columns(label="species"), Columns(path="where", label="species")])
def test_label_files_overrule_a_column_whatever_it_holds(tmp_path: Path, columns: Columns) -> None:
    """Columns that were asked for may be those of the label file."""
    table = pa.table({"image": [encoded(10 * i) for i in range(4)], "label": [0.5, 1.5, 2.5, 0.1]})
    pq.write_table(table, tmp_path / "x.parquet")
    labels = tmp_path / "labels.csv"
    labels.write_text("where,species,label\n0,cat,9\n2,dog,9\n3,cat,9\n")
    with pytest.raises(DataError, match="whole numbers or words"):
        load_own(tmp_path / "x.parquet")
    images = load_own(tmp_path / "x.parquet", [labels], Reading(columns=columns))
    assert images.class_names == ("cat", "dog")
    assert images.labels.tolist() == [0, -1, 1, 0]


def test_label_files_overrule_an_array_whatever_it_holds(tmp_path: Path) -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(4, 8, 8)
    np.savez(tmp_path / "x.npz", images=pixels, labels=np.eye(4, dtype=np.int64))
    (tmp_path / "labels.csv").write_text("path,label\n0,cat\n2,dog\n")
    with pytest.raises(DataError, match="labels of shape"):
        load_own(tmp_path / "x.npz")
    assert load_own(tmp_path / "x.npz", [tmp_path / "labels.csv"]).labels.tolist() == [0, -1, 1, -1]
    assert len(next(iter(ImageStream(tmp_path / "x.npz", SHAPE))).names) == 4


@pytest.mark.parametrize("ids", [[1, 2, 3, 4], [2, 0, 3, 1]])
def test_ids_that_are_no_positions_do_not_shift_labels(tmp_path: Path, ids: list[int]) -> None:
    pq.write_table(
        pa.table({"image": [encoded(10 * i) for i in range(4)], "image_id": ids}), tmp_path / "x.parquet"
    )
    (tmp_path / "labels.csv").write_text("image_id,label\n1,a\n2,b\n3,a\n")
    with pytest.raises(DataError, match=r"column image_id of .* does not hold the positions of its rows"):
        load_own(tmp_path / "x.parquet", [tmp_path / "labels.csv"])
    (tmp_path / "labels.csv").write_text("row,label\n1,a\n2,b\n3,a\n")
    images = load_own(tmp_path / "x.parquet", [tmp_path / "labels.csv"])
    assert images.labels.tolist() == [-1, 0, 1, 0]


def test_ids_that_are_the_positions_name_rows(tmp_path: Path) -> None:
    table = pa.table({"image": [encoded(10 * i) for i in range(4)], "id": list(range(4))})
    pq.write_table(table, tmp_path / "x.parquet")
    (tmp_path / "labels.csv").write_text("id,label\n1,a\n2,b\n3,a\n")
    images = load_own(tmp_path / "x.parquet", [tmp_path / "labels.csv"])
    assert images.labels.tolist() == [-1, 0, 1, 0]


def test_files_of_parts_of_a_data_set_are_told(tmp_path: Path) -> None:
    for part in ("train", "test"):
        hugging_face(tmp_path / "data" / f"{part}-00000-of-00001.parquet", [0, 1, 1])
    (problem,) = (p for p in load_own(tmp_path / "data").problems if p.kind == "split-folders")
    assert problem.paths == ("test", "train")
    assert "to hold some out, give only the others" in problem.message
    for number in range(2):
        hugging_face(tmp_path / "shards" / f"train-0000{number}-of-00002.parquet", [0, 1, 1])
    assert not [p for p in load_own(tmp_path / "shards").problems if p.kind == "split-folders"]
