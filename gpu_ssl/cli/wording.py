"""Words error messages for the command line.

Messages of the library name a setting in backticks, with or without a value: `batch_size`,
`precision=float32`. Users of the command line know these as options.
"""

import re
from typing import Final

from gpu_ssl.config import DataConfig, FitConfig, ModelConfig, RunConfig, SVMConfig, TrainConfig
from gpu_ssl.report.command import option_name

OTHERS: Final = frozenset(
    [
        "svm",
        "from",
        "host",
        "images",
        "jobs",
        "port",
        "cache_dir",
        "folders_too",
        "group_column",
        "workers",
        "label_column",
        "labels",
        "large_images",
        "output",
        "pages",
        "path_column",
        "resume",
        "track",
        "cluster",
    ]
)
"""Settings of commands that no configuration contains."""

_SETTINGS = OTHERS.union(
    *(c.model_fields for c in (DataConfig, FitConfig, ModelConfig, RunConfig, SVMConfig, TrainConfig))
)
_MENTIONED = re.compile(r"`(\w+)(?:=([^`]*))?`")


def as_options(message: str) -> str:
    """Return a message with the settings that it names in backticks as options."""

    def word(match: re.Match[str]) -> str:
        setting, value = match.groups()
        if setting not in _SETTINGS:
            return match.group()
        return option_name(setting) if value is None else f"{option_name(setting)} {value}"

    return _MENTIONED.sub(word, message)
