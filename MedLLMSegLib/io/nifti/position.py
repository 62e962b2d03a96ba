"""Where the voxels of a NIfTI file lie.

A header can state two positions, qform and sform, that need not agree. 3D Slicer (ITK) chooses by
rules of its own, others (nibabel, FSL) take the sform first. A scan lies where Slicer shows it, and
a note says where others see it elsewhere. Slicer's choice is ITK's own: it gets the header alone.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.geometry import Grid
from MedLLMSegLib.core.orientation_code import assumed_note, code_matrix, nearest_code, not_stated
from MedLLMSegLib.core.types import Array
from MedLLMSegLib.core.volume import NiftiForms

from ..itk_images import itk_calls, itk_matrix
from .header import FIRST_VOXEL, NiftiHeader

# Positions that differ by less than this part of the smallest voxel edge are the same.
SAME_PLACE_VOX = 0.05


@dataclass(frozen=True, eq=False)
class Position:
    """ijk_to_ras: (4, 4) mm. notes: sentences for the user. frame_step: of a series, in the file's
    unit.
    """

    ijk_to_ras: Array
    forms: NiftiForms
    notes: tuple[str, ...] = ()
    frame_step: float = 1.0


@dataclass(frozen=True, eq=False)
class _Itk:
    """What ITK reads from a header; matrix: None for axes that are not at right angles."""

    matrix: Array | None
    frame_step: float


def find_position(header: NiftiHeader, path: Path, assume: str | None = None) -> Position:
    """Where the voxels lie.

    assume: the orientation of a scan that states none, such as "RAS", or the right one of two that
    contradict each other. Raises `UserError` for a scan that states no orientation (and none is
    assumed), no valid one, or a voxel size of zero.
    """
    _check_numbers(header, path)
    if header.codes == (0, 0):
        if assume is None:
            raise not_stated(f'"{path}"')
        spacing = [*header.spacing_mm, 1.0, 1.0][:3]
        step = header.pixdim[4] or 1.0
        matrix = code_matrix(assume, spacing)
        return Position(matrix, NiftiForms((0, 0)), (assumed_note(assume),), step)
    itk = _read_with_itk(header, path)
    first = header.sform if header.codes[1] else header.qform
    if itk.matrix is None:
        return _position_without_right_angles(header, first, path)
    if len(header.shape) < 3:  # neither form says how a flat image is turned in ITK
        return Position(itk.matrix, NiftiForms(header.codes))
    grids = [Grid(_kji(header), matrix) for matrix in (itk.matrix, first)]
    distance_mm = _distance_mm(*grids)
    if distance_mm <= SAME_PLACE_VOX * min(grids[0].spacing_mm):
        return Position(itk.matrix, NiftiForms(header.codes), frame_step=itk.frame_step)
    if min(header.spacing_mm) < 0:
        return _position_of_negative_size(header, itk, first, path, assume)
    return _position_of_two(header, itk, first, distance_mm)


def _check_numbers(header: NiftiHeader, path: Path) -> None:
    spacing = header.spacing_mm
    if not all(np.isfinite(s) and s != 0 for s in spacing):
        sizes = " x ".join(f"{s:g}" for s in spacing)
        raise UserError(
            f'"{path}" has a voxel size of {sizes} mm, and none may be zero; '
            "correct the spacing in the file's header."
        )
    stated = zip(("qform", "sform"), header.codes, (header.qform, header.sform), strict=True)
    for name, code, matrix in stated:
        if code and not np.isfinite(matrix).all():
            raise UserError(
                f'"{path}" has a position ({name}) that is not a number; correct it in the file\'s'
                " header, or export the scan again."
            )


def _read_with_itk(header: NiftiHeader, path: Path) -> _Itk:
    """Spacing, direction and origin as ITK reads them. Raises `UserError` where it cannot."""
    reader = sitk.ImageFileReader()
    reader.SetImageIO("NiftiImageIO")
    with tempfile.TemporaryDirectory() as folder:
        alone = Path(folder) / "header.nii"
        alone.write_bytes(header.content.ljust(FIRST_VOXEL, b"\0"))
        reader.SetFileName(str(alone))
        try:
            with itk_calls():
                reader.ReadImageInformation()
        except RuntimeError as error:
            if "orthonormal" in str(error):
                return _Itk(None, header.pixdim[4] or 1.0)
            raise UserError(
                f'"{path}" could not be read, it seems to be damaged or of an unusual kind; '
                "copy or export it again."
            ) from error
    spacing = reader.GetSpacing()
    step = float(spacing[3]) if reader.GetDimension() > 3 else 1.0
    return _Itk(itk_matrix(reader), step or 1.0)


def _position_without_right_angles(header: NiftiHeader, stated: Array, path: Path) -> Position:
    """The position of a scan that Slicer does not open, as its axes are not at right angles."""
    steps = stated[:3, :3]
    spacing = np.linalg.norm(steps, axis=0)
    if not spacing.min() > 0 or abs(np.linalg.det(steps / spacing)) < 1e-3:
        raise UserError(
            f'"{path}" has axes that lie in one plane, or none; correct the sform in the file\'s'
            " header."
        )
    left, _, right = np.linalg.svd(steps / spacing)
    squared = stated.copy()
    squared[:3, :3] = (left @ right) * spacing
    distance_mm = _distance_mm(Grid(_kji(header), stated), Grid(_kji(header), squared))
    forms = NiftiForms(header.codes)
    if distance_mm <= SAME_PLACE_VOX * spacing.min():  # numbers that were rounded
        return Position(squared, forms)
    note = (
        f"The scan's axes are not at right angles (by up to {distance_mm:.2g} mm), and were used as"
        " they are; 3D Slicer does not open such a NIfTI file, and opens it as NRRD."
    )
    return Position(stated, forms, (note,))


def _position_of_negative_size(
    header: NiftiHeader, itk: _Itk, others: Array, path: Path, assume: str | None
) -> Position:
    """The position that is assumed where a voxel size has a sign, which Slicer takes for a mirror
    and others do not.
    """
    matrices = [m for m in (itk.matrix, others) if m is not None]
    codes = [nearest_code(matrix) for matrix in matrices]
    if assume in codes:
        note = f"The file's orientation is contradictory; {assume} was assumed, as asked for."
        matrix = matrices[codes.index(assume)]
        return Position(matrix, NiftiForms(header.codes, others), (note,), itk.frame_step)
    sizes = " x ".join(f"{s:g}" for s in header.spacing_mm)
    raise UserError(
        f'"{path}" has a negative voxel size ({sizes} mm), with which 3D Slicer shows it as'
        f" {codes[0]} and other programs as {codes[1]}, one the mirror image of the other; make"
        f" the size positive in the header, or say which is right with --assume-orientation."
    )


def _position_of_two(header: NiftiHeader, itk: _Itk, others: Array, distance_mm: float) -> Position:
    """Slicer's position of a scan that other programs see elsewhere, with a note."""
    assert itk.matrix is not None
    mirrored = np.linalg.det(itk.matrix[:3, :3]) * np.linalg.det(others[:3, :3]) < 0
    sides = ""
    if mirrored:
        codes = nearest_code(others), nearest_code(itk.matrix)
        sides = f", mirrored ({codes[0]} in place of {codes[1]})"
    note = (
        "The file states two positions (qform and sform, or sizes in another unit) that differ by"
        f" up to {distance_mm:.3g} mm; the scan was taken to lie where 3D Slicer shows it, and"
        f" other programs, such as nibabel and FSL, see it elsewhere{sides}."
    )
    return Position(itk.matrix, NiftiForms(header.codes, others), (note,), itk.frame_step)


def _kji(header: NiftiHeader) -> tuple[int, int, int]:
    i, j, k = (*header.shape, 1, 1)[:3]
    return k, j, i


def _distance_mm(grid: Grid, other: Grid) -> float:
    """How far the corners of two grids lie apart at most."""
    return float(np.linalg.norm(grid.corners_ras() - other.corners_ras(), axis=1).max())
