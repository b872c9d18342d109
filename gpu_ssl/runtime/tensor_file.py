"""Tensors in safetensors files, each described by a JSON file. Nothing is pickled.

The JSON is written last and names the tensor file with its hash. It alone decides which state there is:
a process that dies between the two writes leaves the state before.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor

from gpu_ssl.errors import StorageError
from gpu_ssl.runtime.files import atomic_path, write_text


def save(path: Path, tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> None:
    """Write `tensors` beside `path`, and `description` to `path` (``.json``), replacing what is there.

    Raises
    ------
    StorageError
        If a file cannot be written; what was there before is still whole.
    """
    content = save_safetensors({name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()})
    digest = hashlib.sha256(content).hexdigest()
    tensor_path = path.with_name(f"{path.stem}-{digest[:12]}.safetensors")
    with atomic_path(tensor_path) as temporary:
        temporary.write_bytes(content)
    record = {**description, "tensors": {"file": tensor_path.name, "sha256": digest}}
    write_text(path, json.dumps(record, indent=2) + "\n")
    for old in path.parent.glob(f"{path.stem}-{'?' * 12}.safetensors"):
        if old != tensor_path:
            old.unlink(missing_ok=True)


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read back what `save` wrote, on the CPU.

    Raises
    ------
    StorageError
        If a file is missing, damaged, or not of this kind; the message names it.
    """
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
        tensor_path = path.with_name(Path(description["tensors"]["file"]).name)
        digest = description["tensors"]["sha256"]
        content = tensor_path.read_bytes()
    except OSError as error:
        raise StorageError(f"cannot read {error.filename}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{path} is damaged: it does not describe saved tensors") from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise StorageError(f"{tensor_path} is damaged: its SHA-256 is not the one that {path.name} names")
    try:
        return load_safetensors(content), description
    except SafetensorError as error:
        raise StorageError(f"{tensor_path} is not a safetensors file: {error}") from error


def remove(path: Path) -> None:
    """Delete what `save` wrote to `path`, the description first."""
    path.unlink(missing_ok=True)
    for tensors in path.parent.glob(f"{path.stem}-{'?' * 12}.safetensors"):
        tensors.unlink(missing_ok=True)
