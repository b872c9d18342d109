"""Packages that only some users need."""

from importlib.util import find_spec

from gpu_ssl.errors import DependencyError


def require(purpose: str, *packages: str) -> None:
    """Make sure that packages can be imported.

    Parameters
    ----------
    purpose : str
        What needs them, for the message.
    *packages : str
        Their names, the same for pip and for import.

    Raises
    ------
    DependencyError
        Naming all that are missing.
    """
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        listed = " and ".join(missing)
        verb = "are" if len(missing) > 1 else "is"
        raise DependencyError(
            f"{purpose} needs {listed}, which {verb} not installed; do: pip install {' '.join(missing)}"
        )
