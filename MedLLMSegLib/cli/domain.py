"""`medllmseg domain`: what a model is told another domain by."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from MedLLMSegLib.core.errors import UserError

from .common_options import Subparsers, add_device_option, typed_path
from .terminal.terminal_progress import ScanBar

if TYPE_CHECKING:
    import argparse

EPILOG = """examples:
  medllmseg domain --fit ../shared/data/cxr --model cxr-pneumonia \\
      --others ../shared/data/cxr_children:test
      by which features the model tells X-rays of another domain, stored in its bundle
  medllmseg domain --fit ../shared/data/acdc --model cardiac-cine-mr --others ../shared/data/samples
      the same of a model that outlines

Research use only; not a medical device."""


def add_parser(commands: Subparsers) -> None:
    """Add the subcommand."""
    import argparse

    parser = commands.add_parser(
        "domain",
        help="teach a model which images are of its own domain",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Fit by which of its features a model tells images of another domain from its own, and"
            " measure how many of each kind it tells. No answer of the model changes."
        ),
    )
    parser.add_argument("--model", required=True, help="a model's id or a bundle's folder")
    parser.add_argument(
        "--fit",
        type=typed_path,
        metavar="DATA",
        help="the model's own images with their splits: train is the reference, val the threshold",
    )
    parser.add_argument(
        "--others",
        nargs="+",
        default=[],
        metavar="FOLDER[:SPLIT]",
        help=(
            "images or scans of other domains, of which it is counted how many are told to be"
            " outside"
        ),
    )
    add_device_option(parser)
    parser.set_defaults(run=_domain)


def _domain(args: argparse.Namespace, command: str) -> None:
    if args.fit is None:
        raise UserError("What to do is missing; add --fit DATA.")
    from MedLLMSegLib.evaluation.fit_domain import figures_text, fit_classifier_domain
    from MedLLMSegLib.evaluation.fit_scan_domain import fit_segmenter_domain
    from MedLLMSegLib.registry.catalogue import find_model

    others = [_folder_and_split(text) for text in args.others]
    is_classifier = find_model(args.model, None).kind == "classifier"
    fit = fit_classifier_domain if is_classifier else fit_segmenter_domain
    with ScanBar([Path(args.model)]) as bar:
        measured = fit(
            args.model,
            args.fit,
            others,
            command=command,
            device=args.device,
            progress=bar.first(),
        )
    print(figures_text(measured))


def _folder_and_split(text: str) -> tuple[Path, str | None]:
    """A folder as typed, and behind a colon one of its splits."""
    if typed_path(text).exists():
        return typed_path(text), None
    folder, colon, split = text.rpartition(":")
    return (typed_path(folder), split) if colon else (typed_path(text), None)
