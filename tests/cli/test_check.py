"""``gpu-ssl check``: its findings on a terminal and as JSON; and that it trains nothing."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.program import run_program


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Photographs with a few of the things that go wrong."""
    rng = np.random.default_rng(0)
    photos = tmp_path / "photos"
    photos.mkdir()
    for i in range(12):
        Image.fromarray(rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(photos / f"{i}.png")
    (photos / "0.png").write_bytes((photos / "1.png").read_bytes())
    Image.new("RGB", (20, 20), "red").save(photos / "2.png")
    (photos / "3.png").write_bytes((photos / "3.png").read_bytes()[:300])
    Image.fromarray(rng.integers(0, 256, (10, 400, 3), dtype=np.uint8)).save(photos / "4.png")
    (photos / "raw.cr2").write_bytes(b"II*\0" + bytes(99))
    (tmp_path / "labels.csv").write_text(
        "file;class\n0.png;cat\n1.png;dog\n3.png;fox\n5.png;Cat\n6.png;-1\n7;dog\n8.png;cat\n8.png;dog\n"
    )
    return tmp_path


def program(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_program(root, *arguments, environment={"XDG_CACHE_HOME": str(root / "cache")})


def test_all_is_told_as_json_and_on_stderr(root: Path) -> None:
    done = program(root, "check", "photos", "--labels", "labels.csv", "--json")
    assert done.returncode == 0
    found = json.loads(done.stdout)
    assert found["images"] == 11
    assert found["image_shape"] == [3, 20, 20]
    assert found["classes"] == {"Cat": 1, "cat": 1, "dog": 2}
    assert found["labelled"] == 4
    assert {entry["path"] for entry in found["skipped"]} == {"3.png", "raw.cr2"}
    kinds = {}
    for problem in found["problems"]:
        kinds.setdefault(problem["kind"], []).append(problem)
        assert problem["message"] in done.stderr
    assert {
        kind: kinds[kind][0]["paths"] for kind in ("blank", "unreadable", "extreme-shape", "duplicate")
    } == {
        "blank": ["2.png"],
        "unreadable": ["3.png"],
        "extreme-shape": ["4.png"],
        "duplicate": ["0.png", "1.png"],
    }
    assert kinds["unsupported-format"][0]["paths"] == ["raw.cr2"]
    assert {tuple(p["paths"]) for p in kinds["conflicting-labels"]} == {("0.png", "1.png"), ("8.png",)}
    assert kinds["lost-class"][0]["paths"] == ["fox"]
    assert len(kinds["suspicious-class"]) == 2
    assert [path.name for path in (root / "cache" / "gpu-ssl").iterdir()] == ["decoded"]


def test_a_terminal_sees_a_table(root: Path) -> None:
    done = program(root, "check", "photos", "--labels", "labels.csv")
    assert done.returncode == 0
    assert "11 images at 20 x 20 pixels, in colour; 4 labelled, 3 classes\n" in done.stdout
    assert "A pretrained network takes them at its own size instead, such as 224 x 224" in done.stdout
    assert "dog" in done.stdout
    done = program(root, "check", "photos")
    assert done.returncode == 0
    assert "0 labelled, 0 classes" in done.stdout
    assert "no image has a label" in done.stderr


def test_duplicates_are_named_once(root: Path) -> None:
    for name in "67":
        (root / "photos" / f"{name}.png").write_bytes((root / "photos" / "5.png").read_bytes())
    done = program(root, "check", "photos")
    assert "2 groups of duplicates (5 images): 0.png and 1.png, 5.png and 6.png\n" in done.stderr
    (root / "photos" / "7.png").unlink()
    done = program(root, "check", "photos")
    assert "2 pairs of duplicates: 0.png and 1.png, 5.png and 6.png\n" in done.stderr
    assert "\n  0.png" not in done.stderr
    (root / "photos" / "6.png").unlink()
    assert "1 pair of duplicates: 0.png and 1.png\n" in program(root, "check", "photos").stderr


def test_duplicates_are_listed_together(root: Path) -> None:
    """What belongs together is in one line, and in one list of the JSON."""
    copies = {"5": ["6"], "7": ["8"], "9": [f"9{i:02d}" for i in range(12)]}
    for name, others in copies.items():
        for other in others:
            (root / "photos" / f"{other}.png").write_bytes((root / "photos" / f"{name}.png").read_bytes())
    done = program(root, "check", "photos", "--json")
    many = ", ".join(f"9{i:02d}.png" for i in range(10))
    assert f"\n  0.png, 1.png\n  5.png, 6.png\n  7.png, 8.png\n  9.png, {many[:-9]} and 3 more\n" in (
        f"\n{done.stderr}"
    )
    (found,) = (own for own in json.loads(done.stdout)["problems"] if own["kind"] == "duplicate")
    assert [len(group) for group in found["groups"]] == [2, 2, 2, 13]
    assert [name for group in found["groups"] for name in group] == found["paths"]


def test_one_class_is_one_class(root: Path) -> None:
    (root / "one.csv").write_text("path,label\n5.png,cat\n")
    assert "1 labelled, 1 class\n" in program(root, "check", "photos", "--labels", "one.csv").stdout


def test_the_example_of_a_path_is_that_of_a_readable_file(root: Path) -> None:
    (root / "photos" / "00.png").write_bytes(b"no image")
    (root / "wrong.csv").write_text("path,label\nnone.png,cat\n")
    told = program(root, "check", "photos", "--labels", "wrong.csv").stderr
    assert "not in photos: 'none.png'; expected paths relative to that folder, such as '0.png'\n" in told


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("nothing",), 2, "nothing does not exist"),
        (("photos", "--labels", "none.csv"), 2, "cannot read none.csv"),
        (
            ("photos", "--labels", "labels.csv", "--label-column", "x"),
            2,
            "no column 'x'; its columns are file, class",
        ),
        (("photos", "--image-size", "3"), 2, "--image-size"),
    ],
)
def test_what_cannot_be_is_one_line(root: Path, arguments: tuple[str, ...], code: int, words: str) -> None:
    done = program(root, "check", *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_options_are_named_as_options(root: Path) -> None:
    frames = [Image.new("L", (9, 9), value) for value in (0, 90)]
    frames[0].save(root / "photos" / "scan.tif", save_all=True, append_images=frames[1:])
    done = program(root, "check", "photos", "--json")
    assert "--pages all reads each as an image" in done.stdout
    assert "`" not in done.stdout + done.stderr
    done = program(root, "check", "photos", "--json", "--pages", "all")
    assert json.loads(done.stdout)["images"] == 13
