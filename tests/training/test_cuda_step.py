"""The training step as it runs on CUDA: devices, dtypes, layouts, and no wait for the device."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import unset_fake_temporarily

from gpu_ssl.config import ModelConfig
from gpu_ssl.encoders.vae import VAEEncoder
from gpu_ssl.networks.classifier import ClassifierNetwork
from gpu_ssl.networks.m2 import M2, M2Spec
from gpu_ssl.networks.m2_bounds import Estimate
from gpu_ssl.networks.vae import VAE, Posterior
from gpu_ssl.runtime import device as device_module
from gpu_ssl.training import vae as vae_module
from gpu_ssl.training.batches import Batch, Resident
from gpu_ssl.training.consistency import ConsistencyObjective, PseudoLabels, SupervisedObjective
from gpu_ssl.training.joint import JointObjective, JointPlan, JointTrainer
from gpu_ssl.training.m2_objectives import ImageSource, LatentSource, ModernObjective
from gpu_ssl.training.m2_published import BinarizedImages, PosteriorSamples, PublishedObjective
from gpu_ssl.training.optimizers import build
from gpu_ssl.training.plan import Plan
from gpu_ssl.training.vae import Trainer, build_vae
from tests.training import fake_cuda

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
SHAPE = (1, 28, 28)
PLAN = Plan(
    epochs=2,
    batch_size=32,
    steps_per_epoch=2,
    learning_rate=2e-3,
    weight_decay=0.01,
    augment=True,
    mirror=True,
    precision=torch.bfloat16,
)


@pytest.fixture(autouse=True)
def on_fake_cuda() -> Iterator[None]:
    with (
        patch.object(torch.autograd, "backward", fake_cuda.backward),
        patch.object(device_module, "free_bytes", lambda device: 2**34),
        fake_cuda.fake_cuda(),
    ):
        yield


def make_trainer(network: str, image_shape: tuple[int, int, int] = SHAPE) -> Trainer:
    with unset_fake_temporarily():
        vae = build_vae(ModelConfig(network=network), image_shape, CPU, 0)
    vae.to(CUDA)
    images = torch.zeros(64, *image_shape, dtype=torch.uint8, device=CUDA)
    # A generator of a GPU cannot be made without one; drawing without it is the same to a fake tensor.
    with patch.object(torch, "Generator"):
        trainer = Trainer(vae, Resident(images), replace(PLAN, muon=network == "conv"), seed=0)
    trainer.replay.records = False  # Only a GPU records; what it would record is what runs here.
    return trainer


def some_images(n: int, image_shape: tuple[int, int, int] = SHAPE) -> Batch:
    images = torch.zeros(n, *image_shape, dtype=torch.uint8, device=CUDA)
    return Batch(images, images, None, n)  # type: ignore[arg-type]


@pytest.mark.parametrize("network", ["conv", "mlp"])
@pytest.mark.parametrize("image_shape", [SHAPE, (3, 32, 32)])
def test_forward_backward_and_optimizer_run_on_cuda_without_a_wait(
    network: str, image_shape: tuple[int, int, int]
) -> None:
    trainer = make_trainer(network, image_shape)
    for batch in trainer.batches(None):  # type: ignore[arg-type]
        losses = trainer.step(batch)
    assert all(loss.device == CUDA and loss.dtype == torch.float32 for loss in losses)
    for name, parameter in trainer.vae.named_parameters():
        # A state tells that the parameter had a gradient; Muon uses those of matrices up.
        state = trainer.optimizer.state[parameter].values()
        assert {value.device for value in state} == {CUDA}, name
        assert {parameter.dtype, *(value.dtype for value in state)} == {torch.float32}, name


def test_convolutions_run_in_bfloat16_with_channels_last_weights() -> None:
    trainer = make_trainer("conv")
    seen = []
    convolution = F.conv2d

    def spy(images: Tensor, weight: Tensor, *args: object, **kwargs: object) -> Tensor:
        result: Tensor = convolution(images, weight, *args, **kwargs)  # type: ignore[arg-type]
        seen.append((result.dtype, images, weight))
        return result

    with patch.object(F, "conv2d", spy), patch.object(torch.nn.functional, "conv2d", spy):
        trainer.step(some_images(32))
    assert len(seen) >= 4
    assert {dtype for dtype, *_ in seen} == {torch.bfloat16}
    # What comes out of a convolution has the layout that cuDNN chooses by these; fake tensors cannot tell.
    layout = torch.channels_last
    assert all(weight.is_contiguous(memory_format=layout) for _, _, weight in seen)
    assert seen[0][1].is_contiguous(memory_format=layout)


JOINT_PLAN = JointPlan(
    steps=3,
    labelled_batch=8,
    unlabelled_batch=16,
    learning_rate=2e-3,
    weight_decay=0.02,
    precision=torch.bfloat16,
    muon=True,
)


def make_joint_trainer(
    network: Callable[[], nn.Module],
    objective: Callable[[], JointObjective],
    image_shape: tuple[int, int, int] = SHAPE,
) -> JointTrainer[Any]:
    with unset_fake_temporarily():
        built = build(network, CPU, 0)
    built.to(CUDA)
    images = torch.zeros(64, *image_shape, dtype=torch.uint8, device=CUDA)
    rows = np.arange(20)
    trainer = JointTrainer(built, objective(), images, rows, rows % 10, JOINT_PLAN, 0)
    trainer.replay.records = False
    return trainer


def pseudo_labels() -> PseudoLabels:
    return PseudoLabels(torch.full((64, 10), 0.1, device=CUDA), 0.5)


OBJECTIVES: dict[str, Callable[[], JointObjective]] = {
    "consistency": lambda: ConsistencyObjective(pseudo_labels(), True, None),  # type: ignore[arg-type]
    "cnn": lambda: SupervisedObjective(True, None),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
@pytest.mark.parametrize("image_shape", [SHAPE, (3, 32, 32)])
def test_a_step_on_labelled_and_unlabelled_images_waits_for_nothing(
    objective: Callable[[], JointObjective], image_shape: tuple[int, int, int]
) -> None:
    trainer = make_joint_trainer(lambda: ClassifierNetwork(image_shape, 10), objective, image_shape)
    for number in range(2):
        loss = trainer.step(number)
    assert (loss.device, loss.dtype) == (CUDA, torch.float32)
    for name, parameter in trainer.network.named_parameters():
        # A state tells that there was a gradient; Muon uses those of matrices up.
        assert trainer.optimizer.state[parameter], name
    assert {value.device for value in trainer.average.state_dict().values()} == {CUDA}


M2_CASES: dict[str, tuple[Callable[[], M2], Callable[[], Any]]] = {
    "m2": (
        lambda: M2(M2Spec(SHAPE, 10, 5, "bernoulli", True)),
        lambda: ModernObjective(image_source(), pseudo_labels(), 784, None),  # type: ignore[arg-type]
    ),
    "m2, paper": (
        lambda: M2(M2Spec(SHAPE, 10, 5, "bernoulli", False, 50)),
        lambda: PublishedObjective(BinarizedImages(None), 6, 60, None, Estimate(2, 1.0)),  # type: ignore[arg-type]
    ),
    "m1m2": (
        lambda: M2(M2Spec((64,), 10, 5, "gaussian", False, 50)),
        lambda: ModernObjective(latent_source(), pseudo_labels(), 64, None),  # type: ignore[arg-type]
    ),
    "m1m2, paper": (
        lambda: M2(M2Spec((64,), 10, 5, "gaussian", False, 50, positions=(0, 5, 63))),
        lambda: PublishedObjective(
            *(posterior_samples(), 6, 60, None, Estimate(1, 0.25)),  # type: ignore[arg-type]
            start=torch.full((64, 10), 0.1, device=CUDA),
        ),
    ),
}


def image_source() -> ImageSource:
    return ImageSource(torch.zeros(64, *SHAPE, dtype=torch.uint8, device=CUDA), True, None)  # type: ignore[arg-type]


def latent_source() -> LatentSource:
    with unset_fake_temporarily():
        vae = build_vae(ModelConfig(), SHAPE, CPU, 0)
    return LatentSource(vae.to(CUDA), torch.zeros(64, 64, device=CUDA), True, None)  # type: ignore[arg-type]


def posterior_samples() -> PosteriorSamples:
    zeros = torch.zeros(64, 64, device=CUDA)
    return PosteriorSamples(Posterior(zeros, zeros), None)  # type: ignore[arg-type]


@pytest.mark.parametrize(("network", "objective"), M2_CASES.values(), ids=M2_CASES)
def test_a_step_of_m2_waits_for_nothing(
    network: Callable[[], nn.Module], objective: Callable[[], JointObjective[Any]]
) -> None:
    trainer = make_joint_trainer(network, objective)
    for number in range(2):
        loss = trainer.step(number)
    assert (loss.device, loss.dtype) == (CUDA, torch.float32)
    for name, parameter in trainer.network.named_parameters():
        # A state tells that there was a gradient; Muon uses those of matrices up.
        assert trainer.optimizer.state[parameter], name


def test_a_planted_wait_in_an_objective_is_found() -> None:
    honest = OBJECTIVES["consistency"]()

    def waits(*args: Any) -> Tensor:
        loss = honest(*args)
        float(loss.detach())
        return loss

    waits.generator = honest.generator  # type: ignore[attr-defined]
    trainer = make_joint_trainer(lambda: ClassifierNetwork(SHAPE, 10), lambda: waits)
    with pytest.raises(RuntimeError):
        trainer.step(0)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_in_float32_no_convolution_rounds_to_tf32(precision: torch.dtype) -> None:
    """Looked at from inside the trunk and the decoder: torch lets cuDNN do so unless told not to."""
    with unset_fake_temporarily():
        vae = build_vae(ModelConfig(network="conv"), SHAPE, CPU, 0)
    encoder = VAEEncoder(vae.to(CUDA), augmented=True)
    encoder.precision = precision
    seen: list[str] = []

    def note(*_: object) -> None:
        seen.append(torch.backends.cudnn.conv.fp32_precision)

    encoder.vae.trunk.register_forward_hook(note)
    encoder.vae.decoder.register_forward_hook(note)
    images = torch.zeros(4, *SHAPE, dtype=torch.uint8, device=CUDA)
    features = encoder(images)
    encoder.decode(features)
    assert seen == ["ieee" if precision == torch.float32 else "tf32", "ieee"]


PLANTS = {
    "item": lambda losses: losses.kl.item(),
    "float": lambda losses: float(losses.reconstruction.detach()),
    "truth": lambda losses: bool(losses.kl > 0),
    "cpu, then mixed": lambda losses: losses.kl[None].cpu() + losses.reconstruction[None],
    "mask": lambda losses: losses.kl[None][losses.kl[None] > 0],
    "numpy": lambda losses: losses.kl.detach().numpy(),
}


@pytest.mark.parametrize("plant", PLANTS.values(), ids=PLANTS)
def test_a_planted_wait_or_copy_is_found(plant) -> None:  # type: ignore[no-untyped-def]
    trainer = make_trainer("mlp")
    honest = vae_module.training_losses

    def planted(*args: object) -> object:
        losses = honest(*args)  # type: ignore[arg-type]
        plant(losses)
        return losses

    trainer.step(some_images(32))
    with patch.object(vae_module, "training_losses", planted), pytest.raises((RuntimeError, TypeError)):
        trainer.step(some_images(32))


def test_a_planted_weight_on_the_host_is_found() -> None:
    trainer = make_trainer("conv")
    weight = trainer.vae.head.weight
    trainer.vae.head.weight = torch.nn.Parameter(torch.zeros(weight.shape, device=CPU))
    with pytest.raises(RuntimeError, match="device"):
        trainer.step(some_images(32))


def test_the_walk_gives_the_gradients_of_the_engine() -> None:
    """On real tensors, so that what the tests above rely on is known to be right."""
    with unset_fake_temporarily():
        vae: VAE = build_vae(ModelConfig(network="conv"), SHAPE, CPU, 0)
        images = torch.rand(8, *SHAPE)
        posterior = vae.encode(images)
        loss = F.binary_cross_entropy_with_logits(vae.decode(posterior.mean), images)
        loss = loss + posterior.log_variance.square().mean()
        expected = torch.autograd.grad(loss, list(vae.parameters()), retain_graph=True)
        fake_cuda.backward(loss)
        for parameter, gradient in zip(vae.parameters(), expected, strict=True):
            assert parameter.grad is not None
            torch.testing.assert_close(parameter.grad, gradient, rtol=1e-5, atol=1e-7)
