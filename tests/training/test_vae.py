"""Training: the same bits from the same seed, interrupted or not; no host work in a step."""

import json
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from gpu_ssl.config import ModelConfig
from gpu_ssl.data.image_set import Dataset
from gpu_ssl.encoders.encoder import encode
from gpu_ssl.encoders.vae import VAEEncoder
from gpu_ssl.errors import StorageError, TrainingError
from gpu_ssl.runtime import state
from gpu_ssl.runtime.progress import Silent
from gpu_ssl.runtime.randomness import Share
from gpu_ssl.runtime.ranks import ALONE
from gpu_ssl.training import checkpoint, vae
from gpu_ssl.training.augmentation import canonical, canonical_bytes, random_view
from gpu_ssl.training.batches import Batch, Resident
from gpu_ssl.training.loss_sums import LossSums
from gpu_ssl.training.optimizers import make_optimizer
from gpu_ssl.training.plan import Plan
from gpu_ssl.training.replay import Replay
from gpu_ssl.training.vae import Trainer, VAEObjective, build_vae, fit_vae

CPU = torch.device("cpu")
ORIGIN = {"test": "yes"}
PLAN = Plan(
    epochs=4,
    batch_size=100,
    steps_per_epoch=5,
    learning_rate=2e-3,
    weight_decay=0.01,
    augment=True,
    mirror=True,
    precision=torch.float32,
    muon=True,
)


def make_trainer(digits: Dataset, plan: Plan = PLAN, seed: int = 0, network: str = "conv") -> Trainer:
    images = torch.from_numpy(digits.train.images[:500].copy())
    vae = build_vae(ModelConfig(network=network, latent_dim=8), digits.train.image_shape, CPU, seed)
    return Trainer(vae, Resident(images), plan, seed)


def weights(trainer: Trainer) -> torch.Tensor:
    return torch.cat([value.flatten().float() for value in trainer.vae.state_dict().values()])


def train(trainer: Trainer, epochs: int = PLAN.epochs) -> torch.Tensor:
    for _ in range(epochs):
        trainer.epoch()
    return weights(trainer)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_the_same_seed_gives_the_same_bits_and_another_others(
    digits: Dataset, precision: torch.dtype
) -> None:
    plan = replace(PLAN, precision=precision)
    first = train(make_trainer(digits, plan))
    assert torch.equal(first, train(make_trainer(digits, plan)))
    assert not torch.equal(first, train(make_trainer(digits, plan, seed=1)))


@pytest.mark.parametrize("epochs_before", [1, 3])
def test_going_on_from_a_checkpoint_gives_the_bits_of_an_uninterrupted_run(
    digits: Dataset, tmp_path: Path, epochs_before: int
) -> None:
    whole = make_trainer(digits)
    expected = train(whole)
    interrupted = make_trainer(digits)
    train(interrupted, epochs_before)
    checkpoint.save(interrupted, tmp_path / "c.json", ORIGIN)
    train(interrupted, 1)  # what came after the checkpoint is lost
    resumed = make_trainer(digits, seed=0)
    checkpoint.restore(resumed, tmp_path / "c.json", ORIGIN)
    assert len(resumed.history) == epochs_before
    assert torch.equal(train(resumed, PLAN.epochs - epochs_before), expected)
    assert [(h.epoch, h.reconstruction, h.kl) for h in resumed.history] == [
        (h.epoch, h.reconstruction, h.kl) for h in whole.history
    ]


def test_a_checkpoint_of_another_training_is_refused(digits: Dataset, tmp_path: Path) -> None:
    checkpoint.save(make_trainer(digits), tmp_path / "c.json", ORIGIN)
    with pytest.raises(StorageError, match="belongs to another training"):
        checkpoint.restore(make_trainer(digits), tmp_path / "c.json", {"test": "no"})


@pytest.mark.parametrize(
    "change",
    [
        {"schedule": {}},
        {"groups": []},
        {"threads": None},
        {"history": []},
        {"schedule": {"last_epoch": 3}},
        {"surprise": 1},
    ],
)
def test_a_checkpoint_that_was_changed_is_refused(
    digits: Dataset, tmp_path: Path, change: dict[str, Any]
) -> None:
    """Signed again or not: a schedule that is missing would silently be another training."""
    path = tmp_path / "c.json"
    trainer = make_trainer(digits)
    train(trainer, 1)
    checkpoint.save(trainer, path, ORIGIN)
    told = {**json.loads(path.read_text()), **change}
    for signature in (told.pop("sha256"), state.digest_of(told)):
        path.write_text(json.dumps({**told, "sha256": signature}))
        with pytest.raises(StorageError, match=r"c\.json .*; delete it, and the training restarts"):
            checkpoint.restore(make_trainer(digits), path, ORIGIN)


def test_going_on_with_another_number_of_threads_is_told(
    digits: Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint.save(make_trainer(digits), tmp_path / "c.json", ORIGIN)
    checkpoint.restore(make_trainer(digits), tmp_path / "c.json", ORIGIN)
    assert caplog.messages == []
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        checkpoint.restore(make_trainer(digits), tmp_path / "c.json", ORIGIN)
    finally:
        torch.set_num_threads(threads)
    assert f"written with {threads} threads and is resumed with {threads + 1}" in caplog.text


@pytest.mark.parametrize(("seconds", "expected"), [(0.0, [1, 2, 3, 4]), (1.5, [2, 4]), (9.0, [4])])
def test_checkpoints_are_written_between_epochs_some_time_apart_and_at_the_end(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch, seconds: float, expected: list[int]
) -> None:
    trainer = make_trainer(digits)
    monkeypatch.setattr(vae, "SAVE_SECONDS", seconds)
    clock = SimpleNamespace(monotonic=lambda: len(trainer.history), perf_counter=time.perf_counter)
    monkeypatch.setattr(vae, "time", clock)  # a second for each epoch
    seen: list[int] = []
    record = fit_vae(trainer, Silent(), lambda: seen.append(len(trainer.history)))
    assert seen == expected
    assert record.steps == 20
    assert [h.epoch for h in record.history] == [1, 2, 3, 4]


@pytest.mark.parametrize("steps", range(1, 12))
def test_the_shortest_trainings_have_a_schedule(digits: Dataset, steps: int) -> None:
    plan = replace(PLAN, epochs=1, steps_per_epoch=steps, batch_size=500 // steps)
    trainer = make_trainer(digits, plan, network="mlp")
    trainer.epoch()
    assert len(trainer.history) == 1
    assert trainer.optimizer.param_groups[0]["lr"] < plan.learning_rate


def test_the_kl_divergence_comes_in_by_degrees_and_goes_on_from_a_checkpoint(
    digits: Dataset, tmp_path: Path
) -> None:
    plan = replace(PLAN, kl_warm_up=0.5)
    trainer = make_trainer(digits, plan, network="mlp")
    assert trainer.kl_weight == 0
    trainer.epoch()
    assert trainer.kl_weight == pytest.approx(0.5)  # after 5 of the first 10 steps; of the paper's weight, 1
    checkpoint.save(trainer, tmp_path / "c.json", ORIGIN)
    resumed = make_trainer(digits, plan, network="mlp")
    checkpoint.restore(resumed, tmp_path / "c.json", ORIGIN)
    assert resumed.kl_weight == trainer.kl_weight
    trainer.epoch()
    assert trainer.kl_weight == 1
    trainer.epoch()
    assert trainer.kl_weight == 1


def test_without_a_warm_up_the_kl_divergence_counts_from_the_first_step(digits: Dataset) -> None:
    assert make_trainer(digits).kl_weight == ModelConfig().kl_weight


def test_training_lowers_the_loss(digits: Dataset) -> None:
    trainer = make_trainer(digits, replace(PLAN, epochs=15, learning_rate=1e-2))
    train(trainer, 15)
    first, last = trainer.history[0], trainer.history[-1]
    assert last.reconstruction < 0.8 * first.reconstruction


def test_the_curve_of_an_epoch_has_its_losses_part_by_part(digits: Dataset) -> None:
    """Each part counts by its steps; all together are the losses of the epoch."""
    sums = LossSums(torch.device("cpu"))
    for step in range(5):
        sums.add((torch.tensor(10.0 * step), torch.tensor(1.0)), ends_part=step in (1, 4))
    assert sums.curve(sums.parts, 0.5) == (5.5, 30.5)
    trainer = make_trainer(digits)
    train(trainer, 1)
    (losses,) = trainer.history
    steps = trainer.plan.steps_per_epoch
    assert 1 <= len(losses.curve) <= min(20, steps)
    if len(losses.curve) == steps:  # equally long parts
        whole = losses.reconstruction + trainer.vae.config.kl_weight * losses.kl
        assert sum(losses.curve) / steps == pytest.approx(whole, abs=0.01)


def test_a_loss_that_is_not_a_number_says_what_to_change(digits: Dataset) -> None:
    trainer = make_trainer(digits)
    with torch.no_grad():
        trainer.vae.head.bias.fill_(float("nan"))
    with pytest.raises(TrainingError, match="`learning_rate`"):
        trainer.epoch()
    assert trainer.history == []


@pytest.mark.parametrize("network", ["conv", "mlp"])
def test_a_step_and_encoding_never_wait_for_the_device(network: str) -> None:
    """Tensors on torch's meta device have no values: whatever asks for one raises."""
    meta = torch.device("meta")
    images = torch.zeros(64, 3, 32, 32, dtype=torch.uint8, device=meta)
    vae = build_vae(ModelConfig(network=network), (3, 32, 32), CPU, 0).to(meta)
    trainer = Trainer.__new__(Trainer)
    trainer.replay = Replay(False, None)  # type: ignore[arg-type]
    trainer.vae, trainer.plan, trainer.ranks, trainer.device = vae, PLAN, ALONE, meta
    trainer.objective = VAEObjective(vae)
    # The fused optimizer refuses the meta device; the plain one runs the same step without it.
    trainer.optimizer = make_optimizer(vae, 1e-2, 0.0, muon=network == "conv")
    for group in trainer.optimizer.param_groups:
        group["fused"] = False
    trainer.schedule = torch.optim.lr_scheduler.OneCycleLR(trainer.optimizer, 0.1, total_steps=9)
    vae.train()
    parts = trainer.step(Batch(images, images, None, 64))  # type: ignore[arg-type]
    assert parts.kl.device.type == parts.reconstruction.device.type == "meta"
    assert encode(VAEEncoder(vae, augmented=True), images).shape == (64, vae.config.latent_dim)
    with pytest.raises((NotImplementedError, RuntimeError)):
        float(parts.kl)


def test_with_augmentation_the_network_sees_a_view_and_draws_the_canonical_picture(digits: Dataset) -> None:
    trainer = make_trainer(digits)
    batch = next(trainer.batches(trainer.generator))
    state = trainer.generator.get_state()
    inputs, targets = trainer.views(batch.images, batch.targets, batch.randomness)
    trainer.generator.set_state(state)
    assert torch.equal(inputs, random_view(batch.images / 255, True, trainer.generator))
    assert not torch.equal(inputs, batch.images / 255)
    torch.testing.assert_close(targets, canonical(batch.images), rtol=0, atol=0.501 / 255)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 13, 40), (1, 8, 8)])
@pytest.mark.parametrize("network", ["conv", "mlp"])
def test_a_rank_without_an_image_of_a_batch_has_losses_and_gradients_of_zero(
    network: str, shape: tuple[int, int, int]
) -> None:
    """Its gradients are part of the mean, so there must be one of each weight."""
    vae = build_vae(ModelConfig(network=network), shape, CPU, 0)
    for module in vae.modules():
        if "BatchNorm" in type(module).__name__:
            module.eval()  # that of several processes has its own test
    nothing = torch.zeros(0, *shape, dtype=torch.uint8)
    share = Share(torch.Generator().manual_seed(0), 4, torch.zeros(0, dtype=torch.int64))
    images = random_view(nothing.float(), True, share)
    losses = VAEObjective(vae)(images, nothing.float(), share, 4)
    (losses.reconstruction + losses.kl).backward()
    assert (losses.reconstruction.item(), losses.kl.item()) == (0, 0)
    for name, parameter in vae.named_parameters():
        assert parameter.grad is not None, name
        assert not parameter.grad.any(), name
    assert canonical_bytes(nothing).shape == nothing.shape


def test_the_kl_weight_weighs(digits: Dataset) -> None:
    kl = []
    for weight in (0.0, 5.0):
        trainer = make_trainer(digits, replace(PLAN, epochs=3))
        trainer.vae.config = trainer.vae.config.model_copy(update={"kl_weight": weight})
        train(trainer, 3)
        kl.append(trainer.history[-1].kl)
    assert kl[1] < 0.5 * kl[0]


def test_bfloat16_is_used_where_the_plan_says_so(digits: Dataset) -> None:
    assert not torch.equal(
        train(make_trainer(digits), 1),
        train(make_trainer(digits, replace(PLAN, precision=torch.bfloat16)), 1),
    )


def test_weight_decay_pulls_on_matrices_alone(digits: Dataset) -> None:
    trainer = make_trainer(digits)
    *matrices, vectors = trainer.optimizer.param_groups
    assert {group["weight_decay"] for group in matrices} == {PLAN.weight_decay}
    assert vectors["weight_decay"] == 0
    assert {p.ndim for p in vectors["params"]} == {1}
    held = [p for group in trainer.optimizer.param_groups for p in group["params"]]
    assert len(held) == len(list(trainer.vae.parameters()))


def test_without_augmentation_the_network_sees_and_draws_the_image(digits: Dataset) -> None:
    trainer = make_trainer(digits, replace(PLAN, augment=False, mirror=False))
    batch = next(trainer.batches(trainer.generator))
    inputs, targets = trainer.views(batch.images, batch.targets, batch.randomness)
    assert torch.equal(inputs, batch.images / 255)
    assert torch.equal(targets, inputs)


def test_binarized_inputs_are_their_own_targets_and_sampled_anew(digits: Dataset) -> None:
    trainer = make_trainer(digits, replace(PLAN, augment=False, mirror=False, binarize=True))
    batch = next(trainer.batches(trainer.generator))
    inputs, targets = trainer.views(batch.images, batch.targets, batch.randomness)
    assert torch.equal(targets, inputs)
    assert set(inputs.unique().tolist()) == {0.0, 1.0}
    again, _ = trainer.views(batch.images, batch.targets, batch.randomness)
    assert not torch.equal(again, inputs)
