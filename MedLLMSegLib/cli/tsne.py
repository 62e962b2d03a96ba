"""`medllmseg tsne`: what a classifier's features know, as a map and as numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .common_options import Subparsers, add_device_option, typed_path
from .terminal.terminal_progress import ScanBar

if TYPE_CHECKING:
    import argparse


def add_parser(commands: Subparsers) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "tsne",
        help="map a classifier's features, and measure what can be told from them",
        description=(
            "Draw a t-SNE map of what the classifier's last layer sees, coloured by class and by"
            " other columns of the table (view, scanner), and measure how well each can be told"
            " from the features: cross-validated logistic regression over whole patients, against"
            " chance."
        ),
        epilog=(
            "Beside the PNG stand a CSV (case, x, y and the columns) for plots in Slicer, and a"
            " JSON file with the numbers."
        ),
    )
    parser.add_argument("--model", required=True, help="a classifier's id or bundle folder")
    parser.add_argument(
        "--data",
        required=True,
        type=typed_path,
        metavar="DATA",
        help="a CSV table of labelled images, or a folder with labels.csv",
    )
    parser.add_argument("--output", "-o", required=True, type=typed_path, metavar="PNG")
    parser.add_argument(
        "--by",
        nargs="+",
        default=["view"],
        metavar="COLUMN",
        help="columns beside the class (default: view)",
    )
    parser.add_argument(
        "--cases",
        type=typed_path,
        metavar="FILE",
        help="one image id a line (default: the test split of DATA, or all)",
    )
    parser.add_argument(
        "--all", action="store_true", help="every image of DATA, the training images too"
    )
    parser.add_argument("--seed", type=int, default=0)
    add_device_option(parser)
    parser.set_defaults(run=_tsne)


def _tsne(args: argparse.Namespace, command: str) -> None:
    from MedLLMSegLib.evaluation.features import MapOptions, map_classifier, predictions_text

    options = MapOptions(tuple(args.by), None if args.all else args.cases, args.all, args.seed)
    with ScanBar([args.data]) as bar:
        findings = map_classifier(
            args.model, args.data, args.output, options, args.device, bar.first()
        )
    print(predictions_text(findings))
    print(args.output)
