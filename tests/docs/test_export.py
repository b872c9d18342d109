"""The program in docs/how-to/export.md answers as ``gpu-ssl predict`` does, also for transparent images."""

import csv
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.program import run_program

ROOT = Path(__file__).parents[2]
PROGRAM = re.compile(r"^    import json\n.*?^    print\([^\n]*\n", re.MULTILINE | re.DOTALL)


def draw(path: Path, rng: np.random.Generator, wide: bool, colours: bool) -> None:
    """Draw a black bar on a transparent ground, whose hidden colour is black as well."""
    pixels = np.zeros((24, 24, 4 if colours else 2), np.uint8)
    at = int(rng.integers(4, 16))
    pixels[at : at + 4, 2:22, -1] = 255
    image = Image.fromarray(pixels, "RGBA" if colours else "LA")
    (image if wide else image.transpose(Image.Transpose.ROTATE_90)).save(path)


@pytest.mark.parametrize("colours", [True, False])
def test_the_program_of_the_page_answers_as_predict(tmp_path: Path, colours: bool) -> None:
    rng = np.random.default_rng(0)
    for name in ("wide", "tall"):
        (tmp_path / "bars" / name).mkdir(parents=True)
        for number in range(8):
            draw(tmp_path / "bars" / name / f"{number}.png", rng, name == "wide", colours)
    fitting = ("fit", "bars", "--method", "svm", "--encoder", "hog", "--output", "model", "--device", "cpu")
    for command in (fitting, ("export", "model", "--onnx", "model.onnx")):
        done = run_program(tmp_path, *command)
        assert done.returncode == 0, done.stderr
    answers = run_program(tmp_path, "predict", "model", "bars", "--device", "cpu").stdout.splitlines()
    found = PROGRAM.search((ROOT / "docs" / "how-to" / "export.md").read_text("utf-8"))
    assert found is not None
    (tmp_path / "one.py").write_text(textwrap.dedent(found[0]))
    told = {row["path"]: row for row in csv.DictReader(answers)}
    for path in ("wide/0.png", "tall/3.png"):
        (tmp_path / "one.png").write_bytes((tmp_path / "bars" / path).read_bytes())
        done = subprocess.run(
            [sys.executable, "one.py"], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        name, confidence, _ = done.stdout.split()
        assert name == told[path]["label"] == path.partition("/")[0]
        assert float(confidence) == pytest.approx(float(told[path]["confidence"]), abs=0.01)
