"""The options of `medllmseg segment`."""

from __future__ import annotations

import argparse

from MedLLMSegLib.registry.catalogue import DEFAULT_SEGMENTER

from .common_options import (
    FRAME_NUMBERS,
    add_device_option,
    add_engine_option,
    add_precision_option,
    length_mm,
    typed_path,
)

EPILOG = """label values (brain-mr): FreeSurfer's numbers, such as 17 left and 53 right hippocampus;
hippocampus-t1: 1 left anterior, 2 left posterior, 3 right anterior, 4 right posterior, on a crop
around one hippocampus without --side: 1 anterior, 2 posterior;
of other models: in the order that `medllmseg models` lists their structures.

A folder as output gets NAME.seg.nrrd (3D Slicer), NAME.nii.gz (label map) and NAME.medllmseg.json
for each scan, and volumes.csv; scans finished before are skipped, so a stopped batch goes on where
it was.
exit code: 0 all done, 1 some scans of several failed, 2 bad input."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add all options of the subcommand."""
    _add_scan_options(parser)
    _add_bids_options(parser)
    _add_output_options(parser)
    _add_computer_options(parser)


def _add_bids_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--bids",
        action="store_true",
        help="SCAN is a BIDS dataset, and the output becomes one of derivatives; without the option"
        " a folder with dataset_description.json counts as one",
    )
    parser.add_argument(
        "--suffix",
        metavar="T1w,...",
        help="of a BIDS dataset: these images alone (default: every contrast of anatomy)",
    )


def _add_scan_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "scans",
        nargs="*",
        type=typed_path,
        metavar="SCAN",
        help="a scan file, a DICOM series folder, or a folder of scans",
    )
    parser.add_argument(
        "--input",
        nargs="+",
        type=typed_path,
        metavar="IMAGE",
        help="the images of one patient, for a model that takes several, in the model's order, such"
        " as --input ct.nii.gz pet.nii.gz; the result lies on the first one's grid",
    )
    parser.add_argument(
        "--unit",
        action="append",
        default=[],
        metavar="NAME=UNIT",
        help="of an image whose file does not state it: pet=SUV, or the number by which its values"
        " are multiplied to become SUV (pet=0.05 for SUV x 20)",
    )
    parser.add_argument(
        "--model",
        default=DEFAULT_SEGMENTER,
        help="a model's id (see `medllmseg models`) or a bundle's folder (default: %(default)s)",
    )
    add_device_option(parser)
    add_precision_option(parser)
    add_engine_option(parser)
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
