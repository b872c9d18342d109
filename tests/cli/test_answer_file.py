"""Output files: what a command reads is never written over, and answers may be."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gpu_ssl.cli.answer_file import refuse_inputs
from gpu_ssl.errors import UsageError


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for name in ("model/model.json", "model/answers.csv", "photos/a.png", "photos/answers.parquet", "z.npy"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "shards").mkdir()
    pq.write_table(pa.table({"image": [b"x"]}), tmp_path / "shards/1.parquet")
    (tmp_path / "link.npy").symlink_to(tmp_path / "z.npy")
    return tmp_path


@pytest.mark.parametrize(
    ("output", "data"),
    [
        ("z.npy", "z.npy"),
        ("link.npy", "z.npy"),
        ("z.npy", "link.npy"),
        ("model/model.json", "photos"),
        ("photos/a.png", "photos"),
        ("shards/1.parquet", "shards"),
    ],
)
def test_what_is_read_is_not_written_over(home: Path, output: str, data: str) -> None:
    with pytest.raises(UsageError, match="is read by this command"):
        refuse_inputs(home / output, home / "model", home / data)


@pytest.mark.parametrize(
    ("output", "data"),
    [
        ("new.npy", "z.npy"),
        ("model/answers.csv", "photos"),
        ("model/new.json", "photos"),
        ("photos/answers.parquet", "photos"),
        ("shards/answers.csv", "shards"),
        ("model", "photos"),
    ],
)
def test_answers_may_lie_beside_what_is_read(home: Path, output: str, data: str) -> None:
    refuse_inputs(home / output, home / "model", home / data)
    refuse_inputs(None, home / "model", home / data)
