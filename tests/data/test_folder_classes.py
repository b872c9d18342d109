"""Which folders name classes: those right below, or those below train/ and val/, and what is reported."""

import pytest

from gpu_ssl.data.folder_classes import folder_classes


@pytest.mark.parametrize(
    ("names", "expected", "kinds"),
    [
        (
            ["cat/1", "dog/old/2", "3", "Unlabelled/4", "not labelled/cat/5"],
            ["cat", "dog", None, None, None],
            0,
        ),
        (["train/cat/1", "val/dog/2", "unknown/3"], ["cat", "dog", None], 1),
        (["train/cat/1", "train/dog/2", "train/3"], ["cat", "dog", None], 1),
        (["photos/cat/1", "photos/dog/2"], ["cat", "dog"], 1),
        (["set/train/cat/1", "set/test/dog/2"], ["cat", "dog"], 1),
        (["images/train/1", "images/val/2"], [None, None], 1),
        (["bird/Owl/1", "bird/Kite/2", "fish/Cod/3", "fish/Eel/4"], ["bird", "bird", "fish", "fish"], 1),
        (["train/1", "val/2"], [None, None], 1),
        (["train/1"], [None], 1),
        (["train/cat/1", "train/dog/2", "test/3"], ["cat", "dog", None], 1),
        (["seg_train/seg_train/a/1", "seg_train/seg_train/b/2", "seg_pred/seg_pred/3"], ["a", "b", None], 1),
        (["Training_Set/a/1", "Test-Set/b/2"], ["a", "b"], 1),
        (["test tube/1", "test plate/2"], ["test tube", "test plate"], 0),
        (["one/cat/1", "one/dog/2", "two/cat/3", "two/dog/4"], ["one", "one", "two", "two"], 1),
        (["one/cat/1", "one/dog/2", "one/bird/3", "two/cat/4", "two/dog/5"], ["one"] * 3 + ["two"] * 2, 1),
        (["cat/1", "dog/2", "test/3"], ["cat", "dog", "test"], 1),
        (["cat/2019/1", "cat/2020/2", "dog/2021/3"], ["cat", "cat", "dog"], 0),
        (["1", "2"], [None, None], 0),
        ([], [], 0),
    ],
)
def test_folders_name_classes(names: list[str], expected: list[str | None], kinds: int) -> None:
    labels, problems = folder_classes(names)
    assert [labels.get(name) for name in names] == expected
    assert [problem.kind for problem in problems if problem.kind != "suspicious-class"] == [
        "split-folders"
    ] * kinds
    assert any(problem.kind == "suspicious-class" for problem in problems) == any(
        name.lower().startswith(("un", "not")) for name in names
    )
