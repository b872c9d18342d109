"""The folder of a model, as written by ``gpu-ssl fit``; the model itself is written last."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gpu_ssl.data.own import OwnImages
from gpu_ssl.errors import UsageError
from gpu_ssl.fitted.fitting import Fit
from gpu_ssl.fitted.model import FittedModel
from gpu_ssl.fitted.records import ModelRecord, SuspectLabel
from gpu_ssl.fitted.storage import MODEL, save
from gpu_ssl.report.card import CARD, FILES, TITLE, write_card
from gpu_ssl.report.details import DETAILS, OF_MODEL, ModelDetails, write_details
from gpu_ssl.report.html import PAGE
from gpu_ssl.report.model_details import details_of_model
from gpu_ssl.report.model_page import FOUND, write_model_page
from gpu_ssl.runtime.files import write_text


def write_model(folder: Path, fitted: Fit, images: OwnImages, found: dict[str, Any]) -> None:
    """Write a model, its card and page, and the findings about its images to `folder`.

    Parameters
    ----------
    folder : Path
        The folder.
    fitted : Fit
        The model.
    images : OwnImages
        The images that it was fitted to.
    found : dict
        Findings about the images; see `data.summary.summarize`.

    Raises
    ------
    StorageError
        If a file cannot be written; without ``model.json``, which is written last, there is no model.
    """
    write_text(folder / FOUND, json.dumps(found, indent=1))
    details = details_of_model(fitted, images)
    write_details(folder, OF_MODEL, details)
    _write(folder, fitted.model, fitted.record, fitted.suspects, details)


def write_without_images(
    folder: Path, model: FittedModel, record: ModelRecord, suspects: Sequence[SuspectLabel]
) -> None:
    """Write a model, its card, and a page without images to `folder`; see `write_model`.

    Parameters
    ----------
    folder : Path
        The folder.
    model : FittedModel
        The model.
    record : ModelRecord
        Its record.
    suspects : sequence of SuspectLabel
        Labels that look wrong.
    """
    _write(folder, model, record, suspects, ModelDetails())


def _write(
    folder: Path,
    model: FittedModel,
    record: ModelRecord,
    suspects: Sequence[SuspectLabel],
    details: ModelDetails,
) -> None:
    write_card(folder, record, suspects)
    write_model_page(folder / PAGE, record, details, folder)
    save(folder, model, record)


def check_folder(folder: Path, data: Path, setting: str = "output") -> None:
    """Refuse an invalid folder for a model of the images in `data`; it may contain a model.

    Parameters
    ----------
    folder : Path
        The folder.
    data : Path
        Folder of the images.
    setting : str
        Name of the setting, for messages.

    Raises
    ------
    UsageError
        If it is inside `data`, or contains something else.
    """
    if folder.resolve().is_relative_to(data.resolve()):
        raise UsageError(f"`{setting}` {folder} is inside {data}, among its images; name a folder elsewhere")
    whole = (folder / MODEL).is_file()
    if folder.exists() and not whole and not (folder.is_dir() and all(map(_is_of_fit, folder.iterdir()))):
        raise UsageError(f"`{setting}` {folder} exists and is not an empty folder; name another")


def _is_of_fit(path: Path) -> bool:
    """Return whether `path` may be left by an interrupted fit."""
    name = path.name.lstrip(".")
    if name.startswith(("checkpoint.json", "checkpoint-", "model-")):
        return True
    if path.name == CARD:  # users' own files may have such names
        return path.is_file() and path.read_text(encoding="utf-8", errors="replace").startswith(TITLE)
    # Partly written files have a dot before their name, and letters after it.
    return any(name.startswith(known.partition(".")[0]) for known in (*FILES, FOUND, DETAILS, PAGE))
