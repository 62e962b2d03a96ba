"""What the studies' commands have in common: their options, stopping cleanly, and the command
that makes a page again.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from MedLLMSegLib.core.errors import Cancelled, TimeIsUp, UserError
from MedLLMSegLib.core.progress import ProgressLog

from .diagnosis_cost import measure_study
from .page.study_page import write_page
from .study import Study


def add_options(parser: argparse.ArgumentParser, data_needed: bool = True) -> None:
    """What every study's command takes."""
    parser.add_argument(
        "--data",
        required=data_needed,
        type=Path,
        help="folder of the labelled data, with its splits",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("runs/diagnosis"),
        help="folder of the runs (default: %(default)s)",
    )
    parser.add_argument(
        "--docs",
        type=Path,
        default=Path("docs"),
        help="where diagnosis.md and the results are kept (default: %(default)s)",
    )
    parser.add_argument("--seeds", type=int, default=3, help="of each arm (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or mps (default: %(default)s)")
    _add_part_options(parser)


def _add_part_options(parser: argparse.ArgumentParser) -> None:
    """Options that say which part of the work to do, and change nothing in what comes of it."""
    parser.add_argument(
        "--only",
        metavar="PATTERN",
        help='arms or runs whose names match, separated by commas: "pneumollm,linear,tune-*"',
    )
    parser.add_argument("--minutes", type=float, metavar="N", help="stop cleanly after N minutes")
    parser.add_argument(
        "--list", action="store_true", help="show the runs and which are finished, and run none"
    )
    parser.add_argument(
        "--page", action="store_true", help="write the page from what is finished, and run none"
    )
    parser.add_argument(
        "--measure", action="store_true", help="measure time and memory of every arm instead"
    )


def guarded(
    parser: argparse.ArgumentParser,
    study: str,
    arguments: Sequence[str] | None,
    work: Callable[[argparse.Namespace], None],
) -> int:
    """Do a command's work with its parsed arguments; bad input becomes one sentence and exit code
    2.

    study: the command's module in this package. arguments: None for those that were typed. The
    options get "command", which makes the study again.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = parser.parse_args(given)
    options.command = command_of(study, given)
    try:
        work(options)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    except (Cancelled, KeyboardInterrupt):
        print("stopped; the same command goes on from here.", file=sys.stderr)
        return 130
    return 0


def command_of(study: str, arguments: Sequence[str]) -> str:
    """The command that makes a study again: the arguments given, without those that say which
    part of the work to do.
    """
    part = argparse.ArgumentParser(add_help=False)
    _add_part_options(part)
    return shlex.join(
        ["python", "-m", f"{__package__}.{study}", *part.parse_known_args(arguments)[1]]
    )


def do_study(
    study: Study, options: argparse.Namespace, summarise: Callable[[Study], object]
) -> None:
    """What --list, --page, --measure, --only and --minutes ask for; then the summary and the
    page.
    """
    study.gather()
    if options.list:
        for run in study.chosen(options.only):
            print(f"{'finished' if study.is_finished(run) else 'not run':<9} {run.name}")
        return
    try:
        if options.measure:
            measure_study(study, ProgressLog())
        elif not options.page:
            study.run(options.only, options.minutes, ProgressLog())
    except TimeIsUp as stop:
        print(f"stopped: {stop}; the same command goes on from here.")
    summarise(study)
    study.results.put(study.name, "command", options.command)
    print(write_page(study.results, options.docs))
