"""The choice of the device: auto may fall back and reports why, an explicit device never does."""

from contextlib import suppress

import pytest
import torch

from gpu_ssl.errors import DeviceError, UsageError
from gpu_ssl.runtime import device as module
from gpu_ssl.runtime.device import (
    MOST_ROWS,
    autocast,
    full_float32,
    memory_errors,
    minimum_capability,
    require_precision,
    resolve_device,
    resolve_precision,
    rows_at_a_time,
)

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)

without_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")


def test_the_cpu_is_taken_when_asked_for() -> None:
    choice = resolve_device("cpu")
    assert (choice.requested, choice.used) == ("cpu", "cpu")


@without_cuda
def test_auto_falls_back_with_the_reason() -> None:
    choice = resolve_device("auto")
    assert (choice.requested, choice.used) == ("auto", "cpu")
    assert "driver" in choice.reason or "build without CUDA" in choice.reason


@without_cuda
@pytest.mark.parametrize("requested", ["cuda", "cuda:3"])
def test_an_explicit_device_is_refused_with_the_remedy(requested: str) -> None:
    with pytest.raises(DeviceError, match=f"`device={requested}`") as caught:
        resolve_device(requested)
    assert "`device=cpu`" in str(caught.value)
    assert caught.value.exit_code == 1


@pytest.mark.parametrize("requested", ["", "gpu", "cuda:", "cuda:x", "pretrained:zzz", "cpu:0", "cuda:-1"])
def test_an_unknown_device_is_wrong_usage(requested: str) -> None:
    with pytest.raises(UsageError, match="allowed are auto, cpu, cuda and cuda:N"):
        resolve_device(requested)


@pytest.mark.gpu
def test_auto_takes_the_gpu() -> None:
    assert resolve_device("auto").used == "cuda:0"


def test_a_gpu_that_is_too_old_or_not_there_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"GPU {index}")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: [(7, 0), (9, 0)][index])
    assert resolve_device("cuda:1").used == "cuda:1"
    assert resolve_device("auto").used == "cpu"
    with pytest.raises(DeviceError, match=r"GPU 0 has compute capability 7\.0; 7\.5 or newer"):
        resolve_device("cuda")
    with pytest.raises(DeviceError, match="no CUDA device 2; the devices here are 0 to 1"):
        resolve_device("cuda:2")


@pytest.mark.parametrize("kind", [torch.OutOfMemoryError, MemoryError])  # CuPy's is a MemoryError
def test_too_little_memory_is_one_line_that_says_what_to_lower(kind: type[Exception]) -> None:
    with (
        pytest.raises(DeviceError, match="--batch-size"),
        memory_errors(torch.device("cuda:0"), "lower --batch-size"),
    ):
        raise kind("CUDA out of memory. Tried to allocate ...")


def test_torchs_error_of_a_cpu_without_memory_is_told_in_one_line() -> None:
    """It is a RuntimeError; this one is real: four exabytes."""
    with pytest.raises(DeviceError, match="the device is cpu"), memory_errors(torch.device("cpu"), "wait"):
        torch.empty(2**60)
    with pytest.raises(RuntimeError, match="something else"), memory_errors(torch.device("cpu"), "wait"):
        raise RuntimeError("something else")


def test_volta_is_enough_for_cuda_12_alone() -> None:
    assert minimum_capability("12.9") == (7, 0)
    assert minimum_capability("13.0") == (7, 5)


def test_a_given_precision_is_kept() -> None:
    cpu = torch.device("cpu")
    assert resolve_precision("float32", cpu) == torch.float32
    assert resolve_precision("bfloat16", cpu) == torch.bfloat16


@pytest.mark.parametrize(
    ("cpu", "avx512", "amx", "expected"),
    [
        ("Intel(R) Xeon(R) Processor", True, True, torch.bfloat16),
        ("Intel(R) Xeon(R) Processor", True, False, torch.float32),
        ("AMD EPYC 9B45", True, False, torch.bfloat16),
        ("AMD EPYC 7B12", False, False, torch.float32),
    ],
)
@pytest.mark.parametrize("of_2_9", [False, True])
def test_auto_takes_bfloat16_where_it_is_faster_than_float32(
    monkeypatch: pytest.MonkeyPatch,
    cpu: str,
    avx512: bool,
    amx: bool,
    expected: torch.dtype,
    of_2_9: bool,
) -> None:
    """Intel's AVX-512 takes twice as long for it, AMD's half as long; torch 2.9 is asked for each unit."""
    monkeypatch.setattr(module, "cpu_name", lambda: cpu)
    if of_2_9:
        monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    else:
        capabilities = {"avx512_bf16": avx512, "amx_bf16": amx}
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert resolve_precision("auto", torch.device("cpu")) == expected


def test_a_turing_card_trains_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """T4 and V100: autocast would take bfloat16, in which cuDNN has no convolutions there."""
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla T4")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert resolve_precision("auto", CUDA) == torch.float32
    # A model from a newer card predicts all the same.
    assert resolve_precision("bfloat16", CUDA) == torch.float32
    require_precision("auto", CUDA)
    require_precision("bfloat16", CPU)
    with pytest.raises(DeviceError, match=r"`precision=bfloat16`: Tesla T4 has .* 7\.5.*`precision=auto`"):
        require_precision("bfloat16", CUDA)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    require_precision("bfloat16", CUDA)
    assert resolve_precision("auto", CUDA) == resolve_precision("bfloat16", CUDA) == torch.bfloat16


def precisions() -> list[str]:
    parts = (torch.backends.cudnn.conv, torch.backends.cudnn.rnn, torch.backends.cuda.matmul)
    return [part.fp32_precision for part in parts]


def test_float32_on_a_gpu_is_not_tf32_and_what_was_set_comes_back() -> None:
    before = precisions()
    assert "tf32" in before, "torch's default, which this is about"
    with suppress(ZeroDivisionError), autocast(CUDA, torch.float32):
        inside = precisions()
        raise ZeroDivisionError
    assert set(inside) == {"ieee"}
    assert precisions() == before
    assert torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize(
    ("free", "shape", "expected"),
    [
        (130 * 2**30, (1, 28, 28), MOST_ROWS),  # H200
        (14 * 2**30, (1, 28, 28), 4681),  # T4
        (9 * 2**30, (3, 64, 64), 192),  # a tenth of an H100, by MIG
        (2**20, (3, 64, 64), 1),
    ],
)
def test_a_gpu_takes_as_many_images_as_its_free_memory_holds(
    monkeypatch: pytest.MonkeyPatch, free: int, shape: tuple[int, ...], expected: int
) -> None:
    monkeypatch.setattr(module, "free_bytes", lambda device: free)
    bytes_each = 1024 * torch.Size(shape).numel()
    assert rows_at_a_time(CUDA, bytes_each, 1000) == expected
    assert rows_at_a_time(CPU, bytes_each, 1000) == 1000
    assert expected * bytes_each <= max(free / 4, bytes_each)


def test_free_memory_counts_what_torch_keeps_unused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 5000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 700)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 300)
    assert module.free_bytes(CUDA) == 1400


def test_weights_used_without_gradients_before_get_gradients() -> None:
    """As of pseudo-labels. Autocast would keep the converted weights, with torch 2.9 also those without."""
    network = torch.nn.Linear(4, 3)
    with autocast(CPU, torch.bfloat16):
        with torch.no_grad():
            network(torch.ones(2, 4))
        loss = network(torch.ones(2, 4)).sum()
    torch.autograd.backward(loss)
    assert all(weight.grad is not None and weight.grad.any() for weight in network.parameters())


def test_threads_that_leave_full_float32_in_any_order_restore_what_was_set() -> None:
    before = precisions()
    one, other = full_float32(), full_float32()
    one.__enter__()
    other.__enter__()
    one.__exit__(None, None, None)
    assert set(precisions()) == {"ieee"}, "the other thread still computes"
    other.__exit__(None, None, None)
    assert precisions() == before
