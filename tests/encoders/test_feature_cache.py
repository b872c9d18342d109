"""Features that are kept: found again, never those of something else, and whole, whatever interrupts."""

import copy
import errno
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from gpu_ssl.data.preparation import AS_IS, ImageShape, Preparation
from gpu_ssl.encoders import feature_cache
from gpu_ssl.encoders.encoder import Encoder, encode
from gpu_ssl.encoders.feature_cache import features_of
from gpu_ssl.encoders.fitting import Training, TrainingImages, fit_encoders
from gpu_ssl.encoders.pretrained import Pretrained, build
from gpu_ssl.errors import StorageError, TrainingError, UsageError
from gpu_ssl.runtime.progress import SILENT
from tests.encoders import CONFIG, CPU, photographs
from tests.program import SERVER

SIDE = 32
N = 150
"""Images: two blocks and a part of one."""


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Redirect the cache to the test's folder, and return the folder of features."""
    monkeypatch.setenv("GPU_SSL_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "features"


class Counted(Encoder):
    """Cheap features of images in colour, which count what is asked for."""

    own_shape = True
    weight: Tensor

    def __init__(self, weight: float = 1.0, why: str = "", side: int = SIDE) -> None:
        super().__init__("pretrained:counted", (3, side, side), 5)
        self.register_buffer("weight", torch.full((5,), weight))
        self.seen = 0
        self.most = 10**9
        self.seconds = 0.0
        self._settings = {"backbone": "counted", "why": why}

    def forward(self, images: Tensor) -> Tensor:
        self.seen += len(images)
        if self.seen > self.most:
            raise KeyboardInterrupt
        time.sleep(self.seconds)
        small = images.float().mean(dim=(2, 3))
        return torch.cat([small, small[:, :2] ** 2], dim=1) * self.weight

    def settings(self) -> dict[str, Any]:
        return self._settings


class Drawn:
    """Originals of any size, twice as large as the pixels and otherwise the same."""

    def __init__(self, pixels: NDArray[np.uint8], how: Preparation = AS_IS) -> None:
        self.pixels, self.how = pixels, how
        self.asked: list[tuple[ImageShape, int]] = []

    def blocks(self, shape: ImageShape, start: int) -> Iterator[NDArray[np.uint8]]:
        self.asked.append((shape, start))
        for first in range(start, len(self.pixels), 64):
            yield np.ascontiguousarray(self.pixels[first : first + 64, :, : shape[1], : shape[2]])


def training_images(sha256: str = "a", how: Preparation | None = None, side: int = SIDE) -> TrainingImages:
    pixels = photographs(side)[:N]
    originals = None if how is None else Drawn(photographs(48)[:N], how)
    return TrainingImages(pixels, CPU, False, sha256, originals=originals)


@pytest.fixture(scope="module")
def lite0() -> Pretrained:
    """The real network, with random weights: quick, and no less sensitive to what is in a batch."""
    torch.manual_seed(0)
    encoder = build((3, SIDE, SIDE), {"backbone": f"efficientnet_lite0@{SIDE}", "why": ""})
    return encoder.eval()


def test_features_are_those_of_encode(lite0: Pretrained) -> None:
    images = training_images()
    found = features_of(lite0, images, SILENT)
    expected = encode(lite0, torch.from_numpy(images.pixels))
    assert (found.shape, found.dtype) == ((N, 1280), torch.float32)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    again = features_of(lite0, images, SILENT)
    assert torch.equal(again, found)
    # Without a hash nothing is kept, and the features are the same.
    unknown = features_of(lite0, replace(images, sha256=""), SILENT)
    assert torch.equal(unknown, found)


def test_they_are_of_the_originals_at_the_encoder_s_size() -> None:
    images = training_images(how=AS_IS, side=8)
    encoder = Counted()
    found = features_of(encoder, images, SILENT)
    assert isinstance(images.originals, Drawn)
    assert images.originals.asked == [((3, SIDE, SIDE), 0)]
    cut = torch.from_numpy(photographs(48)[:N, :, :SIDE, :SIDE].copy())
    assert torch.equal(found, encode(encoder, cut))


def test_a_second_call_computes_nothing(kept: Path) -> None:
    encoder = Counted()
    first = features_of(encoder, training_images(), SILENT)
    assert encoder.seen == N
    (path,) = kept.glob("*.f32")
    assert path.stat().st_size == 4 * 5 * N
    for other in (encoder, copy.deepcopy(encoder), Counted(why="found otherwise")):
        other.seen = 0
        images = training_images(how=None)
        assert torch.equal(features_of(other, images, SILENT), first)
        assert other.seen == 0
    assert set(kept.iterdir()) == {path, path.with_suffix(".sums")}


def test_nothing_that_changes_them_is_left_out_of_the_name(kept: Path) -> None:
    """Other pixels, weights, size, preparation, precision: each has its own file."""
    precise, other_name = Counted(), Counted()
    precise.precision = torch.bfloat16
    other_name._settings["backbone"] = "other"
    asked: list[tuple[Encoder, TrainingImages]] = [
        (Counted(), training_images()),
        (Counted(), training_images("b")),
        (Counted(2.0), training_images()),
        (Counted(side=16), training_images()),
        (Counted(), training_images(how=AS_IS)),
        (Counted(), training_images(how=Preparation(ground=255))),
        (Counted(), training_images(how=Preparation(low=0, high=1000))),
        (precise, training_images()),
        (other_name, training_images()),
    ]
    for number, (encoder, images) in enumerate(asked, start=1):
        features_of(encoder, images, SILENT)
        assert encoder.seen == N, number  # type: ignore[attr-defined]
        assert len(list(kept.glob("*.f32"))) == number
    features_of(asked[0][0], asked[0][1], SILENT)
    assert asked[0][0].seen == N  # type: ignore[attr-defined]


def test_the_same_network_under_another_name_is_found(tmp_path: Path, kept: Path) -> None:
    """``pretrained`` takes one, ``auto`` names the same; and why it is this one depends on the network."""
    images = training_images()
    training = Training(CONFIG, tmp_path / "checkpoint.json")
    encoder = build((3, SIDE, SIDE), {"backbone": f"efficientnet_lite0@{SIDE}", "why": "requested"}).eval()
    encoder.name = f"pretrained:efficientnet_lite0@{SIDE}"
    features_of(encoder, images, SILENT)
    other = build((3, SIDE, SIDE), {"backbone": f"efficientnet_lite0@{SIDE}", "why": "no net: timed out"})
    other.load_state_dict(encoder.state_dict())
    assert other.name == "pretrained"
    fit_encoders(["pretrained"], images, training, [other.eval()])
    assert len(list(kept.glob("*.f32"))) == 1


@pytest.mark.parametrize("cut", [0, 3, 5 * 1280 + 17, 4 * 1280 * 70])
@pytest.mark.parametrize("done", [1, 2])
def test_an_interruption_loses_nothing(
    lite0: Pretrained, cut: int, done: int, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what is resumed is the same bits, also where the file was cut in the middle of a row."""
    images = training_images()
    expected = features_of(lite0, images, SILENT).clone()
    (path,) = kept.glob("*.f32")
    path.unlink()
    honest, calls, most = feature_cache.encode, list[int](), done

    def interrupted(encoder: Encoder, block: Tensor) -> Tensor:
        if len(calls) == most:
            raise KeyboardInterrupt
        calls.append(len(block))
        return honest(encoder, block)

    monkeypatch.setattr(feature_cache, "encode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        features_of(lite0, images, SILENT)
    assert calls == [64, 64][:done]
    (part,) = kept.glob("*.part")
    assert part.stat().st_size == 4 * 1280 * 64 * done
    os.truncate(part, max(0, part.stat().st_size - cut))
    calls.clear()
    most = 3
    resumed = features_of(lite0, images, SILENT)
    assert torch.equal(resumed, expected)
    assert sum(calls) == N - max(0, 64 * 4 * 1280 * done - cut) // (64 * 4 * 1280) * 64
    assert set(kept.iterdir()) == {path, path.with_suffix(".sums")}


def test_what_is_done_is_not_done_again(kept: Path) -> None:
    encoder = Counted()
    encoder.most = 128
    with pytest.raises(KeyboardInterrupt):
        features_of(encoder, training_images(), SILENT)
    encoder.seen, encoder.most = 0, N
    features_of(encoder, training_images(), SILENT)
    assert encoder.seen == N - 128


@pytest.mark.parametrize("unfinished", [False, True])
@pytest.mark.parametrize("name", ["*.f32", "*.sums"])
@pytest.mark.parametrize("place", [0, 0.5, 0.999])
def test_a_bit_that_flips_in_the_cache_is_mended(
    name: str, place: float, unfinished: bool, kept: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    encoder = Counted()
    expected = features_of(encoder, training_images(), SILENT).clone()
    (path,) = kept.glob(name)
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1
    path.write_bytes(content)
    if unfinished:
        (whole,) = kept.glob("*.f32")
        whole.rename(f"{whole}.part")
    encoder.seen = 0
    assert torch.equal(features_of(encoder, training_images(), SILENT), expected)
    assert encoder.seen > 0
    assert ("is damaged: its checksums differ" in caplog.text) == (not unfinished)
    assert encoder.seen == (N - int(place * N) // 64 * 64 if unfinished else N)


@pytest.mark.parametrize("size", [0, 7, 4 * 5 * N - 1, 4 * 5 * N + 4])
@pytest.mark.parametrize("name", ["finished", "part"])
def test_a_file_of_another_length_is_made_anew(name: str, size: int, kept: Path) -> None:
    """A full disk or a copy may have cut it, or somebody have written to it."""
    encoder = Counted()
    expected = features_of(encoder, training_images(), SILENT).clone()
    (path,) = kept.glob("*.f32")
    content = (path.read_bytes() + bytes(4))[:size]
    if name == "part":
        path.rename(path.with_name(f"{path.name}.part"))
        path.with_name(f"{path.name}.part").write_bytes(content)
    else:
        path.write_bytes(content)
    assert torch.equal(features_of(encoder, training_images(), SILENT), expected)
    assert set(kept.iterdir()) == {path, path.with_suffix(".sums")}


def _in_a_process(cache: str, answers: Any, start: Any) -> None:
    os.environ["GPU_SSL_CACHE_DIR"] = cache
    torch.set_num_threads(1)
    encoder = Counted()
    encoder.seconds = 0.1  # so that they meet
    start.wait(60)
    features = features_of(encoder, training_images(), SILENT)
    answers.put((encoder.seen, features.numpy().tobytes()))


def test_two_processes_at_once_make_one_right_file(tmp_path: Path, kept: Path) -> None:
    """One works it out; the other waits, and reads it."""
    answers, start = SERVER.Queue(), SERVER.Event()
    processes = [
        SERVER.Process(target=_in_a_process, args=(str(tmp_path / "cache"), answers, start)) for _ in range(3)
    ]
    for process in processes:
        process.start()
    start.set()
    found = [answers.get(timeout=120) for _ in processes]
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert sorted(seen for seen, _ in found) == [0, 0, N]
    images = training_images()
    expected = encode(Counted(), torch.from_numpy(images.pixels)).contiguous().numpy().tobytes()
    assert {content for _, content in found} == {expected}
    assert len([path for path in kept.iterdir() if path.suffix == ".f32"]) == 1


def test_a_process_that_waited_does_not_overwrite(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other has finished between the first look and the lock."""
    images, encoder, other = training_images(), Counted(), Counted()
    honest = feature_cache.forget_old

    def meanwhile(folder: Path) -> None:
        monkeypatch.setattr(feature_cache, "forget_old", honest)
        features_of(other, images, SILENT)

    monkeypatch.setattr(feature_cache, "forget_old", meanwhile)
    found = features_of(encoder, images, SILENT)
    assert (other.seen, encoder.seen) == (N, 0)
    assert torch.equal(found, encode(Counted(), torch.from_numpy(images.pixels)))
    assert {path.suffix for path in kept.iterdir()} == {".f32", ".sums"}


def test_a_cache_that_cannot_be_written_to_is_told_or_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A requested folder is an error; the user's cache is replaced by a temporary folder."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("GPU_SSL_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(UsageError, match="is not writable"):
        features_of(Counted(), training_images(), SILENT)
    monkeypatch.delenv("GPU_SSL_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    encoder = Counted()
    first = features_of(encoder, training_images(), SILENT).clone()
    assert torch.equal(features_of(encoder, training_images(), SILENT), first)
    assert encoder.seen == N


class FullFile:
    """A file on a disk with room for a few bytes: what is buffered does not get out either."""

    def __init__(self, file: IO[bytes], room: int) -> None:
        self.file, self.room = file, room

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def write(self, content: Any) -> int:
        fits = min(len(memoryview(content).cast("B")), self.room)
        self.file.write(memoryview(content).cast("B")[:fits])
        self.file.flush()
        self.room -= fits
        if self.room == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return fits


def test_a_full_disk_is_told_and_what_fitted_is_kept(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = features_of(Counted(), training_images("other"), SILENT).clone()
    encoder, honest = Counted(), feature_cache._append

    def full(file: IO[bytes], *arguments: Any) -> None:
        honest(FullFile(file, 4 * 5 * 70 + 2), *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(feature_cache, "_append", full)
    with pytest.raises(StorageError) as told:
        features_of(encoder, training_images(), SILENT)
    message = str(told.value)
    assert message.startswith(f"cannot write {kept}")
    assert "No space left on device; free some space" in message
    assert "\n" not in message
    monkeypatch.setattr(feature_cache, "_append", honest)
    encoder.seen = 0
    assert torch.equal(features_of(encoder, training_images(), SILENT), expected)
    assert encoder.seen == N - 64


def test_a_disk_with_no_room_at_all_is_told(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also with the real device for that, whose buffer fails again when the file is closed."""
    kept.mkdir(parents=True)
    monkeypatch.setattr(feature_cache, "_file_name", lambda encoder, images: "x.f32")
    (kept / "x.f32.part").symlink_to("/dev/full")
    with pytest.raises(StorageError, match=r"cannot write .*x[.]f32"):
        features_of(Counted(), training_images(), SILENT)


def test_what_is_given_out_may_be_changed(kept: Path) -> None:
    """Whoever scales features in place must not write to the cache."""
    encoder = Counted()
    features = features_of(encoder, training_images(), SILENT)
    expected = features.clone()
    features.mul_(3)
    features = features_of(encoder, training_images(), SILENT)
    features.zero_()
    assert torch.equal(features_of(encoder, training_images(), SILENT), expected)


@pytest.mark.parametrize("done", [0, 1, 2])
def test_on_a_gpu_what_is_worked_out_stays_there(
    done: int, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what an interrupted fit has left comes from the file; column-major, which cuML takes as it is."""
    expected = features_of(Counted(), training_images("other"), SILENT).clone()
    monkeypatch.setattr(feature_cache, "_maps", lambda device: False)
    encoder = Counted()
    if done:
        encoder.most = done * 64
        with pytest.raises(KeyboardInterrupt):
            features_of(encoder, training_images(), SILENT)
    encoder.seen, encoder.most = 0, N
    with monkeypatch.context() as within:
        within.setattr(feature_cache, "_read", None)  # it would be called in vain
        found = features_of(encoder, training_images(), SILENT)
    assert encoder.seen == N - 64 * done
    assert found.T.is_contiguous()
    assert torch.equal(found, expected)
    again = features_of(encoder, training_images(), SILENT)
    assert encoder.seen == N - 64 * done
    assert again.T.is_contiguous()
    assert torch.equal(again, expected)


@pytest.mark.parametrize("sha256", ["a", ""])
def test_what_is_no_number_is_told_and_not_kept(sha256: str, kept: Path) -> None:
    """Of a network that overflows in half the precision, say."""
    with pytest.raises(TrainingError, match=r"pretrained:counted returned features that are not finite"):
        features_of(Counted(float("inf")), training_images(sha256), SILENT)
    assert not list(kept.glob("*.f32"))


def test_what_is_used_stays_and_what_is_not_is_forgotten(kept: Path) -> None:
    features_of(Counted(), training_images(), SILENT)
    (path,) = kept.glob("*.f32")
    month = 31 * 86_400
    old = path.stat().st_mtime - month
    for each in (path, path.with_suffix(".sums")):
        os.utime(each, (old, old))
    features_of(Counted(), training_images(), SILENT)  # is used
    features_of(Counted(), training_images("b"), SILENT)
    assert path.exists()
    for each in (path, path.with_suffix(".sums")):
        os.utime(each, (old, old))
    features_of(Counted(), training_images("c"), SILENT)
    assert not path.exists()
    assert len(list(kept.glob("*.f32"))) == 2
