"""Fits of estimators that change all of their attributes or none."""

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

P = ParamSpec("P")
Estimator = TypeVar("Estimator")


def all_or_nothing(
    fit: Callable[Concatenate[Estimator, P], Estimator],
) -> Callable[Concatenate[Estimator, P], Estimator]:
    """Restore the attributes of an estimator if its `fit` fails or is interrupted.

    Otherwise an earlier model would answer with the classes of a fit that has not ended.
    """

    @wraps(fit)
    def whole(estimator: Estimator, /, *args: P.args, **settings: P.kwargs) -> Estimator:
        before: dict[str, Any] = dict(vars(estimator))
        try:
            return fit(estimator, *args, **settings)
        except BaseException:
            vars(estimator).clear()
            vars(estimator).update(before)
            raise

    return whole
