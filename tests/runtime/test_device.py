"""One decision about the device: auto may fall back and says why, an explicit device never does."""

import pytest
import torch

from gpu_ssl.errors import DeviceError
from gpu_ssl.runtime.device import memory_errors, minimum_capability, resolve_device, resolve_precision

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
    ("capabilities", "expected"),
    [
        ({"amx_bf16": True}, torch.bfloat16),
        ({"avx512_bf16": True}, torch.bfloat16),
        ({"avx2": True, "amx_bf16": False}, torch.float32),
        ({}, torch.float32),
    ],
)
def test_auto_takes_bfloat16_where_the_cpu_has_units_for_it(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], expected: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert resolve_precision("auto", torch.device("cpu")) == expected
