"""Image classification from few labels: a VAE learns from all images, an SVM from the labelled few."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpu_ssl.estimators import OneVsOneSVC

__version__ = "0.1.0"

__all__ = ["OneVsOneSVC", "__version__"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: torch and scikit-learn take seconds to load."""
    if name == "OneVsOneSVC":
        from gpu_ssl.estimators import OneVsOneSVC

        return OneVsOneSVC
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
