"""What people read of a model: the method, what to expect, and when not to use it."""

import csv
import json
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gpu_ssl.fitted.records import ChoiceOfMethod, ClassScores, SuspectLabel
from gpu_ssl.report.card import contact_sheet, write_card
from gpu_ssl.report.expectation import SUSPECTS
from tests.report.example import NOTED, RECORD, changed


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
    write_card(tmp_path, single)
    assert "accuracy not known" in (tmp_path / "README.md").read_text()
    assert "| dog | 9 |" in (tmp_path / "README.md").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", SUSPECTS]


def test_a_useless_model_carries_a_warning(tmp_path: Path) -> None:
    write_card(tmp_path, RECORD.model_copy(update={"estimate": changed(most_frequent=0.9)}))
    assert re.search(r"Warning: .*do not use", (tmp_path / "README.md").read_text())


def test_labels_that_look_wrong_are_a_table_in_which_paths_are_as_they_were(tmp_path: Path) -> None:
    write_card(tmp_path, RECORD)
    assert (tmp_path / SUSPECTS).read_text() == "path,label,suggested,confidence\n"
    name = "a,b \udce9.png"  # A name that is not UTF-8.
    write_card(tmp_path, RECORD, [SuspectLabel(name, "cat", "dog", 0.98765)])
    with (tmp_path / SUSPECTS).open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        assert list(csv.reader(file))[1] == [name, "cat", "dog", "0.9877"]


def test_notes_are_list_items(tmp_path: Path) -> None:
    write_card(tmp_path, NOTED)
    text = (tmp_path / "README.md").read_text()
    assert "- 12 labels look wrong: see suspect-labels.csv.\n- Class cat has a single label" in text
    assert "the effective sample size is 60, as images of one group are not independent; 60 are too" in text


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
