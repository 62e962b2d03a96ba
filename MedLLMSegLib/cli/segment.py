"""`medllmseg segment`: scans to segmentations on disk."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from MedLLMSegLib.core.errors import UserError

from .common_options import Subparsers, option_name
from .printed_results import print_results
from .segment_options import EPILOG, add_options
from .terminal.terminal_progress import ScanBar

LABEL_FILES = (".seg.nrrd", ".nii.gz", ".nii", ".nrrd")
# Options that an exported model does not have -> what stands for their not being given.
NOT_OF_EXPORTED: dict[str, object] = {
    "input": None,
    "unit": [],
    "side": None,
    "augment": 0,
    "frames": False,
    "frame_numbers": None,
    "series": None,
    "report": False,
    "probabilities": None,
    "uncertainty": None,
    "with_model": None,
    "bids": False,
    "suffix": None,
    "workers": None,
    "dask": None,
    "engine": "torch",
}
NAMES = {"with_model": "with", "frame_numbers": "frames"}  # as they are typed

if TYPE_CHECKING:
    from MedLLMSegLib.segmentation.batch.outputs import SegmentOptions
    from MedLLMSegLib.segmentation.batch.result_folder import ResultFolder
    from MedLLMSegLib.segmentation.batch.volumes_table import ScanResult
    from MedLLMSegLib.segmentation.loaded_segmenter import SegmenterModel


def add_parser(commands: Subparsers) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "segment",
        help="segment scans",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Segment scans: NIfTI, NRRD, MHA, a DICOM series folder, a folder of such scans, or a"
            " BIDS dataset."
        ),
        epilog=EPILOG,
    )
    add_options(parser)
    parser.set_defaults(run=_segment)


def _segment(args: argparse.Namespace, command: str) -> int:
    from MedLLMSegLib.edge.exported_folder import is_exported
    from MedLLMSegLib.registry.catalogue import listed_model

    # an id means the model of that id, as for `find_model`, whatever lies in the working directory
    if is_exported(args.model) and listed_model(args.model) is None:
        return _segment_exported(args)
    return _segment_with_torch(args, command)


def _segment_exported(args: argparse.Namespace) -> int:
    """With an exported model: no torch is needed, and some options are not there."""
    from MedLLMSegLib.edge.scan_files import ExportedOptions, segment_scan_files
    from MedLLMSegLib.io.scan_search import find_scans
    from MedLLMSegLib.segmentation.region import Region
    from MedLLMSegLib.segmentation.selection import names_in

    for name, plain in NOT_OF_EXPORTED.items():
        if getattr(args, name) != plain:
            raise UserError(
                f"{option_name(NAMES.get(name, name))} is not there for an exported model; leave it"
                " out, or name the model itself and --engine."
            )
    if args.device not in ("auto", "cpu"):
        raise UserError("An exported model runs on the CPU; leave --device out.")
    if not args.scans:
        raise UserError("No scan is named; give one.")
    scans = find_scans(args.scans)
    _check_request(args, len(scans), args.output.name.lower().endswith(LABEL_FILES))
    options = ExportedOptions(
        precision="fp32" if args.precision == "auto" else args.precision,
        overwrite=args.overwrite,
        structures=names_in(args.structures) if args.structures is not None else (),
        volumetry=args.volumetry,
        resolution_mm=args.resolution,
        region=Region.from_faces(args.roi) if args.roi is not None else None,
        assume_orientation=args.assume_orientation,
    )
    with ScanBar(scans) as bar:
        results = segment_scan_files(scans, args.output, Path(args.model), options, bar.update)
    print_results(results, None)
    return 1 if any(result.status == "failed" for result in results) else 0


def _segment_with_torch(args: argparse.Namespace, command: str) -> int:
    from MedLLMSegLib.segmentation.batch.outputs import (
        SegmentOptions,
        is_file_output,
        paths_for_file,
    )
    from MedLLMSegLib.segmentation.batch.patients import further_images
    from MedLLMSegLib.segmentation.batch.segment_batch import segment_file
    from MedLLMSegLib.segmentation.hippocampus_parts import load_parts_model
    from MedLLMSegLib.segmentation.pipeline import all_structures, load_model
    from MedLLMSegLib.segmentation.region import Region
    from MedLLMSegLib.segmentation.selection import check_names, names_in

    further = _one_patient(args)
    dataset = _bids_dataset(args)
    scans = _find_scans(args, dataset)
    if further and len(scans) > 1:
        raise UserError(
            f'"{args.input[0]}" holds {len(scans)} scans, and --input takes the images of one'
            " patient; name the scan itself."
        )
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
        further_images={scans[0]: further} if further else {},
        units=_units(args.unit),
    )
    device = "cpu" if args.dask is not None else args.device  # the workers have the one asked for
    model = load_model(args.model, device, args.precision, args.engine)
    if len(model.channels) > 1 and not further:
        patients = further_images(scans, model.channels, model.entry.id)
        scans, options = list(patients), replace(options, further_images=patients)
    check_names(options.structures, all_structures(model))
    parts = load_parts_model(
        args.with_model, model, options.structures, device, args.probabilities is not None
    )
    options = replace(options, with_model=parts)
    place = _result_folder(args, dataset, model)
    with ScanBar(scans) as bar:
        if to_file:
            paths = paths_for_file(args.output, options)
            results = [segment_file(scans[0], paths, model, options, bar.first())]
        else:
            results = _segment_folder(args, scans, place, model, options, bar)
    print_results(results, None if to_file else place.table)
    return 1 if any(result.status == "failed" for result in results) else 0


def _one_patient(args: argparse.Namespace) -> tuple[Path, ...]:
    """The further images of --input, the first of which becomes the scan. Raises `UserError`."""
    if not args.input:
        if not args.scans:
            raise UserError(
                "No scan is named; give one, or the images of a patient with --input for a model"
                " that takes several."
            )
        return ()
    if args.scans:
        raise UserError(
            f'"{args.scans[0]}" and --input name scans; give the images of one patient with --input'
            " alone."
        )
    if args.bids:
        raise UserError("--bids is for a whole dataset; leave it out with --input.")
    args.scans = args.input[:1]
    return tuple(args.input[1:])


def _units(statements: list[str]) -> dict[str, str]:
    """--unit as typed: name of a channel -> its unit."""
    units = {}
    for text in statements:
        name, equals, unit = text.partition("=")
        if not (equals and name.strip() and unit.strip()):
            raise UserError(f'--unit is "{text}", and NAME=UNIT is needed, such as pet=SUV.')
        units[name.strip().lower()] = unit.strip()
    return units


def _bids_dataset(args: argparse.Namespace) -> Path | None:
    """The folder of the BIDS dataset that is to be segmented; None for other scans."""
    from MedLLMSegLib.io.bids.dataset import is_raw_dataset

    if args.bids and len(args.scans) > 1:
        raise UserError(
            f"--bids takes the folder of one dataset, and {len(args.scans)} paths were given; run"
            " the command once for each."
        )
    first: Path = args.scans[0]
    is_dataset = args.bids or (len(args.scans) == 1 and is_raw_dataset(first))
    if args.suffix is not None and not is_dataset:
        raise UserError("--suffix chooses scans of a BIDS dataset; add --bids, or leave it out.")
    if args.frames and is_dataset:
        raise UserError(
            "--frames is not for a BIDS dataset; name the series themselves, and another folder."
        )
    return first if is_dataset else None


def _find_scans(args: argparse.Namespace, dataset: Path | None) -> list[Path]:
    from MedLLMSegLib.io.bids.dataset import find_bids_scans
    from MedLLMSegLib.io.scan_search import find_scans

    if dataset is None:
        return find_scans(args.scans)
    suffixes = [] if args.suffix is None else [s.strip() for s in args.suffix.split(",")]
    return find_bids_scans(dataset, suffixes)


def _result_folder(
    args: argparse.Namespace, dataset: Path | None, model: SegmenterModel
) -> ResultFolder:
    from MedLLMSegLib.segmentation.batch.bids.derivatives_folder import DerivativesFolder
    from MedLLMSegLib.segmentation.batch.result_folder import ResultFolder

    if dataset is None:
        return ResultFolder(args.output)
    return DerivativesFolder(args.output, dataset, model.entry.id)


def _segment_folder(
    args: argparse.Namespace,
    scans: list[Path],
    place: ResultFolder,
    model: SegmenterModel,
    options: SegmentOptions,
    bar: ScanBar,
) -> list[ScanResult]:
    """Segment scans into a folder, in this process or in many."""
    from MedLLMSegLib.segmentation.batch.segment_batch import segment_files

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
