"""Plots of benchmarks: time against size on logarithmic axes, and speed-ups as bars."""

import statistics
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from gpu_ssl.bench.comparison import Comparison
from gpu_ssl.bench.records import BenchRecord
from gpu_ssl.runtime.figures import new_figure
from gpu_ssl.runtime.files import atomic_path

GROWING = {"encode": "images", "fit": "labels", "fit batched": "labels", "score": "images"}
"""Phases that are measured at several sizes, and the units of the sizes."""

FORMATS = ("png", "svg")


def cost_against_size(record: BenchRecord) -> Figure:
    """Plot the median time of each phase in `GROWING` against its size, with the range of the raw values."""
    figure = new_figure(11, 3.6)
    for axes, (phase, unit) in zip(figure.subplots(1, len(GROWING)), GROWING.items(), strict=True):
        for device in record.devices():
            found = [m for m in record.measurements if (m.phase, m.device) == (phase, device)]
            sizes = [m.size for m in found]
            axes.plot(sizes, [statistics.median(m.seconds) for m in found], marker="o", label=device)
            axes.fill_between(
                sizes, [min(m.seconds) for m in found], [max(m.seconds) for m in found], alpha=0.2
            )
        axes.set_xscale("log")
        axes.set_yscale("log")
        sizes = sorted({m.size for m in record.measurements if m.phase == phase})
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes], rotation=30)
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel(unit)
        axes.set_ylabel("seconds")
        axes.set_title(phase)
        axes.grid(alpha=0.3, which="both")
        axes.legend(title=", ".join(f"{name}: not measured" for name in record.not_measured) or None)
    return figure


def ratios(comparisons: list[Comparison]) -> Figure:
    """Plot the speed-up of the second record over the first; bars that are not significant are pale."""
    names = [f"{c.phase} {c.size:,}" for c in comparisons]
    figure = new_figure(8, 1 + 0.3 * len(names))
    axes = figure.add_subplot()
    bars = axes.barh(names, [c.ratio - 1 for c in comparisons], left=1, color="tab:blue")
    axes.bar_label(bars, [f" {c.ratio:.2f} " for c in comparisons], fontsize=8)
    for bar, comparison in zip(bars, comparisons, strict=True):
        bar.set_alpha(1.0 if comparison.significant else 0.3)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xscale("log")
    axes.invert_yaxis()
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("speed-up of the second over the first (pale: not significant)")
    return figure


def write(figure: Figure, stem: Path) -> list[Path]:
    """Write a figure next to `stem` in every format; return the paths."""
    paths = [stem.with_name(f"{stem.name}.{suffix}") for suffix in FORMATS]
    for path, suffix in zip(paths, FORMATS, strict=True):
        with atomic_path(path) as temporary:
            figure.savefig(temporary, dpi=120, format=suffix)
    return paths
