"""``gpu-ssl bench``: timings of each phase, and comparisons of two records."""

import tempfile
from collections import defaultdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gpu_ssl.cli.data import DATA_DIR
from gpu_ssl.cli.paths import GivenPath
from gpu_ssl.errors import StorageError, UsageError

if TYPE_CHECKING:
    from gpu_ssl.bench.comparison import Comparison
    from gpu_ssl.bench.records import BenchRecord, Measurement


def _sizes(_: click.Context, option: click.Parameter, text: str) -> tuple[int, ...]:
    try:
        sizes = tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        sizes = (0,)
    if min(sizes) < 1 or max(sizes) > 10**9:
        raise UsageError(f"--{option.name} {text!r}: positive whole numbers are needed, such as 100,1000")
    return sizes


@click.group(invoke_without_command=True)
@click.option(
    "--device",
    type=click.Choice(["all", "cpu", "cuda"]),
    default="all",
    show_default=True,
    help="Devices to measure; all: the CPU, and the GPU if there is one.",
)
@click.option(
    "--dataset", default="fashion-mnist", show_default=True, metavar="NAME", help="Images to work on."
)
@DATA_DIR
@click.option(
    "--labels",
    default="100,1000,10000,60000",
    show_default=True,
    callback=_sizes,
    help="Numbers of labels to fit the SVM on.",
)
@click.option(
    "--images",
    default="1000,10000,100000",
    show_default=True,
    callback=_sizes,
    help="Numbers of images to encode and score; noisy copies are added if the data set is smaller.",
)
@click.option(
    "--repeats",
    type=click.IntRange(1, 1000),
    default=5,
    show_default=True,
    help="Number of processes on each device.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Random seed.")
@click.option(
    "--output",
    type=GivenPath(),
    metavar="FILE",
    help="File for the record; plots are written next to it.  [default: runs/bench-<time>.json]",
)
@click.option("--json", "as_json", is_flag=True, help="Print only the record, as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Hide progress.")
@click.pass_context
def command(
    ctx: click.Context,
    device: str,
    dataset: str,
    data_dir: Path | None,
    labels: tuple[int, ...],
    images: tuple[int, ...],
    repeats: int,
    seed: int,
    output: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Time every phase, from loading to scoring, at growing sizes, each repeat in a fresh process.

    Each process warms up before it measures; the clock stops only after the device has finished. The record
    holds all raw values with the hardware, the versions and the data they belong to.

    \b
      gpu-ssl bench --output here.json
      gpu-ssl bench compare before.json after.json
      gpu-ssl bench compare here.json                 the CPU against the GPU
    """
    if ctx.invoked_subcommand is not None:
        for option in ctx.command.params:
            if ctx.get_parameter_source(option.name or "") == click.core.ParameterSource.COMMANDLINE:
                raise UsageError(f"{option.opts[-1]} is for measuring; bench compare does not take it")
        return
    from gpu_ssl.bench import runner
    from gpu_ssl.bench.plots import cost_against_size, write
    from gpu_ssl.bench.records import BenchConfig
    from gpu_ssl.cli.display import make_progress
    from gpu_ssl.config import DataConfig
    from gpu_ssl.runtime.files import to_keep, write_text

    data = DataConfig.of(dataset=dataset, data_dir=data_dir and to_keep(data_dir))
    config = runner.check(BenchConfig.of(data=data, labels=labels, images=images, seed=seed))
    path = output or Path("runs") / f"bench-{datetime.now().strftime('%Y%m%d-%H%M%S')}.json"
    _check_output(path)
    record = runner.run(config, device, repeats, make_progress(quiet))
    write_text(path, record.to_json())
    if as_json:
        click.echo(record.to_json(), nl=False)
    else:
        _print_record(record)
        click.echo(f"Written to {path}")
    write(cost_against_size(record), path.with_suffix(""))


@command.command()
@click.argument("first", type=GivenPath())
@click.argument("second", type=GivenPath(), required=False)
@click.option("--plot", type=GivenPath(), metavar="STEM", help="Also write plots to STEM.png and STEM.svg.")
def compare(first: Path, second: Path | None, plot: Path | None) -> None:
    """Compare the speed of SECOND with FIRST, or of the GPU in FIRST with its CPU.

    The last column says whether a difference is significant. It is not if it is within the spread of the raw
    values, or if a record has fewer than 4 repeats. Records of different work are refused.
    """
    from gpu_ssl.bench import comparison
    from gpu_ssl.bench.plots import FORMATS, ratios, write
    from gpu_ssl.bench.records import BenchRecord

    if plot is not None:
        _refuse_existing("--plot", [plot.with_name(f"{plot.name}.{suffix}") for suffix in FORMATS])
    paths = (first, second or first)
    records = [BenchRecord.read(path) for path in paths]
    compared = comparison.compare(*records)
    for name, path, record in zip(("first", "second"), paths, records, strict=True):
        cpu = record.environment.get("cpu", "unknown CPU")
        click.echo(f"{name}: {path} ({cpu}, {record.repeats} repeats, taken {record.taken})")
    _print_comparison(compared)
    if plot is not None:
        written = write(ratios(compared), plot)
        click.echo(f"Written to {', '.join(map(str, written))}")


def _check_output(path: Path) -> None:
    """Refuse, before the measurement, a file that is not writable or would replace another."""
    from gpu_ssl.bench.plots import FORMATS

    if path.suffix != ".json":
        raise UsageError(f"--output {path}: the name of a record must end in .json")
    _refuse_existing("--output", [path, *(path.with_suffix(f".{suffix}") for suffix in FORMATS)])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise StorageError(f"cannot write into {path.parent}: {error.strerror}") from error


def _refuse_existing(option: str, paths: list[Path]) -> None:
    there = [str(path) for path in paths if path.exists()]
    if there:
        raise UsageError(f"{option}: {', '.join(there)} would be replaced; name another file")


def _print_record(record: "BenchRecord") -> None:
    import statistics

    from gpu_ssl.cli.display import make_console
    from gpu_ssl.report.terminal import new_table
    from gpu_ssl.statistics import in_percent

    devices = record.devices()
    table = new_table()
    for header in ("phase", "size", *(f"{d}, s" for d in devices), *(f"{d}, peak GiB" for d in devices)):
        table.add_column(header, justify="left" if header == "phase" else "right")
    for name in record.not_measured:
        table.add_column(f"{name}, s")
    table.add_column("accuracy", justify="right")
    groups: dict[tuple[str, int], list[Measurement]] = defaultdict(list)
    for measurement in record.measurements:
        groups[measurement.phase, measurement.size].append(measurement)
    for (phase, size), found in groups.items():
        of = {m.device: m for m in found}  # some sizes are measured on one device only
        times = [f"{statistics.median(of[d].seconds):.4f}" if d in of else "" for d in devices]
        peaks = [f"{max(p or 0 for p in of[d].peak_bytes) / 2**30:.2f}" if d in of else "" for d in devices]
        accuracy = found[-1].accuracy
        missing = ["not measured" for _ in record.not_measured]
        share = "" if accuracy is None else in_percent(accuracy, 2)
        table.add_row(phase, f"{size:,}", *times, *peaks, *missing, share)
    make_console().print(table)


def _print_comparison(compared: "list[Comparison]") -> None:
    from gpu_ssl.cli.display import make_console
    from gpu_ssl.report.terminal import new_table

    table = new_table()
    for header in ("phase", "size", "first, s", "second, s", "times as fast", "significant"):
        table.add_column(header, justify="left" if header in ("phase", "significant") else "right")
    for c in compared:
        verdict = f"no: {c.doubt}" if c.doubt else "yes"
        devices = [f"{seconds:.3g} ({name})" for seconds, name in zip(c.medians, c.devices, strict=True)]
        table.add_row(c.phase, f"{c.size:,}", *devices, f"{c.ratio:.2f}", verdict)
    make_console().print(table)
