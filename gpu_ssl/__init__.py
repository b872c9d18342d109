"""Image classification from few labels: a VAE learns from all images, an SVM from the labelled few."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpu_ssl.estimators.semi_supervised import SemiSupervisedClassifier
    from gpu_ssl.estimators.svc import OneVsOneSVC
    from gpu_ssl.estimators.vae import VAETransformer

__version__ = "0.1.0"

__all__ = ["OneVsOneSVC", "SemiSupervisedClassifier", "VAETransformer", "__version__"]

_MODULES = {"OneVsOneSVC": "svc", "SemiSupervisedClassifier": "semi_supervised", "VAETransformer": "vae"}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: torch and scikit-learn take seconds to load."""
    if name in _MODULES:
        from importlib import import_module

        return getattr(import_module(f"gpu_ssl.estimators.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
