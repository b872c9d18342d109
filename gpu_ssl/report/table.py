"""The report as tables for a terminal."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gpu_ssl import catalog
from gpu_ssl.records import Report, Result

FEWEST = 3
"""Splits that an interval is made of."""


def accuracy_cell(result: Result) -> str:
    """Return mean ± standard deviation in percent, or the mean alone where there is one split."""
    mean = f"{100 * result.accuracy_mean:.2f}"
    return mean if result.accuracy_std is None else f"{mean} ± {100 * result.accuracy_std:.2f}"


def accuracy_table(report: Report) -> Table:
    """Return one row a method and one column a number of labels; the best of each column in bold."""
    counts = list(dict.fromkeys(result.labels for result in report.results))
    cells = {(result.method, result.labels): result for result in report.results}
    best = {n: max(r.accuracy_mean for r in report.results if r.labels == n) for n in counts}
    splits = max(result.splits for result in report.results)
    table = Table(
        title=f"{report.dataset.name}: accuracy on {report.dataset.n_test:,} test images, %",
        caption=f"mean ± standard deviation over {splits} splits" if splits > 1 else "one split",
    )
    table.add_column("method")
    for n in counts:
        table.add_column(f"{n:,} labels", justify="right")
    for method in dict.fromkeys(result.method for result in report.results):
        row = []
        for n in counts:
            result = cells[method, n]
            row.append(Text(accuracy_cell(result), "bold" if result.accuracy_mean == best[n] else ""))
        table.add_row(catalog.title(method), *row)
    for name in dict.fromkeys(figure.name for figure in report.published):
        figures = {f.labels: f"{100 * f.accuracy:.2f}" for f in report.published if f.name == name}
        table.add_section()
        table.add_row(f"{name} (not measured here)", *(figures.get(n, "-") for n in counts), style="dim")
    return table


def difference_table(report: Report) -> Table:
    """Return how much each method is better than the first, in points, with the interval."""
    differences = report.differences
    counts = list(dict.fromkeys(difference.labels for difference in differences))
    cells = {(d.method, d.labels): d for d in differences}
    # Two differences that happen to be alike would have an interval without width.
    enough = {n for n in counts if all(r.splits >= FEWEST for r in report.results if r.labels == n)}
    told = "and its 95 % interval over choices of labels" if enough else f"an interval takes {FEWEST} splits"
    table = Table(
        title=f"points more than {catalog.title(differences[0].against)}",
        caption=f"mean of the paired differences, {told}",
    )
    table.add_column("method")
    for n in counts:
        table.add_column(f"{n:,} labels", justify="right")
    for method in dict.fromkeys(difference.method for difference in differences):
        row = (cells[method, n] for n in counts)
        texts = (
            f"{100 * d.mean:+.2f}" + (f" ± {50 * (d.high - d.low):.2f}" if d.labels in enough else "")
            for d in row
        )
        table.add_row(catalog.title(method), *texts)
    return table


def _seconds(report: Report, method: str) -> str:
    """Return the range over numbers of labels of the mean seconds that a split takes."""
    means = [sum(r.seconds) / len(r.seconds) for r in report.results if r.method == method]
    low, high = (
        f"{seconds:.2g}" if seconds < 10 else f"{seconds:.0f}" for seconds in (min(means), max(means))
    )
    return low if low == high else f"{low} to {high}"


def split_line(report: Report) -> str:
    """Return the seconds that a split takes each method, in one line."""
    methods = dict.fromkeys(result.method for result in report.results)
    at_a_time = f" ({report.jobs} at a time)" if report.jobs > 1 else ""
    seconds = ", ".join(f"{method} {_seconds(report, method)}" for method in methods)
    return f"Seconds a split{at_a_time}: {seconds}"


def timing_line(report: Report) -> str:
    """Return the seconds of each phase in one line."""
    seconds = report.timings.model_dump()
    total = seconds.pop("total")
    phases = ", ".join(f"{name} {value:.2f}" for name, value in seconds.items() if value)
    return f"Seconds: {phases}; total {total:.1f}"


def render(report: Report) -> RenderableType:
    """Return all that the console shows of a finished run."""
    choices = (("device", report.device), ("svm", report.svm))
    lines = [f"{name}: {choice.used} ({choice.reason})" for name, choice in choices]
    for result in report.results:
        title = f"{result.method}, {result.labels:,} labels"
        lines += [f"{title}, split {i}: {reason}" for i, reason in enumerate(result.reasons, start=1)]
    tables = [accuracy_table(report)] + ([difference_table(report)] if report.differences else [])
    # As text: what stands in brackets in a reason is no markup.
    return Group(*tables, *map(Text, (*lines, split_line(report), timing_line(report))))
