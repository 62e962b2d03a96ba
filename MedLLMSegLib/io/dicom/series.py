"""DICOM series: which ones a folder holds, and whether the slices of one form an even 3D grid."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import Array
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.io.itk_images import check_file_name, image_to_volume, run_reader

from .header import IMAGE_IO, DicomHeader, read_header

# How far a slice may lie from its place on an even grid, as a part of the slice distance
MAX_UNEVENNESS = 0.1
SAME_PLACE_MM = 1e-3
_SOP_CLASS = b"1.2.840.10008.5.1.4.1.1."
# Presentation states, raw data and segmentations, reports, documents, radiotherapy plans and
# structures
_CLASSES_WITHOUT_IMAGE = tuple(
    _SOP_CLASS + number for number in (b"11.", b"66", b"88.", b"104.", b"481.")
)
# The element (0002,0002), media storage SOP class UID, in the always little-endian part of a file
_SOP_CLASS_ELEMENT = b"\x02\x00\x02\x00UI"
_WINDOW_TAGS = {"window_center": "0028|1050", "window_width": "0028|1051"}


@dataclass(frozen=True, eq=False)
class Slice:
    """What one DICOM image file says about itself.

    series: the series' UID. size: (columns, rows). frames: number of images in the file.
    position: (3,) LPS mm of the first voxel. axes: (2, 3) LPS directions of its rows and columns.
    window: "window_center" and "window_width" of its first window, if there is one.
    """

    path: Path
    series: str
    description: str
    size: tuple[int, int]
    frames: int
    position: Array | None
    axes: Array | None
    window: dict[str, float]

    @property
    def in_series(self) -> bool:
        """Whether this is one slice of a volume.

        An X-ray, or a file of many frames, is an image of its own.
        """
        return self.frames == 1 and self.position is not None


def is_dicom(path: Path) -> bool:
    """Whether a file's first bytes are DICOM's. A DICOMDIR holds no image and does not count."""
    if path.name.upper() == "DICOMDIR" or path.name.startswith(".") or not os.path.isfile(path):
        return False
    try:
        with open(path, "rb") as file:
            head = file.read(132)
    except OSError:
        return False
    if head[128:132] == b"DICM":
        return True
    # Without the preamble of part 10, only the suffix tells such a file from chance bytes.
    return path.suffix.lower() in (".dcm", ".ima") and head[:2] in (b"\x02\x00", b"\x08\x00")


def dicom_files(folder: Path) -> list[Path]:
    """The DICOM files that lie directly in a folder, sorted by name."""
    return sorted(path for path in folder.iterdir() if is_dicom(path))


def read_slice(path: Path) -> Slice | None:
    """Read the header of one file. None for a report, plan or the like.

    Raises `UserError` for a damaged image.
    """
    try:
        check_file_name(path)
        header = read_header(path)
    except (RuntimeError, UserError) as error:
        if _is_declared_without_image(path):
            return None
        raise UserError(
            f'"{path}" could not be read, it seems to be damaged or cut short; '
            "copy or export the series again."
        ) from error
    position, axes = header.numbers("0020|0032"), header.numbers("0020|0037")
    columns, rows, *frames = header.size
    return Slice(
        path=path,
        series=header.text("0020|000e"),
        description=header.text("0008|103e") or header.text("0018|1030") or "unnamed series",
        size=(columns, rows),
        frames=frames[0] if frames else 1,
        position=np.array(position) if len(position) == 3 else None,
        axes=np.array(axes).reshape(2, 3) if len(axes) == 6 else None,
        window=_first_window(header),
    )


def _first_window(header: DicomHeader) -> dict[str, float]:
    values = {name: header.numbers(key) for name, key in _WINDOW_TAGS.items()}
    return {name: numbers[0] for name, numbers in values.items() if numbers}


def _is_declared_without_image(path: Path) -> bool:
    """Whether a file states a SOP class that has no image.

    Only then may a file that cannot be read be left out: a damaged slice must not go unnoticed.
    """
    with open(path, "rb") as file:
        head = file.read(1024)
    start = head.find(_SOP_CLASS_ELEMENT)
    if start < 0:
        return False
    value_start = start + len(_SOP_CLASS_ELEMENT) + 2
    length = int.from_bytes(head[value_start - 2 : value_start], "little")
    return head[value_start : value_start + length].startswith(_CLASSES_WITHOUT_IMAGE)


def load_dicom(path: Path) -> Volume:
    """Read the DICOM series in a folder, or the series that one file belongs to."""
    folder = path if path.is_dir() else path.parent
    slices = _read_slices(dicom_files(folder) if path.is_dir() else [path])
    if not slices:
        raise UserError(
            f'"{path}" holds no readable DICOM image (it may be damaged, or a report or plan'
            " instead of images); export the series again."
        )
    if path.is_file() and slices[0].in_series:
        series = slices[0].series
        slices = [s for s in _read_slices(dicom_files(folder)) if s.series == series]
    slices = _sorted_by_position(_only_series(slices, folder), path)
    if len(slices) == 1:
        image = run_reader(sitk.ImageFileReader(), IMAGE_IO, path, str(slices[0].path))
    else:
        files = [str(s.path) for s in slices]
        image = run_reader(sitk.ImageSeriesReader(), IMAGE_IO, path, files)
    return image_to_volume(image, path.name if path.is_dir() else path.stem, slices[0].window)


def _read_slices(files: Iterable[Path]) -> list[Slice]:
    return [s for s in map(read_slice, files) if s is not None]


def _only_series(slices: Iterable[Slice], folder: Path) -> list[Slice]:
    """The slices of the folder's only series, or of its only one that is 3D."""
    slices_by_series: dict[str, list[Slice]] = {}
    for dicom_slice in slices:
        # Several 3D images may share one series: a file of many frames is an image of its own.
        key = dicom_slice.series if dicom_slice.frames == 1 else str(dicom_slice.path)
        slices_by_series.setdefault(key, []).append(dicom_slice)
    all_series = list(slices_by_series.values())
    series_3d = [series for series in all_series if len(series) > 1 or series[0].frames > 1]
    if len(all_series) == 1:
        return all_series[0]
    if len(series_3d) == 1:
        return series_3d[0]
    listed = ", ".join(
        f'"{series[0].description}" ({max(len(series), series[0].frames)} slices)'
        for series in all_series
    )
    raise UserError(
        f'"{folder}" holds {len(all_series)} DICOM series: {listed}; keep one series in a folder, '
        "or name one file of the wanted series."
    )


def _sorted_by_position(slices: list[Slice], path: Path) -> list[Slice]:
    """The slices sorted along their normal. Raises `UserError` unless they form one even grid."""
    if len(slices) == 1:
        return slices
    subject = f'The DICOM series in "{path}"'
    axes = _common_axes(slices, subject)
    normal = np.cross(axes[0], axes[1])
    positions = np.array([s.position for s in slices])
    order = np.argsort(positions @ normal, kind="stable")
    _check_even_grid(positions[order], normal, subject)
    return [slices[n] for n in order]


def _common_axes(slices: list[Slice], subject: str) -> Array:
    """(2, 3): the row and column directions that all slices share. Raises `UserError` if none."""
    first = slices[0]
    for dicom_slice in slices:
        if dicom_slice.position is None or dicom_slice.axes is None:
            raise UserError(
                f"{subject} does not say where its slices lie (image position and orientation are"
                " missing); export it again with them."
            )
    axes = np.array([s.axes for s in slices])
    if any(s.size != first.size for s in slices) or np.abs(axes - axes[0]).max() > 1e-3:
        raise UserError(
            f"{subject} mixes slices of different sizes or directions (a scout or several views?); "
            "keep the slices of one scan in the folder."
        )
    common: Array = axes[0]
    return common


def _check_even_grid(positions: Array, normal: Array, subject: str) -> None:
    """Raise `UserError` unless slices at these positions (n, 3), in order, form an even grid."""
    depths = positions @ normal
    gaps = np.diff(depths)
    step = (depths[-1] - depths[0]) / (len(depths) - 1)
    duplicates = int((gaps < SAME_PLACE_MM).sum())
    if duplicates:
        raise UserError(
            f"{subject} has {duplicates} slices at the same place as another (several time points,"
            " echoes or a copy), and one 3D image is needed; keep one slice for each place."
        )
    even_depths = depths[0] + step * np.arange(len(depths))
    if np.abs(depths - even_depths).max() / step > MAX_UNEVENNESS:
        raise UserError(
            f"{subject} has missing or unevenly spaced slices (distances from {gaps.min():.3g} to "
            f"{gaps.max():.3g} mm); export the series again with all its slices."
        )
    along_normal = normal * (depths[-1] - depths[0])
    shear_mm = np.linalg.norm(positions[-1] - positions[0] - along_normal)
    if shear_mm > step:
        raise UserError(
            f"{subject} is sheared by {shear_mm:.3g} mm (a tilted gantry), and axes at right angles"
            " are needed; resample it, for example with 3D Slicer, and use the result."
        )
