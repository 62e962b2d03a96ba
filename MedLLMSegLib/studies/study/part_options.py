"""The options that say which part of a study's work to do; light, as a command's parser is made
without torch.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence


def add_part_options(parser: argparse.ArgumentParser) -> None:
    """Options that say which part of the work to do, and change nothing in what comes of it."""
    add = parser.add_argument
    add(
        "--only",
        metavar="PATTERN",
        help='arms or runs whose names match, separated by commas, such as "F-0,*-1"; several'
        " processes may work on one --output, each with a pattern of its own",
    )
    add("--minutes", type=float, metavar="N", help="stop cleanly after N minutes")
    add("--list", action="store_true", help="show the runs and which are finished, and run none")
    add("--page", action="store_true", help="write the page from what is finished, and run none")


def command_of(module: str, arguments: Sequence[str]) -> str:
    """The command that makes a study again: the arguments given, without those that say which part
    of the work to do.
    """
    part = argparse.ArgumentParser(add_help=False)
    add_part_options(part)
    part.add_argument("--measure", action="store_true")
    return shlex.join(["python", "-m", module, *part.parse_known_args(arguments)[1]])
