"""The faster softplus is right but for rounding: values, gradients, and far from 0."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from gpu_ssl.models.softplus import Softplus, softplus

ERRORS = {torch.bfloat16: 2**-8, torch.float32: 3e-7, torch.float64: 1e-15}


@pytest.mark.parametrize("dtype", ERRORS)
@given(value=st.floats(-200, 200))
def test_it_is_right_but_for_rounding(dtype: torch.dtype, value: float) -> None:
    values = torch.tensor([value], dtype=dtype)
    found = softplus(values)
    assert found.dtype == dtype
    # torch's own takes what is above 20 as it is.
    exact = torch.logaddexp(values.double(), torch.zeros(1, dtype=torch.float64))
    torch.testing.assert_close(found.double(), exact, rtol=ERRORS[dtype], atol=ERRORS[dtype])


def test_a_shift_is_added_before_rounding() -> None:
    values = torch.linspace(-1, 1, 33, dtype=torch.bfloat16)
    found = softplus(values, shift=-math.log(2))
    exact = torch.logaddexp(values.double(), torch.zeros(1, dtype=torch.float64)) - math.log(2)
    torch.testing.assert_close(found.double(), exact, rtol=2**-8, atol=1e-6)


@pytest.mark.parametrize("dtype", ERRORS)
def test_its_gradient_is_the_logistic_function(dtype: torch.dtype) -> None:
    values = torch.linspace(-30, 30, 241).to(dtype).requires_grad_()
    weights = torch.linspace(-1, 1, 241).to(dtype)
    (found,) = torch.autograd.grad((softplus(values) * weights).sum(), values)
    expected = weights * torch.sigmoid(values.detach())
    torch.testing.assert_close(found, expected, rtol=2 * ERRORS[dtype], atol=2 * ERRORS[dtype])


def test_it_is_right_where_numbers_end() -> None:
    values = torch.tensor([-torch.inf, -1e30, 0.0, 1e30, torch.inf, torch.nan])
    torch.testing.assert_close(Softplus()(values), F.softplus(values), equal_nan=True)


def test_without_gradients_it_says_the_same() -> None:
    values = torch.randn(100, generator=torch.Generator().manual_seed(0)).requires_grad_()
    with torch.no_grad():
        assert torch.equal(softplus(values), softplus(values.detach()))
    assert torch.equal(softplus(values), softplus(values.detach()))
