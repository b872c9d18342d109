"""``gpu-ssl doctor``: checks of the GPU path, with remedies."""

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from gpu_ssl.doctor import Diagnosis


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
    from rich.table import Table
    from rich.text import Text

    from gpu_ssl.cli.display import make_console

    console = make_console()
    table = Table(box=None)
    for header in ("", "check", "found", "supported"):
        table.add_column(header, overflow="fold")
    styles = {"ok": "green", "failed": "red", "skipped": "dim"}
    for check in diagnosis.checks:
        row = (check.name, check.found, check.supported or "")
        table.add_row(Text(check.status, style=styles[check.status]), *map(Text, row))
    console.print(table)
    names: dict[str, list[str]] = {}
    for check in diagnosis.checks:
        if check.remedy:
            names.setdefault(check.remedy, []).append(check.name)
    for remedy, mended in names.items():
        console.print(f"{', '.join(mended)}: {remedy}", markup=False, soft_wrap=True)
    device, svm = diagnosis.auto_device, diagnosis.auto_svm
    console.print(f"\n--device auto chooses {device.used}: {device.reason}", markup=False, soft_wrap=True)
    console.print(f"--svm auto chooses {svm.used}: {svm.reason}", markup=False, soft_wrap=True)
    verdict = "works" if diagnosis.works else "does not work"
    console.print(f"--device {diagnosis.requested} {verdict}", markup=False)
