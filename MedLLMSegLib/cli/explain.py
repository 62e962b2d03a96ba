"""`medllmseg explain`: where in a scan the evidence for an outlined structure lies."""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.registry.catalogue import DEFAULT_SEGMENTER

from .common_options import Subparsers, add_device_option, add_precision_option, typed_path
from .terminal.terminal_progress import ScanBar

if TYPE_CHECKING:
    from MedLLMSegLib.core.volume import Volume
    from MedLLMSegLib.segmentation.explanation.explain import Explanation

EPILOG = """examples:
  medllmseg explain head.nii.gz --structure "left hippocampus" --output map.nii.gz --report
  medllmseg explain heart.nii.gz --model cardiac-cine-mr --structure "right ventricle" -o map.nii.gz
  medllmseg explain head.nii.gz --structure "left putamen" --point -24 4 2 -o map.nii.gz
      why there, or why not there: the logit within 2 mm of a point

Writes a map of 0 to 1 on the scan's own grid: 1 where the evidence is strongest. docs/explain.md
says how it is made, and how much such maps are worth.
exit code: 0 done, 2 bad input."""


def add_parser(commands: Subparsers) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "explain",
        help="where in a scan the evidence for an outlined structure lies (Grad-CAM)",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Map where in a scan the evidence for one outlined structure lies.",
    )
    parser.add_argument("scan", type=typed_path, metavar="SCAN", help="a scan file or DICOM folder")
    parser.add_argument(
        "--structure",
        required=True,
        metavar="NAME",
        help='one structure with its side, or an organ whose parts are meant: "left hippocampus"',
    )
    parser.add_argument("--output", "-o", required=True, type=typed_path, metavar="FILE")
    parser.add_argument("--model", default=DEFAULT_SEGMENTER, help="default: %(default)s")
    place = parser.add_mutually_exclusive_group()
    place.add_argument(
        "--roi",
        nargs=6,
        type=float,
        metavar=("L", "P", "I", "R", "A", "S"),
        help="explain only what was outlined inside this box (RAS mm, as for `segment`)",
    )
    place.add_argument(
        "--point",
        nargs=3,
        type=float,
        metavar=("R", "A", "S"),
        help="explain the structure's logit within 2 mm of this point (RAS mm), outlined or not",
    )
    parser.add_argument(
        "--report", action="store_true", help="also write NAME_report/report.html with pictures"
    )
    parser.add_argument("--series", metavar="UID or N", help="as for `segment`")
    parser.add_argument("--assume-orientation", metavar="RAS", help="as for `segment`")
    add_device_option(parser)
    add_precision_option(parser)
    parser.set_defaults(run=_explain)


def _explain(args: argparse.Namespace, command: str) -> int:
    from MedLLMSegLib.io.volume_files import load_volume, save_volume
    from MedLLMSegLib.segmentation.explanation.explain import explain
    from MedLLMSegLib.segmentation.region import Region

    _check_output(args)
    volume = load_volume(args.scan, args.assume_orientation, series=args.series)
    with ScanBar([args.scan]) as bar:
        result = explain(
            volume,
            args.structure,
            args.model,
            box=Region.from_faces(args.roi) if args.roi is not None else None,
            point_ras=tuple(args.point) if args.point is not None else None,
            device=args.device,
            precision=args.precision,
            progress=bar.first(),
        )
    save_volume(result.evidence, args.output)
    files = [args.output]
    if args.report:
        files.append(_write_report(args, command, volume, result))
    _print(args.scan, result, files)
    return 0


def _check_output(args: argparse.Namespace) -> None:
    """Refuse what cannot be written now, and not after the work."""
    from MedLLMSegLib.core.safe_files import check_writable
    from MedLLMSegLib.io.volume_files import VOLUME_SUFFIXES

    if not args.output.name.lower().endswith(VOLUME_SUFFIXES):
        raise UserError(
            f'"{args.output}" does not say in which format to save the map; end it with .nii.gz,'
            " .nii, .nrrd or .mha."
        )
    if args.output.exists() and args.scan.exists() and args.output.samefile(args.scan):
        raise UserError(f'"{args.output}" is the scan itself; give the map a name of its own.')
    check_writable(args.output.parent)
    if args.report and find_spec("matplotlib") is None:
        raise UserError(
            "Reports need the package matplotlib, which is not installed; "
            'run `pip install "medllmseg[report]"` or leave --report out.'
        )


def _write_report(
    args: argparse.Namespace, command: str, volume: Volume, result: Explanation
) -> Path:
    from MedLLMSegLib.io.volume_files import scan_name
    from MedLLMSegLib.reporting.explanation_report import write_explanation

    folder = args.output.with_name(f"{scan_name(args.output)}_report")
    return write_explanation(
        folder,
        volume,
        result.evidence,
        result.region,
        result.shown_structure,
        facts=result.facts(),
        sentences=result.sentences(),
        command=command,
    )


def _print(scan: Path, result: Explanation, files: list[Path]) -> None:
    print(f"{scan}: {result.structure}, {result.seconds:.1f} s ({result.facts()})")
    for sentence in result.sentences():
        print(f"  {sentence}")
    for path in files:
        print(f"  -> {path}")
