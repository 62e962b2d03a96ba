"""What the commands of all studies have in common: doing what their options ask for, and stopping
cleanly.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from MedLLMSegLib.core.errors import Cancelled, TimeIsUp, UserError
from MedLLMSegLib.core.progress import ProgressLog

from .part_options import command_of
from .study import Study

GOES_ON = "the same command goes on from here."


def do_study(
    study: Study,
    options: argparse.Namespace,
    write_page: Callable[[], object],
    instead: Callable[[], object] | None = None,
) -> None:
    """What --list, --page, --only and --minutes ask for, and then the page.

    write_page: returns what is printed at the end. instead: work that is asked for in the place of
    runs, such as measuring the arms' costs.
    """
    study.gather()
    if options.list:
        for run in study.chosen(options.only):
            print(f"{'finished' if study.is_finished(run) else 'not run':<9} {run.name}")
        return
    try:
        if instead:
            instead()
        elif not options.page:
            study.run(options.only, options.minutes, ProgressLog())
    except TimeIsUp as stop:
        print(f"stopped: {stop}; {GOES_ON}")
    print(write_page())


def guarded(
    parser: argparse.ArgumentParser,
    module: str,
    arguments: Sequence[str] | None,
    work: Callable[[argparse.Namespace], None],
) -> int:
    """Do a command's work with its parsed arguments; bad input becomes one sentence and exit code
    2.

    module: that is run. arguments: None for those that were typed. The options get "command", which
    makes the study again.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = parser.parse_args(given)
    options.command = command_of(module, given)
    try:
        work(options)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    except (Cancelled, KeyboardInterrupt):
        print(f"stopped; {GOES_ON}", file=sys.stderr)
        return 130
    return 0
