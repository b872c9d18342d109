"""What only a GPU can show. Elsewhere these are skipped; scripts/check-gpu lets none be."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gpu_ssl import OneVsOneSVC, experiment
from gpu_ssl.catalog import METHODS, MethodSpec
from gpu_ssl.config import DataConfig, ModelConfig, RunConfig, TrainConfig
from gpu_ssl.data.image_set import Dataset
from gpu_ssl.encoders import feature_cache
from gpu_ssl.encoders.encoder import encode
from gpu_ssl.encoders.feature_cache import features_of
from gpu_ssl.encoders.fitting import TrainingImages
from gpu_ssl.encoders.pretrained import build as build_pretrained
from gpu_ssl.encoders.vae import VAEEncoder
from gpu_ssl.graph.backend import graph_backend
from gpu_ssl.graph.propagation import NeighbourGraph
from gpu_ssl.networks.classifier import ClassifierNetwork
from gpu_ssl.networks.m2 import M2, M2Spec
from gpu_ssl.runtime import interop
from gpu_ssl.runtime.device import resolve_device
from gpu_ssl.runtime.progress import SILENT, Silent
from gpu_ssl.svm import smo
from gpu_ssl.svm._batched import BatchedBackend
from gpu_ssl.svm._sklearn import SklearnBackend
from gpu_ssl.svm.backend import resolve_backend
from gpu_ssl.svm.kernels import KERNEL_NAMES, Kernel
from gpu_ssl.svm.one_vs_one import fit_one_vs_one
from gpu_ssl.svm.pairs import Penalty
from gpu_ssl.training import batches, checkpoint
from gpu_ssl.training.batches import Resident, Streamed
from gpu_ssl.training.consistency import ConsistencyObjective, PseudoLabels
from gpu_ssl.training.joint import JointPlan, JointTrainer
from gpu_ssl.training.m2_objectives import ImageSource, ModernObjective
from gpu_ssl.training.optimizers import build
from gpu_ssl.training.plan import plan_vae
from gpu_ssl.training.side_by_side import train_side_by_side
from gpu_ssl.training.vae import Trainer, build_vae
from tests.svm import clouds

pytestmark = pytest.mark.gpu


def make_trainer(digits: Dataset) -> Trainer:
    images = Resident(torch.from_numpy(digits.train.images).cuda())
    model = ModelConfig()
    plan = plan_vae(TrainConfig(epochs=2), model, images, mirrored=False)
    return Trainer(build_vae(model, digits.train.image_shape, images.device, 0), images, plan, 0)


def test_a_training_step_and_encoding_never_wait_for_the_gpu(digits: Dataset) -> None:
    trainer = make_trainer(digits)
    batch = next(trainer.batches(trainer.generator))
    encoder = VAEEncoder(trainer.vae, augmented=True)
    encoder.precision = trainer.plan.precision
    for _ in range(2):  # Libraries load and memory is taken; then the step is recorded.
        trainer.step(batch)
    torch.cuda.set_sync_debug_mode("error")
    try:
        trainer.step(batch)
        encode(encoder, batch.images)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_recorded_step_trains_as_one_that_is_done_piece_by_piece(digits: Dataset) -> None:
    losses, drawn = [], []
    for replays in (True, False):
        trainer = make_trainer(digits)
        trainer.replay.records = replays
        steps = [
            trainer.step(batch) for _ in range(2) for batch in trainer.batches(trainer.generator)
        ]  # those of a graph have fixed memory
        assert trainer.replay.recorded == replays
        losses.append([float(part) for part in steps[-1]])
        drawn.append(torch.rand(3, generator=trainer.generator, device=trainer.device).tolist())
    assert losses[0] == pytest.approx(losses[1], rel=2e-2)  # bfloat16, and sums in another order
    assert drawn[0] == drawn[1]


def make_joint_trainer(digits: Dataset, method: str) -> JointTrainer[Any]:
    images, rows = torch.from_numpy(digits.train.images).cuda(), np.arange(100)
    generator = torch.Generator(images.device).manual_seed(0)
    teacher = torch.full((len(images), 10), 0.1, device=images.device)
    make: Callable[[], nn.Module]
    if method == "consistency":
        objective: Any = ConsistencyObjective(PseudoLabels(teacher, 0.5), False, generator)
        make = partial(ClassifierNetwork, digits.train.image_shape, 10)
    else:
        source = ImageSource(images, False, generator)
        objective = ModernObjective(source, PseudoLabels(teacher, 0.5), 64, generator)
        make = partial(M2, M2Spec(digits.train.image_shape, 10, 5, "bernoulli", True, 50))
    plan = JointPlan(200, 32, 64, 2e-3, 0.02, torch.bfloat16)
    network = build(make, images.device, 0)
    return JointTrainer(network, objective, images, rows, digits.train.labels[rows], plan, 0)


@pytest.mark.parametrize("method", ["consistency", "m2"])
def test_a_recorded_step_on_labelled_and_unlabelled_images_trains_as_any(
    digits: Dataset, method: str
) -> None:
    losses, averages = [], []
    for replays in (True, False):
        trainer = make_joint_trainer(digits, method)
        trainer.replay.records = replays
        trainer.network.train()
        for number in range(2):
            trainer.step(number)
        torch.cuda.set_sync_debug_mode("error")
        try:
            losses.append([trainer.step(number).clone() for number in range(2, 60)])
        finally:
            torch.cuda.set_sync_debug_mode("default")
        assert trainer.replay.recorded == replays
        averages.append(torch.cat([p.flatten() for p in trainer.average.parameters()]))
    recorded, stepwise = (torch.stack(part).cpu() for part in losses)
    assert stepwise[-20:].mean() < 0.8 * stepwise[:10].mean()
    torch.testing.assert_close(recorded[:5], stepwise[:5], rtol=2e-2, atol=0)
    torch.testing.assert_close(recorded[-20:].mean(), stepwise[-20:].mean(), rtol=5e-2, atol=0)
    assert torch.nn.functional.cosine_similarity(*averages, dim=0) > 0.99


def test_networks_side_by_side_train_as_one_after_the_other(digits: Dataset) -> None:
    """Each with its graph, on a stream of its own."""
    with SILENT.task("", 1) as advance:
        alone = [make_joint_trainer(digits, "consistency") for _ in range(3)]
        expected = [trainer.fit(advance) for trainer in alone]
        together = [make_joint_trainer(digits, "consistency") for _ in range(3)]
        trainings = [trainer.training(advance) for trainer in together]
        found = train_side_by_side(trainings, torch.device("cuda", 0))
    assert all(trainer.replay.recorded for trainer in together)
    np.testing.assert_allclose(found, expected, rtol=5e-2)
    for one, other in zip(alone, together, strict=True):
        averages = [torch.cat([p.flatten() for p in each.average.parameters()]) for each in (one, other)]
        assert torch.nn.functional.cosine_similarity(*averages, dim=0) > 0.99


def test_images_that_stream_to_the_gpu_train_to_the_bits_of_those_that_stay(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "CHUNK_BYTES", 20_000)
    device = torch.device("cuda", 0)
    weights = []
    for images in (
        Resident(torch.from_numpy(digits.train.images).to(device)),
        Streamed(digits.train.images, device),
    ):
        model = ModelConfig()
        plan = plan_vae(TrainConfig(epochs=2), model, images, mirrored=False)
        trainer = Trainer(build_vae(model, images.shape, device, 0), images, plan, 0)
        for _ in range(plan.epochs):
            trainer.epoch()
        weights.append([h.reconstruction for h in trainer.history])
    # Sums over rows may be taken in another order from one run to the next.
    assert weights[0] == pytest.approx(weights[1], rel=1e-4)


def test_training_on_the_gpu_lowers_the_loss_and_goes_on_from_a_checkpoint(
    digits: Dataset, tmp_path: Path
) -> None:
    trainer = make_trainer(digits)
    trainer.epoch()
    checkpoint.save(trainer, tmp_path / "c.json", {})
    trainer.epoch()
    resumed = make_trainer(digits)
    checkpoint.restore(resumed, tmp_path / "c.json", {})
    resumed.epoch()
    assert trainer.history[1].reconstruction < trainer.history[0].reconstruction
    assert resumed.history[1].reconstruction == pytest.approx(trainer.history[1].reconstruction, rel=0.01)


@pytest.mark.parametrize("column_major", [False, True])
def test_cupy_gets_the_same_memory(column_major: bool) -> None:
    tensor = torch.arange(24.0, device="cuda").reshape(4, 6)
    tensor = tensor.T if column_major else tensor
    array = interop.to_cupy(tensor)
    assert array.data.ptr == tensor.data_ptr()
    assert array.flags.f_contiguous == column_major
    array += 1
    assert tensor.sum().item() == sum(range(24)) + 24


def test_features_of_a_pretrained_network_stay_on_the_gpu_and_reach_cupy_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As latents do; only a copy goes into the cache, from where another fit takes it."""
    monkeypatch.setenv("GPU_SSL_CACHE_DIR", str(tmp_path))
    encoder = build_pretrained((3, 32, 32), {"backbone": "efficientnet_lite0@32", "why": ""}).cuda().eval()
    pixels = np.random.default_rng(0).integers(0, 256, (150, 3, 40, 40), dtype=np.uint8)
    images = TrainingImages(pixels, torch.device("cuda"), mirrored=False, sha256="pixels")
    with monkeypatch.context() as within:
        within.setattr(feature_cache, "_read", None)  # would be called in vain
        features = features_of(encoder, images, Silent())
    array = resolve_backend("cuml", resolve_device("cuda"))[0].receive(features)
    assert array.data.ptr == features.data_ptr()
    assert array.flags.f_contiguous
    again = features_of(encoder, images, Silent())
    assert again.is_cuda
    assert again.T.is_contiguous()
    assert torch.equal(again, features)


def test_cupy_waits_for_work_on_a_side_stream_that_is_current() -> None:
    side = torch.cuda.Stream()
    for _ in range(20):
        with torch.cuda.stream(side):
            tensor = torch.zeros(2000, 2000, device="cuda")
            for _ in range(50):
                tensor = tensor @ tensor + 1
            tensor = torch.full_like(tensor, 7.0)
            array = interop.to_cupy(tensor)
        assert float(array.sum()) == 7.0 * 2000 * 2000


@pytest.mark.parametrize("kernel", KERNEL_NAMES)
@pytest.mark.parametrize("n_classes", [2, 3, 10])
@pytest.mark.parametrize("weighted", [False, True])
def test_cuml_decides_as_scikit_learn(kernel: str, n_classes: int, weighted: bool) -> None:
    points, labels = clouds(1200, n_classes, 8, seed=0)
    points = points.astype(np.float32)
    weights = np.random.default_rng(0).uniform(0.3, 2, len(labels)) if weighted else None
    # A sigmoid of a larger gamma is far from positive semidefinite, and every solver ends elsewhere.
    gamma = 0.03 if kernel == "sigmoid" else 0.1
    penalty = Penalty(1.0, Kernel(kernel, gamma=gamma))  # type: ignore[arg-type]
    expected = fit_one_vs_one(SklearnBackend(), points, labels, n_classes, penalty, weights)
    backend, _ = resolve_backend("cuml", resolve_device("cuda"))
    on_gpu = backend.receive(torch.from_numpy(points).cuda())
    model = fit_one_vs_one(backend, on_gpu, labels, n_classes, penalty, weights)
    agreement = np.mean(backend.to_host(model.predict(on_gpu)) == expected.predict(points))
    assert agreement > 0.99
    names = ("support", "support_vectors", "duals", "intercepts")
    assert {type(getattr(model, name)).__module__.split(".")[0] for name in names} == {"cupy"}


@pytest.mark.parametrize("kernel", KERNEL_NAMES)
@pytest.mark.parametrize("room", [None, 3_000_000, 0])
def test_the_batched_solver_decides_as_scikit_learn(kernel: str, room: int | None) -> None:
    """All pairs at once, in batches that fit, and where no kernel matrix does."""
    points, labels = clouds(600, 6, 8, seed=0)
    points = points.astype(np.float32)
    penalty = Penalty(1.0, Kernel(kernel, gamma=0.03))  # type: ignore[arg-type]
    expected = fit_one_vs_one(SklearnBackend(), points, labels, 6, penalty)
    backend = BatchedBackend(torch.device("cuda", 0), room)
    on_gpu = torch.from_numpy(points).cuda()
    model = fit_one_vs_one(backend, on_gpu, labels, 6, penalty)
    assert np.mean(backend.to_host(model.predict(on_gpu)) == expected.predict(points)) > 0.995
    assert {getattr(model, name).device.type for name in ("support", "duals", "intercepts")} == {"cuda"}
    assert model.n_iter is not None
    assert np.median(model.n_iter) == pytest.approx(np.median(expected.n_iter), rel=0.1)  # type: ignore[arg-type]


def test_the_batched_solver_gives_the_same_as_a_graph_and_piece_by_piece(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    points, labels = clouds(1500, 6, 8, seed=0)
    on_gpu = torch.from_numpy(points.astype(np.float32)).cuda()
    recorded, honest = [], smo.record

    def record(*args: Any) -> Any:
        recorded.append(honest(*args))
        return recorded[-1]

    decisions = []
    for own in (record, lambda *_: None):
        monkeypatch.setattr(smo, "record", own)
        backend = BatchedBackend(torch.device("cuda", 0))
        model = fit_one_vs_one(backend, on_gpu, labels, 6, Penalty(5.0, Kernel(gamma=0.1)))
        decisions.append(model.pair_decisions(on_gpu))
    assert recorded
    assert all(one is not None for one in recorded)
    torch.testing.assert_close(*decisions)


def test_a_step_that_cannot_be_recorded_trains_all_the_same(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One that waits for the GPU: streams, generator and weights are afterwards as if nobody had tried."""
    trainers = [make_trainer(digits) for _ in range(2)]
    trainers[1].replay.records = False
    views = Trainer.views
    losses = []
    for number, trainer in enumerate(trainers):

        def waits(self: Trainer, images: Tensor, *rest: Any) -> Any:
            float(images.float().mean())
            return views(self, images, *rest)

        monkeypatch.setattr(Trainer, "views", views if number else waits)
        steps = [trainer.step(batch) for _ in range(3) for batch in trainer.batches(trainer.generator)]
        losses.append([float(part) for part in steps[-1]])
        assert not trainer.replay.recorded
    assert "cannot be recorded as a CUDA graph" in caplog.text
    assert torch.cuda.current_stream() == torch.cuda.default_stream()
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_float32_on_the_gpu_is_that_of_the_cpu(digits: Dataset) -> None:
    """TF32 would change latents by a thousandth of their size."""
    vae = build_vae(ModelConfig(), digits.train.image_shape, torch.device("cpu"), 0)
    encoder = VAEEncoder(vae, augmented=True)
    images = torch.from_numpy(digits.train.images[:200])
    expected = encode(encoder, images)
    found = encode(encoder.cuda(), images.cuda()).cpu()
    assert (found - expected).abs().max() < 2e-5 * expected.abs().max()


def test_fitting_and_predicting_copy_no_points_to_the_host(tmp_path: Path) -> None:
    points, labels = clouds(20_000, 5, 64, seed=0)
    tensor = torch.from_numpy(points).float().cuda()
    backend, _ = resolve_backend("cuml", resolve_device("cuda"))

    def fit_and_predict() -> None:
        on_gpu = backend.receive(tensor)
        model = fit_one_vs_one(backend, on_gpu, labels, 5, Penalty(1.0, Kernel(gamma=0.02)))
        model.predict(on_gpu)
        torch.cuda.synchronize()

    fit_and_predict()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        fit_and_predict()
    profile.export_chrome_trace(str(tmp_path / "trace.json"))
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert any("kernel" in event.get("cat", "") for event in events), "nothing was recorded"
    to_host = sum(event["args"].get("bytes", 0) for event in events if "DtoH" in event.get("name", ""))
    # The solver copies its convergence to the host; that is little compared with 5 MB of points.
    assert to_host < 0.2 * tensor.numel() * tensor.element_size()


def test_pairs_side_by_side_give_what_they_give_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from gpu_ssl.svm import _cuml

    points, labels = clouds(3000, 8, 8, seed=0)
    backend = _cuml.CumlBackend()
    on_gpu = backend.receive(torch.from_numpy(points.astype(np.float32)).cuda())
    models = []
    for workers in (1, 8):
        monkeypatch.setattr(_cuml, "WORKERS", workers)
        models.append(fit_one_vs_one(backend, on_gpu, labels, 8, Penalty(1.0, Kernel(gamma=0.1))))
    one, many = (backend.to_host(model.pair_decisions(on_gpu)) for model in models)
    np.testing.assert_allclose(one, many, atol=5e-3)


def test_the_estimator_answers_in_the_library_it_was_asked_in() -> None:
    import cupy

    points, labels = clouds(300, 4, 5, seed=0)
    tensor = torch.from_numpy(points).float().cuda()
    svc = OneVsOneSVC(device="cuda").fit(tensor, labels)
    assert svc.predict(tensor).device.type == "cuda"
    assert isinstance(svc.predict(cupy.asarray(points, dtype="f4")), cupy.ndarray)
    assert isinstance(svc.predict(points.astype("f4")), np.ndarray)
    assert svc.backend_.used == "cuml"
    assert svc.score(tensor, labels) > 0.5


@pytest.mark.parametrize("method", METHODS, ids=[spec.name for spec in METHODS])
def test_a_run_on_the_gpu_reaches_what_one_on_the_cpu_reaches(tmp_path: Path, method: MethodSpec) -> None:
    means = {}
    for device in ("cpu", "cuda"):
        config = RunConfig(
            data=DataConfig(dataset="digits"),
            methods=(method.name,),
            effort="quick",
            labels=(100,),
            splits=3,
            baselines=False,
            device=device,
        )
        outcome = experiment.run(config, tmp_path / device, Silent())
        means[device] = outcome.report.results[0].accuracy_mean
    assert outcome.report.svm.used == "cuml"
    assert abs(means["cuda"] - means["cpu"]) < 0.03


def test_labels_spread_on_the_gpu_as_on_the_cpu() -> None:
    points, labels = clouds(2000, 5, 8, seed=0)
    known = np.zeros((2000, 5), np.float32)
    known[np.arange(50), labels[:50]] = 1
    backend, _ = resolve_backend("cuml", resolve_device("cuda"))
    tensor = torch.from_numpy(points.astype(np.float32)).cuda()
    on_gpu = NeighbourGraph(backend.receive(tensor), graph_backend("cuml"))
    on_cpu = NeighbourGraph(points.astype(np.float32), graph_backend("sklearn"))
    found = backend.to_host(on_gpu.spread(backend.from_host(known), 0.97))
    expected = on_cpu.spread(known, 0.97)
    assert (found.argmax(1) == expected.argmax(1)).mean() > 0.995
