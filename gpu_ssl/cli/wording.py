"""Words error messages for the command line.

Messages of the library name a setting in backticks, with or without a value: `batch_size`,
`precision=float32`. Users of the command line know these as options.
"""

import re
from typing import Final

from gpu_ssl.config import DataConfig, FitConfig, ModelConfig, RunConfig, SVMConfig, TrainConfig

OPTIONS: Final = {
    "methods": "--method",
    "C": "--svm-c",
    "gamma": "--svm-gamma",
    "svm_backend": "--svm",
    "svm": "--svm",
    "from": "--from",
    "host": "--host",
    "jobs": "--jobs",
    "port": "--port",
    "cache_dir": "--cache-dir",
    "folders_too": "--folders-too",
    "label_column": "--label-column",
    "labels": "--labels",
    "large_images": "--large-images",
    "output": "--output",
    "pages": "--pages",
    "path_column": "--path-column",
    "resume": "--resume",
    "track": "--track",
    "cluster": "--cluster",
}
"""Options whose names differ from that of their setting, or that have none."""

_SETTINGS = set(OPTIONS).union(
    *(c.model_fields for c in (DataConfig, FitConfig, ModelConfig, RunConfig, SVMConfig, TrainConfig))
)
_MENTIONED = re.compile(r"`(\w+)(?:=([^`]*))?`")


def option_name(setting: str) -> str:
    """Return the option of the command line for a setting."""
    return OPTIONS.get(setting, f"--{setting.replace('_', '-')}")


def as_options(message: str) -> str:
    """Return a message with the settings that it names in backticks as options."""

    def word(match: re.Match[str]) -> str:
        setting, value = match.groups()
        if setting not in _SETTINGS:
            return match.group()
        return option_name(setting) if value is None else f"{option_name(setting)} {value}"

    return _MENTIONED.sub(word, message)
