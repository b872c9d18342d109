"""Optional packages, and the command that installs them."""

import json
from functools import cache
from importlib import metadata
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
        command = f"pip install {' '.join(missing)}" if extra is None else install_command(extra)
        raise DependencyError(f"{purpose} needs {listed}, which {verb} not installed; do: {command}")


def install_command(extra: str = "") -> str:
    """Return the command that installs gpu-ssl with an extra, in the way in which gpu-ssl was installed.

    What was installed from a clone is installed from there again. The path of the clone is not part of the
    command, because messages are also saved in reports, which are shared.
    """
    extras = f"[{extra}]" if extra else ""
    folder = _folder_info()
    if folder is None:
        return f"pip install 'gpu-ssl{extras}'"  # of a wheel, too: pip then adds the packages of the extra
    editable = "--editable " if folder.get("editable", False) else ""
    return f"pip install {editable}'.{extras}' in the clone of gpu-ssl"


@cache
def _folder_info() -> dict[str, bool] | None:
    """Return what pip recorded of the folder that gpu-ssl was installed from (PEP 610); None without one."""
    try:
        recorded = metadata.distribution("gpu-ssl").read_text("direct_url.json")
    except metadata.PackageNotFoundError:  # It runs from a clone without being installed.
        return {"editable": True}
    found: dict[str, bool] | None = json.loads(recorded or "{}").get("dir_info")
    return found
