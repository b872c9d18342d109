"""A missing package is one line, with the command that installs it."""

import re
import tomllib
from pathlib import Path

import pytest

from gpu_ssl.errors import DependencyError
from gpu_ssl.runtime import optional
from gpu_ssl.runtime.optional import install_command, require

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("packages", "extra", "message"),
    [
        (
            ("no_such_one", "json"),
            "label",
            f"x needs no_such_one, which is not installed; do: {install_command('label')}",
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


@pytest.mark.parametrize(
    ("recorded", "command"),
    [
        (None, "pip install 'gpu-ssl[label]'"),  # from an index
        ('{"url": "file:///x.whl", "archive_info": {}}', "pip install 'gpu-ssl[label]'"),
        (
            '{"url": "file:///x", "dir_info": {"editable": true}}',
            "pip install --editable '.[label]' in the clone of gpu-ssl",
        ),
        ('{"url": "file:///x", "dir_info": {}}', "pip install '.[label]' in the clone of gpu-ssl"),
    ],
)
def test_the_command_is_that_of_the_installation(
    recorded: str | None, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clone is installed from again: gpu-ssl may not be on an index, or be another version there."""

    class Installed:
        def read_text(self, name: str) -> str | None:
            assert name == "direct_url.json"
            return recorded

    optional._folder_info.cache_clear()
    monkeypatch.setattr(optional.metadata, "distribution", lambda name: Installed())
    try:
        assert install_command("label") == command
        assert install_command() == command.replace("[label]", "")
    finally:
        optional._folder_info.cache_clear()


def test_installed_packages_are_accepted() -> None:
    require("x", "json", extra="label")


def test_every_extra_that_a_message_names_exists() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = set()
    for path in (ROOT / "gpu_ssl").rglob("*.py"):
        text = path.read_text("utf-8")
        named |= set(re.findall(r'require\(.*extra="([\w-]+)"', text)) | set(
            re.findall(r"""install_command\(["']([\w-]+)["']\)""", text)
        )
        assert "pip install 'gpu-ssl[" not in text or path.name == "optional.py"
    assert {"formats", "gpu", "label", "onnx", "parquet", "sweep", "pretrained"} <= named
    assert named <= set(extras)
