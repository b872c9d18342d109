"""The CSV file of labels: what spreadsheets write is read, what contradicts itself is refused."""

from pathlib import Path

import pytest

from gpu_ssl.data.label_file import read_labels
from gpu_ssl.errors import DataError, UsageError


def written(tmp_path: Path, content: str | bytes) -> Path:
    path = tmp_path / "labels.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    "content",
    [
        "path,label\na.png,cat\nb/c.png,dog\n",
        "\ufeffpath,label\r\na.png,cat\r\nb/c.png,dog\r\n",
        'Label, PATH \ncat,"a.png"\n dog , b/c.png \n',
        "path,who,label\na.png,x,cat\nb/c.png,y,dog\nd.png,z,\na.png,q,cat\n",
    ],
)
def test_labels_are_read_however_a_spreadsheet_wrote_them(tmp_path: Path, content: str) -> None:
    assert read_labels(written(tmp_path, content)) == {"a.png": "cat", "b/c.png": "dog"}


def test_names_may_hold_commas_quotes_and_line_breaks(tmp_path: Path) -> None:
    content = 'path,label\n"a,b.png","say ""cat"""\n"c\nd.png",dog\n'
    assert read_labels(written(tmp_path, content)) == {"a,b.png": 'say "cat"', "c\nd.png": "dog"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "no column path and none label"),
        ("file,label\na.png,cat\n", "no column path"),
        ("path,label\n", "holds no label"),
        ("path,label\na.png,\n", "holds no label"),
        ("path,label\na.png,cat\na.png,dog\n", "line 3.*'a.png' is labelled 'dog', and 'cat' before"),
        (b"path,label\n\xff\xfe.png,cat\n", "not text in UTF-8"),
        ('path,label\n"a.png,cat\n', "unexpected end of data"),
        (b"path,label\na\x00.png,cat\n", None),
    ],
)
def test_a_file_that_cannot_be_is_one_clear_error(
    tmp_path: Path, content: str | bytes, words: str | None
) -> None:
    path = written(tmp_path, content)
    if words is None:
        assert read_labels(path) == {"a\0.png": "cat"}  # no such file will be found, which is told then
        return
    with pytest.raises(DataError, match=words):
        read_labels(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read .*none\.csv"):
        read_labels(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("text", "words"), [("path;label\na.png;cat\n", "semicolons"), ("path\tlabel\n", "tabs")]
)
def test_other_separators_are_named(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(DataError, match=f"by {words}; save it with commas"):
        read_labels(tmp_path / "labels.csv")
