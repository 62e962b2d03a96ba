"""`medllmseg adapt`: a classifier for another domain, with a way back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .common_options import Subparsers, add_device_option, typed_path
from .terminal.terminal_progress import ScanBar

if TYPE_CHECKING:
    import argparse

UNDONE = 1  # exit code where nothing was written
EPILOG = """examples:
  medllmseg adapt cxr-pneumonia --data ../shared/data/cxr_children --split adapt \\
      --old ../shared/data/cxr --output runs/children
      without labels
  medllmseg adapt cxr-pneumonia --data ../shared/data/cxr_children --split adapt --labels 20 \\
      --old ../shared/data/cxr --output runs/children-20
      with twenty of them

exit code: 0 adapted, 1 undone, 2 bad input.

Research use only; not a medical device."""


def add_parser(commands: Subparsers) -> None:
    """Add the subcommand."""
    import argparse

    parser = commands.add_parser(
        "adapt",
        help="make a classifier fit another domain, unless its old one loses by it",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Adapt a classifier of X-rays to images of another domain, and write it as a model of"
            " its own. Without labels its norm layers are moved until its answers are surer, with"
            " labels its last layer is. Where the old domain's validation images lose more than"
            " allowed, or the answers collapse, all is undone and nothing written."
        ),
    )
    parser.add_argument("model", help="a classifier's id or bundle folder")
    parser.add_argument(
        "--data",
        required=True,
        type=typed_path,
        metavar="DATA",
        help="images of the other domain: a folder, or a table (labels.csv)",
    )
    parser.add_argument("--split", metavar="NAME", help="only the images of this split of DATA")
    parser.add_argument(
        "--old",
        required=True,
        type=typed_path,
        metavar="DATA",
        help="the data that the model comes from, with a validation split",
    )
    parser.add_argument("--output", "-o", required=True, type=typed_path, metavar="FOLDER")
    parser.add_argument(
        "--labels",
        type=int,
        metavar="N",
        help="use the classes of N images (default: none, and no labels are needed)",
    )
    parser.add_argument("--draw", type=int, default=0, help="which draw of the N (default: 0)")
    parser.add_argument(
        "--most-lost",
        type=float,
        default=0.01,
        metavar="AUC",
        help="what the old domain may lose (default: %(default)s)",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace a model that lies in the output folder"
    )
    add_device_option(parser)
    parser.set_defaults(run=_adapt)


def _adapt(args: argparse.Namespace, command: str) -> int:
    from MedLLMSegLib.evaluation.adapt_classifier import AdaptOptions, adapt_classifier

    options = AdaptOptions(
        split=args.split,
        labels=args.labels,
        draw=args.draw,
        most_lost=args.most_lost,
        overwrite=args.overwrite,
    )
    with ScanBar([args.data]) as bar:
        found = adapt_classifier(
            args.model, args.data, args.old, args.output, options, args.device, bar.first()
        )
    print(
        f"learnt from {found.used} images; AUC on the old domain's validation images"
        f" {found.before:.3f} before, {found.after:.3f} after"
    )
    if found.undone:
        print(f"undone: {found.undone}; nothing was written")
        return UNDONE
    print(found.folder)
    return 0
