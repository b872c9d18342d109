"""What is kept comes back to the bit, or is refused by name; a crash leaves the state before."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from gpu_ssl.errors import StorageError
from gpu_ssl.runtime import state

TENSORS = {"a.weight": torch.randn(3, 4).T, "steps": torch.tensor(7), "state": torch.arange(5).byte()}


class Thing(BaseModel):
    rate: float = 0.1
    names: tuple[str, ...] = ("a", "ü")
    more: dict[str, Any] = {}


KIND = state.Kind("test thing", 2, Thing, "make it again")


def save(path: Path, **tensors: torch.Tensor) -> None:
    state.save(path, KIND, Thing(), tensors or TENSORS)


def refused(path: Path, match: str) -> None:
    with pytest.raises(StorageError, match=match) as caught:
        state.load(path, KIND)
    assert str(caught.value).endswith("make it again")
    assert "\n" not in str(caught.value)
    assert str(path.parent) in str(caught.value)


def attempt(path: Path) -> tuple[str, Any]:
    """Return the message of a refusal, or "" and what was read."""
    try:
        return "", state.load(path, KIND)
    except StorageError as error:
        return str(error), None


def edit(path: Path, change: Callable[[dict[str, Any]], Any], *, sign: bool) -> None:
    told = json.loads(path.read_text())
    change(told)
    if sign:
        told.pop("sha256", None)
        told["sha256"] = state.digest_of(told)
    path.write_text(json.dumps(told))


def test_content_and_tensors_come_back(tmp_path: Path) -> None:
    content = Thing(rate=1 / 3, names=("x",), more={"a": [1, None, {"b": 1e-300}]})
    state.save(tmp_path / "x.json", KIND, content, TENSORS)
    found, tensors = state.load(tmp_path / "x.json", KIND)
    assert found == content
    assert set(tensors) == set(TENSORS)
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)
    state.save(tmp_path / "y.json", KIND, content)
    assert state.load(tmp_path / "y.json", KIND) == (content, {})


def test_a_new_state_replaces_the_old_and_leaves_no_file_of_it(tmp_path: Path) -> None:
    for value in range(3):
        save(tmp_path / "x.json", a=torch.tensor(value))
    save(tmp_path / "y.json", a=torch.tensor(9))
    assert state.load(tmp_path / "x.json", KIND)[1]["a"] == 2
    assert state.load(tmp_path / "y.json", KIND)[1]["a"] == 9
    assert len(os.listdir(tmp_path)) == 4
    state.remove(tmp_path / "x.json")
    assert sorted(path.name[0] for path in tmp_path.iterdir()) == ["y", "y"]


def test_a_crash_between_the_two_files_leaves_the_state_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.json"
    save(path, a=torch.tensor(1))

    def crash(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(state, "write_text", crash)
        with pytest.raises(KeyboardInterrupt):
            save(path, a=torch.tensor(2))
    assert state.load(path, KIND)[1]["a"] == 1


def test_tensors_of_a_state_that_never_came_to_be_are_deleted(tmp_path: Path) -> None:
    state.save_tensors(tmp_path / "x.json", {"a": torch.tensor(1)})
    (tmp_path / "x-notes-of-mine.safetensors").write_text("")
    (tmp_path / ".x-0123456789ab-0123456789ab.safetensors").write_text("half of th")
    save(tmp_path / "x.json", a=torch.tensor(2))
    assert len(list(tmp_path.iterdir())) == 3
    assert (tmp_path / "x-notes-of-mine.safetensors").exists()


@pytest.mark.parametrize("name", ["x.json", "*.safetensors"])
def test_a_bit_that_flips_anywhere_is_refused_or_changes_nothing(tmp_path: Path, name: str) -> None:
    """Anywhere but where JSON says the same in two ways, such as 1e-5 and 1E-5."""
    save(tmp_path / "x.json")
    (path,) = tmp_path.glob(name)
    whole = path.read_bytes()
    refusals = 0
    for place in range(len(whole)):
        for bit in (1, 32):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
            refusal, found = attempt(tmp_path / "x.json")
            assert "\n" not in refusal
            refusals += bool(refusal)
            assert refusal or found[0] == Thing()
            assert refusal or all(torch.equal(found[1][own], TENSORS[own]) for own in TENSORS)
    assert refusals > 1.7 * len(whole)


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b"", lambda b: b + b"x"])
def test_tensors_of_another_size_are_refused(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    save(tmp_path / "x.json")
    (path,) = tmp_path.glob("*.safetensors")
    path.write_bytes(damage(path.read_bytes()))
    refused(tmp_path / "x.json", str(path))
    path.unlink()
    refused(tmp_path / "x.json", str(path))


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "{}", "null", '{"tensors": 3}', '{"kind": "zzz", "schema": 2}', "\xff", "[" * 10**6),
        '{"kind": "test thing", "schema": 2, "more": ' + '{"a":' * 5000 + "1" + "}" * 5001,
        '{"kind": "test thing", "schema": "2"}',
        '{"kind": "test thing", "schema": true}',
        '{"kind": "test thing", "schema": 1}',
    ],
)
def test_what_is_something_else_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    refused(path, str(path))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
KNOWN = ("kind", "schema", "rate", "names", "more", "tensors", "sha256")


@given(JSON | st.dictionaries(st.sampled_from(KNOWN), JSON), st.booleans())
def test_any_json_is_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, told: Any, sign: bool
) -> None:
    path = tmp_path_factory.mktemp("json") / "x.json"
    if sign and isinstance(told, dict):
        told = {"rate": 1.0, "names": [], "more": {}} | told | {"kind": KIND.name, "schema": KIND.schema}
        told.pop("sha256", None)
        told["sha256"] = state.digest_of(told)
    path.write_text(json.dumps(told))
    refusal, found = attempt(path)
    assert "\n" not in refusal
    assert len(refusal) < 1000
    assert refusal or found[0].model_dump(mode="json").items() <= told.items()


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_in_one_line(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("bytes") / "x.json"
    path.write_bytes(content)
    refused(path, "x.json")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda told: told.pop("rate"), "not of this version: rate differ"),
        (lambda told: told.update(rate="0.1"), "not of this version: rate differ"),
        (lambda told: told.update(rate="fast"), "is damaged: rate"),
        (lambda told: told["tensors"].update(file="../" + told["tensors"]["file"]), "of another file"),
        (lambda told: told["tensors"].update(file="y-0123456789ab.safetensors"), "of another file"),
        (lambda told: told["tensors"].update(bytes=1), "more than the 1 allowed"),
        (lambda told: told["tensors"].pop("bytes"), "is damaged: bytes"),
    ],
)
def test_what_was_signed_again_must_be_whole(
    tmp_path: Path, change: Callable[[dict[str, Any]], Any], words: str
) -> None:
    save(tmp_path / "x.json")
    edit(tmp_path / "x.json", lambda told: None, sign=True)
    state.load(tmp_path / "x.json", KIND)
    edit(tmp_path / "x.json", change, sign=True)
    refused(tmp_path / "x.json", words)


def test_a_state_under_another_name_is_refused(tmp_path: Path) -> None:
    """States cannot be swapped by renaming their files."""
    save(tmp_path / "x.json")
    (tensors,) = tmp_path.glob("*.safetensors")
    tensors.rename(tmp_path / tensors.name.replace("x-", "y-"))
    (tmp_path / "x.json").rename(tmp_path / "y.json")
    refused(tmp_path / "y.json", "of another file")


def test_a_pipe_in_place_of_a_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.json")
    refused(tmp_path / "x.json", "not a regular file")
    save(tmp_path / "x.json")
    assert (tmp_path / "x.json").is_file()


LITTLE_MEMORY = """
import resource, sys, torch
from pathlib import Path
from pydantic import BaseModel
from gpu_ssl.runtime import state
class Thing(BaseModel): pass
KIND = state.Kind("thing", 1, Thing, "again")
def save(name, n): state.save(Path(name), KIND, Thing(), {"x": torch.ones(n)})
def load(name, n): state.load(Path(name), KIND)
save("small.json", 4), load("small.json", 4)  # imports all that is needed
if sys.argv[1] == "load": save("large.json", 2**24)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + int(float(sys.argv[2]) * 2**26), -1))
try: globals()[sys.argv[1]]("large.json", 2**24)
except MemoryError: print("MemoryError")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of memory are Linux's")
@pytest.mark.parametrize(("work", "copies"), [("save", 1.5), ("save", 3.5), ("load", 1.5)])
def test_too_little_memory_for_tensors_is_a_memory_error(tmp_path: Path, work: str, copies: float) -> None:
    """safetensors aborts the process, or prints a traceback of Rust."""
    done = subprocess.run(
        [sys.executable, "-c", LITTLE_MEMORY, work, str(copies)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "MemoryError\n", "")
    assert len(list(tmp_path.glob("large*"))) == (2 if work == "load" else 0)
