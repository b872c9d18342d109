"""Options of settings, and the command line that repeats a run or a fit with its recorded settings."""

import shlex
from collections.abc import Mapping
from typing import Any, Final

from gpu_ssl import catalog
from gpu_ssl.config import FitConfig, RunConfig

NAMES: Final = {
    "methods": "--method",
    "C": "--svm-c",
    "gamma": "--svm-gamma",
    "svm_backend": "--svm",
}
"""Options whose names differ from that of their setting."""

NOT_OPTIONS: Final = frozenset({"weight_decay"})
"""Settings without an option on the command line."""


def option_name(setting: str) -> str:
    """Return the option of the command line for a setting."""
    return NAMES.get(setting, f"--{setting.replace('_', '-')}")


def command_of_run(settings: Mapping[str, Any]) -> str:
    """Return the command that repeats a run.

    Parameters
    ----------
    settings : mapping
        Settings in its report or `config.json`.
    """
    return _command("gpu-ssl run", settings, RunConfig())


def command_of_fit(config: FitConfig) -> str:
    """Return the command that repeats a fit, without the paths of images and labels."""
    data = data_word(config.encoder is not None and catalog.takes_embeddings(config.encoder))
    start = f"gpu-ssl fit {data} --labels LABELS --output MODEL"
    return _command(start, config.model_dump(mode="json"), FitConfig())


def command_of_predict(folder: object, takes_embeddings: bool) -> str:
    """Return the command that uses the model in a folder."""
    return f"gpu-ssl predict {folder} {data_word(takes_embeddings)}"


def data_word(are_embeddings: bool) -> str:
    """Return the word that stands for the data in a command."""
    return "EMBEDDINGS" if are_embeddings else "IMAGES"


def _command(start: str, settings: Mapping[str, Any], usual: RunConfig | FitConfig) -> str:
    words = [start]
    given = _flat(settings)
    expected = _flat(usual.model_dump(mode="json")) | _of_network(given.get("network"))
    model, train = catalog.with_preset(given.get("preset", ""), {}, {"augment": given.get("augment")})
    expected |= model | train | {"augment": None}
    for name, value in given.items():
        if name in NOT_OPTIONS or value is None or value == expected.get(name):
            continue
        option = option_name(name)
        if isinstance(value, bool):
            words.append(option if value else option.replace("--", "--no-", 1))
        else:
            text = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            words.append(f"{option} {shlex.quote(text)}")
    return " ".join(words)


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings without their groups."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= value if isinstance(value, Mapping) else {name: value}
    return flat


def _of_network(name: Any) -> dict[str, Any]:
    """Return the defaults of a network of the VAE."""
    spec = next((own for own in catalog.NETWORKS if own.name == name), None)
    return {} if spec is None else {"latent_dim": spec.latent_dim, "kl_weight": spec.kl_weight}
