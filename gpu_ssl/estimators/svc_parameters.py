"""Parameters of `OneVsOneSVC`: their validation, and the value of `gamma`."""

import numbers
from typing import Any, get_args

import numpy as np

from gpu_ssl.config import SVMBackendName
from gpu_ssl.errors import UsageError
from gpu_ssl.runtime.arrays import Array
from gpu_ssl.svm.kernels import KERNEL_NAMES, scale_gamma


def check_parameters(svc: Any) -> None:
    """Check the parameters of a `OneVsOneSVC`.

    Raises
    ------
    UsageError
        If a parameter is invalid; the message names it and the allowed values.
    """

    def number(name: str, minimum: float, kind: type = numbers.Real, strict: bool = True) -> None:
        value = getattr(svc, name)
        is_kind = isinstance(value, kind) and not isinstance(value, bool | np.bool_)
        if not is_kind or not (value > minimum if strict else value >= minimum) or value == np.inf:
            what = "a whole number" if kind is numbers.Integral else "a finite number"
            what = f"'scale', 'auto' or {what}" if name == "gamma" else what
            bound = "" if minimum == -np.inf else f" {'>' if strict else '>='} {minimum:g}"
            raise UsageError(f"{name}={value!r}: expected {what}{bound}")

    number("C", 0)
    number("tol", 0)
    number("degree", 0, numbers.Integral, strict=False)
    number("max_iter", -1, numbers.Integral, strict=False)
    number("coef0", -np.inf)
    if svc.gamma not in ("scale", "auto"):
        number("gamma", 0, strict=False)
    for name, allowed in (
        ("kernel", KERNEL_NAMES),
        ("decision_function_shape", ("ovr", "ovo")),
        ("solver", get_args(SVMBackendName)),
    ):
        if getattr(svc, name) not in allowed:
            raise UsageError(f"{name}={getattr(svc, name)!r}: expected one of {', '.join(allowed)}")
    if svc.device not in ("auto", "cpu", "cuda", "cuda:0"):
        raise UsageError(f"device={svc.device!r}: expected auto, cpu or cuda (the first visible GPU)")


def resolve_gamma(gamma: float | str, points: Array) -> float:
    """Return the coefficient of a kernel for `gamma` and points (n, d), as scikit-learn's SVC does."""
    if gamma == "scale":
        return scale_gamma(points)
    return 1.0 / points.shape[1] if gamma == "auto" else float(gamma)
