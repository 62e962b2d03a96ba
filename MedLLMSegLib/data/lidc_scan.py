"""A series of LIDC-IDRI with its label map: what enough readers outlined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import Array
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.io.dicom.header import DicomHeader, read_header
from MedLLMSegLib.io.volume_files import load_volume

from .lidc_xml import Contour, Reading, inner_pixels

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Series:
    """files: of this series, among others that may lie in the folder."""

    uid: str
    folder: Path
    files: Sequence[Path]


@dataclass(frozen=True, eq=False)
class LabelledScan:
    """A patient's scan, and 1 where enough readers outlined a nodule."""

    patient: str
    image: Volume
    labels: Volume


def labelled_scan(series: Series, reading: Reading, readers: int) -> LabelledScan:
    """A series with its label map. Raises `UserError` where it cannot be read, and where a contour
    lies in no slice of it.
    """
    image = load_volume(series.folder, series=series.uid)
    headers = [read_header(path) for path in series.files]
    slices = {header.text("SOPInstanceUID"): header for header in headers}
    counts = np.zeros(image.array.shape, np.uint8)
    for contours in reading.readers:
        counts += _outlined(contours, slices, image)
    labels = image.with_array((counts >= readers).astype(np.uint8))
    patient = headers[0].text("PatientID") or series.folder.name
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
        _check_inside(contour, header, image)
        masks[contour.hole][voxels_of(inner_pixels(contour.points), header, image)] = True
    outlined: Array = masks[False] & ~masks[True]
    return outlined


def _check_inside(contour: Contour, header: DicomHeader, image: Volume) -> None:
    """Raise `UserError` for points off the slice, before anything of their size is made."""
    if (contour.points < 0).any() or (contour.points > header.size).any():
        x, y = contour.points[np.abs(contour.points).max(axis=1).argmax()]
        columns, rows = header.size
        raise UserError(
            f'A contour lies outside "{image.name}": it goes through ({x}, {y}) of the slice'
            f" {contour.sop_uid}, which has {columns} x {rows} pixels; its XML file may be damaged,"
            " or that of another series."
        )


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
