"""`medllmseg heart`: a cine of the heart to its function."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from MedLLMSegLib.core.errors import UserError

from .common_options import (
    Subparsers,
    add_device_option,
    add_engine_option,
    add_precision_option,
    typed_path,
)
from .terminal.terminal_progress import ScanBar

if TYPE_CHECKING:
    from MedLLMSegLib.core.quality import Quality
    from MedLLMSegLib.core.volume import Volume
    from MedLLMSegLib.metrics.heart_function import Person
    from MedLLMSegLib.metrics.measured_heart import MeasuredHeart

HEART_MODEL = "cardiac-cine-mr"
TABLE, LABELS, VOLUMES = "function.csv", "labels.nii.gz", "volumes.csv"
PAGE, TEXT = "report.html", "report.txt"
PICTURES = ("curves.png", "slices.png", "wall.png")
RESULTS = (TABLE, LABELS, VOLUMES, PAGE, TEXT, *PICTURES)
KNOWN_LABELS = {1: "right ventricle", 2: "wall", 3: "left ventricle"}
EPILOG = """examples:
  medllmseg heart cine.nii.gz --output heart/ --height 178 --weight 81
      every image is segmented; volumes, ejection fractions, mass, wall, a page
  medllmseg heart ed.nii.gz es.nii.gz --output heart/
      two images: full and empty
  medllmseg heart cine.nii.gz --labels corrected.nii.gz --output heart/
      from label maps that you corrected (1 right ventricle, 2 wall, 3 left ventricle)

Writes function.csv, volumes.csv (over time), and report.html with its pictures curves.png,
slices.png and, where the wall can be measured, wall.png into the folder, and its sentences as
report.txt; without --labels also labels.nii.gz. --overwrite replaces those files and removes none:
with --labels, a labels.nii.gz that is there stays. Scans and label maps are never overwritten.
exit code: 0 done, 2 bad input.

Research use only; not a medical device."""


def add_parser(commands: Subparsers) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "heart",
        help="ventricular volumes, ejection fractions, mass and wall thickness of a cine MRI",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Measure a heart's function in short-axis cine MRI.",
    )
    parser.add_argument(
        "scans",
        nargs="+",
        type=typed_path,
        metavar="SCAN",
        help="a series over one beat (4D), or two or more images in order of time",
    )
    parser.add_argument("--output", "-o", required=True, type=typed_path, metavar="FOLDER")
    parser.add_argument("--model", default=HEART_MODEL, help="default: %(default)s")
    parser.add_argument(
        "--labels",
        type=typed_path,
        metavar="FILE",
        help="label maps of the same images (4D), instead of a model's",
    )
    parser.add_argument("--height", type=float, metavar="CM", help="of the person, for indices")
    parser.add_argument("--weight", type=float, metavar="KG", help="of the person, for indices")
    parser.add_argument("--heart-rate", type=float, metavar="BPM", help="for the cardiac output")
    add_device_option(parser)
    add_precision_option(parser)
    add_engine_option(parser)
    parser.add_argument(
        "--overwrite", action="store_true", help="replace an earlier result in the folder"
    )
    parser.set_defaults(run=_heart)


def _heart(args: argparse.Namespace, command: str) -> int:
    from MedLLMSegLib.core.safe_files import check_folder_name, check_writable, write_text
    from MedLLMSegLib.io.image_series import load_series
    from MedLLMSegLib.metrics.heart_function import Person
    from MedLLMSegLib.reporting.heart_report import function_csv
    from MedLLMSegLib.segmentation.time_series import write_volumes

    person = Person(args.height, args.weight, args.heart_rate)
    check_folder_name(args.output)
    check_writable(args.output)
    _check_results(args)
    scan = load_series(args.scans)
    heart, labels = _measured(args, scan, person)
    args.output.mkdir(parents=True, exist_ok=True)
    if args.labels is not None:
        volumes_ml = heart.function.volumes_ml
        keys = [structure.key for structure in args.structures]
        write_volumes({key: volumes_ml[key] for key in keys}, args.output / VOLUMES)
    _write_page(args, command, scan, labels, heart)
    write_text(args.output / TABLE, function_csv(heart))
    _print(heart, args.output, args.light)
    return 0


def _check_results(args: argparse.Namespace) -> None:
    """Refuse to write over what the run reads, and over an earlier result without --overwrite."""
    there = [path for name in RESULTS if (path := args.output / name).exists()]
    read = [path for path in (*args.scans, args.labels) if path is not None and path.exists()]
    for path in there:
        if any(path.samefile(each) for each in read):
            raise UserError(
                f'"{path}" is read by this run and has the name of a result; choose another folder'
                " for the results."
            )
    if there and not args.overwrite:
        raise UserError(
            f'"{args.output}" holds {there[0].name} already; choose another folder, or add'
            " --overwrite."
        )


def _measured(
    args: argparse.Namespace, scan: Volume, person: Person
) -> tuple[MeasuredHeart, list[Volume]]:
    from MedLLMSegLib.anatomy.structures import cardiac_structures
    from MedLLMSegLib.io.image_series import load_label_series
    from MedLLMSegLib.metrics.heart_intervals import intervals_of
    from MedLLMSegLib.metrics.measured_heart import measure_heart
    from MedLLMSegLib.segmentation.heart import measure_series, numbers_of
    from MedLLMSegLib.segmentation.pipeline import all_structures, load_model
    from MedLLMSegLib.segmentation.time_series import segment_frames, write_series

    args.light = None  # nobody knows how good given outlines are
    if args.labels is not None:
        args.structures = cardiac_structures()
        labels = load_label_series(args.labels, scan, KNOWN_LABELS)
        return measure_heart(labels, person=person), labels
    model = load_model(args.model, args.device, args.precision, args.engine)
    args.structures = all_structures(model)
    numbers_of(args.structures)
    intervals = intervals_of(model.entry.folder)
    with ScanBar([args.scans[0]]) as bar:
        series = segment_frames(scan, model, progress=bar.first())
    args.light = series.light
    args.output.mkdir(parents=True, exist_ok=True)
    write_series(series, args.output / LABELS, args.output / VOLUMES)
    heart = measure_series(series, person, intervals)
    return heart, [each.labels for each in series.segmentations]


def _write_page(
    args: argparse.Namespace,
    command: str,
    scan: Volume,
    labels: list[Volume],
    heart: MeasuredHeart,
) -> None:
    from MedLLMSegLib.reporting.heart_report import write_heart_report

    function = heart.function
    rows = {"end-diastole": function.end_diastole, "end-systole": function.end_systole}
    write_heart_report(
        args.output,
        heart,
        {title: replace(scan, array=scan.array[n], tags={}) for title, n in rows.items()},
        {title: labels[n] for title, n in rows.items()},
        args.structures,
        name=args.scans[0].name,
        model=args.model if args.labels is None else "",
        light=args.light,
        command=command,
    )


def _print(heart: MeasuredHeart, output: Path, light: Quality | None) -> None:
    from MedLLMSegLib.metrics.heart_function import figures
    from MedLLMSegLib.reporting.heart_report import index_text, interval_text, value_text

    function = heart.function
    print(
        f"end-diastole in image {function.end_diastole + 1}, end-systole in image"
        f" {function.end_systole + 1}"
    )
    for row in figures(function):
        interval = f"({interval_text(row)})" if row.interval is not None else ""
        print(f"  {row.name:26s} {value_text(row):>16s}  {interval:18s}{index_text(row)}".rstrip())
    if light is not None:
        print(f"  quality: {light.in_words}")
    if function.intervals is not None:
        print(f"  note: {function.intervals.in_words}")
    for note in heart.notes:
        print(f"  note: {note}")
    for name in (TABLE, VOLUMES, PAGE, TEXT):
        print(f"  -> {output / name}")
