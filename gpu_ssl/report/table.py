"""A report as tables for a terminal."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from rich.console import Group, RenderableType
from rich.text import Text

from gpu_ssl import catalog
from gpu_ssl.records import Difference, Report, Result
from gpu_ssl.report.terminal import BAD, FAINT, GOOD, Shown, new_table

FEWEST = 3
"""Minimum number of splits for an interval."""

LEAST = 20
"""Minimum width in columns of the names of methods."""


def accuracy_cell(result: Result) -> str:
    """Return mean ± standard deviation in percent, or only the mean for a single split."""
    mean = f"{100 * result.accuracy_mean:.2f}"
    return mean if result.accuracy_std is None else f"{mean} ± {100 * result.accuracy_std:.2f}"


def accuracy_table(report: Report) -> Shown:
    """Return one row per method and one column per number of labels; the best of each column in bold."""
    counts = list(dict.fromkeys(result.labels for result in report.results))
    best = {n: max(r.accuracy_mean for r in report.results if r.labels == n) for n in counts}
    splits = max(result.splits for result in report.results)
    rows = {
        catalog.title(method): {
            r.labels: Text(accuracy_cell(r), "bold" if r.accuracy_mean == best[r.labels] else "")
            for r in report.results
            if r.method == method
        }
        for method in dict.fromkeys(result.method for result in report.results)
    }
    others = {
        f"{name} (not measured here)": {
            f.labels: Text(f"{100 * f.accuracy:.2f}") for f in report.published if f.name == name
        }
        for name in dict.fromkeys(figure.name for figure in report.published)
    }
    return by_labels(
        rows,
        counts,
        others,
        title=f"{report.dataset.name}: accuracy on {report.dataset.n_test:,} test images, %",
        caption=f"mean ± standard deviation over {splits} splits" if splits > 1 else "one split",
    )


def difference_table(report: Report) -> Shown:
    """Return the gain of each method over the first, in percentage points, with the interval.

    Gains are green and losses red if the interval excludes 0.
    """
    differences = report.differences
    counts = list(dict.fromkeys(difference.labels for difference in differences))
    enough = with_intervals(report)
    told = (
        "and its 95 % interval over choices of labels"
        if enough
        else f"a confidence interval needs at least {FEWEST} splits"
    )
    rows = {
        catalog.title(method): {
            d.labels: _difference_cell(d, d.labels in enough) for d in differences if d.method == method
        }
        for method in dict.fromkeys(difference.method for difference in differences)
    }
    return by_labels(
        rows,
        counts,
        title=f"gain over {catalog.title(differences[0].against)}",
        caption=f"mean of the paired differences in percentage points, {told}",
    )


def with_intervals(report: Report) -> set[int]:
    """Return the numbers of labels with enough splits for an interval of the differences.

    With two splits, equal differences would have an interval of width 0.
    """
    counts = {result.labels for result in report.results}
    return {n for n in counts if all(r.splits >= FEWEST for r in report.results if r.labels == n)}


def _difference_cell(found: Difference, with_interval: bool) -> Text:
    mean = f"{100 * found.mean:+.2f}"
    if not with_interval:
        return Text(mean)
    style = GOOD if found.low > 0 else BAD if found.high < 0 else ""
    return Text(f"{mean} ± {50 * (found.high - found.low):.2f}", style)


def by_labels(
    rows: Mapping[str, Mapping[int, Text]],
    counts: Sequence[int],
    others: Mapping[str, Mapping[int, Text]] = MappingProxyType({}),
    title: str = "",
    caption: str = "",
) -> Shown:
    """Return a table with a column for each number of labels; if too wide, with these below each other.

    Parameters
    ----------
    rows : mapping
        Cells by number of labels, by the name of the row.
    counts : sequence of int
        The numbers of labels.
    others : mapping
        Published rows below.
    title, caption : str
        See `Shown`.
    """
    wide, tall = new_table(), new_table()
    wide.add_column("method", min_width=LEAST)
    tall.add_column("method")
    for n in counts:
        width = max(len(cells[n]) for cells in rows.values() if n in cells)
        wide.add_column(
            f"{n:,} labels", justify="right", no_wrap=True, min_width=max(width, len(f"{n:,} labels"))
        )
    tall.add_column("", justify="right", no_wrap=True)
    styled = [(name, cells, "") for name, cells in rows.items()]
    styled += [(name, cells, FAINT) for name, cells in others.items()]
    for name, cells, style in styled:
        wide.add_row(name, *(cells.get(n, "-") for n in counts), style=style)
    for n in counts:
        tall.add_row(Text(f"{n:,} labels", "bold"))
        for name, cells, style in styled:
            if n in cells:
                tall.add_row(name, cells[n], style=style)
    return Shown(wide, tall, title, caption)


def _seconds(report: Report, method: str) -> str:
    """Return the range over numbers of labels of the mean seconds per split."""
    means = [sum(r.seconds) / len(r.seconds) for r in report.results if r.method == method]
    low, high = (
        f"{seconds:.2g}" if seconds < 10 else f"{seconds:.0f}" for seconds in (min(means), max(means))
    )
    return low if low == high else f"{low} to {high}"


def split_line(report: Report) -> str:
    """Return the seconds per split of each method, in one line."""
    methods = dict.fromkeys(result.method for result in report.results)
    at_a_time = f" ({report.jobs} at a time)" if report.jobs > 1 else ""
    seconds = ", ".join(f"{method} {_seconds(report, method)}" for method in methods)
    return f"Seconds per split{at_a_time}: {seconds}"


def timing_line(report: Report) -> str:
    """Return the seconds of each phase in one line."""
    seconds = report.timings.model_dump()
    total = seconds.pop("total")
    phases = ", ".join(f"{name} {value:.2f}" for name, value in seconds.items() if value)
    return f"Seconds: {phases}; total {total:.1f}"


def render(report: Report) -> RenderableType:
    """Return the console output of a finished run."""
    choices = (("device", report.device), ("svm", report.svm))
    lines = [f"{name}: {choice.used} ({choice.reason})" for name, choice in choices]
    for result in report.results:
        title = f"{result.method}, {result.labels:,} labels"
        lines += [f"{title}, split {i}: {reason}" for i, reason in enumerate(result.reasons, start=1)]
    tables = [accuracy_table(report)] + ([difference_table(report)] if report.differences else [])
    # As text: brackets in a reason are not markup.
    return Group(*tables, *map(Text, (*lines, split_line(report), timing_line(report))))
