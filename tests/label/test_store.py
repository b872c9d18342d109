"""The label file: no confirmed label is lost, whatever other programs write to it."""

import csv
import errno
import multiprocessing
import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gpu_ssl.data.labels import clean, is_no_label, unify_numbers
from gpu_ssl.data.own import load_own
from gpu_ssl.errors import GpuSslError, UsageError
from gpu_ssl.label.store import NONE_OF_THESE, LabelStore, names_of

NAMES = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12)


def rows_of(path: Path) -> list[list[str]]:
    with path.open(newline="", errors="surrogateescape") as file:
        return list(csv.reader(file))


def test_labels_are_put_changed_and_taken_back(tmp_path: Path) -> None:
    store = LabelStore(tmp_path / "labels.csv")
    assert store.labels() == {}
    assert not store.path.exists()
    assert store.put({"a.png": "cat", "b.png": "dog"}) == {"a.png": None, "b.png": None}
    assert store.put({"b.png": "cat", "c.png": NONE_OF_THESE}) == {"b.png": "dog", "c.png": None}
    assert rows_of(store.path) == [
        ["path", "label"],
        ["a.png", "cat"],
        ["b.png", "cat"],
        ["c.png", "unknown"],
    ]
    assert store.put({"a.png": None}) == {"a.png": "cat"}
    assert LabelStore(store.path).labels() == {"b.png": "cat", "c.png": NONE_OF_THESE}


def test_what_others_wrote_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "first.csv"
    path.write_text("path,label,prediction\na.png,,cat\nb.png,dog,dog\n./c.png,cat,\n")
    store = LabelStore(path, lambda written: (written.removeprefix("./"),))
    assert store.labels() == {"b.png": "dog", "c.png": "cat"}
    store.put({"a.png": "cat", "c.png": None, "b.png": None, "d.png": "dog"})
    assert path.read_text() == "path,label,prediction\na.png,cat,cat\nb.png,,dog\nd.png,dog,\n"


def test_a_change_by_another_program_is_seen(tmp_path: Path) -> None:
    one, two = LabelStore(tmp_path / "labels.csv"), LabelStore(tmp_path / "labels.csv")
    one.put({"a.png": "cat"})
    two.put({"b.png": "dog"})
    assert one.labels() == two.labels() == {"a.png": "cat", "b.png": "dog"}


def _write(path: Path, who: int) -> None:
    store = LabelStore(path)
    for i in range(25):
        store.put({f"{who}-{i}.png": "cat"})


def test_programs_that_write_at_once_lose_nothing_of_each_other(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write, args=(path, who)) for who in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert len(LabelStore(path).labels()) == 75


def test_what_cannot_be_written_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LabelStore(tmp_path / "labels.csv")
    store.put({"a.png": "cat"})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(GpuSslError, match="No space left"):
        store.put({"b.png": "dog"})
    assert LabelStore(store.path).labels() == store.labels() == {"a.png": "cat"}
    assert os.listdir(tmp_path) == ["labels.csv"]


@pytest.mark.parametrize("content", ["a;b\n1;2\n", '{"a": "cat"}', "label\ncat\n", "PAR1\0\0"])
def test_a_file_that_is_no_such_table_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(content)
    with pytest.raises(UsageError, match="columns path and label"):
        LabelStore(path)
    assert path.read_text() == content


@settings(max_examples=25)
@given(
    labels=st.dictionaries(
        st.integers(0, 19), NAMES.map(clean).filter(lambda name: not is_no_label(name)), min_size=2
    )
)
def test_the_other_commands_read_what_is_written(
    labels: dict[int, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever the classes are called: fit takes the file."""
    folder = tmp_path_factory.mktemp("store")
    names = _pictures(folder / "photos")
    store = LabelStore(folder / "labels.csv")
    store.put({names[row]: label for row, label in labels.items()})
    images = load_own(folder / "photos", [store.path])
    same = unify_numbers(labels.values())
    found = {row: images.class_names[code] for row, code in enumerate(images.labels.tolist()) if code >= 0}
    assert found == {row: same.get(label, label) for row, label in labels.items()}


def _pictures(folder: Path) -> list[str]:
    folder.mkdir()
    rng = np.random.default_rng(0)
    awkward = ['"><img onerror=x>.png', "a, b.png", "semi;colon.png", "ä.png", "  blank .png", "q'uote\".png"]
    names = sorted([*awkward, *(f"{i}.png" for i in range(20 - len(awkward)))])
    for name in names:
        Image.fromarray(rng.integers(256, size=(9, 9), dtype=np.uint8)).save(folder / name)
    return names


def test_labels_are_kept_on_a_file_system_without_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    store = LabelStore(tmp_path / "labels.csv")
    store.put({"a.png": "cat"})
    assert LabelStore(tmp_path / "labels.csv").labels() == {"a.png": "cat"}


def test_a_file_of_a_spreadsheet_is_read_as_fit_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes("path,label\na.png,caf\xe9\nb.png,tea\n".encode("cp1252"))
    store = LabelStore(path)
    store.put({"c.png": "caf\xe9", "d.png": unicodedata.normalize("NFD", "caf\xe9")})
    assert store.labels() == {"a.png": "caf\xe9", "b.png": "tea", "c.png": "caf\xe9", "d.png": "caf\xe9"}
    path.write_text("path,label\na.png,1.0\nb.png,2.0\nc.png,2\n")
    assert store.labels() == {"a.png": "1", "b.png": "2", "c.png": "2"}


def test_a_label_of_a_file_is_that_of_its_pages_until_one_gets_another(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("path,label,by\na.tif,x,me\nb.png,y,\n")
    pages = {"a.tif": ("a.tif#1", "a.tif#2", "a.tif#3")}
    store = LabelStore(path, lambda written: pages.get(written, (written,)))
    assert store.labels() == {"a.tif#1": "x", "a.tif#2": "x", "a.tif#3": "x", "b.png": "y"}
    assert store.put({"a.tif#2": "y", "a.tif#3": None}) == {"a.tif#2": "x", "a.tif#3": "x"}
    assert store.labels() == {"a.tif#1": "x", "a.tif#2": "y", "b.png": "y"}
    assert path.read_text() == "path,label,by\na.tif#1,x,me\na.tif#2,y,me\na.tif#3,,me\nb.png,y,\n"


def test_a_label_of_a_damaged_image_goes_to_no_other(tmp_path: Path) -> None:
    (tmp_path / "data/sub").mkdir(parents=True)
    (tmp_path / "data/1.png").write_bytes(b"no image")
    for name in ("sub/1.png", "sub/2.png"):
        Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(tmp_path / "data" / name)
    images = load_own(tmp_path / "data")
    find = images.index(tmp_path / "data").find
    path = tmp_path / "labels.csv"
    path.write_text("path,label\n1.png,cat\n2.png,dog\n")
    assert LabelStore(path, names_of(images.names, find)).labels() == {"sub/2.png": "dog"}


def test_words_for_no_label_are_no_labels(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("path,label\na.png,cat\nb.png,todo\nc.png,-1\nd.png,nan\ne.png,unknown\n")
    assert LabelStore(path).labels() == {"a.png": "cat", "e.png": NONE_OF_THESE}


def test_a_number_of_a_row_names_no_file_beside_a_column_of_names(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("id,picture_file,label\n0,5.png,cat\n1,0.png,\n")
    files = {"0": ["0.png"], "1": ["1.png"], "0.png": ["0.png"], "5.png": ["5.png"]}
    store = LabelStore(path, lambda name: files.get(name, []))
    other = tmp_path / "other.csv"
    other.write_text("id,label,duplicate_of\n0,cat,\n1,dog,0.png\n")
    assert LabelStore(other, lambda name: files.get(name, [])).labels() == {"0.png": "cat", "1.png": "dog"}
    assert store.labels() == {"5.png": "cat"}
    store.put({"0.png": "dog"})
    assert path.read_text() == "id,picture_file,label\n0,5.png,cat\n1,0.png,dog\n"
