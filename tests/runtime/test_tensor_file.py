"""Saved tensors come back to the bit, damage is refused by name, and a crash leaves the state before."""

import json
import os
from pathlib import Path

import pytest
import torch

from gpu_ssl.errors import StorageError
from gpu_ssl.runtime import tensor_file

TENSORS = {"a.weight": torch.randn(3, 4).T, "steps": torch.tensor(7), "state": torch.arange(5).byte()}


def test_tensors_and_description_come_back(tmp_path: Path) -> None:
    tensor_file.save(tmp_path / "x.json", TENSORS, {"kind": "test", "rate": 0.1})
    tensors, description = tensor_file.load(tmp_path / "x.json")
    assert set(tensors) == set(TENSORS)
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)
    assert (description["kind"], description["rate"]) == ("test", 0.1)


def test_a_new_state_replaces_the_old_and_leaves_no_file_of_it(tmp_path: Path) -> None:
    for value in range(3):
        tensor_file.save(tmp_path / "x.json", {"a": torch.tensor(value)}, {})
    tensor_file.save(tmp_path / "y.json", {"a": torch.tensor(9)}, {})
    assert tensor_file.load(tmp_path / "x.json")[0]["a"] == 2
    assert tensor_file.load(tmp_path / "y.json")[0]["a"] == 9
    assert len(os.listdir(tmp_path)) == 4
    tensor_file.remove(tmp_path / "x.json")
    assert sorted(path.name[0] for path in tmp_path.iterdir()) == ["y", "y"]


def test_a_crash_between_the_two_files_leaves_the_state_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.json"
    tensor_file.save(path, {"a": torch.tensor(1)}, {})

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(tensor_file, "write_text", crash)
        with pytest.raises(KeyboardInterrupt):
            tensor_file.save(path, {"a": torch.tensor(2)}, {})
    assert tensor_file.load(path)[0]["a"] == 1


def tensors_in(folder: Path) -> Path:
    (path,) = folder.glob("*.safetensors")
    return path


@pytest.mark.parametrize(
    "damage",
    [lambda b: b[:-1], lambda b: b"", lambda b: b[:-1] + bytes([b[-1] ^ 1])],
    ids=["cut", "empty", "flipped"],
)
def test_a_damaged_tensor_file_is_refused_by_name(tmp_path: Path, damage) -> None:  # type: ignore[no-untyped-def]
    tensor_file.save(tmp_path / "x.json", TENSORS, {})
    path = tensors_in(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(StorageError, match=str(path)):
        tensor_file.load(tmp_path / "x.json")


def test_a_missing_tensor_file_is_named(tmp_path: Path) -> None:
    tensor_file.save(tmp_path / "x.json", TENSORS, {})
    path = tensors_in(tmp_path)
    path.unlink()
    with pytest.raises(StorageError, match=str(path)):
        tensor_file.load(tmp_path / "x.json")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"tensors": 3}', '{"tensors": {"file": "/etc/passwd"}}']
)
def test_a_description_of_something_else_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(StorageError, match=str(path)):
        tensor_file.load(path)


def test_a_description_cannot_reach_outside_its_folder(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    tensor_file.save(tmp_path / "out.json", TENSORS, {})
    description = json.loads((tmp_path / "out.json").read_text())
    description["tensors"]["file"] = "../" + description["tensors"]["file"]
    (tmp_path / "in" / "x.json").write_text(json.dumps(description))
    with pytest.raises(StorageError, match="cannot read"):
        tensor_file.load(tmp_path / "in" / "x.json")
