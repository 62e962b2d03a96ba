"""`medllmseg segment`: scans to segmentations on disk."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.registry.catalogue import DEFAULT_SEGMENTER

from .common_options import Bar, typed_path

logger = logging.getLogger("medllmseg")


def add_parser(commands) -> None:
    p = commands.add_parser(
        "segment",
        help="segment scans",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Segment scans: NIfTI, NRRD, MHA, a DICOM series folder, or a folder of such scans."
        ),
        epilog=(
            "label values (hippocampus-t1): 1 left anterior, 2 left posterior, 3 right anterior, 4"
            " right posterior;\non a crop around one hippocampus without --side: 1 anterior, 2"
            " posterior;\nof other models: in the order that `medllmseg models` lists their"
            " structures.\n\nA folder as output gets NAME.seg.nrrd (3D Slicer), NAME.nii.gz (label"
            " map) and NAME.medllmseg.json for each\nscan, and volumes.csv; scans finished before"
            " are skipped, so a stopped batch goes on where it was.\nexit code: 0 all done, 1 some"
            " scans of several failed, 2 bad input."
        ),
    )
    p.add_argument(
        "scans",
        nargs="+",
        type=typed_path,
        metavar="SCAN",
        help="a scan file, a DICOM series folder, or a folder of scans",
    )
    p.add_argument(
        "--output",
        "-o",
        required=True,
        type=typed_path,
        metavar="PATH",
        help="a file for one scan (.seg.nrrd, .nii.gz, .nrrd), or a folder",
    )
    p.add_argument(
        "--model",
        default=DEFAULT_SEGMENTER,
        help="a model's id (see `medllmseg models`) or a bundle's folder (default: %(default)s)",
    )
    p.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (default: %(default)s)")
    p.add_argument(
        "--side",
        choices=("left", "right"),
        help="of a crop: which side it is; of a whole head: segment this side only",
    )
    p.add_argument(
        "--report", action="store_true", help="write a page with slices, a 3D view and volumes"
    )
    p.add_argument(
        "--probabilities",
        type=typed_path,
        metavar="FILE",
        help="also write probability maps (one scan; .nii.gz or .nrrd)",
    )
    p.add_argument(
        "--uncertainty",
        type=typed_path,
        metavar="FILE",
        help="also write a map of how unsure the model is, 0 to 1 (one scan; .nii.gz or .nrrd)",
    )
    p.add_argument(
        "--augment",
        type=int,
        default=0,
        metavar="N",
        help="average N more views of the scan; takes N times longer (default: %(default)s)",
    )
    p.add_argument(
        "--frames",
        action="store_true",
        help=(
            "segment every image of a series (4D), such as a cine of the heart: writes the label"
            " maps as one 4D NIfTI, and a table of the volumes in each image"
        ),
    )
    p.add_argument(
        "--overwrite", action="store_true", help="segment again what was finished before"
    )
    p.set_defaults(run=_segment)


def _segment(args, command: str) -> int:
    from MedLLMSegLib.core.safe_files import check_writable
    from MedLLMSegLib.io.scan_search import find_scans
    from MedLLMSegLib.segmentation.batch.outputs import (
        SegmentOptions,
        is_file_output,
        paths_for_file,
    )
    from MedLLMSegLib.segmentation.batch.segment_batch import segment_file, segment_files
    from MedLLMSegLib.segmentation.pipeline import load_model

    scans = find_scans(args.scans)
    single = is_file_output(args.output)
    if single and len(scans) > 1:
        raise UserError(
            f'"{args.output}" is one file, but {len(scans)} scans were given; name a folder as'
            " output."
        )
    check_writable(args.output.parent if single else args.output)
    for option, path in (
        ("--probabilities", args.probabilities),
        ("--uncertainty", args.uncertainty),
    ):
        if path is not None:
            _check_maps(option, path, args, len(scans))
    if args.augment < 0:
        raise UserError(f"--augment is {args.augment}, and 0 or more views are needed.")
    beside = next(
        (name for name in ("report", "probabilities", "uncertainty") if getattr(args, name)), None
    )
    if args.frames and beside:
        raise UserError(
            f"--frames writes label maps and volumes alone; leave --{beside} out, or take one image"
            " of the series."
        )
    options = SegmentOptions(
        side=args.side,
        report=args.report,
        probabilities=args.probabilities,
        overwrite=args.overwrite,
        command=command,
        uncertainty=args.uncertainty,
        augment=args.augment,
        frames=args.frames,
    )
    model = load_model(args.model, args.device)
    with Bar(scans) as bar:
        if single:
            results = [
                segment_file(
                    scans[0],
                    paths_for_file(args.output, options),
                    model,
                    options,
                    lambda s, f: bar.update(0, s, f),
                )
            ]
        else:
            results = segment_files(scans, args.output, model, options, bar.update)
    _print_results(results, None if single else args.output)
    return 1 if any(r.status == "failed" for r in results) else 0


def _check_maps(option: str, path: Path, args, scans: int) -> None:
    """Raise `UserError` before the work where a file of maps could not be written after it."""
    from MedLLMSegLib.core.safe_files import check_writable
    from MedLLMSegLib.io.volume_files import VOLUME_SUFFIXES

    if scans > 1:
        raise UserError(f"{option} takes one scan, but {scans} were given.")
    if path.resolve() == args.output.resolve():
        raise UserError(
            f"{option} and --output name the same file; give the maps a name of their own."
        )
    check_writable(path.parent)
    if not path.name.lower().endswith(VOLUME_SUFFIXES) or path.name.lower().endswith(".seg.nrrd"):
        raise UserError(
            f'"{path.name}" does not say in which format to save; '
            f"end it with one of {', '.join(VOLUME_SUFFIXES)}."
        )


def _print_results(results, folder: Path | None) -> None:
    """What became of each scan, with volumes; a closed pipe (| head) does not change the exit
    code.
    """
    try:
        _print_all(results, folder)
        sys.stdout.flush()
    except BrokenPipeError:
        logger.info("nobody reads the output any more")


def _print_all(results, folder: Path | None) -> None:
    for r in results:
        if r.status == "failed":
            print(f"{r.scan}: failed: {r.message}", file=sys.stderr)
            continue
        took = (
            "finished before, skipped" if r.status == "skipped" else f"{r.record['seconds']:.1f} s"
        )
        print(f"{r.scan}: {took}")
        for s in r.record["structures"]:
            sure = "" if s["confidence"] is None else f"   mean confidence {s['confidence']:.2f}"
            print(f"  {s['label']}  {s['name']:<32} {s['volume_ml']:7.2f} mL{_over_time(s)}{sure}")
        for note in r.record["notes"]:
            print(f"  note: {note}")
        for path in r.record["files"]:
            print(f"  -> {path}")
    licences = {(r.record["model"], r.record["licence"]) for r in results if r.record}
    for model, licence in sorted(licences):
        print(f"model {model}: licence {licence}; research use only, not a medical device")
    if folder is not None:
        count = {s: sum(r.status == s for r in results) for s in ("done", "skipped", "failed")}
        print(
            f"{count['done']} segmented, {count['skipped']} skipped, {count['failed']} failed ->"
            f" {folder / 'volumes.csv'}"
        )


def _over_time(structure: dict) -> str:
    if "range_ml" not in structure:
        return ""
    low, high = structure["range_ml"]
    return f" ({low:.2f} to {high:.2f} in {structure['images']} images, mean in front)"
