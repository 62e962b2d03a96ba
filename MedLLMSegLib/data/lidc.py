"""Convert a folder of LIDC-IDRI's own DICOM and XML to cases that `medllmseg train` reads.

    python -m MedLLMSegLib.data.lidc --data LIDC-IDRI --output runs/lidc
    python -m MedLLMSegLib.data.lidc --data LIDC-IDRI --output runs/lidc --around 32

Series and XML files may lie anywhere in the folder; the series' UID brings them together. A voxel
is nodule where at least two readers (--readers) outlined it. --around cuts a box of so many
millimetres on each side around the nodules. Patients are split 7 : 1 : 2, by their names.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.geometry import sub_grid
from MedLLMSegLib.core.progress import Progress, ProgressLog, Report
from MedLLMSegLib.core.safe_files import check_writable, write_text
from MedLLMSegLib.core.types import Array, PathLike
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.io.dicom.header import DicomHeader, read_header
from MedLLMSegLib.io.dicom.sort import dicom_files
from MedLLMSegLib.io.volume_files import load_volume, save_volume

from .lidc_xml import Contour, Reading, inner_pixels, read_xml

CREDIT = "Armato et al., LIDC-IDRI, The Cancer Imaging Archive, CC BY 3.0"
TENTHS = {"train": range(7), "val": range(7, 8), "test": range(8, 10)}
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class LidcRequest:
    """readers: who must have outlined a voxel. around_mm: of a box around the nodules; None for
    whole scans.
    """

    readers: int = 2
    around_mm: float | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.readers <= 4:
            raise UserError(f"--readers is {self.readers}, and LIDC has four: give 1 to 4.")
        if self.around_mm is not None and not 0 < self.around_mm < 1000:
            raise UserError(f"--around is {self.around_mm:g} mm, and must be above 0.")


def convert_lidc(
    data: PathLike,
    output: PathLike,
    request: LidcRequest = LidcRequest(),
    progress: Report | None = None,
) -> list[str]:
    """Write imagesTr, labelsTr, dataset.json and splits.json; returns sentences on what was passed
    over. Raises `UserError` where no series has its XML file.
    """
    data, output = Path(data).expanduser(), Path(output).expanduser()
    if not data.is_dir():
        raise UserError(f'There is no folder "{data}"; give the folder of LIDC\'s DICOM and XML.')
    check_writable(output)
    readings, notes = _readings(data)
    series = {uid: folder for uid, folder in _series(data) if uid in readings}
    if not series:
        raise UserError(
            f'"{data}" has {len(readings)} XML files of LIDC\'s readers and no DICOM series that'
            " one of them speaks of; put the DICOM files and the XML files into one folder."
        )
    notes += [f"no DICOM series for the XML of {uid}" for uid in readings if uid not in series]
    cases: dict[str, list[str]] = {}
    for (uid, folder), part in zip(
        series.items(), Progress.of(progress).parts(len(series)), strict=True
    ):
        part(folder.name, 0.0)
        labelled = labelled_scan(folder, readings[uid], request.readers)
        if labelled.labels.array.any() or request.around_mm is None:
            case = _free_name(labelled.patient, cases)
            cases.setdefault(labelled.patient, []).append(case)
            _save(labelled, output, case, request.around_mm)
        else:
            notes.append(f"{labelled.patient}: {request.readers} readers agree on no voxel")
    if not cases:
        raise UserError(
            f"In none of the {len(series)} series {request.readers} readers agree on a voxel;"
            " choose fewer --readers, or leave --around out."
        )
    _describe(output, cases, request)
    return notes


def _readings(data: Path) -> tuple[dict[str, Reading], list[str]]:
    """Series' UID -> what its readers outlined, and what was passed over."""
    found, notes = {}, []
    for path in sorted(data.rglob("*.xml")):
        try:
            reading = read_xml(path)
        except UserError as error:
            notes.append(str(error))
            continue
        if reading is None:
            notes.append(f'"{path}" is no XML file of CT readings')
        else:
            found[reading.series_uid] = reading
    return found, notes


def _series(data: Path) -> Iterator[tuple[str, Path]]:
    """(UID, folder) of the DICOM series, each in a folder of its own."""
    for folder, _, _ in sorted(os.walk(data)):
        files = dicom_files(Path(folder))
        if files:
            yield read_header(files[0]).text("SeriesInstanceUID"), Path(folder)


@dataclass(frozen=True, eq=False)
class LabelledScan:
    """A patient's scan, and 1 where enough readers outlined a nodule."""

    patient: str
    image: Volume
    labels: Volume


def labelled_scan(folder: Path, reading: Reading, readers: int) -> LabelledScan:
    """The series in a folder with its label map. Raises `UserError` where a contour lies in no
    slice of it.
    """
    image = load_volume(folder)
    headers = [read_header(path) for path in dicom_files(folder)]
    slices = {header.text("SOPInstanceUID"): header for header in headers}
    counts = np.zeros(image.array.shape, np.uint8)
    for contours in reading.readers:
        counts += _outlined(contours, slices, image)
    labels = image.with_array((counts >= readers).astype(np.uint8))
    patient = headers[0].text("PatientID") or folder.name
    return LabelledScan(
        "".join(c if c.isalnum() or c in "-_" else "_" for c in patient), image, labels
    )


def _outlined(contours: list[Contour], slices: dict[str, DicomHeader], image: Volume) -> Array:
    """Where one reader has a nodule, bool [k, j, i]."""
    masks = {hole: np.zeros(image.array.shape, bool) for hole in (False, True)}
    for contour in contours:
        header = slices.get(contour.sop_uid)
        if header is None:
            raise UserError(
                f'A contour lies in the slice {contour.sop_uid}, which "{image.name}" lacks;'
                " download the series again."
            )
        masks[contour.hole][voxels_of(inner_pixels(contour.points), header, image)] = True
    outlined: Array = masks[False] & ~masks[True]
    return outlined


def voxels_of(pixels: Array, header: DicomHeader, image: Volume) -> tuple[Array, Array, Array]:
    """Pixels (n, 2) of (column, row) of a DICOM slice -> the volume's voxels (k, j, i), n each.

    DICOM PS3.3, C.7.6.2.1.1. Raises `UserError` where they lie outside the volume.
    """
    position, axes, spacing = (
        header.finite(name, count)
        for name, count in (
            ("ImagePositionPatient", 3),
            ("ImageOrientationPatient", 6),
            ("PixelSpacing", 2),
        )
    )
    if position is None or axes is None or spacing is None:
        raise UserError(f'A slice of "{image.name}" states no position; download it again.')
    along = np.array([axes[:3], axes[3:]]) * np.array(spacing[::-1])[:, None]  # (column, row)
    lps = np.array(position) + pixels @ along  # (n, 3)
    ras = np.column_stack([lps, np.ones(len(lps))]) @ LPS_TO_RAS
    ijk = np.round(ras @ np.linalg.inv(image.ijk_to_ras).T)[:, :3].astype(int)
    if ((ijk < 0) | (ijk >= image.array.shape[::-1])).any():
        raise UserError(
            f'A contour lies outside "{image.name}"; its XML file may be that of another series.'
        )
    return ijk[:, 2], ijk[:, 1], ijk[:, 0]


def _free_name(patient: str, cases: dict[str, list[str]]) -> str:
    """Eight patients have two series."""
    taken = len(cases.get(patient, []))
    return f"{patient}_{taken + 1}" if taken else patient


def _save(labelled: LabelledScan, output: Path, case: str, around_mm: float | None) -> None:
    image, labels = labelled.image, labelled.labels
    if around_mm is not None:
        places = np.argwhere(labels.array)
        reach = np.ceil(around_mm / np.array(labels.spacing_mm)).astype(int)
        low = np.maximum(places.min(axis=0) - reach, 0)
        high = places.max(axis=0) + reach + 1
        k, j, i = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        matrix = sub_grid(image.grid, (k, j, i)).ijk_to_ras
        image, labels = (
            replace(each, array=each.array[k, j, i].copy(), ijk_to_ras=matrix)
            for each in (image, labels)
        )
    save_volume(image, output / "imagesTr" / f"{case}.nii.gz")
    save_volume(labels, output / "labelsTr" / f"{case}.nii.gz")


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
    else:
        (output / "splits.json").unlink(missing_ok=True)


def main(arguments: list[str] | None = None) -> int:
    """Convert the folder that the arguments name; returns 2 where that fails."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="folder with DICOM series and XML files")
    parser.add_argument("--output", required=True, help="folder for imagesTr and labelsTr")
    parser.add_argument("--readers", type=int, default=2, help="who must agree on a voxel")
    parser.add_argument("--around", type=float, metavar="MM", help="cut a box around the nodules")
    options = parser.parse_args(arguments)
    try:
        request = LidcRequest(options.readers, options.around)
        notes = convert_lidc(options.data, options.output, request, ProgressLog())
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    for note in notes:
        print(f"passed over: {note}", file=sys.stderr)
    count = len(list((Path(options.output).expanduser() / "labelsTr").glob("*.nii.gz")))
    print(f"{count} cases in {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
