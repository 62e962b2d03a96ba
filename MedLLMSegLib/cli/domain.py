"""`medllmseg domain`: sets of images against each other, and by what a model tells its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.registry.catalogue import DEFAULT_CLASSIFIER

from .common_options import Subparsers, add_device_option, typed_path
from .terminal.terminal_progress import ScanBar

if TYPE_CHECKING:
    import argparse

EPILOG = """examples:
  medllmseg domain ../shared/data/cxr:test ../shared/data/cxr_children:test --output runs/domain
      how far the two sets of X-rays lie from each other for cxr-pneumonia
  medllmseg domain --fit ../shared/data/cxr --model cxr-pneumonia \\
      --others ../shared/data/cxr_children:test
      by which features the model tells X-rays of another domain, stored in its bundle
  medllmseg domain --fit ../shared/data/acdc --model cardiac-cine-mr --others ../shared/data/samples
      the same of a model that outlines
  medllmseg domain --fit ../shared/data/brain_labelmaps --model brain-mr
      the same of the model of the whole brain, by heads synthesised from its label maps

Research use only; not a medical device."""


def add_parser(commands: Subparsers) -> None:
    """Add the subcommand."""
    import argparse

    parser = commands.add_parser(
        "domain",
        help="compare two sets of images, or teach a model which are of its own domain",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Measure how far two sets of X-rays lie from each other by a model's features, as they"
            " are and with the same grey values, with a t-SNE map. Or, with --fit, fit by which of"
            " its features a model tells images of another domain from its own, and count how many"
            " of each kind it tells. No answer of the model changes."
        ),
    )
    parser.add_argument(
        "sets",
        nargs="*",
        metavar="FOLDER[:SPLIT]",
        help="the two sets to compare: folders or tables of images, one patient in one of them",
    )
    parser.add_argument(
        "--model",
        default=DEFAULT_CLASSIFIER,
        help="a model's id or a bundle's folder (default: %(default)s)",
    )
    parser.add_argument(
        "--output",
        "-o",
        type=typed_path,
        default=Path("runs/domain"),
        metavar="FOLDER",
        help="of a comparison: for domain.json and the maps (default: %(default)s)",
    )
    parser.add_argument(
        "--fit",
        type=typed_path,
        metavar="DATA",
        help=(
            "the model's own images with their splits, or the whole brain's label maps: train is"
            " the reference, val the threshold"
        ),
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
        _compare(args)
        return
    if args.sets:
        raise UserError("Two sets are compared, or --fit is given; leave one of them out.")
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


def _compare(args: argparse.Namespace) -> None:
    if len(args.sets) != 2:
        raise UserError(
            f"{len(args.sets)} sets of images were given, and two are needed to compare them; or"
            " add --fit DATA."
        )
    from MedLLMSegLib.evaluation.compare_domains import (
        ImageSource,
        compare_domains,
        comparison_text,
    )

    one, other = (ImageSource(*_folder_and_split(text)) for text in args.sets)
    with ScanBar([args.output]) as bar:
        found = compare_domains(one, other, args.model, args.output, args.device, bar.first())
    print(comparison_text(found))
    print(args.output)


def _folder_and_split(text: str) -> tuple[Path, str | None]:
    """A folder as typed, and behind a colon one of its splits."""
    if typed_path(text).exists():
        return typed_path(text), None
    folder, colon, split = text.rpartition(":")
    return (typed_path(folder), split) if colon else (typed_path(text), None)
