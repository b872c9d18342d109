"""Label files: those of people and programs are read, and contradictions are reported."""

import json
import os
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gpu_ssl.data.label_columns import Columns
from gpu_ssl.data.label_file import GivenLabels, read_labels, settle
from gpu_ssl.data.label_tables import read_table
from gpu_ssl.errors import DataError, UsageError
from gpu_ssl.runtime import files


def written(tmp_path: Path, content: str | bytes, name: str = "labels.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read(path: Path, columns: Columns = Columns()) -> GivenLabels:  # noqa: B008
    return read_labels([path], columns, lambda name: name.endswith(".png"))


def labels(given: GivenLabels) -> dict[str, str]:
    return {name.strip(): label for _, name, label, _ in given.rows if label}


@pytest.mark.parametrize(
    "content",
    [
        "path,label\na.png,cat\nb/c.png,dog\n",
        "\ufeffpath,label\r\na.png,cat\r\nb/c.png,dog\r\n",
        'Label, PATH \ncat,"a.png"\n dog , b/c.png \n',
        "path,who,label\na.png,x,cat\nb/c.png,y,dog\nd.png,z,\na.png,q,cat\n",
        "path;label\na.png;cat\nb/c.png;dog\n",
        "sep=;\npath;label\na.png;cat\nb/c.png;dog\n",
        "path\tlabel\na.png\tcat\nb/c.png\tdog\n",
        "path\tlabel\na.png\tcat\nb/c.png\tdog\n".encode("utf-16"),
        "path,label\na.png,cat\nb/c.png,dog\n".encode("utf-16-be"),
        "file_name,breed\na.png,cat\nb/c.png,dog\n",
        "File Name,Class-Name\na.png,cat\nb/c.png,dog\n",
        "what,where\ncat,a.png\ndog,b/c.png\n",
        "picture of,animal\na.png,cat\nb/c.png,dog\n",
        "# by me\n\n# in 2026\r\npath,label\na.png,cat\n# a comment\nb/c.png,dog\n",
        "image,cat,dog,UNK\na.png,1.0,0.0,0.0\nb/c.png,0.0,1.0,0.0\nd.png,0.0,0.0,0.0\n",
        "filename, cat, dog\na.png, 1, 0\nb/c.png, 0, 1\n",
        '[{"image": "a.png", "cat": true, "dog": false}, {"image": "b/c.png", "cat": false, "dog": true}]',
        "a.png,cat\nb/c.png,dog\n",
        "a.png cat\nb/c.png dog\n",
        "id,image,choice,annotator\n1,a.png,cat,9\n2,b/c.png,dog,9\n",
        '{"a.png": "cat", "b/c.png": "dog"}',
        '{"a.png": {"label": "cat"}, "b/c.png": {"label": "dog"}}',
        '{"a.png": {"by": "x", "label": "cat"}, "b/c.png": {"by": "y", "label": "dog"}}',
        '{"img": {"0": "a.png", "1": "b/c.png"}, "breed": {"0": "cat", "1": "dog"}}',
        '{"path": {"x": "a.png", "y": "b/c.png"}, "breed": {"x": "cat", "y": "dog"}}',
        '[{"image": "a.png", "choice": "cat"}, {"image": "b/c.png", "choice": {"choices": ["dog"]}}]',
        '{"file_name": "a.png", "label": "cat"}\n\n{"file_name": "b/c.png", "label": "dog"}\n',
        json.dumps(
            [
                {
                    "id": number,
                    "data": {"image": path},
                    "annotations": [
                        {"was_cancelled": True, "result": [{"value": {"choices": ["no"]}}]},
                        {"result": [{"type": "choices", "value": {"choices": [choice]}}]},
                    ],
                }
                for number, (path, choice) in enumerate([("a.png", "cat"), ("b/c.png", "dog")])
            ]
            + [{"id": 3, "data": {"image": "d.png"}, "annotations": []}]
        ),
    ],
)
def test_labels_are_read_however_they_are_written(tmp_path: Path, content: str | bytes) -> None:
    assert labels(read(written(tmp_path, content))) == {"a.png": "cat", "b/c.png": "dog"}


@pytest.mark.parametrize("first", ["y", "target", "photo", "image", "class", "Key"])
def test_a_first_label_may_be_a_word_for_a_column(tmp_path: Path, first: str) -> None:
    """The line names an image, so it is no header."""
    expected = {"a.png": first, "b.png": "other", "c.png": "other"}
    for separator in (",", ";", "\t"):
        lines = "".join(f"{name}{separator}{label}\n" for name, label in expected.items())
        assert labels(read(written(tmp_path, lines))) == expected
        turned = "".join(f"{label}{separator}{name}\n" for name, label in expected.items())
        assert labels(read(written(tmp_path, turned))) == expected


def test_a_parquet_file_of_labels_is_read(tmp_path: Path) -> None:
    table = pa.table({"path": ["a.png", "b.png"], "label": [1, 2], "pixels": [b"x", b"y"]})
    pq.write_table(table, tmp_path / "x.parquet")
    assert labels(read(tmp_path / "x.parquet")) == {"a.png": "1", "b.png": "2"}


def test_windows_code_page_and_unicode_forms_of_labels_are_one(tmp_path: Path) -> None:
    content = "path,label\na.png,K\u00e4se\n".encode("cp1252") + "b.png,Ka\u0308se\n".encode()
    assert set(labels(read(written(tmp_path, content))).values()) == {"K\u00e4se"}


def test_names_may_hold_commas_quotes_line_breaks_and_any_bytes(tmp_path: Path) -> None:
    content = b'path,label\n"a,b.png","say ""cat"""\n"c\nd.png",dog\n\xff.png,cow\n'
    expected = {"a,b.png": 'say "cat"', "c\nd.png": "dog", "\udcff.png": "cow"}
    assert labels(read(written(tmp_path, content))) == expected


def test_columns_may_be_named(tmp_path: Path) -> None:
    path = written(tmp_path, "where,path,what,label,who\na.png,1,cat,x,ann\nb.png,2,dog,y,bob\n")
    given = read(path, Columns("where", "what", "who"))
    assert [row[1:] for row in given.rows] == [("a.png", "cat", "ann"), ("b.png", "dog", "bob")]
    with pytest.raises(UsageError, match="has no column 'x'; its columns are where, path, what"):
        read(path, Columns(label="x"))
    path = written(tmp_path, "path,label,patient\na.png,cat,7\nb.png,,8\n")
    assert [row[1:] for row in read(path).rows] == [("a.png", "cat", "7"), ("b.png", "", "8")]


@pytest.mark.parametrize(
    "nothing", ["", "-1", "-1.0", "NaN", "None", "unlabelled", "Unlabeled", "unknown", "N/A"]
)
def test_words_for_no_label_are_none_and_told(tmp_path: Path, nothing: str) -> None:
    given = read(written(tmp_path, f"path,label\na.png,cat\nb.png,{nothing}\n"))
    assert labels(given) == {"a.png": "cat"}
    assert dict(given.taken_as_none) == ({nothing: 1} if nothing else {})


def test_whole_numbers_are_one_however_they_are_written(tmp_path: Path) -> None:
    given = read(written(tmp_path, "path,label\na.png,1.0\nb.png,1\nc.png,0.0\nd.png,\n"))
    assert labels(given) == {"a.png": "1", "b.png": "1", "c.png": "0"}
    assert [problem.kind for problem in given.problems] == ["suspicious-class"]
    given = read(written(tmp_path, "path,label\na.png,1.0\nb.png,1.5\n"))
    assert labels(given) == {"a.png": "1.0", "b.png": "1.5"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "no column path and label: it is empty"),
        (
            "who,when,why\na,b,c\n",
            "no column path and label: its columns are who, when, why; name the columns with",
        ),
        ("path,who,when\na.png,b,c\n", "no column label: its columns are"),
        ("path,label\n", "holds no label"),
        ("path,cat,dog\na,1,0\nb,1,1\nc,0,1\n", "line 3: expected one label per image, got 2: cat, dog"),
        ("path,cat,dog\na,1,0\nb,1,0\nc,0,0\n", "no column label: its columns are"),
        ("path,cat,dog\na,1,0\nb,0,1\nc,0,2\n", "no column label: its columns are"),
        ("path,cat,dog\na,1,1\nb,0,1\nc,1,1\n", "no column label: its columns are"),
        ('{"images": [1], "annotations": [], "categories": []}', "holds COCO annotations of objects"),
        ("\n<annotation><filename>a.png</filename></annotation>\n", "is XML or HTML; expected a table"),
        ("Labels of March\npath,label\na.png,cat\n", "line 2: expected 1 cell as .* lines above the header"),
        ("path,label\na.png,\n", "has no label yet: fill in its column label$"),
        ("path,label\na.png,unknown\n", "holds no label"),
        ("path,label\n,cat\n", "line 2 has the label 'cat' but no path"),
        ('path,label\n"a.png,cat\n', "unexpected end of data"),
        ("[1, 2]", "expected a JSON list of objects"),
        ('{"path": "a.png", "label"', "line 1: not JSON"),
        ("[" * 100_000, "nested too deeply|not JSON"),
        ('[{"image": "a.png", "choice": {"choices": ["a", "b"]}}]', "expected one label per image"),
        (b"PAR1 and nothing", "not a readable Parquet file"),
    ],
)
def test_a_file_that_cannot_be_is_one_clear_error(tmp_path: Path, content: str | bytes, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read(written(tmp_path, content))


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read .*none\.csv"):
        read(tmp_path / "none.csv")
    with pytest.raises(UsageError, match="is a folder"):
        read(tmp_path)


def test_the_label_that_most_rows_say_counts() -> None:
    votes = [("a", "x"), ("a", "y"), ("a", "x"), ("b", "x"), ("b", "y"), ("c", "y")]
    found, (problem,) = settle(votes)
    assert found == {"a": "x", "c": "y"}
    assert (problem.kind, problem.count, problem.paths) == ("conflicting-labels", 2, ("a", "b"))
    assert settle([("a", "x"), ("a", "x")]) == ({"a": "x"}, [])


def test_labels_come_through_a_pipe_and_one_without_a_writer_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as --labels <(command)."""
    monkeypatch.setattr(files, "PATIENCE", 0.2)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(UsageError, match="a pipe, and nothing was written"):
        read_table(pipe)
    writer = threading.Thread(target=lambda: pipe.write_text("path,label\na.png,cat\n"))
    writer.start()
    (row,) = read_table(pipe).rows
    writer.join()
    assert row.cells == {"path": "a.png", "label": "cat"}


def test_the_choice_of_an_annotator_counts_and_not_a_label_that_was_shown(tmp_path: Path) -> None:
    tasks = [
        {
            "data": {"image": f"{name}.png", "label": shown},
            "annotations": [{"result": [{"value": {"choices": [chosen]}}]}],
        }
        for name, shown, chosen in (("a", "cat", "dog"), ("b", "", "cat"))
    ]
    for content in (json.dumps(tasks), "image,label,choice,annotator\na.png,cat,dog,1\nb.png,,cat,1\n"):
        assert labels(read(written(tmp_path, content))) == {"a.png": "dog", "b.png": "cat"}


def test_other_columns_of_json_may_hold_several_values_and_labels_may_not(tmp_path: Path) -> None:
    rows = [{"file_name": "a.png", "label": "cat", "captions": ["x", "y"], "box": [1, 2]}]
    assert labels(read(written(tmp_path, json.dumps(rows)))) == {"a.png": "cat"}
    for several in (["cat", "dog"], [3, 5], list(range(20_000))):
        path = written(tmp_path, json.dumps([{"path": "a.png", "labels": several}]))
        with pytest.raises(DataError, match=f"expected one label per image, got {len(several):,}") as error:
            read(path)
        assert len(str(error.value)) < 300


def test_columns_of_json_may_be_lists(tmp_path: Path) -> None:
    content = {"path": ["a.png", "b.png", "c.png"], "label": [3, None, 5]}
    assert labels(read(written(tmp_path, json.dumps(content)))) == {"a.png": "3", "c.png": "5"}


@pytest.mark.parametrize("missing", ["", "nan", "NaN", "None", "-1", "unknown", "?"])
def test_images_without_a_group_are_no_group(tmp_path: Path, missing: str) -> None:
    content = f"path,label,patient\na.png,cat,7\nb.png,dog,{missing}\nc.png,dog,{missing}\n"
    assert [group for _, _, _, group in read(written(tmp_path, content)).rows] == ["7", "", ""]


def test_numbers_that_are_labels_do_not_name_images(tmp_path: Path) -> None:
    for content in ("label,number\n0,5\n1,6\n1,7\n", "number,label\n5,0\n6,1\n7,1\n"):
        given = read_labels(
            [written(tmp_path, content)], Columns(), lambda name: name.isdecimal() and int(name) < 30
        )
        assert labels(given) == {"5": "0", "6": "1", "7": "1"}


@pytest.mark.parametrize("name", ["[A] 1.png", "[1] a.png", "{b} 2.png", "[A]1.png"])
def test_a_first_name_in_brackets_is_not_json(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, f"{name},cat\nother.png,dog\n")
    assert labels(read(path)) == {name: "cat", "other.png": "dog"}


@pytest.mark.parametrize(
    "content",
    [
        "index,image_file_name,label\n0,5.png,cat\n1,0.png,dog\n",
        "id,image_url,label\n0,5.png,cat\n1,0.png,dog\n",
        "image,path_to_image,label\n0,5.png,cat\n1,0.png,dog\n",
        '{"0": {"filename": "5.png", "label": "cat"}, "1": {"filename": "0.png", "label": "dog"}}',
    ],
)
def test_files_are_named_by_their_column_and_not_by_the_number_of_the_row(
    tmp_path: Path, content: str
) -> None:
    """The row number 0 is also the image 0.png, without its ending."""
    given = read_labels([written(tmp_path, content)], Columns(), numbered)
    assert labels(given) == {"5.png": "cat", "0.png": "dog"}


@pytest.mark.parametrize(
    "content",
    [
        "id,rating,label\n0,3.0,cat\n1,5.0,dog\n",
        "id,file_rating,label\n0,3.0,cat\n1,5.0,dog\n",
        "index,age,label\n0,3,cat\n1,,dog\n",
        "id,burst,label\n0,0.png,cat\n1,0.png,dog\n",
        "id,first_image,label\n0,0.png,cat\n1,0.png,dog\n",
        "id,label,duplicate_of\n0,cat,\n1,dog,0.png\n",
        "image,mask,label\n0,7.png,cat\n1,8.png,dog\n",
        "id,animal\n0,cat\n1,dog\n",
    ],
)
def test_other_columns_that_could_name_images_do_not(tmp_path: Path, content: str) -> None:
    def is_image(name: str) -> bool:
        return numbered(name) or name in ("3.0", "5.0", "cat", "dog")

    given = read_labels([written(tmp_path, content)], Columns(), is_image)
    assert labels(given) == {"0": "cat", "1": "dog"}


def numbered(name: str) -> bool:
    """Whether a text is a number, or the name of a file called by one."""
    return name.removesuffix(".png").isdecimal()


def test_rows_are_named_by_numbers_if_no_column_names_files(tmp_path: Path) -> None:
    path = written(tmp_path, "index,taken,label\n3,yesterday,cat\n1,today,dog\n")
    assert labels(read_labels([path], Columns(), numbered)) == {"3": "cat", "1": "dog"}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("0,1\n20,0\n0,1\n", {"20": "0", "0": "1"}),
        ("0,1\n5.png,cat\n0.png,dog\n", {"5.png": "cat", "0.png": "dog"}),
        (",0\n5.png,cat\n0.png,dog\n", {"5.png": "cat", "0.png": "dog"}),
        ("0,1\n1,0\n7,1\n", {"0": "1", "1": "0", "7": "1"}),  # rows without a header
        ("0,7\n20,0\n3,1\n", {"0": "7", "20": "0", "3": "1"}),
    ],
)
def test_columns_without_names_are_numbered_by_pandas(
    tmp_path: Path, content: str, expected: dict[str, str]
) -> None:
    assert labels(read_labels([written(tmp_path, content)], Columns(), numbered)) == expected


@pytest.mark.parametrize("content", ["0,1\n20,0\n3,1\n", "0,1\n3,1\n20,0\n"])
def test_a_first_line_that_may_be_a_header_or_a_row_is_asked_about(tmp_path: Path, content: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(DataError, match="the first line 0,1 may be a header or a row"):
        read_labels([path], Columns(), numbered)
    assert labels(read_labels([path], Columns("0", "1"), numbered)) == {"20": "0", "3": "1"}


def test_the_column_of_labels_is_no_column_of_groups(tmp_path: Path) -> None:
    path = written(tmp_path, "path,scene\na.png,indoor\nb.png,outdoor\n")
    given = read(path, Columns(label="scene"))
    assert labels(given) == {"a.png": "indoor", "b.png": "outdoor"}
    assert {group for *_, group in given.rows} == {""}
    with pytest.raises(UsageError, match="'scene' holds the labels; name another for the groups"):
        read(path, Columns(label="scene", group="scene"))


def test_what_an_annotator_rejected_is_no_label(tmp_path: Path) -> None:
    """As Prodigy writes it."""
    rows = [("a", "cat", "accept"), ("b", "cat", "reject"), ("c", "dog", "ignore"), ("d", "dog", "accept")]
    lines = [json.dumps({"image": f"{n}.png", "label": label, "answer": said}) for n, label, said in rows]
    given = read(written(tmp_path, "\n".join(lines)))
    assert labels(given) == {"a.png": "cat", "d.png": "dog"}
    (problem,) = given.problems
    assert "2 labels not accepted, by column answer, left out" in problem.message
    answers = read(written(tmp_path, "path,answer\na.png,accept\nb.png,reject\n"))
    assert labels(answers) == {"a.png": "accept", "b.png": "reject"}
    other = read(written(tmp_path, "path,answer,label\na.png,reject,cat\nb.png,maybe,dog\n"))
    assert labels(other) == {"a.png": "cat", "b.png": "dog"}
    chosen = [{"image": f"{n}.png", "accept": [label], "answer": said} for n, label, said in rows]
    assert labels(read(written(tmp_path, json.dumps(chosen)))) == {"a.png": "cat", "d.png": "dog"}


@pytest.mark.parametrize(
    "content",
    [
        '[{"image": "a.png", "label": {"id": 1, "name": "cat"}}, {"image": "b.png", "label": "dog"}]',
        '{"classes": ["dog", "cat"], "labels": {"a.png": 1, "b.png": 0}}',
        '{"version": 1, "labels": {"a.png": "cat", "b.png": "dog"}}',
        '{"filename": ["a.png", "b.png"], "label": ["cat", "dog"]}',
    ],
)
def test_labels_in_objects_are_found(tmp_path: Path, content: str) -> None:
    assert labels(read(written(tmp_path, content))) == {"a.png": "cat", "b.png": "dog"}


def test_tables_of_classes_beside_images_are_no_labels(tmp_path: Path) -> None:
    images = [{"file": "a.png", "label": 0}, {"file": "b.png", "label": 1}]
    for table in ({"0": "cat", "1": "dog"}, {"cat": 0, "dog": 1}):
        given = read(written(tmp_path, json.dumps({"labels": table, "images": images})))
        assert labels(given) == {"a.png": "0", "b.png": "1"}


@pytest.mark.parametrize(
    "content",
    [
        '{"path": ["a.png", "b.png"], "animal": ["cat", "dog"]}',
        '{"path": {"x": "a.png", "y": "b.png"}, "animal": {"x": "cat", "y": "dog"}}',
        '{"cat": ["a.png"], "dog": ["b.png"]}',
    ],
)
def test_columns_and_classes_of_json_may_have_any_name(tmp_path: Path, content: str) -> None:
    assert labels(read(written(tmp_path, content))) == {"a.png": "cat", "b.png": "dog"}


def test_classes_may_be_called_as_columns(tmp_path: Path) -> None:
    given = read(written(tmp_path, '{"photo": ["a.png", "b.png"], "tag": ["c.png", "d.png"]}'))
    assert labels(given) == {"a.png": "photo", "b.png": "photo", "c.png": "tag", "d.png": "tag"}


@pytest.mark.parametrize("nothing", ['{"value": null}', '{"id": null, "name": null}', "{}", "null"])
def test_an_object_without_a_value_is_no_label(tmp_path: Path, nothing: str) -> None:
    content = f'[{{"image": "a.png", "label": "cat"}}, {{"image": "b.png", "label": {nothing}}}]'
    assert labels(read(written(tmp_path, content))) == {"a.png": "cat"}


def test_a_label_in_brackets_in_an_object_is_a_label(tmp_path: Path) -> None:
    given = read(written(tmp_path, 'path,label\na.png,"{""name"": ""[unk]""}"\nb.png,"[""[x]""]"\n'))
    assert labels(given) == {"a.png": "[unk]", "b.png": "[x]"}


def test_one_line_of_json_is_one_row(tmp_path: Path) -> None:
    assert labels(read(written(tmp_path, '{"path": "a.png", "label": "cat"}\n'))) == {"a.png": "cat"}


def test_an_object_without_a_name_is_no_label(tmp_path: Path) -> None:
    path = written(tmp_path, '[{"image": "a.png", "label": {"x": 1.5}}, {"image": "b.png", "label": "dog"}]')
    with pytest.raises(DataError, match=r'entry 1: expected a label, got the object \{"x": 1.5\}'):
        read(path)


def test_half_a_character_is_replaced(tmp_path: Path) -> None:
    given = read(written(tmp_path, '{"a.png": "cat\\ud83d", "b.png": "dog"}'))
    assert labels(given) == {"a.png": "cat\ufffd", "b.png": "dog"}
