"""Models of every method predict and suggest, and predict the same from disk and as ONNX."""

import math
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import onnxruntime
import pytest

from gpu_ssl import catalog
from gpu_ssl.config import Effort
from gpu_ssl.data.image_set import Dataset
from gpu_ssl.data.own import UNLABELLED, OwnImages, image_key
from gpu_ssl.data.stream import Block
from gpu_ssl.encoders import hog, pretrained
from gpu_ssl.fitted import storage
from gpu_ssl.fitted.fitting import Fit, fit
from gpu_ssl.fitted.model import Answers, FittedModel
from gpu_ssl.fitted.onnx_file import export
from gpu_ssl.fitted.suggestion import suggest
from gpu_ssl.methods import consistency, network
from gpu_ssl.methods.validation import FOLDS_OF_NETWORKS
from gpu_ssl.runtime.progress import SILENT
from tests.fitted.conftest import CONFIG, own_images

N_LABELLED = 60


class Case(NamedTuple):
    """Settings of a user."""

    method: str
    encoder: str | None = None
    effort: Effort = "quick"

    def __str__(self) -> str:
        return "-".join(filter(None, self))


ALL = [Case(spec.name, "hog" if spec.name == "svm" else None) for spec in catalog.METHODS]
CHOOSING = [Case("auto"), Case("auto", None, "normal"), Case("auto", "hog")]
CASES = list(dict.fromkeys([*ALL, *CHOOSING]))
KINDS = ("digits", "patches")
EXPORTABLE = [case for case in ALL if not catalog.method(case.method).baseline] + [Case("cnn")]
EXPORTED = [Case("hybrid"), Case("svm", "hog"), Case("consistency"), Case("m2")]
"""Of colour images: each takes some seconds, so a test finds that they have all parts of the others. Of grey
ones tests/fitted/test_onnx_file.py exports some."""


@pytest.fixture(scope="module", autouse=True)
def little_work() -> Iterator[None]:
    """A few steps of training, no pretrained network, and fewer orientations in HOG.

    ONNX makes hundreds of nodes of these.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network, "FEWEST", 15)
        patch.setattr(network, "PASSES", 1)
        patch.setattr(consistency, "SOME", 0)  # what has the most parts
        patch.setattr(hog, "COTANGENTS", (hog.COTANGENTS[3], hog.COTANGENTS[6]))
        patch.setattr(hog, "ORIENTATIONS", 3)
        patch.setattr(pretrained, "usual_at_hand", tuple)
        yield


class FitCase(Protocol):
    """Fits what a case asks for to one of two kinds of images, once."""

    def __call__(self, kind: str, case: Case) -> Fit: ...


@pytest.fixture(scope="module")
def kinds(digits: Dataset, patches: tuple[np.ndarray, np.ndarray]) -> dict[str, tuple[OwnImages, np.ndarray]]:
    """Images to fit, and others to predict."""
    grey, (colours, classes) = digits.train, patches
    return {
        "digits": (
            own_images(grey.images[:120], grey.labels[:120], grey.class_names, N_LABELLED),
            grey.images[200:260],
        ),
        "patches": (
            own_images(colours[:120], classes[:120], ("court", "flower", "sky"), N_LABELLED),
            colours[200:260],
        ),
    }


@pytest.fixture(scope="module")
def fit_case(
    kinds: dict[str, tuple[OwnImages, np.ndarray]], tmp_path_factory: pytest.TempPathFactory
) -> FitCase:
    folder = tmp_path_factory.mktemp("fits")

    @cache
    def fitted(kind: str, case: Case) -> Fit:
        train = CONFIG.train.model_copy(update={"epochs": 2})
        config = CONFIG.model_copy(update={"train": train, **case._asdict()})
        return fit(kinds[kind][0], config, folder / kind / "checkpoint.json", SILENT)

    return fitted


def assert_sound(answers: Answers, n_classes: int) -> None:
    assert answers.probabilities.shape == (len(answers.classes), n_classes)
    assert np.array_equal(answers.probabilities.argmax(axis=1), answers.classes)
    np.testing.assert_allclose(answers.probabilities.sum(axis=1), 1)
    assert np.isfinite(answers.ood_scores).all()
    assert (answers.ood_scores >= 0).all()
    assert len(np.unique(answers.classes)) > 1


def suggestions(model: FittedModel, images: OwnImages) -> list[str]:
    known = {image_key(image) for image in images.images[images.labels != UNLABELLED]}
    chosen = suggest(model, [Block(list(images.names), images.images, {})], 7, known)
    assert chosen is not None
    assert not known & set(chosen.keys)
    assert len(set(chosen.names)) == 7
    return chosen.names


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_a_model_says_the_same_from_disk(
    kind: str,
    case: Case,
    fit_case: FitCase,
    kinds: dict[str, tuple[OwnImages, np.ndarray]],
    tmp_path: Path,
) -> None:
    images, others = kinds[kind]
    fitted = fit_case(kind, case)
    before = fitted.model.predict(others)
    assert_sound(before, len(images.class_names))
    storage.save(tmp_path, fitted.model, fitted.record)
    read, record = storage.load(tmp_path, "cpu")
    assert record.model_dump_json() == fitted.record.model_dump_json()
    for name, ours, theirs in zip(before._fields, before, read.predict(others), strict=True):
        assert np.array_equal(ours, theirs), name
    assert suggestions(fitted.model, images) == suggestions(read, images)


def test_of_several_networks_the_same_one_scores_from_disk(
    fit_case: FitCase, kinds: dict[str, tuple[OwnImages, np.ndarray]], tmp_path: Path
) -> None:
    """Without a VAE the score takes the features of the first network; all have the same name."""
    _, others = kinds["digits"]
    fitted = fit_case("digits", Case("consistency", "hog", "best"))
    assert len({id(part) for part in fitted.model.classifier.encoder.parts}) == 4
    storage.save(tmp_path, fitted.model, fitted.record)
    read, _ = storage.load(tmp_path, "cpu")
    assert np.array_equal(read.predict(others).ood_scores, fitted.model.predict(others).ood_scores)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_record_names_the_method_and_what_its_estimate_rests_on(case: Case, fit_case: FitCase) -> None:
    """A method that trains networks is judged once, on a third; others on all labelled images."""
    record = fit_case("digits", case).record
    method = catalog.method(record.chosen.method)
    if case.method == "auto":
        names = {"consistency": "a network"} if case.effort == "normal" else {}
        assert names.get(method.name, method.name) in record.chosen.reason
        assert set(record.chosen.shares) == ({"svm", "graph"} if case.encoder else {"m1", "hybrid", "graph"})
    else:
        assert (method.name, record.chosen.reason, record.chosen.shares) == (case.method, "", {})
    assert record.classifier["method"] == method.name
    assert record.estimate is not None
    third = math.ceil(N_LABELLED / FOLDS_OF_NETWORKS)
    assert record.estimate.of in ((third - 1, third) if method.trains else (N_LABELLED,))


@pytest.mark.parametrize("case", CHOOSING, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_auto_answers_as_the_method_that_it_chose(
    kind: str, case: Case, fit_case: FitCase, kinds: dict[str, tuple[OwnImages, np.ndarray]]
) -> None:
    choosing = fit_case(kind, case)
    method = choosing.record.chosen.method
    chosen = fit_case(kind, Case(method, case.encoder))
    ours, theirs = (own.model.predict(kinds[kind][1]) for own in (choosing, chosen))
    assert np.array_equal(ours.classes, theirs.classes)
    # To compare methods, auto has encoded other images at a time, which rounds differently.
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4)


def parts_of(model: FittedModel) -> set[object]:
    """Return the kinds of what a graph is composed of: encoders, decisions, and two ways to a score."""
    encoders = {type(part) for part in model.classifier.encoder.parts}
    top = model.classifier.module()
    decisions = {type(part) for part in (top, *top.children())}
    return encoders | decisions | {f"reconstructs: {model.ood.usual_error is not None}"}


@pytest.mark.parametrize("case", EXPORTABLE, ids=str)
def test_every_part_of_a_model_is_in_one_that_is_exported(case: Case, fit_case: FitCase) -> None:
    """A graph calls its parts one after the other, so it is enough to have each of them once."""
    exported = set().union(*(parts_of(fit_case("patches", own).model) for own in EXPORTED))
    missing = parts_of(fit_case("patches", case).model) - exported
    assert not missing, f"add {case} to EXPORTED: no model there has {missing}"


@pytest.mark.parametrize("case", EXPORTED, ids=str)
def test_onnxruntime_says_what_the_model_says(
    case: Case,
    fit_case: FitCase,
    kinds: dict[str, tuple[OwnImages, np.ndarray]],
    tmp_path: Path,
) -> None:
    fitted = fit_case("patches", case)
    export(fitted.model, fitted.record, tmp_path / "model.onnx")
    run = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    images, others = kinds["patches"]
    for asked in (others, others[:1], images.images[:50], np.zeros_like(others[:1])):
        ours = fitted.model.predict(asked)
        classes, probabilities, scores = run.run(None, {"images": asked})
        assert np.array_equal(classes, ours.classes)
        np.testing.assert_allclose(probabilities, ours.probabilities, atol=1e-3)
        np.testing.assert_allclose(scores, ours.ood_scores, rtol=1e-3, atol=1e-3)
