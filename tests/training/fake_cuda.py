"""CUDA without a GPU: torch's fake tensors know shape, dtype, layout and device, and compute nothing.

Operations between devices, and whatever needs a value on the host, raise. torch's autograd engine asks the
driver for streams, so the graph is walked here instead, with the checks that the engine makes on every edge.
"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest
import torch
from packaging.version import Version
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode


@contextmanager
def fake_cuda() -> Iterator[None]:
    """Make ``cuda`` a device of fake tensors, with autocast; existing tensors are taken as fake ones."""
    if Version(torch.__version__) < Version("2.14"):
        pytest.skip("fake tensors of older versions of torch need a CUDA driver")
    with patch.object(torch, "autocast", autocast), FakeTensorMode(allow_non_fake_inputs=True):
        yield


@contextmanager
def autocast(device_type: str, dtype: torch.dtype, cache_enabled: bool = True) -> Iterator[None]:
    """Replaces torch.autocast, which is disabled without a GPU."""
    before = torch.is_autocast_enabled(device_type), torch.get_autocast_dtype(device_type)
    cached = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(cache_enabled)
    torch.set_autocast_dtype(device_type, dtype)
    torch.set_autocast_enabled(device_type, True)
    torch.autocast_increment_nesting()
    try:
        yield
    finally:
        if torch.autocast_decrement_nesting() == 0:
            torch.clear_autocast_cache()
        torch.set_autocast_cache_enabled(cached)
        torch.set_autocast_enabled(device_type, before[0])
        torch.set_autocast_dtype(device_type, before[1])


def backward(loss: Tensor) -> None:
    """Fill the gradients of all leaves that `loss` depends on, as `torch.autograd.backward` does."""
    assert loss.grad_fn is not None
    gradients: defaultdict[Any, dict[int, Tensor]] = defaultdict(dict)
    gradients[loss.grad_fn][loss.output_nr] = torch.ones_like(loss)
    with torch.no_grad():
        for node in reversed(_inputs_first(loss.grad_fn)):
            given = gradients.pop(node, {})
            if not given:
                continue
            if hasattr(node, "variable"):
                _accumulate(node.variable, given[0])
                continue
            slots = max(len(node._input_metadata), max(given) + 1)
            call = getattr(node, "apply", node)  # An autograd.Function in Python is not callable.
            results = call(*[given.get(slot) for slot in range(slots)])
            results = results if isinstance(results, tuple) else (results,)
            for (after, slot), gradient in zip(node.next_functions, results, strict=False):
                if after is not None and gradient is not None:
                    gradient = _checked(gradient, after._input_metadata[slot], node)
                    before = gradients[after].get(slot)
                    gradients[after][slot] = gradient if before is None else before + gradient


def _inputs_first(root: Any) -> list[Any]:
    order: list[Any] = []
    seen = {root}
    stack = [(root, iter(root.next_functions))]
    while stack:
        node, following = stack[-1]
        after = next((n for n, _ in following if n is not None and n not in seen), None)
        if after is None:
            order.append(node)
            stack.pop()
        else:
            seen.add(after)
            stack.append((after, iter(after.next_functions)))
    return order


def _checked(gradient: Tensor, expected: Any, node: Any) -> Tensor:
    if gradient.shape != expected.shape:
        gradient = gradient.sum_to_size(expected.shape)
    if gradient.device != expected.device:
        raise RuntimeError(f"{node.name()}: gradient on {gradient.device}, expected on {expected.device}")
    return gradient.to(expected.dtype)


def _accumulate(leaf: Tensor, gradient: Tensor) -> None:
    assert (gradient.device, gradient.dtype, gradient.shape) == (leaf.device, leaf.dtype, leaf.shape)
    leaf.grad = gradient if leaf.grad is None else leaf.grad + gradient
