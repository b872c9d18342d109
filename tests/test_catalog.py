"""What is chosen by name: every entry leads to a module that keeps its promise; nothing heavy is loaded."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from gpu_ssl import catalog
from gpu_ssl.catalog import (
    ENCODERS,
    METHODS,
    NETWORKS,
    TRACKERS,
    EncoderSpec,
    MethodSpec,
    NetworkSpec,
    TrackerSpec,
)
from gpu_ssl.config import FitConfig, ModelConfig, RunConfig
from gpu_ssl.errors import UsageError
from tests.test_packaging import PROJECT


def name_of(spec: MethodSpec | EncoderSpec | NetworkSpec | TrackerSpec) -> str:
    return spec.name


def defined(module: Any) -> set[str]:
    return {name for name in vars(module) if callable(getattr(module, name))}


@pytest.mark.parametrize("specs", [METHODS, ENCODERS, NETWORKS, TRACKERS])
def test_no_name_is_given_twice_and_every_entry_says_what_it_is(specs: tuple[Any, ...]) -> None:
    """A second entry of a name would never be found."""
    names = [spec.name for spec in specs]
    assert len(set(names)) == len(names)
    for spec in specs:
        assert spec.help
        # What joins names in options, files and folders.
        assert not set(spec.name) & set("+,/. "), spec.name


def test_methods_have_titles_of_their_own() -> None:
    """Rows of a table that read alike could not be told apart."""
    titles = [spec.title for spec in METHODS]
    assert len(set(titles)) == len(titles)
    assert catalog.title("hybrid") == "hybrid: SVM on VAE latents and HOG"
    assert catalog.title("of another version") == "of another version"


@pytest.mark.parametrize("spec", METHODS, ids=name_of)
def test_the_module_of_a_method_fits_and_loads(spec: MethodSpec) -> None:
    assert {"fit", "load"} <= (found := defined(catalog.load_module(spec))) or {"fit", "choose"} <= found


@pytest.mark.parametrize("spec", ENCODERS, ids=name_of)
def test_the_module_of_an_encoder_fits_and_builds(spec: EncoderSpec) -> None:
    found = defined(catalog.load_module(spec))
    assert "build" in found
    assert "fit" in found or spec.internal


@pytest.mark.parametrize("spec", TRACKERS, ids=name_of)
def test_the_module_of_a_tracker_starts_a_run(spec: TrackerSpec) -> None:
    assert "start" in defined(catalog.load_module(spec))
    assert spec.name in PROJECT["optional-dependencies"]


@pytest.mark.parametrize("spec", NETWORKS, ids=name_of)
def test_the_module_of_a_network_builds_it(spec: NetworkSpec) -> None:
    parts = catalog.load_module(spec).build((1, 8, 8), spec.latent_dim)
    assert parts
    assert ModelConfig(network=spec.name).latent_dim == spec.latent_dim


@pytest.mark.parametrize("spec", METHODS, ids=name_of)
def test_the_encoders_of_a_method_can_be_asked_for(spec: MethodSpec) -> None:
    for name in filter(None, (spec.encoder, spec.teacher)):
        assert catalog.encoder_parts(name)
    # Several processes share only the VAE, not the networks of methods.
    assert not (spec.shared and spec.trains)


@pytest.mark.parametrize(
    ("find", "kind", "named"),
    [
        (catalog.method, "method", [spec.name for spec in METHODS]),
        (catalog.encoder, "encoder", [spec.name for spec in ENCODERS if not spec.internal]),
        (catalog.encoder_parts, "encoder", [spec.name for spec in ENCODERS if not spec.internal]),
        (catalog.network, "network", ["conv", "mlp"]),
    ],
)
def test_an_unknown_name_is_answered_with_all_that_are_allowed(
    find: Callable[[str], object], kind: str, named: list[str]
) -> None:
    """The one line must be enough to correct the mistake; and it offers nothing that would be refused."""
    with pytest.raises(UsageError) as error:
        find("nonesuch")
    assert str(error.value) == f"there is no {kind} 'nonesuch'; allowed are {', '.join(named)}"


def test_names_are_found() -> None:
    for find, specs in ((catalog.method, METHODS), (catalog.encoder, ENCODERS), (catalog.network, NETWORKS)):
        assert [find(spec.name) for spec in specs] == list(specs)


def test_a_sum_of_encoders_has_its_parts_in_order() -> None:
    assert catalog.encoder_parts("vae+hog") == ("vae", "hog")
    assert catalog.encoder_parts("hog+vae+pca") == ("hog", "vae", "pca")
    assert catalog.encoder_parts("pixels") == ("pixels",)
    assert catalog.encoder_parts("") == ()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("hog+hog", "repeats a part"),
        ("vae+hog+vae", "repeats a part"),
        ("network", "is internal to methods and cannot be selected"),
        ("vae+network", "is internal to methods and cannot be selected"),
        ("vae+", "there is no encoder ''"),
        ("vae + hog", "there is no encoder 'vae '"),
    ],
)
def test_what_is_no_encoder_is_refused_wherever_it_is_asked_for(name: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        catalog.encoder_parts(name)
    for config in (FitConfig, RunConfig):
        with pytest.raises(UsageError, match=words):
            config.of(encoder=name)


def test_settings_take_the_names_of_the_catalog() -> None:
    """They have no separate list that could differ."""
    assert RunConfig(methods=",".join(spec.name for spec in METHODS)).methods == tuple(map(name_of, METHODS))  # type: ignore[arg-type]
    assert FitConfig(method="graph", encoder="pca+hog").encoder == "pca+hog"
    with pytest.raises(UsageError, match="there is no method 'm3'; allowed are m1, hybrid"):
        RunConfig.of(methods="m1,m3")
    with pytest.raises(UsageError, match="'m3': there is no such method; allowed are m1, hybrid"):
        FitConfig.of(method="m3")


@pytest.mark.parametrize("module", ["gpu_ssl.catalog", "gpu_ssl.cli", "gpu_ssl.cli.run", "gpu_ssl.cli.fit"])
def test_names_cost_no_second(module: str) -> None:
    """A help text or a mistake in an option is answered at once: torch takes seconds to import."""
    code = f"import sys, {module}; print([m for m in ('torch', 'sklearn', 'scipy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
