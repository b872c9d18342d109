"""The handoff shares memory or raises; it never copies in silence."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gpu_ssl.errors import InteropError
from gpu_ssl.runtime import interop


def address(array: np.ndarray) -> int:  # type: ignore[type-arg]
    pointer: int = array.__array_interface__["data"][0]
    return pointer


@given(st.sampled_from([torch.float32, torch.float64, torch.int64, torch.uint8]), st.booleans())
def test_numpy_gets_the_same_memory_with_the_same_strides(dtype: torch.dtype, column_major: bool) -> None:
    tensor = torch.arange(12).reshape(3, 4).to(dtype)
    tensor = tensor.T if column_major else tensor
    array = interop.to_numpy(tensor)
    assert address(array) == tensor.data_ptr()
    assert array.shape == tuple(tensor.shape)
    assert [s // array.itemsize for s in array.strides] == list(tensor.stride())


def test_a_write_on_either_side_is_seen_on_the_other() -> None:
    tensor = torch.zeros(2, 3)
    array = interop.to_numpy(tensor)
    tensor[1, 2] = 5
    assert array[1, 2] == 5
    array[0, 1] = 7
    assert tensor[0, 1] == 7


def test_the_memory_outlives_the_tensor() -> None:
    array = interop.to_numpy(torch.full((1000, 1000), 3.0))
    _ = [torch.zeros(1000, 1000) for _ in range(3)]
    assert (array == 3).all()


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (torch.zeros(2, requires_grad=True), "detach"),
        (torch.zeros(2, dtype=torch.bfloat16), r"float\(\)"),
        (torch.zeros(2, dtype=torch.complex64).conj(), "resolve_conj"),
        (torch.zeros(2, dtype=torch.complex64).conj().imag, "resolve_neg"),
        (torch.zeros(2, device="meta"), "is on meta"),
    ],
    ids=["requires grad", "bfloat16", "conjugated", "negated", "another device"],
)
def test_what_cannot_be_shared_is_refused_with_the_remedy(tensor: torch.Tensor, words: str) -> None:
    with pytest.raises(InteropError, match=words):
        interop.to_numpy(tensor)


def test_cupy_is_not_given_host_memory() -> None:
    with pytest.raises(InteropError, match="CuPy shares cuda memory"):
        interop.to_cupy(torch.zeros(2))


def test_on_the_host_the_explicit_copy_is_none() -> None:
    tensor = torch.zeros(2)
    assert interop.copy_to_host(tensor).data_ptr() == tensor.data_ptr()


def test_a_numpy_array_becomes_a_tensor_of_the_same_memory() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    tensor = interop.to_torch(array, torch.device("cpu"))
    array[1, 2] = 9
    assert tensor[1, 2] == 9
    assert tensor.data_ptr() == array.ctypes.data
