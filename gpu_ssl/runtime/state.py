"""State on disk: JSON validated by a type, and tensors next to it.

A file contains its kind, the version of its schema, its content, the name, size and hash of its tensor file
(safetensors) if there is one, and a hash over all of this: any modification is refused, and so are tensors of
another state. No file is pickled.

The JSON is written last and determines the state: a process that dies between the two writes leaves the
previous state.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from gpu_ssl.errors import DeviceError, StorageError, lacks_memory
from gpu_ssl.runtime.files import atomic_path, forget_half_written, read_whole, write_text

if TYPE_CHECKING:
    from torch import Tensor

MOST_JSON = 256 * 2**20
"""Maximum size in bytes of a JSON file. Its depth is limited to 200 by pydantic's parser."""

COPIES, SPARE = 3, 1 << 20
"""Copies of all tensors that safetensors makes to write them, and bytes that it needs besides."""

LONGEST_REASON = 300
"""Maximum length of a library's message about a damaged file."""

Content = TypeVar("Content", bound=BaseModel)


@dataclass(frozen=True)
class Kind(Generic[Content]):
    """The kind of a file.

    Parameters
    ----------
    name : str
        Name of the kind, such as ``gpu-ssl model``.
    schema : int
        Version of the schema.
    content : type
        Type of the content. No field may be missing in a file, even if it has a default.
    remedy : str
        What to do about an unreadable file.
    """

    name: str
    schema: int
    content: type[Content]
    remedy: str


class TensorFile(BaseModel):
    """The tensor file of a JSON file."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    file: str
    bytes: int = Field(ge=0)
    sha256: str


class Writing(NamedTuple):
    """A state to be written: what writes it, and the bytes on the host that it holds till then."""

    write: Callable[[], None]
    n_bytes: int


def prepare(
    path: Path, kind: Kind[Content], content: Content, tensors: "Mapping[str, Tensor] | None" = None
) -> Writing:
    """Copy tensors from the device, and return what writes as `save` does, in any thread."""
    on_host = {name: tensor.detach().cpu() for name, tensor in (tensors or {}).items()}
    n_bytes = sum(tensor.nbytes for tensor in on_host.values())
    return Writing(partial(save, path, kind, content, on_host or None), n_bytes)


def save(
    path: Path,
    kind: Kind[Content],
    content: Content,
    tensors: "Mapping[str, Tensor] | TensorFile | None" = None,
) -> None:
    """Write `content` to `path` (``.json``) and `tensors` next to it, replacing existing files.

    Parameters
    ----------
    path : Path
        The JSON file.
    kind : Kind
        The kind of the file.
    content : BaseModel
        Content, of the type of `kind`.
    tensors : mapping of str to Tensor, optional
        Tensors on any device, or the result of `save_tensors`.

    Raises
    ------
    StorageError
        If a file cannot be written; the previous state is intact.
    """
    tensor_file = tensors if isinstance(tensors, TensorFile | None) else save_tensors(path, tensors)
    write_text(path, text_of(kind, content, tensor_file), devices=False)
    _forget_others(path, tensor_file)


def text_of(kind: Kind[Content], content: Content, tensor_file: TensorFile | None = None) -> str:
    """Return the text that `save` writes to the JSON file."""
    told = {"kind": kind.name, "schema": kind.schema, **content.model_dump(mode="json", by_alias=True)}
    if tensor_file is not None:
        told["tensors"] = tensor_file.model_dump(mode="json")
    return json.dumps({**told, "sha256": digest_of(told)}, indent=2) + "\n"


def save_tensors(path: Path, tensors: "Mapping[str, Tensor]") -> TensorFile:
    """Write tensors next to `path`, to be referenced by the JSON that `save` writes."""
    from safetensors.torch import save as save_safetensors

    on_host = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
    _require_memory(sum(tensor.nbytes for tensor in on_host.values()))
    content = save_safetensors(on_host)
    digest = hashlib.sha256(content).hexdigest()
    tensor_file = TensorFile(file=_tensor_name(path, digest), bytes=len(content), sha256=digest)
    if not path.exists():  # Files of a killed process belong to no state.
        _forget_others(path)
    with atomic_path(path.with_name(tensor_file.file), devices=False) as temporary:
        temporary.write_bytes(content)
    return tensor_file


def load(path: Path, kind: Kind[Content]) -> "tuple[Content, dict[str, Tensor]]":
    """Read back what `save` wrote, with tensors on the CPU (an empty dict without tensors).

    Raises
    ------
    StorageError
        If a file is missing, damaged, changed, or of another kind or version; one line says which, and what
        to do.
    """
    told = _read(path, kind)
    _check_kind(path, told, kind)
    digest = told.pop("sha256", None)
    if digest != digest_of(told):
        raise StorageError(
            f"{path} is damaged or was changed: its SHA-256 is not the one that it names; {kind.remedy}"
        )
    tensors: dict[str, Tensor] = {}
    try:
        if "tensors" in told:
            tensors = _load_tensors(path, TensorFile.model_validate(told.pop("tensors")), kind)
        known = {field.alias or name for name, field in kind.content.model_fields.items()}
        for name in {"kind", "schema"} - known:
            told.pop(name, None)
        content = kind.content.model_validate(told)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise StorageError(f"{path} is damaged: {where}: {first['msg']}; {kind.remedy}") from error
    # A missing field would silently get its default.
    whole = content.model_dump(mode="json", by_alias=True)
    if differing := [name for name in whole if whole[name] != told.get(name, ...)]:
        raise StorageError(f"{path} is not of this version: {', '.join(differing)} differ; {kind.remedy}")
    return content, tensors


@contextmanager
def built(path: Path, kind: Kind[Any]) -> Iterator[None]:
    """Turn errors of the block, which builds an object from `path`, into StorageError.

    Raises
    ------
    StorageError
        If the parts do not fit together.
    DeviceError
        If there is too little memory.
    """
    try:
        yield
    except (AttributeError, IndexError, KeyError, MemoryError, RuntimeError, TypeError, ValueError) as error:
        if lacks_memory(error):
            raise DeviceError(f"too little memory for what {path} describes") from error
        raise StorageError(
            f"{path} and its tensors do not fit together: {reason_of(error)}; {kind.remedy}"
        ) from error


def under(prefix: str, tensors: "dict[str, Tensor]") -> "dict[str, Tensor]":
    """Return tensors with ``prefix.`` before their names; `below` reverses it."""
    return {f"{prefix}.{name}": value for name, value in tensors.items()}


def below(prefix: str, tensors: "dict[str, Tensor]") -> "dict[str, Tensor]":
    """Return the tensors whose names begin with ``prefix.``, without it."""
    start = f"{prefix}."
    return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}


def remove(path: Path) -> None:
    """Delete what `save` wrote to `path`, the JSON first."""
    path.unlink(missing_ok=True)
    _forget_others(path)


def digest_of(told: Mapping[str, Any]) -> str:
    """Return the SHA-256 of JSON, independent of its formatting in a file."""
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def reason_of(error: Exception) -> str:
    """Return a library's message about a damaged file as one short line."""
    words = " ".join(str(error).split())
    return words if len(words) <= LONGEST_REASON else f"{words[:LONGEST_REASON]}..."


def _read(path: Path, kind: Kind[Content]) -> dict[str, Any]:
    try:
        told = from_json(read_whole(path, MOST_JSON))
    except OSError as error:
        raise _unreadable(path, kind, error) from error
    except ValueError as error:
        raise StorageError(f"{path} is damaged: {reason_of(error)}; {kind.remedy}") from error
    if not isinstance(told, dict):
        raise StorageError(f"{path} is not a {kind.name}; {kind.remedy}")
    return told


def _unreadable(path: Path, kind: Kind[Content], error: OSError) -> StorageError:
    advice = "give it more memory" if lacks_memory(error) else kind.remedy
    return StorageError(f"cannot read {path}: {error.strerror or error}; {advice}")


def _check_kind(path: Path, told: Mapping[str, Any], kind: Kind[Content]) -> None:
    schema = told.get("schema")
    if told.get("kind", kind.name) != kind.name or "schema" not in told:
        raise StorageError(f"{path} is not a {kind.name}; {kind.remedy}")
    if type(schema) is not int or schema > kind.schema:
        raise StorageError(
            f"{path} is of schema {schema!r}, and this gpu-ssl knows schema {kind.schema}: upgrade gpu-ssl, "
            f"or {kind.remedy}"
        )
    if schema < kind.schema:
        raise StorageError(f"{path} was written by an earlier gpu-ssl (schema {schema}): {kind.remedy}")


def _tensor_name(path: Path, digest: str) -> str:
    return f"{path.stem}-{digest[:12]}.safetensors"


def _require_memory(n_bytes: int) -> None:
    """Raise a MemoryError if tensors cannot be copied: safetensors, written in Rust, would abort or panic."""
    bytearray(COPIES * n_bytes + SPARE)


def _load_tensors(path: Path, tensor_file: TensorFile, kind: Kind[Content]) -> "dict[str, Tensor]":
    from safetensors import SafetensorError
    from safetensors.torch import load as load_safetensors

    if tensor_file.file != _tensor_name(path, tensor_file.sha256):
        raise StorageError(f"{path} names the tensors of another file, {tensor_file.file!r}; {kind.remedy}")
    place = path.with_name(tensor_file.file)
    try:
        content = read_whole(place, tensor_file.bytes)
    except OSError as error:
        raise _unreadable(place, kind, error) from error
    if hashlib.sha256(content).hexdigest() != tensor_file.sha256:
        raise StorageError(
            f"{place} is damaged: its SHA-256 is not the one that {path.name} names; {kind.remedy}"
        )
    _require_memory(len(content))
    try:
        return load_safetensors(content)
    except SafetensorError as error:
        raise StorageError(f"{place} is not a safetensors file: {reason_of(error)}; {kind.remedy}") from error


def _forget_others(path: Path, tensor_file: TensorFile | None = None) -> None:
    """Delete tensors of earlier states of `path`."""
    kept = tensor_file and tensor_file.file
    stem = "".join(f"[{letter}]" if letter in "*?[" else letter for letter in path.stem)
    for old in path.parent.glob(f"{stem}-{'[0-9a-f]' * 12}.safetensors"):
        if old.name != kept:
            old.unlink(missing_ok=True)
    forget_half_written(path.parent, rf"\.{re.escape(path.stem)}-[0-9a-f]{{12}}-[0-9a-f]{{12}}\.safetensors")
