"""Optional packages."""

from importlib.util import find_spec

from gpu_ssl.errors import DependencyError


def require(purpose: str, *packages: str, extra: str | None = None) -> None:
    """Check that packages are installed.

    Parameters
    ----------
    purpose : str
        What needs them, for the error message.
    *packages : str
        Names of the packages, the same for pip and for import.
    extra : str, optional
        The extra of gpu-ssl that installs them. Without one, the message names the packages.

    Raises
    ------
    DependencyError
        If some are missing; the message names all of them.
    """
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        listed = " and ".join(missing)
        verb = "are" if len(missing) > 1 else "is"
        # With an editable installation, too, pip then adds the packages of the extra.
        wanted = " ".join(missing) if extra is None else f"'gpu-ssl[{extra}]'"
        raise DependencyError(
            f"{purpose} needs {listed}, which {verb} not installed; do: pip install {wanted}"
        )
