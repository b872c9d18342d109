"""``gpu-ssl doctor``: checks of the GPU path, with remedies."""

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from gpu_ssl.doctor import Diagnosis
    from gpu_ssl.report.terminal import Shown

ROOM = 30
"""Minimum width in columns of the findings; on a narrower terminal they are printed below the names."""


@click.command()
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Checks that must pass: all of them for cuda, those of the CPU for auto and cpu.",
)
@click.option("--json", "as_json", is_flag=True, help="Print only the diagnosis, as JSON.")
@click.pass_context
def command(ctx: click.Context, device: str, as_json: bool) -> None:
    """Check driver, GPU, libraries, DLPack hand-off and a small SVM, and suggest remedies.

    Exits with 0 if the requested device works, with 1 otherwise. `rapids doctor` includes the same GPU
    check.

    \b
      gpu-ssl doctor                  which device --device auto chooses, and why
      gpu-ssl doctor --device cuda    whether the GPU works, and what is missing
    """
    from gpu_ssl.doctor import diagnose

    diagnosis = diagnose(device)
    if as_json:
        click.echo(diagnosis.model_dump_json(by_alias=True, indent=2))
    else:
        _print(diagnosis)
    ctx.exit(0 if diagnosis.works else 1)


def _print(diagnosis: "Diagnosis") -> None:
    from rich.text import Text

    from gpu_ssl.cli.display import make_console
    from gpu_ssl.report.terminal import BAD, GOOD

    console = make_console()
    console.print(_table(diagnosis))
    names: dict[str, list[str]] = {}
    for check in diagnosis.checks:
        if check.remedy:
            names.setdefault(check.remedy, []).append(check.name)
    for remedy, mended in names.items():
        console.print(Text(f"{', '.join(mended)}: {remedy}"), soft_wrap=not console.is_terminal)
    device, svm = diagnosis.auto_device, diagnosis.auto_svm
    console.print(
        Text(f"\n--device auto chooses {device.used}: {device.reason}"), soft_wrap=not console.is_terminal
    )
    console.print(Text(f"--svm auto chooses {svm.used}: {svm.reason}"), soft_wrap=not console.is_terminal)
    verdict = Text("works", GOOD) if diagnosis.works else Text("does not work", BAD)
    console.print(Text.assemble(f"--device {diagnosis.requested} ", verdict))


def _table(diagnosis: "Diagnosis") -> "Shown":
    from rich.text import Text

    from gpu_ssl.report.terminal import BAD, FAINT, GOOD, Shown, new_table

    styles = {"ok": GOOD, "failed": BAD, "skipped": FAINT}
    wide, tall = new_table(), new_table()
    for table in (wide, tall):
        table.add_column("", no_wrap=True)
        table.add_column("check", overflow="fold")
    wide.add_column("found", overflow="fold", min_width=ROOM)
    wide.add_column("supported", overflow="fold")
    for check in diagnosis.checks:
        status, supported = Text(check.status, styles[check.status]), check.supported or ""
        if check.status == "failed" and diagnosis.works:  # a part of the GPU, which is not needed
            status = Text("not available", FAINT)
        wide.add_row(status, *map(Text, (check.name, check.found, supported)))
        lines = [
            Text(check.name, "bold"),
            Text(check.found),
            *([Text(supported, FAINT)] if supported else []),
        ]
        tall.add_row(status, Text("\n").join(lines))
    return Shown(wide, tall)
