"""Names of the columns of label files."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# fmt: off
PATHS = (
    "path", "file_path", "filepath", "image_path", "img_path", "file_name", "filename", "file", "image_name",
    "image_file", "imagename", "image", "img", "photo", "picture", "image_id", "img_id", "imageid", "name",
    "position", "index", "row", "id", "uid", "key", "url",
)
LABELS = (
    "choice", "choices",  # of an annotator, whom Label Studio may have shown a column label
    "label", "labels", "class", "class_name", "classname", "class_label", "category", "category_name",
    "target", "breed", "species", "diagnosis", "dx", "tag", "fine_label", "coarse_label",
    "accept", "y",
)
GROUPS = (
    "group", "group_id", "scene", "scene_id", "patient", "patient_id", "subject", "subject_id", "burst",
    "burst_id", "sequence", "sequence_id", "video", "video_id",
)
# fmt: on
"""Recognized column names, preferred first; case is ignored, and spaces and hyphens match ``_``."""


@dataclass(frozen=True)
class Columns:
    """Column names given by the user; columns that are None are recognized by their usual names."""

    path: str | None = None
    label: str | None = None
    group: str | None = None


NO_COLUMNS = Columns()


def first_of(names: Iterable[str], columns: Sequence[str]) -> str | None:
    """Return the column that matches the first possible name; None if no name matches."""
    known = {folded(column): column for column in reversed(columns)}
    return next((known[name] for name in names if name in known), None)


def folded(column: str) -> str:
    """Return the name of a column as it is compared with the recognized ones."""
    return column.strip().lower().replace(" ", "_").replace("-", "_")
