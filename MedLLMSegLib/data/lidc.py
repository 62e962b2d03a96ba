"""Convert a folder of LIDC-IDRI's own DICOM and XML to cases that `medllmseg train` reads.

    python -m MedLLMSegLib.data.lidc --data LIDC-IDRI --output runs/lidc
    python -m MedLLMSegLib.data.lidc --data LIDC-IDRI --output runs/lidc --around 32

XML files may lie anywhere in the folder, and so may series, all slices of one in one folder; the
series' UID brings them together. A voxel is nodule where at least two readers (--readers) outlined
it. --around cuts a box of so many millimetres on each side around the nodules. Patients are split
7 : 1 : 2, by their names. A series that cannot be read is passed over, and named at the end.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.geometry import sub_grid
from MedLLMSegLib.core.progress import Progress, ProgressLog, Report
from MedLLMSegLib.core.safe_files import write_text
from MedLLMSegLib.core.types import PathLike
from MedLLMSegLib.io.dicom.header import read_start
from MedLLMSegLib.io.dicom.sort import dicom_files
from MedLLMSegLib.io.volume_files import save_volume

from .lidc_output import LidcOutput
from .lidc_scan import LabelledScan, Series, labelled_scan
from .lidc_xml import Reading, read_xml, same_outlines

CREDIT = "Armato et al., LIDC-IDRI, The Cancer Imaging Archive, CC BY 3.0"
TENTHS = {"train": range(7), "val": range(7, 8), "test": range(8, 10)}


@dataclass(frozen=True)
class LidcRequest:
    """readers: who must have outlined a voxel. around_mm: of a box around the nodules; None for
    whole scans. overwrite: what an earlier conversion wrote into the same folder.
    """

    readers: int = 2
    around_mm: float | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.readers <= 4:
            raise UserError(f"--readers is {self.readers}, and LIDC has four: give 1 to 4.")
        if self.around_mm is not None and not 0 < self.around_mm < 1000:
            raise UserError(f"--around is {self.around_mm:g} mm, and must be above 0.")


@dataclass(frozen=True)
class Conversion:
    """cases: that were written. notes: a sentence on each thing that was passed over."""

    cases: list[str]
    notes: list[str]


def convert_lidc(
    data: PathLike,
    output: PathLike,
    request: LidcRequest = LidcRequest(),
    progress: Report | None = None,
) -> Conversion:
    """Write imagesTr, labelsTr, dataset.json and splits.json.

    Raises `UserError` where no series has its XML file or none can be converted, and where the
    output holds cases already.
    """
    data, written = Path(data).expanduser(), LidcOutput(Path(output).expanduser())
    if not data.is_dir():
        raise UserError(f'There is no folder "{data}"; give the folder of LIDC\'s DICOM and XML.')
    written.check(request.overwrite)
    readings, notes = _readings(data)
    series, split = _series(data, set(readings))
    notes += split
    if not series:
        raise UserError(
            f'"{data}" has {len(readings)} XML files of LIDC\'s readers and no DICOM series that'
            " one of them speaks of; put the DICOM files and the XML files into one folder."
        )
    cases: dict[str, list[str]] = {}
    for each, part in zip(series, Progress.of(progress).parts(len(series)), strict=True):
        part(each.folder.name, 0.0)
        try:
            whole = labelled_scan(each, readings[each.uid], request.readers)
            labelled = _wanted_part(whole, request)
        except UserError as error:
            notes.append(f'"{each.folder}": {error}')
            continue
        case = _free_name(labelled.patient, cases)
        written.begin(case)
        save_volume(labelled.image, written.image(case))
        save_volume(labelled.labels, written.label(case))
        cases.setdefault(labelled.patient, []).append(case)
    if not cases:
        raise UserError(f"None of the {len(series)} series could be converted: {notes[-1]}")
    _describe(written.folder, cases, request)
    return Conversion(written.cases, notes)


def _readings(data: Path) -> tuple[dict[str, Reading], list[str]]:
    """Series' UID -> what its readers outlined, and what was passed over."""
    found: dict[str, Reading] = {}
    first: dict[str, Path] = {}
    notes = []
    for path in sorted(data.rglob("*.xml")):
        try:
            reading = read_xml(path)
        except UserError as error:
            notes.append(str(error))
            continue
        if reading is None:
            notes.append(f'"{path}" is no XML file of CT readings')
            continue
        uid = reading.series_uid
        before = found.setdefault(uid, reading)
        if before is reading:
            first[uid] = path
        elif not same_outlines(before, reading):
            notes.append(
                f'"{path}" outlines the series {uid} otherwise than "{first[uid]}", which was'
                " taken; remove the wrong one of them"
            )
    return found, notes


def _series(data: Path, wanted: Collection[str]) -> tuple[list[Series], list[str]]:
    """The series of these UIDs, and what was passed over."""
    found: dict[str, dict[Path, list[Path]]] = {uid: {} for uid in wanted}
    for folder, _, _ in sorted(os.walk(data)):
        for path in dicom_files(Path(folder)):
            header = read_start(path)  # a damaged file is told of by who reads its series
            uid = "" if header is None else header.text("SeriesInstanceUID")
            if uid in found:
                found[uid].setdefault(Path(folder), []).append(path)
    series, notes = [], []
    for uid, places in found.items():
        if not places:
            notes.append(f"no DICOM series for the XML of {uid}")
        elif len(places) > 1:
            named = '" and "'.join(map(str, places))
            notes.append(f'the series {uid} lies in "{named}"; put its files into one folder')
        else:
            ((place, files),) = places.items()
            series.append(Series(uid, place, files))
    return sorted(series, key=lambda each: (each.folder, each.uid)), notes


def _wanted_part(labelled: LabelledScan, request: LidcRequest) -> LabelledScan:
    """The box around the nodules, or the whole scan. Raises `UserError` for a box around none."""
    if request.around_mm is None:
        return labelled
    image, labels = labelled.image, labelled.labels
    places = np.argwhere(labels.array)
    if not len(places):
        raise UserError(f"{request.readers} readers agree on no voxel.")
    reach = np.ceil(request.around_mm / np.array(labels.spacing_mm)).astype(int)
    low = np.maximum(places.min(axis=0) - reach, 0)
    high = places.max(axis=0) + reach + 1
    k, j, i = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    matrix = sub_grid(image.grid, (k, j, i)).ijk_to_ras
    image, labels = (
        replace(each, array=each.array[k, j, i].copy(), ijk_to_ras=matrix)
        for each in (image, labels)
    )
    return LabelledScan(labelled.patient, image, labels)


def _free_name(patient: str, cases: dict[str, list[str]]) -> str:
    """Eight patients have two series; `group_of` knows these names as one patient's."""
    taken = len(cases.get(patient, []))
    return f"{patient}_lidc{taken + 1}" if taken else patient


def split_of(patient: str) -> str:
    """The part of a patient, a function of the name alone."""
    tenth = int(hashlib.sha256(patient.encode()).hexdigest(), 16) % 10
    return next(part for part, tenths in TENTHS.items() if tenth in tenths)


def _describe(output: Path, cases: dict[str, list[str]], request: LidcRequest) -> None:
    about = {
        "name": "LIDC-IDRI",
        "description": f"{CREDIT}. Nodule: outlined by {request.readers} readers or more.",
        "licence": "CC BY 3.0",
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "nodule": 1},
        "numTraining": sum(map(len, cases.values())),
    }
    write_text(output / "dataset.json", json.dumps(about, indent=1) + "\n")
    splits: dict[str, list[str]] = {part: [] for part in TENTHS}
    for patient, names in sorted(cases.items()):
        splits[split_of(patient)] += names
    if all(splits.values()):  # fewer patients are split by who reads them
        write_text(output / "splits.json", json.dumps(splits, indent=1) + "\n")


def main(arguments: list[str] | None = None) -> int:
    """Convert the folder that the arguments name; returns 2 where that fails."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="folder with DICOM series and XML files")
    parser.add_argument("--output", required=True, help="folder for imagesTr and labelsTr")
    parser.add_argument("--readers", type=int, default=2, help="who must agree on a voxel")
    parser.add_argument("--around", type=float, metavar="MM", help="cut a box around the nodules")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace what an earlier conversion wrote there"
    )
    options = parser.parse_args(arguments)
    try:
        request = LidcRequest(options.readers, options.around, options.overwrite)
        made = convert_lidc(options.data, options.output, request, ProgressLog())
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    for note in made.notes:
        print(f"passed over: {note}", file=sys.stderr)
    count = len(made.cases)
    print(f"{count} case{'s' * (count != 1)} written into {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
