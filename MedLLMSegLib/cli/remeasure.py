"""`medllmseg remeasure`: every figure of a model's card, measured anew."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .common_options import Subparsers, add_device_option, typed_path
from .terminal.terminal_progress import ScanBar

if TYPE_CHECKING:
    import argparse


def add_parser(commands: Subparsers) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "remeasure",
        help="measure every figure of a model's card anew",
        description=(
            "Measure a model on its test cases, with calibration and ablation where its card has"
            " them, and write the figures into its bundle. Its weights are not touched. The figures"
            " of a cross-validation stay, as they are of other weights."
        ),
    )
    parser.add_argument("model", help="a model's id or a bundle's folder")
    parser.add_argument(
        "--data",
        type=typed_path,
        metavar="DIR",
        help=(
            "of a model that comes with the program the folder of all data (default:"
            " ../shared/data); of another model its labelled cases"
        ),
    )
    parser.add_argument(
        "--output",
        "-o",
        type=typed_path,
        metavar="FOLDER",
        help="for the tables (default: runs/remeasure/MODEL)",
    )
    add_device_option(parser)
    parser.set_defaults(run=_remeasure)


def _remeasure(args: argparse.Namespace, command: str) -> None:
    from MedLLMSegLib.studies.remeasure import figures_text, remeasure

    output = args.output or Path("runs/remeasure") / Path(args.model).name
    with ScanBar([Path(args.model)]) as bar:
        folder = remeasure(args.model, output, args.data, args.device, bar.first())
    print(figures_text(folder))
