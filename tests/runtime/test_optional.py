"""A missing package is one line, with the command that installs it."""

import re
import tomllib
from pathlib import Path

import pytest

from gpu_ssl.errors import DependencyError
from gpu_ssl.runtime import optional
from gpu_ssl.runtime.optional import install_advice, require

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("packages", "extra", "message"),
    [
        (
            ("no_such_one", "json"),
            "label",
            f"x needs no_such_one, which is not installed; {install_advice('label')}",
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
    ("installer", "recorded", "advice"),
    [
        ("pip\n", None, "do: pip install 'gpu-ssl[label]'"),  # from an index
        ("uv", None, "do: uv pip install 'gpu-ssl[label]'"),
        (None, '{"url": "file:///x.whl", "archive_info": {}}', "do: pip install 'gpu-ssl[label]'"),
        ("pip", '{"url": "ssh://x", "vcs_info": {"vcs": "git"}}', "do: pip install 'gpu-ssl[label]'"),
        ("pip", "{damaged", "do: pip install 'gpu-ssl[label]'"),
        ("pip", "[]", "do: pip install 'gpu-ssl[label]'"),
        (
            "pip",
            '{"url": "file:///x", "dir_info": {"editable": true}}',
            "in gpu-ssl's source folder, do: pip install -e '.[label]'",
        ),
        (
            "uv",
            '{"url": "file:///x", "dir_info": {}}',
            "in gpu-ssl's source folder, do: uv pip install '.[label]'",
        ),
    ],
)
def test_the_advice_is_that_of_the_installation(
    installer: str | None, recorded: str | None, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What came from a folder is installed from there again: gpu-ssl may not be on an index."""

    class Installed:
        def read_text(self, name: str) -> str | None:
            return {"direct_url.json": recorded, "INSTALLER": installer}[name]

    optional._installation.cache_clear()
    monkeypatch.setattr(optional.metadata, "distribution", lambda name: Installed())
    try:
        assert install_advice("label") == advice
        assert install_advice() == advice.replace("[label]", "")
    finally:
        optional._installation.cache_clear()


def test_installed_packages_are_accepted() -> None:
    require("x", "json", extra="label")


def test_every_extra_that_a_message_names_exists() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = set()
    for path in (ROOT / "gpu_ssl").rglob("*.py"):
        text = path.read_text("utf-8")
        named |= set(re.findall(r'require\(.*extra="([\w-]+)"', text)) | set(
            re.findall(r"""install_advice\(["']([\w-]+)["']\)""", text)
        )
        assert "pip install 'gpu-ssl[" not in text or path.name == "optional.py"
    assert {"formats", "gpu", "label", "onnx", "parquet", "sweep", "pretrained"} <= named
    assert named <= set(extras)
