"""torch to CuPy over DLPack, through the real CuPy: a CPU tensor whose capsule says that it is CUDA memory.

The device handshake (which needs a driver) is replaced; the import itself, with its pointers, strides, dtypes
and ownership, is CuPy's own. Stream ordering runs torch's own `__dlpack__` on recorded streams.
"""

import contextlib
import ctypes
import gc
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import cupy
import pytest
import torch

from gpu_ssl.errors import InteropError
from gpu_ssl.runtime import interop

CUDA = 2
"""kDLCUDA of the DLPack specification."""


class DLDevice(ctypes.Structure):
    _fields_ = (("type", ctypes.c_int32), ("id", ctypes.c_int32))


class DLTensor(ctypes.Structure):
    _fields_ = (("data", ctypes.c_void_p), ("device", DLDevice))  # the first fields are all that is needed


class DLManagedTensorVersioned(ctypes.Structure):
    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("tensor", DLTensor),
    )


def relabelled(tensor: torch.Tensor) -> Any:
    """Return the DLPack capsule of a CPU tensor, relabelled as memory of CUDA device 0."""
    capsule = tensor.__dlpack__(max_version=(1, 0))
    address = ctypes.pythonapi.PyCapsule_GetPointer
    address.restype, address.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    managed = DLManagedTensorVersioned.from_address(address(capsule, b"dltensor_versioned"))
    assert (managed.tensor.device.type, managed.tensor.data or 0) == (1, tensor.data_ptr())
    managed.tensor.device.type = CUDA
    return capsule


class SeeminglyOnCuda(torch.Tensor):
    """A CPU tensor that says it is on CUDA device 0."""

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return torch.device("cuda", 0)

    def record_stream(self, stream: Any) -> None:
        stream.log.append(("kept for", stream.name))


def stream(name: str, log: list[Any]) -> Any:
    return SimpleNamespace(name=name, log=log)


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Replace what needs a driver; the returned list records streams."""
    log: list[Any] = []
    default = stream("default", log)
    real = cupy.from_dlpack
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: default)
    monkeypatch.setattr(torch.cuda, "default_stream", lambda: default)
    monkeypatch.setattr(torch.cuda, "ExternalStream", lambda pointer: stream(f"CuPy's {pointer}", log))
    monkeypatch.setattr(cupy.cuda, "Device", contextlib.nullcontext)
    monkeypatch.setattr(cupy.cuda, "get_current_stream", lambda: SimpleNamespace(ptr=0))
    monkeypatch.setattr(cupy, "from_dlpack", lambda t: real(relabelled(t.as_subclass(torch.Tensor))))
    return log


LAYOUTS: dict[str, Callable[[], torch.Tensor]] = {
    "row-major": lambda: torch.arange(24.0).reshape(4, 6),
    "column-major": lambda: torch.arange(24.0).reshape(6, 4).T,
    "slice": lambda: torch.arange(80.0).reshape(10, 8)[2:7, ::2],
    "expanded": lambda: torch.arange(8.0).expand(5, 8),
    "empty": lambda: torch.zeros(0, 7),
    "channels last": lambda: torch.zeros(2, 3, 4, 5).to(memory_format=torch.channels_last),
    "float64": lambda: torch.zeros(3, dtype=torch.float64),
    "float16": lambda: torch.zeros(3, dtype=torch.float16),
    "int64": lambda: torch.zeros(3, dtype=torch.int64),
    "uint8": lambda: torch.zeros(3, dtype=torch.uint8),
}


@pytest.mark.parametrize("make", LAYOUTS.values(), ids=LAYOUTS)
def test_cupy_gets_the_same_memory_with_the_same_strides(
    log: list[Any], make: Callable[[], torch.Tensor]
) -> None:
    tensor = make()
    array = interop.to_cupy(tensor.as_subclass(SeeminglyOnCuda))
    assert type(array) is cupy.ndarray
    assert array.shape == tuple(tensor.shape)
    assert str(array.dtype) == str(tensor.dtype).removeprefix("torch.")
    if tensor.numel():
        assert array.data.ptr == tensor.data_ptr()
        strides = [step // array.itemsize for step in array.strides]
        assert all(a == b for a, b, n in zip(strides, tensor.stride(), tensor.shape, strict=True) if n > 1)
    assert log == []  # on the default stream nothing more is to be ordered


def test_column_major_latents_arrive_as_cuml_wants_them(log: list[Any]) -> None:
    latents = torch.empty(8, 50).T  # what encoders make
    array = interop.to_cupy(latents.as_subclass(SeeminglyOnCuda))
    assert array.flags.f_contiguous


def test_the_memory_lives_as_long_as_the_last_view(log: list[Any]) -> None:
    tensor = torch.arange(6.0)
    storage = tensor.untyped_storage()
    count = torch._C._storage_Use_Count
    alone = count(storage._cdata)
    view = interop.to_cupy(tensor.as_subclass(SeeminglyOnCuda))[2:]
    gc.collect()
    assert count(storage._cdata) > alone
    del view
    gc.collect()
    assert count(storage._cdata) == alone


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (torch.zeros(2, requires_grad=True), "detach"),
        (torch.zeros(2, dtype=torch.bfloat16), r"float\(\)"),
        (torch.zeros(2, dtype=torch.complex64).conj(), "resolve_conj"),
        (torch.zeros(2, dtype=torch.complex64).conj().imag, "resolve_neg"),
    ],
    ids=["requires grad", "bfloat16", "conjugated", "negated"],
)
def test_what_cannot_be_shared_is_refused_with_the_remedy(
    log: list[Any], tensor: torch.Tensor, words: str
) -> None:
    with pytest.raises(InteropError, match=words):
        interop.to_cupy(tensor.as_subclass(SeeminglyOnCuda))


def test_memory_of_a_side_stream_is_kept_until_cupy_has_read_it(
    monkeypatch: pytest.MonkeyPatch, log: list[Any]
) -> None:
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: stream("side", log))
    interop.to_cupy(torch.zeros(3).as_subclass(SeeminglyOnCuda))
    assert log == [("kept for", "default")]


def test_memory_is_kept_for_the_stream_that_cupy_works_on(
    monkeypatch: pytest.MonkeyPatch, log: list[Any]
) -> None:
    monkeypatch.setattr(cupy.cuda, "get_current_stream", lambda: SimpleNamespace(ptr=77))
    interop.to_cupy(torch.zeros(3).as_subclass(SeeminglyOnCuda))
    assert log == [("kept for", "CuPy's 77")]


def test_during_the_capture_of_a_cuda_graph_nothing_is_shared(
    monkeypatch: pytest.MonkeyPatch, log: list[Any]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    with pytest.raises(InteropError, match="captured"):
        interop.to_cupy(torch.zeros(3).as_subclass(SeeminglyOnCuda))


class TorchStreams:
    """torch's side of the handshake: its own __dlpack__, on streams that only remember."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, current: int) -> None:
        self.log: list[tuple[int, int]] = []
        outer = self

        class Stream:
            def __init__(self, pointer: int) -> None:
                self.pointer = pointer

            def __eq__(self, other: object) -> bool:
                return isinstance(other, Stream) and self.pointer == other.pointer

            __hash__ = None  # type: ignore[assignment]

            def wait_event(self, event: Any) -> None:
                outer.log.append((self.pointer, event.recorded_on))

        class Event:
            def record(self, stream: Stream) -> None:
                self.recorded_on = stream.pointer

        for name, value in {
            "current_device": lambda: 0,
            "default_stream": lambda: Stream(0),
            "current_stream": lambda: Stream(current),
            "ExternalStream": Stream,
            "Event": Event,
        }.items():
            monkeypatch.setattr(torch.cuda, name, value)
        monkeypatch.setattr("torch._tensor.has_torch_function_unary", lambda tensor: False)
        monkeypatch.setattr("torch._C._to_dlpack_versioned", lambda *args, **kwargs: "capsule")

    def export(self, stream: int | None) -> object:
        tensor = SimpleNamespace(
            requires_grad=False,
            layout=torch.strided,
            device=torch.device("cuda", 0),
            is_conj=lambda: False,
        )
        return torch.Tensor.__dlpack__(tensor, stream=stream, max_version=(1, 0))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("current", "asked", "waits"),
    [
        (0, 1, []),  # both on the default stream: in order already
        (55, 1, [(0, 55)]),  # CuPy's default stream, which it calls 1, waits for torch's side stream
        (55, 77, [(77, 55)]),  # a stream of CuPy's own waits
        (0, 77, [(77, 0)]),
    ],
)
def test_torch_makes_the_stream_that_cupy_names_wait_for_its_current_one(
    monkeypatch: pytest.MonkeyPatch, current: int, asked: int, waits: list[tuple[int, int]]
) -> None:
    streams = TorchStreams(monkeypatch, current)
    assert streams.export(asked) == "capsule"
    assert streams.log == waits


def test_without_a_stream_torch_orders_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """So a bare capsule must never be handed over: cupy.from_dlpack gets the tensor itself."""
    streams = TorchStreams(monkeypatch, 55)
    streams.export(-1)
    assert streams.log == []


def test_torch_refuses_the_per_thread_default_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BufferError, match="per-thread"):
        TorchStreams(monkeypatch, 0).export(2)


def test_that_refusal_reaches_the_user_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, log: list[Any]
) -> None:
    def refuse(tensor: torch.Tensor) -> None:
        raise BufferError("per-thread default stream is not supported")

    monkeypatch.setattr(cupy, "from_dlpack", refuse)
    with pytest.raises(InteropError, match="CUPY_CUDA_PER_THREAD_DEFAULT_STREAM unset"):
        interop.to_cupy(torch.zeros(3).as_subclass(SeeminglyOnCuda))
