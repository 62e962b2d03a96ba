"""`medllmseg quality`: what a model may expect of its own outlines, fitted and measured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .common_options import Subparsers, add_device_option, add_precision_option, typed_path
from .terminal.terminal_progress import ScanBar

if TYPE_CHECKING:
    import argparse


def add_parser(commands: Subparsers) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "quality",
        help="fit the expected Dice, the sanity limits and the intervals of a model",
        description=(
            "Fit a model's quality and write it into its bundle: the Dice to expect of each"
            " structure, sizes, places and neighbours as in its training, and 90 %% intervals of"
            " volumes. It is fitted on the cases that the model was chosen by, as they are and"
            " corrupted, and measured on cases that it has not seen. It goes on where it was"
            " stopped; the weights are not touched."
        ),
    )
    parser.add_argument("model", help="a model's id or a bundle's folder")
    parser.add_argument(
        "--data",
        type=typed_path,
        metavar="DIR",
        required=True,
        help=(
            "the labelled cases of its training, with those that it was chosen by and those kept"
            " for the test; of a model of the whole brain a folder with brain_labelmaps and"
            " oasis_brains"
        ),
    )
    parser.add_argument(
        "--output",
        "-o",
        type=typed_path,
        metavar="FOLDER",
        help="for what was measured (default: runs/quality/MODEL)",
    )
    parser.add_argument(
        "--sanity",
        action="store_true",
        help="learn sizes, places, parts and neighbours alone, from the training's label maps;"
        " a model whose Dice was fitted is refused",
    )
    add_device_option(parser)
    add_precision_option(parser)
    parser.set_defaults(run=_quality)


def _quality(args: argparse.Namespace, command: str) -> None:
    from MedLLMSegLib.registry.catalogue import find_model
    from MedLLMSegLib.studies.quality.run import figures_text, fit_and_measure, learn_sanity

    output = args.output or Path("runs/quality") / find_model(args.model).id
    with ScanBar([Path(args.model)]) as bar:
        if args.sanity:
            entry = learn_sanity(args.model, args.data, output, bar.first())
        else:
            entry = fit_and_measure(
                args.model, args.data, output, args.device, args.precision, bar.first()
            )
    print(figures_text(entry))
