"""The page of a model: hostile names are text, it loads nothing, and everybody can use it."""

import json
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from gpu_ssl.fitted.records import ClassScores
from gpu_ssl.report.data_address import address_of, image_of
from gpu_ssl.report.details import ModelDetails, StrangeImage, SuspectImage
from gpu_ssl.report.model_page import write_model_page
from tests.browser import faults, started
from tests.report.example import ESTIMATE, RECORD
from tests.report.test_page import CLASSES, SCRIPT, Parsed
from tests.report.test_report import REPORT

SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


def write_hostile(folder: Path) -> Path:
    """Write a page with hostile names, and all that a page may show."""
    image = address_of(image_of(np.zeros((1, 8, 8), np.uint8)))
    suspect = SuspectImage(name=SCRIPT, label=CLASSES[0], suggested=CLASSES[1], confidence=0.9, image=image)
    strange = StrangeImage(name=SCRIPT, score=1.2, predicted=CLASSES[1], image=image)
    problem = {"kind": "blank", "count": 1, "paths": [SCRIPT], "message": f"blank: {SCRIPT}"}
    skipped = [{"path": f"{SCRIPT}{i}", "reason": "damaged"} for i in range(30)]
    (folder / "data.json").write_text(json.dumps({"problems": [problem], "skipped": skipped}))
    scores = tuple(ClassScores(name=name, support=9, recall=0.9, precision=None, f1=0.8) for name in CLASSES)
    record = RECORD.model_copy(
        update={
            "class_names": CLASSES,
            "n_labelled": dict.fromkeys(CLASSES, 9),
            "estimate": ESTIMATE.model_copy(update={"classes": scores, "most_frequent": 0.95}),
            "training": REPORT.training,
            "suspects": 3,
        }
    )
    details = ModelDetails(suspects=(suspect,) * 20, strange=(strange,) * 20, looked_at=1000)
    write_model_page(folder / "report.html", record, details, folder)
    return folder / "report.html"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_hostile(tmp_path_factory.mktemp("model"))


def test_the_loss_of_a_vae_that_the_model_does_not_hold_is_not_shown(tmp_path: Path) -> None:
    """`auto` trains one to compare it."""
    network = {"name": "pretrained:net", "settings": {"backbone": "net", "side": 96}, "averaged": False}
    network["settings"] |= {"source": "b.org", "licence": "MIT"}  # type: ignore[operator]
    encoder = {"name": "pretrained:net", "image_shape": [3, 96, 96], "parts": [network]}
    for changes, shown in (({}, True), ({"encoder": encoder, "ood_encoder": "pretrained:net"}, False)):
        record = RECORD.model_copy(update={"training": REPORT.training, **changes})
        write_model_page(tmp_path / "report.html", record, ModelDetails(), tmp_path)
        assert ("Loss of the VAE" in (tmp_path / "report.html").read_text()) == shown
    page = Parsed((tmp_path / "report.html").read_text())
    assert "default" in page.text
    assert "3 x 96 x 96" in page.text
    assert "Expected calibration error: 0.020, the mean difference" in page.text


def test_hostile_names_are_text(page: Path) -> None:
    parsed = Parsed(page.read_text())
    assert parsed.tags.count("script") == 1
    assert not [name for name, _ in parsed.attributes if name.startswith("on") or name == "style"]
    assert parsed.text.count(SCRIPT) > 40
    assert "do not use this model" in parsed.text
    assert "and 10 more skipped" in parsed.text


@pytest.mark.parametrize("width", [390, 1280, 1920])
def test_everybody_can_use_it_on_a_screen_of_any_width(page: Path, width: int) -> None:
    with started() as browser:
        for scheme in SCHEMES:
            shown = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 900})
            asked: list[str] = []
            problems: list[str] = []
            shown.on("request", lambda request, asked=asked: asked.append(request.url))
            shown.on("dialog", lambda dialog, problems=problems: problems.append(dialog.message))
            shown.on("console", lambda message, problems=problems: problems.append(message.text))
            shown.goto(page.as_uri())
            assert [url for url in asked if not url.startswith("data:")] == [page.as_uri()]
            assert shown.evaluate("document.documentElement.scrollWidth") <= width
            assert faults(shown) == []
            assert problems == []
            shown.close()
