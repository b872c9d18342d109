"""The cost of millions of images: a model from counted operations and bytes, in seconds and in money.

    python -m benchmarks.scaling

reads what ``python -m benchmarks`` and ``python -m benchmarks.streaming`` measured here, and prints the
tables of docs/scaling.md: the model against those measurements, and what it predicts for GPUs. Nothing of
it was measured on a GPU.
"""

import json
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from gpu_ssl import catalog
from gpu_ssl.statistics import in_percent

RESULTS = Path(__file__).parent / "results"
SUITE = RESULTS / "2x-intel-r-xeon-r-processor.json"
STREAMING = RESULTS / "streaming.json"

IMAGE_BYTES = 784
PARAMETER_BYTES = 4 * 572_208
"""Bytes of gradients exchanged per step: those of the default network for 28 x 28 pixels."""

KERNELS = 270
"""Number of kernel launches of a training step without a CUDA graph; a test counts them."""

RECORDED = 0.9e-3
"""Seconds of a step of one GPU, where it is one CUDA graph, that the host takes whatever the batch: measured
on an H200 (docs/benchmarks.md). Several ranks wait for one another within a step, which is no graph then."""

EXCHANGES = 7
"""Number of synchronizations between processes per step: two per batch norm, and the gradients."""

EPOCHS = catalog.network("conv").epochs


@dataclass(frozen=True)
class Costs:
    """The cost of one image (counted), and the share of the roof that is reached (measured)."""

    flops: float
    bytes: float
    share: float


@dataclass(frozen=True)
class Machine:
    """A GPU and what it hangs on; times in seconds, rates in units a second, price in dollars an hour.

    Those of memory and products are their makers' figures, dense and in bfloat16, as listed at
    https://inferenceengineering.tech/cheat-sheets/hardware; the others are assumed.
    """

    name: str
    flops: float
    bytes: float
    memory: float
    price: float
    launch: float = 30e-6  # 8 ms a step of 270 operations were measured on an H200
    exchange_near: float = 20e-6
    exchange_far: float = 40e-6
    link_near: float = 300e9
    link_far: float = 25e9
    disk: float = 2e9
    hashing: float = 1.5e9
    a_host: int = 8


H100 = Machine("H100", flops=989e12, bytes=3.35e12, memory=80e9, price=3.0)
L4 = Machine("L4", flops=121e12, bytes=300e9, memory=24e9, price=0.8, link_near=16e9)


def costs_of(roofline: dict[str, Any], phase: str) -> Costs:
    """Return what an image costs in a phase, and the share of the roof that was reached."""
    measured, peaks = roofline["phases"][phase], roofline["peaks"]
    n = measured["images"]
    seconds = statistics.median(measured["seconds"])
    flops, moved = measured["flops"] / n, measured["bytes"] / n
    roof = max(flops / peaks[measured["dtype"]], moved / peaks["bytes"])
    return Costs(flops, moved, roof * n / seconds)


def seconds_an_image(costs: Costs, machine: Machine) -> float:
    """Return the time of an image on one machine that reaches the same share of its roof."""
    return max(costs.flops / machine.flops, costs.bytes / machine.bytes) / costs.share


def parts(
    n: float, gpus: int, batch: int, machine: Machine, train: Costs, encode: Costs, score: Costs
) -> dict[str, float]:
    """Return the seconds of each part of a fit of `EPOCHS` epochs and a prediction of all images.

    ``arithmetic`` is the time of the GPUs' work; ``launches`` that of kernel launches, if longer;
    ``exchange`` that of communication; ``disk`` that of reading, if longer than the work; ``hash`` that of
    rank 0's pass that identifies the data set."""
    steps = EPOCHS * n / batch
    work = batch / gpus * seconds_an_image(train, machine)
    told = RECORDED if gpus == 1 else KERNELS * machine.launch
    far = gpus > machine.a_host
    link, wait = (
        (machine.link_far, machine.exchange_far) if far else (machine.link_near, machine.exchange_near)
    )
    exchange = 0.0
    if gpus > 1:
        exchange = EXCHANGES * wait + 2 * (gpus - 1) / gpus * PARAMETER_BYTES / link
    answers = n / gpus * (seconds_an_image(encode, machine) + seconds_an_image(score, machine))
    hosts = -(-gpus // machine.a_host)
    stays = 2 * n * IMAGE_BYTES / gpus < machine.memory / 2
    reading = n * IMAGE_BYTES / (machine.disk * hosts)
    training = steps * (max(work, told) + exchange)
    reads = (1 if stays else EPOCHS) * reading
    return {
        "arithmetic": steps * work + answers,
        "launches": steps * max(0.0, told - work),
        "exchange": steps * exchange,
        "disk": max(0.0, reads - (0 if stays else training)) + max(0.0, reading - answers),
        "hash": n * IMAGE_BYTES / machine.hashing,
    }


def span(seconds: float) -> str:
    """Return a time in the unit that suits it."""
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.2g} s"


def predictions(machine: Machine, costs: tuple[Costs, Costs, Costs]) -> Iterator[str]:
    """Yield the rows of the table of predictions."""
    yield "| images | GPUs | batch | time | GPU-hours | price | most of it | share |"
    yield "|---|---|---|---|---|---|---|---|"
    for power in (6, 7, 8, 9):
        for gpus in (1, 8, 64):
            for batch in (256, 65_536):
                found = parts(10.0**power, gpus, batch, machine, *costs)
                seconds = sum(found.values())
                most = max(found, key=lambda name: found[name])
                hours = gpus * seconds / 3600
                yield (
                    f"| 10^{power} | {gpus} | {batch:,} | {span(seconds)} | {hours:.3g} "
                    f"| ${hours * machine.price:,.2f} | {most} | {in_percent(found[most] / seconds, 0)} |"
                )


def checks(cases: dict[str, Any], streaming: dict[str, Any], train: Costs, encode: Costs) -> Iterator[str]:
    """Yield the rows of the table that compares the model with measurements."""
    roofline = cases["roofline"]
    peaks, dtype = roofline["peaks"], roofline["phases"]["encode"]["dtype"]  # training is in the same
    here = replace(H100, flops=peaks[dtype], bytes=peaks["bytes"], launch=0.0, name="here")
    turns = streaming["turns"]["train"]
    work = [("train", turns["images"], f" from {where}", train, s) for where, s in turns["seconds"].items()]
    work.append(("train", streaming["images"], " from disk", train, [streaming["fit"]["epoch_seconds"]]))
    work += [
        ("encode", m["size"], "", encode, m["seconds"])
        for m in cases["phases"]["measurements"]
        if (m["phase"], m["device"]) == ("encode", "cpu")
    ]
    yield "| on this machine | predicted | measured | ratio |"
    yield "|---|---|---|---|"
    for what, n, where, costs, seconds in work:
        measured, predicted = statistics.median(seconds), n * seconds_an_image(costs, here)
        yield (
            f"| {what} {n:,} images{where} | {predicted:.3g} s | {measured:.3g} s "
            f"| {measured / predicted:.2f} |"
        )


def render() -> str:
    """Return all tables in Markdown."""
    cases = json.loads(SUITE.read_text(encoding="utf-8"))["cases"]
    streaming = json.loads(STREAMING.read_text(encoding="utf-8"))
    train, encode, score = (
        costs_of(cases["roofline"], phase) for phase in ("train, our network", "encode", "score, 3000 labels")
    )
    lines = ["| phase | MFLOP an image | KB an image | efficiency measured here |", "|---|---|---|---|"]
    for name, costs in (("train", train), ("encode", encode), ("score", score)):
        per_image = f"{costs.flops / 1e6:.1f} | {costs.bytes / 1e3:.0f}"
        lines.append(f"| {name} | {per_image} | {in_percent(costs.share, 0)} |")
    lines += ["", *checks(cases, streaming, train, encode)]
    for machine in (H100, L4):
        lines += ["", f"{machine.name}:", "", *predictions(machine, (train, encode, score))]
    return "\n".join(lines) + "\n"


@click.command()
def main() -> None:
    """Print the tables."""
    click.echo(render())


if __name__ == "__main__":
    main()
