"""The files around the code agree with it and with each other."""

import importlib.util
import inspect
import pkgutil
import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

import gpu_ssl
from gpu_ssl.runtime.environment import release

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


def test_the_conda_recipe_and_pyproject_ask_for_the_same_versions() -> None:
    recipe = yaml.safe_load((ROOT / "conda" / "recipe.yaml").read_text())
    names = {**CONDA_NAMES, "torch": "pytorch"}
    wanted = {names.get(r.name, r.name): r.specifier for r in map(Requirement, PROJECT["dependencies"])}
    found = {r.name: r.specifier for r in map(Requirement, recipe["requirements"]["run"])}
    assert found.pop("python") == Requirement(f"python{PROJECT['requires-python']}").specifier
    assert found == wanted
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    host = {str(Requirement(line)) for line in recipe["requirements"]["host"]}
    assert {str(Requirement(line)) for line in build} <= host
    assert recipe["build"]["python"]["entry_points"] == [
        f"{name} = {target}" for name, target in PROJECT["scripts"].items()
    ]


def test_releases_in_the_changelog_have_dates() -> None:
    """The topmost section is what the next release will contain; RELEASING.md dates it."""
    text = (ROOT / "CHANGELOG.md").read_text()
    headings = re.findall(r"^## \[(.+?)\](?: - (\d{4}-\d{2}-\d{2}))?$", text, re.MULTILINE)
    assert headings[0] == ("Unreleased", "")
    assert all(Version(version) and date for version, date in headings[1:])
    dates = [date for _, date in headings[1:]]
    assert dates == sorted(dates, reverse=True)


def test_state_is_tied_to_the_release_not_to_the_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    for version, expected in (("0.1.0", "0.1.0"), ("0.1.0.dev361", "0.1.0"), ("0+unknown", "0")):
        monkeypatch.setattr(gpu_ssl, "__version__", version, raising=False)
        assert release() == expected


def test_without_metadata_the_version_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    assert gpu_ssl.__version__ == "0+unknown"


def test_the_fallback_version_is_a_development_version_of_the_next_release() -> None:
    """Builds without git get it; state of such a build is tied to the same release as that of a clone."""
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    fallback = Version(tool["hatch"]["version"]["fallback-version"])
    headings = re.findall(r"^## \[(\d.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert fallback.is_devrelease
    assert all(fallback > Version(released) for released in headings)


def test_the_readme_is_short_and_its_commands_exist() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 120
    # The generated tables may be wider.
    assert all(len(line) < 100 for line in text.splitlines() if not line.startswith("|"))
    for link in re.findall(r"\]\(((?!https?:)[^)]+)\)", text):
        assert (ROOT / link).exists(), link
    for command in re.findall(r"scripts/[\w-]+", text):
        assert (ROOT / command).exists(), command


def modules() -> list[str]:
    """Return the modules that can be imported here."""
    names = [module.name for module in pkgutil.walk_packages(gpu_ssl.__path__, "gpu_ssl.")]
    missing = [f"_{package}" for package in ("cuml", "umap") if importlib.util.find_spec(package) is None]
    return [name for name in names if not name.endswith(("__main__", *missing))]


@pytest.mark.parametrize("name", modules())
def test_everything_public_has_a_docstring(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__, name
    for attribute, value in vars(module).items():
        own = getattr(value, "__module__", None) == name
        if attribute.startswith("_") or not own or not (inspect.isclass(value) or inspect.isfunction(value)):
            continue
        assert value.__doc__, f"{name}.{attribute}"


def test_no_module_has_more_than_300_lines() -> None:
    sizes = {path: len(path.read_text().splitlines()) for path in (ROOT / "gpu_ssl").rglob("*.py")}
    assert not {str(path): size for path, size in sizes.items() if size > 300}
