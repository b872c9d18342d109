"""The VAE as an encoder: bitwise identical for a seed, interrupted or not; and its reconstructions."""

from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from gpu_ssl.config import LearningConfig, ModelConfig, TrainConfig
from gpu_ssl.data.image_set import Dataset
from gpu_ssl.encoders import vae
from gpu_ssl.encoders.encoder import encode
from gpu_ssl.encoders.fitting import Training, TrainingImages
from gpu_ssl.encoders.vae import VAEEncoder
from gpu_ssl.errors import DataError, StorageError
from gpu_ssl.runtime.progress import SILENT, Progress, Silent
from gpu_ssl.runtime.threads import limited_threads
from tests.encoders import CPU

CONFIG = LearningConfig(model=ModelConfig(latent_dim=8), train=TrainConfig(epochs=3, precision="float32"))


def images_of(digits: Dataset, sha256: str = "digits") -> TrainingImages:
    return TrainingImages(digits.train.images[:500], CPU, True, sha256)


def fit(
    digits: Dataset, folder: Path, config: LearningConfig = CONFIG, progress: Progress = SILENT
) -> VAEEncoder:
    training = Training(config, folder / "checkpoint.json", progress)
    return vae.fit(images_of(digits), training)


def weights(encoder: VAEEncoder) -> Tensor:
    return torch.cat([value.flatten().float() for value in encoder.state_dict().values()])


@pytest.fixture(scope="module")
def encoder(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> VAEEncoder:
    return fit(digits, tmp_path_factory.mktemp("vae"))


def test_the_same_seed_gives_the_same_bits_and_another_others(
    digits: Dataset, encoder: VAEEncoder, tmp_path: Path
) -> None:
    assert torch.equal(weights(fit(digits, tmp_path / "same")), weights(encoder))
    other = CONFIG.model_copy(update={"seed": 1})
    assert not torch.equal(weights(fit(digits, tmp_path / "other", other)), weights(encoder))


class SeesThreads(Silent):
    def __init__(self) -> None:
        self.seen: set[int] = set()

    @contextmanager
    def task(self, description: str, total: int, done: int = 0):  # type: ignore[no-untyped-def]
        yield lambda note, steps=1: self.seen.add(torch.get_num_threads())


def test_tiny_images_take_one_thread_and_others_all(digits: Dataset, tmp_path: Path) -> None:
    """Two threads of small steps wait for each other, seven times as long in all if the cores are busy."""
    larger = np.zeros((200, 1, 12, 12), np.uint8)
    larger[:, :, 2:10, 2:10] = 15 * digits.train.images[:200].clip(0, 16)
    for name, images, threads in (("tiny", digits.train.images[:200], 1), ("larger", larger, 2)):
        progress = SeesThreads()
        training = Training(CONFIG, tmp_path / name / "checkpoint.json", progress)
        with limited_threads(2):
            vae.fit(TrainingImages(images, CPU, True, name), training)
            assert torch.get_num_threads() == 2
        assert progress.seen == {threads}


class StopsInTheSecondEpoch(Silent):
    @contextmanager
    def task(self, description: str, total: int, done: int = 0):  # type: ignore[no-untyped-def]
        told = [float(done)]

        def advance(note: str, steps: float = 1) -> None:
            told.append(steps)
            if sum(told) > 1.5:
                raise KeyboardInterrupt

        yield advance


def test_a_stopped_training_goes_on_to_the_same_bits(
    digits: Dataset, encoder: VAEEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpu_ssl.training.vae.SAVE_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        fit(digits, tmp_path, progress=StopsInTheSecondEpoch())
    assert (tmp_path / "checkpoint.json").is_file()
    resumed = fit(digits, tmp_path)
    assert torch.equal(weights(resumed), weights(encoder))
    assert resumed.training_record is not None
    assert [epoch.epoch for epoch in resumed.training_record.history] == [1, 2, 3]


def test_a_finished_training_is_not_done_again(
    digits: Dataset, encoder: VAEEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit(digits, tmp_path)

    def refuse(*_: object) -> None:
        raise AssertionError("a finished training took a step")

    monkeypatch.setattr(vae.Trainer, "step", refuse)
    assert torch.equal(weights(fit(digits, tmp_path)), weights(encoder))


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        ({"seed": 1}, "seed"),
        ({"train": TrainConfig(epochs=1, precision="float32", weight_decay=0.1)}, "plan"),
        ({"model": ModelConfig(latent_dim=9)}, "model"),
    ],
)
def test_a_checkpoint_of_another_training_is_refused(
    digits: Dataset, tmp_path: Path, change: dict[str, object], differs: str
) -> None:
    """The message says what differs, so that the user can tell which one is meant."""
    short = CONFIG.model_copy(update={"train": TrainConfig(epochs=1, precision="float32")})
    fit(digits, tmp_path, short)
    with pytest.raises(StorageError, match=f"another training: {differs}"):
        fit(digits, tmp_path, short.model_copy(update=change))
    with pytest.raises(StorageError, match="another training: dataset differ"):
        vae.fit(images_of(digits, "other images"), Training(short, tmp_path / "checkpoint.json"))


def test_a_rank_with_other_images_is_told(digits: Dataset, tmp_path: Path) -> None:
    """Each machine loads its data: a training on different images would be a silent mix."""

    class SecondOfTwo:
        size, number, leads = 2, 1, False

        def share(self, mine: object) -> object:
            plan, _ = mine  # type: ignore[misc]
            return plan, (60_000, (1, 28, 28), "theirs")

    training = Training(CONFIG, tmp_path / "checkpoint.json", SILENT, SecondOfTwo())  # type: ignore[arg-type]
    with pytest.raises(
        DataError, match=r"rank 1 has different images \(500 of shape .* from rank 0 \(60,000"
    ):
        vae.fit(images_of(digits), training)


def test_features_are_posterior_means(digits: Dataset, encoder: VAEEncoder) -> None:
    images = torch.from_numpy(digits.test.images)
    with torch.no_grad():
        expected = encoder.vae.eval().encode(images.float() / 255).mean
    torch.testing.assert_close(encode(encoder, images), expected, rtol=1e-4, atol=1e-5)


def test_the_head_computes_in_float32_whatever_the_precision(digits: Dataset, encoder: VAEEncoder) -> None:
    """bfloat16 would round the latents to 8 bits, and neighbours to the same place."""
    images = torch.from_numpy(digits.test.images)
    exact = encode(encoder, images)
    encoder.precision = torch.bfloat16
    try:
        rough = encode(encoder, images)
    finally:
        encoder.precision = torch.float32
    assert rough.dtype == torch.float32
    assert not torch.equal(rough, rough.bfloat16().float())
    assert torch.nn.functional.cosine_similarity(rough, exact).min() > 0.98


def test_a_reconstruction_error_is_the_squared_distance_from_the_target(
    digits: Dataset, encoder: VAEEncoder
) -> None:
    images = torch.from_numpy(digits.test.images)
    features = encode(encoder, images)
    with torch.no_grad():
        errors = encoder.reconstruction_errors(images, features)
        drawn, targets = encoder.decode(features), encoder.targets(images)
        noise = torch.randint_like(images, 256)
        of_noise = encoder.reconstruction_errors(noise, encode(encoder, noise))
    np.testing.assert_allclose(errors, ((drawn - targets) ** 2).flatten(1).sum(1), rtol=1e-4)
    # It reconstructs images like its training images better than others.
    assert errors.mean() < 0.7 * of_noise.mean()


def test_targets_are_canonical_pictures_only_where_it_learned_them(
    digits: Dataset, encoder: VAEEncoder
) -> None:
    images = torch.from_numpy(digits.test.images)
    plain = VAEEncoder(encoder.vae, augmented=False)
    assert encoder.augmented
    assert torch.equal(plain.targets(images), images.float() / 255)
    assert not torch.equal(encoder.targets(images), plain.targets(images))
    assert len(encoder.exhibits(images)[0].rows) == 3
    assert len(plain.exhibits(images)[0].rows) == 2


def test_exhibits_are_rows_of_pictures(digits: Dataset, encoder: VAEEncoder) -> None:
    images = torch.from_numpy(digits.test.images)
    for exhibit in encoder.exhibits(images):
        assert all(row.shape == (10, 1, 8, 8) and row.dtype == np.float32 for row in exhibit.rows)
        assert min(row.min() for row in exhibit.rows) >= 0
        assert max(row.max() for row in exhibit.rows) <= 1
    reconstructions = encoder.exhibits(images)[0].rows
    np.testing.assert_array_equal(reconstructions[0], digits.test.images[:10] / np.float32(255))
    assert (
        encoder.exhibits(images)[0].title == "test images, their reconstruction targets and reconstructions"
    )


def test_a_warm_up_changes_nothing(digits: Dataset, encoder: VAEEncoder, tmp_path: Path) -> None:
    """It has its own network and generators."""
    state = torch.get_rng_state()
    vae.warm_up(CONFIG, images_of(digits))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(weights(fit(digits, tmp_path)), weights(encoder))


def test_how_it_was_trained_is_recorded(encoder: VAEEncoder) -> None:
    record = encoder.training_record
    assert record is not None
    assert (record.epochs, record.steps, record.augment, record.mirror) == (3, 60, True, True)
    assert record.parameters == sum(p.numel() for p in encoder.vae.parameters())
    assert encoder.settings() == {"model": CONFIG.model.model_dump(), "augmented": True}
