"""A missing package is one line, with the command that installs it."""

import re
import tomllib
from pathlib import Path

import pytest

from gpu_ssl.errors import DependencyError
from gpu_ssl.runtime.optional import require

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("packages", "extra", "message"),
    [
        (
            ("no_such_one", "json"),
            "label",
            "x needs no_such_one, which is not installed; do: pip install 'gpu-ssl[label]'",
        ),
        (("no_a", "no_b"), None, "x needs no_a and no_b, which are not installed; do: pip install no_a no_b"),
    ],
)
def test_the_message_names_the_extra_or_the_packages(
    packages: tuple[str, ...], extra: str | None, message: str
) -> None:
    with pytest.raises(DependencyError) as caught:
        require("x", *packages, extra=extra)
    assert str(caught.value) == message


def test_installed_packages_are_accepted() -> None:
    require("x", "json", extra="label")


def test_every_extra_that_a_message_names_exists() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = set()
    for path in (ROOT / "gpu_ssl").rglob("*.py"):
        text = path.read_text("utf-8")
        named |= set(re.findall(r'require\(.*extra="([\w-]+)"', text)) | set(
            re.findall(r"gpu-ssl\[([\w-]+)\]", text)
        )
    assert {"label", "onnx", "parquet", "sweep", "pretrained"} <= named
    assert named <= set(extras)
