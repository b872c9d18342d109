"""The files around the code agree with it and with each other."""

import importlib.util
import inspect
import pkgutil
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import gpu_ssl

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONDA_NAMES = {
    "torch": "pytorch-gpu",
    "matplotlib": "matplotlib-base",
    "cuml-cu13": "cuml",
    "cupy-cuda13x": "cupy",
    "rmm-cu13": "rmm",
}


def test_environment_and_pyproject_ask_for_the_same_versions() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["channels"] == ["rapidsai", "conda-forge"]
    conda = {}
    for line in environment["dependencies"]:
        if isinstance(line, str):
            name, version = re.fullmatch(r"([\w-]+)(.*)", line).groups()  # type: ignore[union-attr]
            conda[name] = version
    assert conda.pop("cuda-version").startswith("=13")
    assert conda.pop("python") == PROJECT["requires-python"]
    conda.pop("pip")
    pip = [Requirement(line) for line in PROJECT["dependencies"] + PROJECT["optional-dependencies"]["gpu"]]
    wanted = {CONDA_NAMES.get(r.name, r.name): {str(s).removeprefix("=") for s in r.specifier} for r in pip}
    assert {name: set(version.split(",")) for name, version in conda.items()} == wanted


def test_the_changelog_knows_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    assert "## [Unreleased]" in text or f"## [{gpu_ssl.__version__}]" in text


def test_the_readme_is_short_and_its_commands_exist() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) < 150
    for command in re.findall(r"scripts/[\w-]+", text):
        assert (ROOT / command).exists(), command


def modules() -> list[str]:
    """Return the modules that can be imported here."""
    names = [module.name for module in pkgutil.walk_packages(gpu_ssl.__path__, "gpu_ssl.")]
    left_out = ("__main__",) if importlib.util.find_spec("cuml") else ("__main__", "_cuml")
    return [name for name in names if not name.endswith(left_out)]


@pytest.mark.parametrize("name", modules())
def test_everything_public_has_a_docstring(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__, name
    for attribute, value in vars(module).items():
        own = getattr(value, "__module__", None) == name
        if attribute.startswith("_") or not own or not (inspect.isclass(value) or inspect.isfunction(value)):
            continue
        assert value.__doc__, f"{name}.{attribute}"


def test_no_file_has_two_jobs() -> None:
    sizes = {path: len(path.read_text().splitlines()) for path in (ROOT / "gpu_ssl").rglob("*.py")}
    assert not {str(path): size for path, size in sizes.items() if size > 300}
