"""Optional packages, and what installs them."""

import json
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from typing import Any

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
        advice = f"do: pip install {' '.join(missing)}" if extra is None else install_advice(extra)
        raise DependencyError(f"{purpose} needs {listed}, which {verb} not installed; {advice}")


def install_advice(extra: str = "") -> str:
    """Return what installs gpu-ssl with an extra: the command last, from where gpu-ssl was installed.

    It may be on no index, or be another version there. The path of a folder is not part of the advice,
    because messages are also saved in reports, which are shared.
    """
    extras = f"[{extra}]" if extra else ""
    pip, folder = _installation()
    if folder is None:
        return f"do: {pip} install 'gpu-ssl{extras}'"
    editable = "-e " if folder.get("editable") else ""
    return f"in gpu-ssl's source folder, do: {pip} install {editable}'.{extras}'"


@cache
def _installation() -> tuple[str, dict[str, Any] | None]:
    """Return the installer, and what it recorded of the folder that it installed from (PEP 610), if any."""
    try:
        distribution = metadata.distribution("gpu-ssl")
    except metadata.PackageNotFoundError:  # It runs from its source folder without being installed.
        return "pip", {"editable": True}
    pip = "uv pip" if (distribution.read_text("INSTALLER") or "").strip() == "uv" else "pip"
    try:
        recorded = json.loads(distribution.read_text("direct_url.json") or "{}")
    except ValueError:
        recorded = {}
    folder = recorded.get("dir_info") if isinstance(recorded, dict) else None
    return pip, folder if isinstance(folder, dict) else None
