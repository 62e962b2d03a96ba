"""`medllmseg audit`: whether a classifier is as good for everybody."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .common_options import Subparsers, add_device_option, typed_path
from .terminal.terminal_progress import ScanBar

if TYPE_CHECKING:
    import argparse


def add_parser(commands: Subparsers) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "audit",
        help="measure a classifier in groups of age, sex and view",
        description=(
            "Measure a classifier of two classes in groups of a table's columns, all at the one"
            " threshold that was chosen on the validation split: how many cases, each rate with its"
            " 95 %% interval over patients, and its difference from all other cases with an"
            " interval that holds for all differences together."
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
    parser.add_argument("--output", "-o", required=True, type=typed_path, metavar="CSV")
    parser.add_argument(
        "--by",
        nargs="+",
        default=["age", "sex", "view"],
        metavar="COLUMN",
        help="columns of the table (default: age, in bands of twenty years, sex, view)",
    )
    parser.add_argument(
        "--splits",
        nargs="+",
        default=["test"],
        metavar="SPLIT",
        help="of the data (default: test); more of them give more cases, but some were trained on",
    )
    add_device_option(parser)
    parser.set_defaults(run=_audit)


def _audit(args: argparse.Namespace, command: str) -> None:
    from MedLLMSegLib.evaluation.audit_classifier import AuditOptions, audit_classifier, audit_text

    options = AuditOptions(tuple(args.splits), tuple(args.by))
    with ScanBar([args.data]) as bar:
        found, about = audit_classifier(
            args.model, args.data, args.output, options, args.device, bar.first()
        )
    print(audit_text(found, about))
    print(args.output)
