"""What to expect of a model: its accuracy, notes on its labels, and a warning."""

from pathlib import Path

import pytest

from gpu_ssl.fitted.records import ChoiceOfMethod
from gpu_ssl.report.expectation import expectation, notes, warning
from tests.report.example import ESTIMATE, NOTED, RECORD, changed


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


def test_where_a_class_has_one_label_the_accuracy_is_not_known() -> None:
    single = RECORD.model_copy(update={"estimate": None, "n_labelled": {"cat": 1, "dog": 9}})
    assert expectation(single).startswith("accuracy not known: class 'cat' has a single labelled image")
    assert warning(None) is None


def test_a_warning_says_why_a_model_is_useless() -> None:
    assert warning(ESTIMATE) is None
    assert warning(changed(raw_pixels=0.92)) is None  # within the interval
    assert "raw pixels is better here (95.0 %)" in (warning(changed(raw_pixels=0.95)) or "")
    near = warning(changed(most_frequent=0.87)) or ""
    assert "not significantly better than" in near
    assert "(90.0 % against 87.0 %, 95 % interval 86.1 % to 92.9 %)" in near
    assert "this is not better than" in (warning(changed(most_frequent=0.95)) or "")
    assert "do not use this model" in (warning(changed(most_frequent=0.9)) or "")


def test_notes_are_one_line_of_each_kind() -> None:
    assert notes(RECORD) == []
    assert notes(NOTED, Path("model")) == [
        "12 labels look wrong: see model/suspect-labels.csv",
        "class cat has a single label and is not judged; the accuracy is that of the others",
        "80 of 200 labelled images are near duplicates of another; they stay in one fold, and count as one; "
        "frames of one scene that differ more may have come apart, and the accuracy be too high: name the "
        "scenes in a column `group` of the label file",
    ]


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
