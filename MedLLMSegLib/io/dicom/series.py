"""DICOM series in a folder: which there are, and whether the slices of one make an even 3D grid."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.io.itk_images import (
    check_file_name,
    image_to_volume,
    itk_warnings_off,
    run_reader,
)

_IO = "GDCMImageIO"
_EVEN = 0.1  # a slice may lie this part of the slice distance beside its place on an even grid
_SOP = b"1.2.840.10008.5.1.4.1.1."
# Presentation states, raw data and segmentations, reports, documents, radiotherapy plans and
# structures.
_NO_IMAGE = tuple(_SOP + kind for kind in (b"11.", b"66", b"88.", b"104.", b"481."))
_WINDOW = {"window_center": "0028|1050", "window_width": "0028|1051"}


@dataclass(frozen=True, eq=False)
class Slice:
    """One DICOM image file. position: (3,) LPS mm of the first voxel; axes: (2, 3) its row and
    column directions.
    """

    path: Path
    series: str
    description: str
    size: tuple[int, int]
    frames: int
    position: np.ndarray | None
    axes: np.ndarray | None
    window: dict[str, float]

    @property
    def in_series(self) -> bool:
        """Whether this is one slice of something; an X-ray, or a file of many frames, is an
        image of its own.
        """
        return self.frames == 1 and self.position is not None


def is_dicom(path: Path) -> bool:
    """Whether a file's first bytes say DICOM (a DICOMDIR, which holds no image, is none)."""
    if path.name.upper() == "DICOMDIR" or path.name.startswith(".") or not os.path.isfile(path):
        return False
    try:
        with open(path, "rb") as file:
            head = file.read(132)
    except OSError:
        return False
    # Without the preamble of part 10 only the suffix tells such a file from chance bytes.
    bare = path.suffix.lower() in (".dcm", ".ima") and head[:2] in (b"\x02\x00", b"\x08\x00")
    return head[128:132] == b"DICM" or bare


def dicom_files(folder: Path) -> list[Path]:
    """The DICOM files that lie directly in a folder, sorted by name."""
    return sorted(path for path in folder.iterdir() if is_dicom(path))


def _may_lack_image(path: Path) -> bool:
    """Whether a file says that it is something else than an image: a damaged slice must not be
    left out unseen.
    """
    with open(path, "rb") as file:
        head = file.read(1024)
    at = head.find(
        b"\x02\x00\x02\x00UI"
    )  # media storage SOP class, in the part that is always little-endian
    length = int.from_bytes(head[at + 6 : at + 8], "little") if at >= 0 else 0
    return head[at + 8 : at + 8 + length].startswith(_NO_IMAGE) if length else False


def read_slice(path: Path) -> Slice | None:
    """What one file says of itself, or None for a report, plan or the like. `UserError` for a
    damaged image.
    """
    reader = sitk.ImageFileReader()
    try:
        check_file_name(path)
        reader.SetImageIO(_IO)
        reader.SetFileName(str(path))
        with itk_warnings_off():
            reader.ReadImageInformation()
    except (RuntimeError, UserError) as error:
        if _may_lack_image(path):
            return None
        raise UserError(
            f'"{path}" could not be read, it seems to be damaged or cut short; '
            "copy or export the series again."
        ) from error

    def text(key: str) -> str:
        found = reader.GetMetaData(key) if reader.HasMetaDataKey(key) else ""
        return found.encode("utf-8", "replace").decode().strip()

    def numbers(key: str) -> list[float]:
        try:
            return [float(part) for part in text(key).split("\\")]
        except ValueError:
            return []

    position, axes = numbers("0020|0032"), numbers("0020|0037")
    window = {name: numbers(key)[0] for name, key in _WINDOW.items() if numbers(key)}
    size = reader.GetSize()
    return Slice(
        path,
        text("0020|000e"),
        text("0008|103e") or text("0018|1030") or "unnamed series",
        tuple(size[:2]),
        int(size[2]) if len(size) > 2 else 1,
        np.array(position) if len(position) == 3 else None,
        np.array(axes).reshape(2, 3) if len(axes) == 6 else None,
        window,
    )


def load_dicom(path: Path) -> Volume:
    """The DICOM series in a folder, or the series that one file belongs to."""
    folder = path if path.is_dir() else path.parent
    slices = [s for s in map(read_slice, dicom_files(folder) if path.is_dir() else [path]) if s]
    if not slices:
        raise UserError(
            f'"{path}" holds no readable DICOM image (it may be damaged, or a report or plan'
            " instead of images); export the series again."
        )
    if path.is_file() and slices[0].in_series:
        others = [s for s in map(read_slice, dicom_files(folder)) if s]
        slices = [s for s in others if s.series == slices[0].series]
    slices = _ordered(_one_series(slices, folder), path)
    if len(slices) == 1:
        image = run_reader(sitk.ImageFileReader(), _IO, path, str(slices[0].path))
    else:
        image = run_reader(sitk.ImageSeriesReader(), _IO, path, [str(s.path) for s in slices])
    return image_to_volume(image, path.name if path.is_dir() else path.stem, slices[0].window)


def _one_series(slices: Iterable[Slice], folder: Path) -> list[Slice]:
    """The slices of the folder's only series, or of its only one that is 3D."""
    by_series: dict[str, list[Slice]] = {}
    for each in slices:
        # Several 3D images may share one series: an enhanced file is an image of its own.
        key = each.series if each.frames == 1 else str(each.path)
        by_series.setdefault(key, []).append(each)
    found = list(by_series.values())
    solid = [group for group in found if len(group) > 1 or group[0].frames > 1]
    if len(found) == 1 or len(solid) == 1:
        return (solid or found)[0]
    listed = ", ".join(f'"{g[0].description}" ({max(len(g), g[0].frames)} slices)' for g in found)
    raise UserError(
        f'"{folder}" holds {len(found)} DICOM series: {listed}; keep one series in a folder, '
        "or name one file of the wanted series."
    )


def _ordered(slices: list[Slice], path: Path) -> list[Slice]:
    """The slices sorted along their normal; `UserError` unless they make one even grid."""
    if len(slices) == 1:
        return slices
    first, what = slices[0], f'The DICOM series in "{path}"'
    if any(s.position is None or s.axes is None for s in slices):
        raise UserError(
            f"{what} does not say where its slices lie (image position and orientation are"
            " missing); export it again with them."
        )
    if any(s.size != first.size or np.abs(s.axes - first.axes).max() > 1e-3 for s in slices):
        raise UserError(
            f"{what} mixes slices of different sizes or directions (a scout or several views?); "
            "keep the slices of one scan in the folder."
        )
    normal = np.cross(*first.axes)
    slices = sorted(slices, key=lambda s: float(s.position @ normal))
    positions = np.array([s.position for s in slices])
    depths = positions @ normal
    step = (depths[-1] - depths[0]) / (len(slices) - 1)
    twins = int((np.diff(depths) < 1e-3).sum())
    if twins:
        raise UserError(
            f"{what} has {twins} slices at the same place as another (several time points, echoes"
            " or a copy), and one 3D image is needed; keep one slice for each place."
        )
    off = np.abs(depths - (depths[0] + step * np.arange(len(slices)))).max() / step
    if off > _EVEN:
        gaps = np.diff(depths)
        raise UserError(
            f"{what} has missing or unevenly spaced slices (distances from {gaps.min():.3g} to "
            f"{gaps.max():.3g} mm); export the series again with all its slices."
        )
    drift = np.linalg.norm(positions[-1] - positions[0] - normal * (depths[-1] - depths[0]))
    if drift > step:
        raise UserError(
            f"{what} is sheared by {drift:.3g} mm (a tilted gantry), and axes at right angles are"
            " needed; resample it, for example with 3D Slicer, and use the result."
        )
    return slices
