"""What to expect of a model on images like the labelled ones, in sentences."""

from collections.abc import Sequence
from pathlib import Path

from gpu_ssl import catalog
from gpu_ssl.data.problems import printable
from gpu_ssl.fitted.records import Estimate, ModelRecord
from gpu_ssl.methods.validation import FOLDS_OF_NETWORKS
from gpu_ssl.statistics import in_percent

FEW = 100
"""Number of judged images below which the interval is too wide to rely on."""

ALIKE = 0.9
"""Share of independent trials below which the card reports that many are dependent."""

LISTED = 5
"""Maximum number of classes named in a line."""

MANY_COPIES = 0.2
"""Share of near duplicates among labelled images from which there may be undetected ones."""

SUSPECTS = "suspect-labels.csv"
"""File next to a model: labels that look wrong."""


def expectation(record: ModelRecord) -> str:
    """Return one line on the expected accuracy."""
    estimate = record.estimate
    if estimate is None:
        return f"accuracy not known: {_why_not_known(record)}"
    held_out = catalog.method(record.chosen.method).trains
    enough, how = (FOLDS_OF_NETWORKS * FEW, "held out once") if held_out else (FEW, "each held out in turn")
    line = (
        f"accuracy about {in_percent(estimate.accuracy)} (95 % interval {in_percent(estimate.low)} to "
        f"{in_percent(estimate.high)}), from {_judged(record, estimate)}, {how}"
    )
    worth = max(1, round(estimate.independent))
    if worth < ALIKE * estimate.of:
        line += f"; the effective sample size is {worth}, as images of one group are not independent"
    if worth < FEW:
        line += f"; {worth} are too few for a reliable estimate, label {enough} or more"
    return line


def _judged(record: ModelRecord, estimate: Estimate) -> str:
    """Return how many of the labelled images were judged, and why not all of them."""
    labelled = sum(record.n_labelled.values())
    if estimate.of == labelled:
        return f"{labelled:,} labelled images"
    reasons = []
    if estimate.copies:
        reasons.append("copies of an image count once")
    if estimate.of + estimate.copies < labelled and not catalog.method(record.chosen.method).trains:
        reasons.append("the only image or group of a class is not held out")
    why = f" ({'; '.join(reasons)})" if reasons else ""
    return f"{estimate.of:,} of {labelled:,} labelled images{why}"


def _why_not_known(record: ModelRecord) -> str:
    single = [name for name, count in record.n_labelled.items() if count == 1]
    if single:
        return f"class {single[0]!r} has a single labelled image, so none can be held out"
    return (
        "all labelled images of a class are near duplicates of each other or of one group, so none can be "
        "held out"
    )


def notes(record: ModelRecord, folder: Path = Path()) -> list[str]:
    """Return further notes on the labelled images of a model in `folder`, one line each."""
    lines = []
    estimate, labelled = record.estimate, sum(record.n_labelled.values())
    if record.suspects:
        lines.append(
            f"{_counted(record.suspects, 'label looks', 'labels look')} wrong: see {folder / SUSPECTS}"
        )
    if estimate is not None and estimate.not_judged:
        single = [name for name in estimate.not_judged if record.n_labelled[name] == 1]
        grouped = [name for name in estimate.not_judged if record.n_labelled[name] > 1]
        if single:
            lines.append(
                f"{_classes(single, 'has', 'have')} a single label and {_are(single)} not judged; "
                "the accuracy is that of the others"
            )
        if grouped:
            lines.append(
                f"{_classes(grouped, 'is', 'are')} not judged: all labelled images of each are of one group, "
                "or were not held out; the accuracy is that of the others"
            )
    if record.near_copies and estimate is not None:
        where = (
            "had to be on both sides of folds, since little else is left: the accuracy is that on more "
            "of the same, and its interval counts all that look alike as one"
            if estimate.copies_apart
            else "stay in one fold, and count as one"
        )
        if record.near_copies >= MANY_COPIES * labelled and not estimate.copies_apart:
            where += (
                "; frames of one scene that differ more may have come apart, and the accuracy be too high: "
                "name the scenes in a column `group` of the label file"
            )
        lines.append(
            f"{record.near_copies} of {labelled} labelled images are near duplicates of another; they {where}"
        )
    return lines


def _counted(n: int, one: str, more: str) -> str:
    return f"{n} {one if n == 1 else more}"


def _are(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _classes(names: Sequence[str], one: str, more: str) -> str:
    listed = ", ".join(map(printable, names[:LISTED]))
    listed += f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"class {listed} {one}" if len(names) == 1 else f"classes {listed} {more}"


def warning(estimate: Estimate | None) -> str | None:
    """Return one line that advises against the model, if it is not suited to these images."""
    if estimate is None:
        return None
    if estimate.low <= estimate.most_frequent:
        better = estimate.accuracy > estimate.most_frequent
        return (
            f"this is not {'significantly ' if better else ''}better than always predicting the class with "
            f"most labels ({in_percent(estimate.accuracy)} against {in_percent(estimate.most_frequent)}, "
            f"95 % interval {in_percent(estimate.low)} to {in_percent(estimate.high)}); do not use this model"
        )
    if estimate.raw_pixels is not None and estimate.raw_pixels > estimate.high:
        return (
            f"an SVM on the raw pixels is better here ({in_percent(estimate.raw_pixels)}): the model drops "
            "brightness and fine detail, which may distinguish these classes"
        )
    return None
