"""``gpu-ssl run``: one experiment, one table, one folder."""

import shlex
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gpu_ssl.cli.data import DATA_DIR
from gpu_ssl.cli.messages import line_of
from gpu_ssl.cli.options import (
    CACHE_DIR,
    CLASS_WEIGHT,
    DEVICE,
    EFFORT_CHOICES,
    EFFORT_HELP,
    ENCODER,
    PRESET,
    QUIET,
    SEED,
    STEPS,
    SVM,
    SVM_C,
    methods_help,
    take_vae_settings,
    vae_options,
)
from gpu_ssl.cli.paths import GivenPath
from gpu_ssl.cli.ranks import one_tells
from gpu_ssl.cli.run_folder import claim
from gpu_ssl.cli.tracking import TRACK, tracking
from gpu_ssl.config import DataConfig, RunConfig, SVMConfig, parse_label_counts
from gpu_ssl.errors import GpuSslError, InterruptError, RankError, UsageError
from gpu_ssl.report.command import option_name
from gpu_ssl.runtime.files import to_keep

if TYPE_CHECKING:
    from gpu_ssl.records import Report
    from gpu_ssl.runtime.ranks import Ranks
    from gpu_ssl.tracking.trackers import Trackers

NOT_SETTINGS = {"output", "resume", "jobs", "as_json", "plots", "quiet", "trackers"}
"""Options that do not change the results."""


@click.command()
@click.option(
    "--labels",
    default="all",
    show_default=True,
    metavar="COUNTS",
    help="Numbers of labelled images: 'all' (100, 600, 1000, 3000), 'full' (every label), or a list such as "
    "50,100,2000. Classes get equal shares of the labels.",
)
@click.option(
    "--method",
    "methods",
    default=",".join(RunConfig().methods),
    show_default=True,
    metavar="METHODS",
    help="How to use the labels; several separated by commas. " + methods_help(baselines=False),
)
@ENCODER
@click.option(
    "--effort",
    type=EFFORT_CHOICES,
    default="auto",
    show_default=True,
    help=EFFORT_HELP,
)
@PRESET
@STEPS
@click.option(
    "--dataset",
    default="fashion-mnist",
    show_default=True,
    metavar="NAME",
    help="Data set; see: gpu-ssl data list.",
)
@DATA_DIR
@CACHE_DIR
@click.option(
    "--splits",
    type=int,
    default=5,
    show_default=True,
    help="Number of random splits (choices of labelled images) to average over.",
)
@SEED
@click.option(
    "--baselines/--no-baselines",
    default=True,
    show_default=True,
    help="Also fit baselines on the same labels: SVMs on pixels, on principal components, on pixel ranks; "
    "with a method that trains networks also cnn, which takes up to minutes per split on a CPU.",
)
@vae_options
@SVM_C
@CLASS_WEIGHT
@click.option("--svm-gamma", help="Kernel width of the SVM: 'scale' or a number.  [default: scale]")
@DEVICE
@SVM
@click.option(
    "--output",
    type=GivenPath(),
    metavar="DIR",
    help="Folder for report, models and plots.  [default: runs/<time>-<dataset>-<method>]",
)
@click.option(
    "--resume",
    type=GivenPath(),
    metavar="DIR",
    help="Resume the run in DIR, with its settings; a finished one is only printed and, with --track, sent.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1, 256),
    metavar="N",
    help="Number of splits to process in parallel for methods that train networks, each in its own process "
    "(about 0.5 GB), or on a GPU each on its own stream; the results are the same.  "
    "[default: one per core on a CPU, 1 on a GPU]",
)
@TRACK
@click.option("--plots/--no-plots", default=True, show_default=True, help="Write plots and report.html.")
@click.option("--json", "as_json", is_flag=True, help="Print only the content of report.json.")
@QUIET
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> None:
    """Train on all images, classify with few labels, and print the table of accuracies.

    Encoders, such as the VAE, read no label and are fitted once; for each number of labels and each split
    every --method gets the labels of the labelled images and predicts the test images. The test labels are
    read once, at the end. Report, settings, models and plots go to --output; --resume continues an
    interrupted run.

    \b
      gpu-ssl run --labels all
      gpu-ssl run --method m1,hybrid,graph --labels all
      gpu-ssl run --method consistency --labels 100 --splits 1
      gpu-ssl run --dataset digits --labels 50,100,full --splits 10
      gpu-ssl run --labels 100 --json | jq '.results[0].accuracy_mean'
      torchrun --nproc-per-node=8 -m gpu_ssl run --batch-size 4096    the VAE on 8 GPUs
    """
    if options["resume"] is not None:
        _refuse_settings(ctx)
    config = None if options["resume"] is not None else make_config(options)
    from gpu_ssl.runtime import cuda_context

    if config is not None:
        cuda_context.begin_context(config.device)
    from gpu_ssl.runtime.ranks import join_ranks

    ranks = join_ranks()
    with one_tells(ranks), ExitStack() as stack:
        if config is None:
            _resume(options["resume"], options, ranks, stack)
        else:
            _begin(config, options, ranks, stack)


def _begin(config: RunConfig, options: dict[str, Any], ranks: "Ranks", stack: ExitStack) -> None:
    from gpu_ssl import experiment

    experiment.check(config, ranks, options["jobs"])
    folder = ranks.share(claim(options["output"], config, stack) if ranks.leads else Path())
    _run(config, folder, options, ranks)


def _resume(folder: Path, options: dict[str, Any], ranks: "Ranks", stack: ExitStack) -> None:
    """Resume a run. Rank 0 reads its folder, which other machines need not share."""
    from gpu_ssl.report import writing
    from gpu_ssl.runtime.files import alone_in

    found: tuple[RunConfig, Report | None] = RunConfig(), None
    if ranks.leads:
        found = writing.read_config(folder), writing.read_report(folder)
        if found[1] is None:
            stack.enter_context(alone_in(folder))
            found = found[0], writing.read_report(folder)  # Another process may have written it just now.
    config, finished = ranks.share(found)
    if finished is None:
        _run(config, folder, options, ranks)
    elif ranks.leads:
        click.echo(line_of(f"{folder} holds a finished run; this is its report"), err=True)
        _print_report(finished, options["as_json"])
        with tracking(options["trackers"], folder) as trackers:
            _send(trackers, finished, folder)
        _tell_folder(folder, options["as_json"])


def _run(config: RunConfig, folder: Path, options: dict[str, Any], ranks: "Ranks") -> None:
    from gpu_ssl import experiment
    from gpu_ssl.cli.display import make_progress
    from gpu_ssl.report import writing
    from gpu_ssl.runtime.timing import seconds_of_process

    progress = make_progress(options["quiet"] or not ranks.leads)
    resume = f"gpu-ssl run --resume {shlex.quote(str(folder))}"
    startup = seconds_of_process()
    try:
        with tracking(options["trackers"] if ranks.leads else (), folder) as trackers:
            outcome = experiment.run(config, folder, progress, ranks, options["jobs"])
            timings = outcome.report.timings.begun(startup)
            outcome = replace(outcome, report=outcome.report.model_copy(update={"timings": timings}))
            try:
                _print_report(outcome.report, options["as_json"])  # before the plots, which take a second
            finally:  # even if stdout has been closed
                writing.finish_folder(folder, outcome, options["plots"])
                _send(trackers, outcome.report, folder)
    except RankError as error:
        raise RankError(f"{error}; resume, on any number of processes, with: {resume}") from None
    except KeyboardInterrupt:
        raise InterruptError(f"interrupted; resume with: {resume}") from None
    except GpuSslError:
        if ranks.leads:
            writing.release_folder(folder)
        raise
    _tell_folder(folder, options["as_json"])


def _send(trackers: "Trackers", report: "Report", folder: Path) -> None:
    """Send a run to its trackers, whose code is imported only if there are any."""
    if trackers.names:
        from gpu_ssl.tracking.sending import send_run

        send_run(trackers, report, folder)


def make_config(options: dict[str, Any]) -> RunConfig:
    """Make the settings of a run from the options of the command.

    Raises
    ------
    UsageError
        If an option is invalid; the message is one line that names it.
    """
    options = dict(options)
    data_dir: Path | None = options["data_dir"]
    model, train = take_vae_settings(options)
    names = ("methods", "encoder", "effort", "preset", "splits", "seed", "baselines", "device", "svm_backend")
    return RunConfig.of(
        # --resume may be called from another folder.
        data=DataConfig.of(dataset=options["dataset"], data_dir=data_dir and to_keep(data_dir)),
        model=model,
        train=train,
        svm=SVMConfig.of(
            C=options["svm_c"], gamma=options["svm_gamma"], class_weight=options["class_weight"]
        ),
        labels=parse_label_counts(options["labels"]),
        steps=options["steps"],
        **{name: options[name] for name in names},
    )


def _refuse_settings(ctx: click.Context) -> None:
    given = [
        name
        for name in ctx.params
        if name not in NOT_SETTINGS
        and ctx.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT
    ]
    if given or ctx.params["output"] is not None:
        names = ", ".join(option_name(name) for name in given or ["output"])
        raise UsageError(
            f"--resume uses the settings of the resumed run; leave out {names}, "
            "or start a new run without --resume"
        )


def _print_report(report: Any, as_json: bool) -> None:
    from gpu_ssl.cli.display import make_console
    from gpu_ssl.report.table import render
    from gpu_ssl.report.writing import report_text

    if as_json:
        click.echo(report_text(report), nl=False)
    else:
        console = make_console()
        console.print(render(report), soft_wrap=not console.is_terminal)
    sys.stdout.flush()


def _tell_folder(folder: Path, as_json: bool) -> None:
    from gpu_ssl.cli.display import make_console

    if not as_json:
        make_console().print(line_of(f"Written to {folder}"), soft_wrap=True, markup=False)
