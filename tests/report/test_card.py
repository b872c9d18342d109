"""What people read of a model: the method, what to expect, and when not to use it."""

import csv
import json
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gpu_ssl.config import FitConfig
from gpu_ssl.fitted.records import (
    CalibrationBin,
    ChoiceOfMethod,
    ClassScores,
    Estimate,
    ModelRecord,
    SuspectLabel,
)
from gpu_ssl.report.card import contact_sheet, write_card
from gpu_ssl.report.expectation import SUSPECTS, expectation, notes, warning

ESTIMATE = Estimate(
    right=270,
    of=300,
    independent=300.0,
    low=0.861,
    high=0.929,
    calibration_error=0.02,
    bins=(CalibrationBin(size=300, confidence=0.88, accuracy=0.9),),
    classes=(
        ClassScores(name="cat", support=150, recall=0.96, precision=0.857, f1=0.906),
        ClassScores(name="dog", support=150, recall=0.84, precision=0.955, f1=0.894),
    ),
    macro_f1=0.9,
    confusion=((0, 0, 144), (0, 1, 6), (1, 0, 24), (1, 1, 126)),
    raw_pixels=0.85,
    most_frequent=0.5,
)
RECORD = ModelRecord(
    gpu_ssl="0",
    created="2026-01-01T00:00:00+00:00",
    environment={},
    config=FitConfig(),
    chosen=ChoiceOfMethod(method="hybrid", reason="held out in turn: hybrid 90.0 % right"),
    class_names=("cat", "dog"),
    image_shape=(3, 20, 30),
    n_images=1234,
    n_labelled={"cat": 150, "dog": 150},
    images_sha256="0",
    labelled_keys=(),
    training=None,
    estimate=ESTIMATE,
    encoder={"name": "vae+hog", "image_shape": [3, 20, 30], "parts": []},
    classifier={"method": "hybrid"},
    calibration={"slope": 1.0, "power": 1.0},
    ood={"reach": 1.0, "usual_error": None},
    ood_encoder="vae",
)


def changed(**changes: Any) -> Estimate:
    return ESTIMATE.model_copy(update=changes)


def test_the_card_names_the_method_why_and_what_to_expect(tmp_path: Path) -> None:
    write_card(tmp_path, RECORD)
    text = " ".join((tmp_path / "README.md").read_text().split())
    assert "into 2 classes" in text
    assert "Method: hybrid: SVM on VAE latents and HOG." in text
    assert "Chosen by cross-validation: held out in turn: hybrid 90.0 % right." in text
    assert "Encoder: vae+hog." in text
    assert "30 x 20 pixels, in colour" in text
    assert "accuracy about 90.0 % (95 % interval 86.1 % to 92.9 %), from 300 labelled images" in text
    assert "An SVM on the raw pixels reaches 85.0 % on the same images." in text
    assert "| dog | 150 | 150 | 84.0 % | 95.5 % | 89.4 % |" in text
    assert "| mean of the classes | | | | | 90.0 % |" in text
    for name in ("reliability", "confusion"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    confusion = json.loads((tmp_path / "confusion.json").read_text())
    assert confusion == {"classes": ["cat", "dog"], "true_by_predicted": [[144, 6], [24, 126]]}


def test_a_method_that_was_asked_for_has_no_reason(tmp_path: Path) -> None:
    write_card(tmp_path, RECORD.model_copy(update={"chosen": ChoiceOfMethod(method="graph")}))
    text = (tmp_path / "README.md").read_text()
    assert "Method: graph: label spreading." in text
    assert "Chosen by" not in text


@pytest.mark.parametrize(
    ("method", "copies", "of", "words"),
    [
        ("hybrid", 0, 300, "from 300 labelled images, each held out in turn"),
        ("hybrid", 0, 40, "held out in turn; 40 are too few for a reliable estimate, label 100 or more"),
        ("consistency", 0, 100, "from 100 of 300 labelled images, held out once"),
        ("consistency", 0, 40, "held out once; 40 are too few for a reliable estimate, label 300 or more"),
        ("hybrid", 1, 299, "299 of 300 labelled images (copies of an image count once), each held out"),
        ("hybrid", 0, 298, "298 of 300 labelled images (the only image or group of a class is not held "),
        ("hybrid", 1, 298, "(copies of an image count once; the only image or group of a class is not "),
    ],
)
def test_it_says_how_images_were_judged_and_how_many_would_do(
    method: str, copies: int, of: int, words: str
) -> None:
    """A method that trains networks is judged on a third of the labelled images, which is held out once.

    Where not all labelled images were judged, it says why.
    """
    record = RECORD.model_copy(
        update={
            "chosen": ChoiceOfMethod(method=method),
            "estimate": changed(of=of, independent=of, right=of // 2, copies=copies),
        }
    )
    assert words in expectation(record)


def test_weights_of_others_are_named_with_their_licence(tmp_path: Path) -> None:
    """One line for each network; and the name of the encoder says which it is."""
    parts = [
        {"name": "hog", "settings": {}, "averaged": False},
        {
            "name": "pretrained",
            "settings": {"backbone": "net_a", "why": "", "source": "https://a", "licence": "MIT"},
            "averaged": False,
        },
        {
            "name": "pretrained:net_b@96",
            "settings": {"backbone": "net_b@96", "why": "", "source": "b.org", "licence": "none stated"},
            "averaged": False,
        },
    ]
    encoder = {"name": "hog+pretrained+pretrained:net_b@96", "image_shape": [3, 20, 30], "parts": parts}
    write_card(tmp_path, RECORD.model_copy(update={"encoder": encoder}))
    text = (tmp_path / "README.md").read_text()
    assert "Encoder: hog+pretrained+pretrained:net_b@96 (net_a)." in text
    assert [line for line in text.splitlines() if "weights" in line] == [
        "- The weights of net_a are those of https://a; licence: MIT.",
        "- The weights of net_b@96 are those of b.org; licence: none stated.",
    ]
    write_card(tmp_path, RECORD)
    assert "weights" not in (tmp_path / "README.md").read_text()


def test_the_card_states_the_size_that_the_network_takes(tmp_path: Path) -> None:
    """Files are decoded at its own size, not at that of the model."""
    network = {"name": "pretrained:net_b", "settings": {"backbone": "net_b", "side": 224}, "averaged": False}
    of_others = {"source": "b.org", "licence": "MIT"}
    network["settings"] |= of_others  # type: ignore[operator]
    vae = {"name": "vae", "settings": {}, "averaged": False}
    for parts, shape, words in (
        ([network], [3, 224, 224], "scaled to 224 x 224 pixels, in colour."),
        ([vae, network], [3, 20, 30], "scaled to 224 x 224 and 30 x 20 pixels, in colour."),
    ):
        encoder = {
            "name": "+".join(str(part["name"]) for part in parts),
            "image_shape": shape,
            "parts": parts,
        }
        record = RECORD.model_copy(update={"encoder": encoder})
        write_card(tmp_path, record)
        assert words in (tmp_path / "README.md").read_text()
    without = {**network, "settings": {"backbone": "net_b", **of_others}}  # of an earlier version
    encoder = {"name": "pretrained:net_b", "image_shape": [3, 96, 96], "parts": [without]}
    assert RECORD.model_copy(update={"encoder": encoder}).encoded_shapes == ((3, 96, 96),)


def test_where_a_class_has_one_label_nothing_is_promised(tmp_path: Path) -> None:
    single = RECORD.model_copy(update={"estimate": None, "n_labelled": {"cat": 1, "dog": 9}})
    assert expectation(single).startswith("accuracy not known: class 'cat' has a single labelled image")
    assert warning(None) is None
    write_card(tmp_path, single)
    assert "accuracy not known" in (tmp_path / "README.md").read_text()
    assert "| dog | 9 |" in (tmp_path / "README.md").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", SUSPECTS]


def test_what_is_useless_is_told(tmp_path: Path) -> None:
    assert warning(ESTIMATE) is None
    assert warning(changed(raw_pixels=0.92)) is None  # within the interval
    assert "raw pixels is better here (95.0 %)" in (warning(changed(raw_pixels=0.95)) or "")
    near = warning(changed(most_frequent=0.87)) or ""
    assert "not significantly better than" in near
    assert "(90.0 % against 87.0 %, 95 % interval 86.1 % to 92.9 %)" in near
    assert "this is not better than" in (warning(changed(most_frequent=0.95)) or "")
    useless = changed(most_frequent=0.9)
    assert "do not use this model" in (warning(useless) or "")
    write_card(tmp_path, RECORD.model_copy(update={"estimate": useless}))
    assert re.search(r"Warning: .*do not use", (tmp_path / "README.md").read_text())


def test_labels_that_look_wrong_are_a_table_in_which_paths_are_as_they_were(tmp_path: Path) -> None:
    write_card(tmp_path, RECORD)
    assert (tmp_path / SUSPECTS).read_text() == "path,label,suggested,confidence\n"
    name = "a,b \udce9.png"  # A name that is not UTF-8.
    write_card(tmp_path, RECORD, [SuspectLabel(name, "cat", "dog", 0.98765)])
    with (tmp_path / SUSPECTS).open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        assert list(csv.reader(file))[1] == [name, "cat", "dog", "0.9877"]


def test_what_else_there_is_to_know_is_a_line_a_kind(tmp_path: Path) -> None:
    assert notes(RECORD) == []
    told = RECORD.model_copy(
        update={
            "suspects": 12,
            "near_copies": 80,
            "n_labelled": {"cat": 1, "dog": 199},
            "estimate": changed(not_judged=("cat",), independent=60.0),
        }
    )
    assert notes(told, Path("model")) == [
        "12 labels look wrong: see model/suspect-labels.csv",
        "class cat has a single label and is not judged; the accuracy is that of the others",
        "80 of 200 labelled images are near duplicates of another; they stay in one fold, and count as one; "
        "frames of one scene that differ more may have come apart, and the accuracy be too high: name the "
        "scenes in a column `group` of the label file",
    ]
    write_card(tmp_path, told)
    text = (tmp_path / "README.md").read_text()
    assert "- 12 labels look wrong: see suspect-labels.csv.\n- Class cat has a single label" in text
    assert "as grouped images count as one, they are worth 60; 60 are too few for a reliable estimate" in text


def test_classes_of_one_group_and_copies_on_both_sides_are_told() -> None:
    grouped = RECORD.model_copy(
        update={"estimate": changed(not_judged=("cat", "dog")), "near_copies": 1, "suspects": 1}
    )
    one, two, three = notes(grouped)
    assert one == "1 label looks wrong: see suspect-labels.csv"
    assert two.startswith("classes cat, dog are not judged: all labelled images of each are of one group")
    assert three.endswith("stay in one fold, and count as one")
    apart = grouped.model_copy(update={"estimate": changed(copies_apart=True)})
    assert "had to be on both sides of folds" in notes(apart)[1]
    many = {f"c{number}": 1 for number in range(9)}
    several = RECORD.model_copy(update={"estimate": changed(not_judged=tuple(many)), "n_labelled": many})
    assert notes(several)[0].startswith("classes c0, c1, c2, c3, c4 and 4 more have a single label and are")
    unknown = RECORD.model_copy(update={"estimate": None})
    assert expectation(unknown).startswith("accuracy not known: all labelled images of a class are near")


@pytest.mark.parametrize("n", [2, 30, 200])
def test_a_confusion_matrix_of_any_number_of_classes_and_names_is_drawn(tmp_path: Path, n: int) -> None:
    names = tuple(f"猫 $x {number}" for number in range(n))
    scores = tuple(ClassScores(name=name, support=3, recall=1.0, precision=1.0, f1=1.0) for name in names)
    told = RECORD.model_copy(
        update={
            "class_names": names,
            "n_labelled": dict.fromkeys(names, 3),
            "estimate": changed(classes=scores, confusion=tuple((i, i, 3) for i in range(n))),
        }
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_card(tmp_path, told)
    with Image.open(tmp_path / "confusion.png") as drawn:
        assert 500 < drawn.size[0] < 4000


def test_a_sheet_shows_each_image_below_its_caption(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for channels in (1, 3):
        images = rng.integers(0, 256, (12, channels, 8, 9), dtype=np.uint8)
        figure = contact_sheet(images, [f"{number}: $x" for number in range(12)])
        titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
        assert titles == [f"{number}: $x" for number in range(12)]
        figure.savefig(tmp_path / "sheet.png")
        with Image.open(tmp_path / "sheet.png") as sheet:
            assert sheet.size[0] > 500
