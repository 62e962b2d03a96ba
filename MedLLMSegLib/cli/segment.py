"""`medllmseg segment`: scans to segmentations on disk."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.registry.catalogue import DEFAULT_SEGMENTER

from .common_options import (
    FRAME_NUMBERS,
    Subparsers,
    add_device_option,
    add_precision_option,
    length_mm,
    typed_path,
)
from .printed_results import print_results
from .terminal.terminal_progress import ScanBar

if TYPE_CHECKING:
    from MedLLMSegLib.segmentation.batch.outputs import SegmentOptions
    from MedLLMSegLib.segmentation.batch.volumes_table import ScanResult
    from MedLLMSegLib.segmentation.loaded_segmenter import SegmenterModel

EPILOG = """label values (brain-mr): FreeSurfer's numbers, such as 17 left and 53 right hippocampus;
hippocampus-t1: 1 left anterior, 2 left posterior, 3 right anterior, 4 right posterior, on a crop
around one hippocampus without --side: 1 anterior, 2 posterior;
of other models: in the order that `medllmseg models` lists their structures.

A folder as output gets NAME.seg.nrrd (3D Slicer), NAME.nii.gz (label map) and NAME.medllmseg.json
for each scan, and volumes.csv; scans finished before are skipped, so a stopped batch goes on where
it was.
exit code: 0 all done, 1 some scans of several failed, 2 bad input."""


def add_parser(commands: Subparsers) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "segment",
        help="segment scans",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Segment scans: NIfTI, NRRD, MHA, a DICOM series folder, or a folder of such scans."
        ),
        epilog=EPILOG,
    )
    _add_scan_options(parser)
    _add_output_options(parser)
    _add_computer_options(parser)
    parser.set_defaults(run=_segment)


def _add_scan_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "scans",
        nargs="+",
        type=typed_path,
        metavar="SCAN",
        help="a scan file, a DICOM series folder, or a folder of scans",
    )
    parser.add_argument(
        "--model",
        default=DEFAULT_SEGMENTER,
        help="a model's id (see `medllmseg models`) or a bundle's folder (default: %(default)s)",
    )
    add_device_option(parser)
    add_precision_option(parser)
    parser.add_argument(
        "--side",
        choices=("left", "right"),
        help="of a crop: which side it is; of a whole head: segment this side only",
    )
    parser.add_argument(
        "--augment",
        type=int,
        default=0,
        metavar="N",
        help="average N more views of the scan; takes N times longer (default: %(default)s)",
    )
    parser.add_argument(
        "--frames",
        action="store_true",
        help=(
            "segment every image of a series (4D), such as a cine of the heart: writes the label"
            " maps as one 4D NIfTI, and a table of the volumes in each image; with numbers, such as"
            " --frames 1-8,10: these frames of a DICOM file or slices of a DICOM series alone"
        ),
    )
    parser.add_argument(FRAME_NUMBERS, help=argparse.SUPPRESS)
    parser.add_argument(
        "--series",
        metavar="UID or N",
        help="which volume of DICOM files: its series' UID, or its number in the list that the"
        " message about several volumes gives",
    )
    parser.add_argument(
        "--roi",
        nargs=6,
        type=float,
        metavar=("L", "P", "I", "R", "A", "S"),
        help=(
            "look inside this box alone: where its left, posterior, inferior, right, anterior and"
            " superior faces lie, in RAS mm as 3D Slicer shows them (to the right, the front and"
            " up the numbers grow); the result lies on the whole scan's grid"
        ),
    )
    parser.add_argument(
        "--assume-orientation",
        metavar="RAS",
        help=(
            "where columns, rows and slices lead in scans whose files do not state it: three"
            " letters, R or L, A or P, S or I; without it, such a scan is refused"
        ),
    )


def _add_output_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--output",
        "-o",
        required=True,
        type=typed_path,
        metavar="PATH",
        help="a file for one scan (.seg.nrrd, .nii.gz, .nrrd), or a folder",
    )
    parser.add_argument(
        "--structures",
        metavar="NAME,...",
        help="write only these structures: names (both sides unless one is named) or groups, such"
        " as hippocampus,left_amygdala or 'deep grey'",
    )
    parser.add_argument(
        "--with",
        dest="with_model",
        metavar="MODEL",
        help=(
            "hippocampus-t1: of a model of the whole brain, divide the hippocampi into their"
            " anterior and posterior parts (in T1 MRI); labels 184 and 185 left, 186 and 187 right"
        ),
    )
    parser.add_argument(
        "--resolution",
        type=length_mm,
        metavar="MM",
        help=(
            "write results with cubic voxels of this size, such as 1mm, along the scan's own axes,"
            " instead of on the scan's own grid"
        ),
    )
    parser.add_argument(
        "--report", action="store_true", help="write a page with slices, a 3D view and volumes"
    )
    parser.add_argument(
        "--volumetry",
        action="store_true",
        help="also write NAME_structures.csv: mL, percent of the intracranial volume (of models of"
        " the whole brain) and left-right asymmetry, one row a structure",
    )
    parser.add_argument(
        "--probabilities",
        type=typed_path,
        metavar="FILE",
        help="also write probability maps (one scan; .nii.gz or .nrrd)",
    )
    parser.add_argument(
        "--uncertainty",
        type=typed_path,
        metavar="FILE",
        help="also write a map of how unsure the model is, 0 to 1 (one scan; .nii.gz or .nrrd)",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="segment again what was finished before"
    )


def _add_computer_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("many scans", "with the package dask.distributed")
    group.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="segment with N processes of this computer at once, which share its cores",
    )
    group.add_argument(
        "--dask",
        metavar="SCHEDULER",
        help="segment with the workers of a running dask scheduler: its address"
        " (tcp://host:8786) or scheduler file; they must see the same files and have the same"
        " model; trust whoever can reach it",
    )


def _segment(args: argparse.Namespace, command: str) -> int:
    from MedLLMSegLib.io.scan_search import find_scans
    from MedLLMSegLib.segmentation.batch.outputs import (
        SegmentOptions,
        is_file_output,
        paths_for_file,
    )
    from MedLLMSegLib.segmentation.batch.segment_batch import segment_file
    from MedLLMSegLib.segmentation.hippocampus_parts import load_parts_model
    from MedLLMSegLib.segmentation.pipeline import all_structures, load_model
    from MedLLMSegLib.segmentation.region import Region
    from MedLLMSegLib.segmentation.selection import check_names, names_in

    scans = find_scans(args.scans)
    to_file = is_file_output(args.output)
    _check_request(args, len(scans), to_file)
    options = SegmentOptions(
        side=args.side,
        report=args.report,
        probabilities=args.probabilities,
        overwrite=args.overwrite,
        command=command,
        uncertainty=args.uncertainty,
        augment=args.augment,
        frames=args.frames,
        dicom_series=args.series,
        dicom_frames=args.frame_numbers,
        assume_orientation=args.assume_orientation,
        structures=names_in(args.structures) if args.structures is not None else (),
        volumetry=args.volumetry,
        resolution_mm=args.resolution,
        region=Region.from_faces(args.roi) if args.roi is not None else None,
    )
    device = "cpu" if args.dask is not None else args.device  # the workers have the one asked for
    model = load_model(args.model, device, args.precision)
    check_names(options.structures, all_structures(model))
    parts = load_parts_model(
        args.with_model, model, options.structures, device, args.probabilities is not None
    )
    options = replace(options, with_model=parts)
    with ScanBar(scans) as bar:
        if to_file:
            paths = paths_for_file(args.output, options)
            results = [segment_file(scans[0], paths, model, options, bar.first())]
        else:
            results = _segment_folder(args, scans, model, options, bar)
    print_results(results, None if to_file else args.output)
    return 1 if any(result.status == "failed" for result in results) else 0


def _segment_folder(
    args: argparse.Namespace,
    scans: list[Path],
    model: SegmenterModel,
    options: SegmentOptions,
    bar: ScanBar,
) -> list[ScanResult]:
    """Segment scans into a folder, in this process or in many."""
    from MedLLMSegLib.segmentation.batch.result_folder import ResultFolder
    from MedLLMSegLib.segmentation.batch.segment_batch import segment_files

    place = ResultFolder(args.output)
    if args.workers is None and args.dask is None:
        return segment_files(scans, place, model, options, bar.update)
    from MedLLMSegLib.segmentation.batch.many.clusters import Computers
    from MedLLMSegLib.segmentation.batch.many.model_request import LoadedModels, ModelRequest
    from MedLLMSegLib.segmentation.batch.many.segment_many import segment_many

    loaded = LoadedModels(model, options.with_model)
    names = (args.model, args.with_model)
    request = ModelRequest.of(names, loaded, args.device, options.structures)
    computers = Computers(args.workers or 0, args.dask)
    return segment_many(scans, place, request, loaded, options, computers, bar.update)


def _check_request(args: argparse.Namespace, scans: int, to_file: bool) -> None:
    """Raise `UserError` for options that contradict each other, and for outputs that cannot be
    written: now, and not after the work.
    """
    from MedLLMSegLib.core.orientation_code import check_code
    from MedLLMSegLib.core.safe_files import check_folder_name, check_writable

    if to_file and scans > 1:
        raise UserError(
            f'"{args.output}" is one file, but {scans} scans were given; name a folder as output.'
        )
    if not to_file:
        check_folder_name(args.output)
    if args.workers is not None or args.dask is not None:
        _check_computers(args, to_file)
    check_writable(args.output.parent if to_file else args.output)
    if args.assume_orientation is not None:
        args.assume_orientation = check_code(args.assume_orientation)
    for option in ("probabilities", "uncertainty"):
        path = getattr(args, option)
        if path is not None:
            _check_map_file(f"--{option}", path, args.output, scans)
    if args.augment < 0:
        raise UserError(f"--augment is {args.augment}, and 0 or more views are needed.")
    for option in ("report", "volumetry", "probabilities", "uncertainty"):
        if args.frames and getattr(args, option):
            raise UserError(
                f"--frames writes label maps and volumes alone; leave --{option} out, or take one"
                " image of the series."
            )


def _check_computers(args: argparse.Namespace, to_file: bool) -> None:
    from MedLLMSegLib.segmentation.batch.many.clusters import Computers

    Computers(args.workers or 0, args.dask).check()
    if to_file:
        option = "--workers" if args.dask is None else "--dask"
        raise UserError(f"{option} is for many scans; name a folder as output, or leave it out.")


def _check_map_file(option: str, path: Path, output: Path, scans: int) -> None:
    from MedLLMSegLib.core.safe_files import check_writable
    from MedLLMSegLib.io.volume_files import VOLUME_SUFFIXES

    if scans > 1:
        raise UserError(f"{option} takes one scan, but {scans} were given.")
    if path.resolve() == output.resolve():
        raise UserError(
            f"{option} and --output name the same file; give the maps a name of their own."
        )
    check_writable(path.parent)
    name = path.name.lower()
    if not name.endswith(VOLUME_SUFFIXES) or name.endswith(".seg.nrrd"):
        raise UserError(
            f'"{path.name}" does not say in which format to save; '
            f"end it with one of {', '.join(VOLUME_SUFFIXES)}."
        )
