"""Batches: every image once an epoch, the same bits whether images stream or stay, and on any shard."""

from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gpu_ssl.config import ModelConfig, TrainConfig
from gpu_ssl.data.image_set import Dataset
from gpu_ssl.runtime.process_group import shard_of
from gpu_ssl.runtime.randomness import Share, normal, uniform
from gpu_ssl.training import batches
from gpu_ssl.training.batches import (
    Batch,
    Images,
    Resident,
    Streamed,
    blocks_of,
    chunk_length,
    chunks_of,
    place,
)
from gpu_ssl.training.plan import plan_vae
from gpu_ssl.training.vae import Trainer, build_vae

CPU = torch.device("cpu")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rows_of(n: int) -> np.ndarray:
    """Images of 1 x 4 bytes that encode their row."""
    return np.arange(n, dtype="<u4").view(np.uint8).reshape(n, 1, 1, 4)


def row_numbers(images: torch.Tensor) -> list[int]:
    found: list[int] = images.contiguous().numpy().view("<u4").ravel().tolist()
    return found


def epoch_of(images: Images, batch_size: int, seed: int = 0) -> list[Batch]:
    return list(images.epochs(batch_size, lambda chunk: 255 - chunk)(seeded(seed)))


@given(n=st.integers(1, 3000), length=st.integers(1, 700), seed=st.integers(0, 9))
def test_chunks_hold_every_row_once_and_all_but_the_last_are_full(n: int, length: int, seed: int) -> None:
    chunks = chunks_of(n, length, seeded(seed), CPU)
    rows = [[row for start, stop in chunk for row in range(start, stop)] for chunk in chunks]
    assert sorted(chain.from_iterable(rows)) == list(range(n))
    assert [len(chunk) for chunk in rows[:-1]] == [length] * (len(rows) - 1)


def test_a_chunk_comes_from_everywhere() -> None:
    """With images sorted by class, a chunk must not have a single class."""
    first = chunks_of(1_000_000, 100_000, seeded(), CPU)[0]
    tenths = np.bincount([start // 100_000 for start, _ in first], minlength=10)
    assert len(first) >= batches.RUNS
    assert tenths.min() >= 5
    assert tenths.max() <= 8


@pytest.mark.parametrize("size", [2, 8, 64])
def test_shards_have_about_equal_shares_of_every_chunk(size: int) -> None:
    """Far from what runs from anywhere would give: of 64 ranks some had nothing of a chunk."""
    n, length = 1_000_000, 90_112
    for chunk in chunks_of(n, length, seeded(), CPU)[:-1]:
        rows = np.concatenate([np.arange(*run) for run in chunk])
        shares = np.histogram(rows, bins=[shard_of(n, k, size).start for k in range(size)] + [n])[0]
        assert shares.max() - shares.min() <= 0.01 * shares.mean() + 64


def test_chunks_hold_whole_batches() -> None:
    assert chunk_length((1, 28, 28), 256) == 2**27 // (784 * 256) * 256 > 60_000
    assert chunk_length((3, 2000, 2000), 256) == 256


@pytest.mark.parametrize("kind", ["resident", "streamed"])
@pytest.mark.parametrize(("n", "chunk"), [(1000, 2**27), (1000, 1000), (1003, 400)])
def test_an_epoch_has_every_image_at_most_once_in_an_order_of_its_own(
    monkeypatch: pytest.MonkeyPatch, kind: str, n: int, chunk: int
) -> None:
    monkeypatch.setattr(batches, "CHUNK_BYTES", chunk)
    images = Resident(torch.from_numpy(rows_of(n))) if kind == "resident" else Streamed(rows_of(n), CPU)
    epoch = images.epochs(10, lambda chunk: 255 - chunk)
    generator = seeded()
    found = []
    for _ in range(2):
        rows: list[int] = []
        for batch in epoch(generator):
            assert len(batch.images) == batch.total == 10
            assert torch.equal(batch.targets, 255 - batch.images)
            rows += row_numbers(batch.images)
        assert len(rows) == len(set(rows)) == n // 10 * 10
        found.append(rows)
    assert found[0] != found[1]
    assert np.abs(np.diff(found[0])).mean() > n / 10


@given(
    n=st.integers(30, 400), chunk=st.integers(40, 2000), batch_size=st.integers(2, 30), size=st.integers(2, 5)
)
def test_streamed_and_sharded_batches_are_those_of_resident_images(
    n: int, chunk: int, batch_size: int, size: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "CHUNK_BYTES", chunk)
        pixels = rows_of(n)
        whole = epoch_of(Resident(torch.from_numpy(pixels)), batch_size)
        for one, other in zip(whole, epoch_of(Streamed(pixels, CPU), batch_size), strict=True):
            assert torch.equal(one.images, other.images)
            assert torch.equal(one.targets, other.targets)
        owns = [shard_of(n, number, size) for number in range(size)]
        parts: list[Images] = [
            Resident(torch.from_numpy(pixels[own.start : own.stop]), own.start, n)
            if number % 2
            else Streamed(pixels, CPU, own)
            for number, own in enumerate(owns)
        ]
        shards = [epoch_of(part, batch_size) for part in parts]
        for one, *pieces in zip(whole, *shards, strict=True):
            expected = dict(enumerate(row_numbers(one.images)))
            found = {}
            for piece in pieces:
                assert isinstance(piece.randomness, Share)
                assert piece.total == batch_size
                assert torch.equal(piece.targets, 255 - piece.images)
                found |= dict(zip(piece.randomness.places.tolist(), row_numbers(piece.images), strict=True))
            assert found == expected


def test_a_share_of_random_numbers_is_part_of_those_of_the_whole_batch() -> None:
    places = torch.tensor([5, 0, 7])
    for draw in (uniform, normal):
        whole = draw((8, 3), seeded(), CPU)
        assert torch.equal(draw((3, 3), Share(seeded(), 8, places), CPU), whole[places])
    none = Share(seeded(), 8, places[:0])
    assert normal((0, 3), none, CPU).shape == (0, 3)


def trained(images: Images) -> Trainer:
    model = ModelConfig(latent_dim=8)
    plan = plan_vae(TrainConfig(epochs=2, batch_size=64), model, images, mirrored=True)
    trainer = Trainer(build_vae(model, images.shape, CPU, 0), images, plan, 0)
    for _ in range(plan.epochs):
        trainer.epoch()
    return trainer


def test_streaming_trains_to_the_same_bits_as_images_that_stay(
    digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "CHUNK_BYTES", 20_000)
    np.save(tmp_path / "digits.npy", digits.train.images)
    mapped = np.load(tmp_path / "digits.npy", mmap_mode="c")
    resident, streamed = (
        trained(Resident(torch.from_numpy(digits.train.images))),
        trained(Streamed(mapped, CPU)),
    )
    assert [h.reconstruction for h in resident.history] == [h.reconstruction for h in streamed.history]
    for name, value in resident.vae.state_dict().items():
        assert torch.equal(value, streamed.vae.state_dict()[name]), name


@given(n=st.integers(1, 60), size=st.integers(1, 70), seed=st.integers(0, 9))
def test_blocks_are_the_rows_asked_for(n: int, size: int, seed: int) -> None:
    """In their order, and no more than so many at a time: an encoder sees them so."""
    rows = np.random.default_rng(seed).permutation(60)[:n]
    blocks = list(blocks_of(rows_of(60), rows, size, CPU))
    assert row_numbers(torch.cat(blocks)) == rows.tolist()
    assert [len(block) for block in blocks[:-1]] == [size] * (len(blocks) - 1)
    assert 1 <= len(blocks[-1]) <= size


def test_images_of_several_chunks_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(place(rows_of(100), CPU), Resident)
    monkeypatch.setattr(batches, "CHUNK_BYTES", 399)
    assert isinstance(place(rows_of(100), CPU), Streamed)
    assert len(place(rows_of(100), CPU)) == 100
    shard = place(rows_of(100), CPU, range(50, 99))
    assert isinstance(shard, Resident)
    assert len(shard) == 100
    assert row_numbers(shard.pixels) == list(range(50, 99))


def test_colours_last_train_to_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """An array of the user's own keeps its layout in its memory map; what is trained on has one layout."""
    monkeypatch.setattr(batches, "CHUNK_BYTES", 20_000)
    last = np.random.default_rng(0).integers(0, 256, (300, 8, 8, 3), dtype=np.uint8)
    first = np.ascontiguousarray(last.transpose(0, 3, 1, 2))
    one, other = trained(Streamed(first, CPU)), trained(Streamed(last.transpose(0, 3, 1, 2), CPU))
    assert torch.equal(one.vae.head.weight, other.vae.head.weight)


def test_a_reader_that_fails_fails_the_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "CHUNK_BYTES", 400)

    class Lost(np.ndarray):
        def __getitem__(self, rows: object) -> object:
            raise OSError("the disk is gone")

    images = Streamed(rows_of(300).view(Lost), CPU)
    with pytest.raises(OSError, match="the disk is gone"):
        epoch_of(images, 10)
