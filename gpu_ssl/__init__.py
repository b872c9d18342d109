"""Image classification from few labels: encoders learn from all images, classifiers from the labelled few."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from gpu_ssl.estimators.labels import labelled_accuracy
    from gpu_ssl.estimators.semi_supervised import SemiSupervisedClassifier
    from gpu_ssl.estimators.svc import OneVsOneSVC
    from gpu_ssl.estimators.vae import VAETransformer

    __version__: str

__all__ = [
    "OneVsOneSVC",
    "SemiSupervisedClassifier",
    "VAETransformer",
    "__version__",
    "labelled_accuracy",
    "load",
]

_MODULES = {
    "OneVsOneSVC": "svc",
    "SemiSupervisedClassifier": "semi_supervised",
    "VAETransformer": "vae",
    "labelled_accuracy": "labels",
}


def load(folder: "Path | str", device: str = "auto") -> "SemiSupervisedClassifier":
    """Read a model that ``gpu-ssl fit`` or `SemiSupervisedClassifier.save` wrote.

    Parameters
    ----------
    folder : Path or str
        Folder of the model.
    device : str
        Device to compute on: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Returns
    -------
    SemiSupervisedClassifier
        The fitted model.
    """
    from gpu_ssl.estimators.semi_supervised import SemiSupervisedClassifier

    return SemiSupervisedClassifier.load(folder, device)


def _installed_version() -> str:
    from importlib import metadata

    try:
        return metadata.version("gpu-ssl")
    except metadata.PackageNotFoundError:  # imported from a folder, not installed
        return "0+unknown"


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: torch and scikit-learn take seconds to load."""
    if name == "__version__":
        return _installed_version()
    if name in _MODULES:
        from importlib import import_module

        return getattr(import_module(f"gpu_ssl.estimators.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
