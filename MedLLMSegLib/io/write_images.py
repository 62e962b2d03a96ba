"""Images into files by ITK. Each is read back and compared before it takes its name."""

from __future__ import annotations

import gzip
import shutil
import zlib
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.safe_files import atomic_write, write_error
from MedLLMSegLib.core.volume import NiftiForms, Volume

from .itk_images import check_file_name, image_to_volume, itk_calls, read_image
from .nifti.nifti_file import read_nifti, set_codes, written_codes

# NIfTI stores its matrix as float32, with an error of 0.02 micrometres at a distance of one metre.
_GRID_TOLERANCE_MM = 1e-2
_PACKING_LEVEL = 6  # of zlib: beyond it, label maps take longer and become hardly smaller


def write_image(
    image: sitk.Image, path: Path, suffix: str, forms: NiftiForms | None = None
) -> Path:
    """Write an image, and return its path.

    suffix: that of the path, which chooses the format. forms: what the scan's NIfTI file said of
    its position. Raises `UserError`, and then an older file is as it was.
    """
    check_file_name(path)
    is_nifti = suffix.startswith(".nii")
    if is_nifti and not has_right_angles(image_to_volume(image, path.name)):
        raise no_right_angles(path)
    with atomic_write(path, suffix) as temporary:
        try:
            if is_nifti:
                _write_nifti(image, temporary, written_codes(forms))
            else:
                with itk_calls():
                    sitk.WriteImage(image, str(temporary), useCompression=True)
            same = _is_nifti_of(image, temporary) if is_nifti else _is_file_of(image, temporary)
        except (RuntimeError, UserError) as error:  # ITK's writers do not notice a full disk
            raise write_error(path, error) from error
        if not same:
            raise write_error(path)
    return path


def has_right_angles(volume: Volume) -> bool:
    """Whether a grid's axes are at right angles, as NIfTI needs; also of one that is not valid."""
    if not np.isfinite(volume.ijk_to_ras).all() or not min(volume.spacing_mm) > 0:
        return True
    axes = volume.grid.directions
    return bool(np.abs(axes.T @ axes - np.eye(3)).max() <= 1e-4)


def fits(volume: Volume, path: Path) -> bool:
    """Whether a file of this name can hold results on the volume's grid."""
    return has_right_angles(volume) or not path.name.lower().endswith((".nii", ".nii.gz"))


def no_right_angles(path: Path) -> UserError:
    """The error for a NIfTI file of a sheared grid."""
    return UserError(
        f'"{path.name}" cannot be NIfTI, because the scan\'s axes are not at right angles; '
        "save it as .nrrd or .seg.nrrd."
    )


def _write_nifti(image: sitk.Image, path: Path, codes: tuple[int, int]) -> None:
    """Write a file whose qform and sform are equal and have these codes."""
    plain = path.with_name(f"{path.name.partition('.nii')[0]}.plain.nii")
    try:
        with itk_calls():
            sitk.WriteImage(image, str(plain), useCompression=False)
        set_codes(plain, codes)
        if path.name.endswith(".gz"):
            with (
                open(plain, "rb") as source,
                open(path, "wb") as file,
                gzip.GzipFile("", "wb", _PACKING_LEVEL, file, mtime=0) as packed,
            ):
                shutil.copyfileobj(source, packed, 1 << 20)
        else:
            plain.replace(path)
    finally:
        plain.unlink(missing_ok=True)


def _is_nifti_of(image: sitk.Image, path: Path) -> bool:
    """Whether a NIfTI file holds an image, in one place by both forms."""
    expected, written = image_to_volume(image, ""), read_nifti(path, "")
    return (
        expected.array.dtype == written.array.dtype
        and np.array_equal(expected.array, written.array)
        and not written.notes
        and _corners_apart_mm(expected, written) <= _GRID_TOLERANCE_MM
    )


def _corners_apart_mm(first: Volume, second: Volume) -> float:
    return float(np.abs(first.grid.corners_ras() - second.grid.corners_ras()).max())


def _is_file_of(image: sitk.Image, path: Path) -> bool:
    """Whether voxels, grid and text fields of an image are those of the file that was written."""
    written = read_image(path)
    return (
        image.GetSize() == written.GetSize()
        and image.GetPixelID() == written.GetPixelID()
        and _checksum(image) == _checksum(written)
        and _is_same_grid(image, written)
        and all(
            written.HasMetaDataKey(key) and written.GetMetaData(key) == image.GetMetaData(key)
            for key in image.GetMetaDataKeys()
        )
    )


def _checksum(image: sitk.Image) -> int:
    """CRC-32 of the voxels, which needs no copy of them."""
    return zlib.crc32(sitk.GetArrayViewFromImage(image))


def _is_same_grid(image: sitk.Image, written: sitk.Image) -> bool:
    """Whether the first and the last voxel of both images lie in the same places."""
    first = [0] * image.GetDimension()
    last = [n - 1 for n in image.GetSize()]
    for index in (first, last):
        expected = np.array(image.TransformIndexToPhysicalPoint(index))
        actual = np.array(written.TransformIndexToPhysicalPoint(index))
        if np.abs(expected - actual).max() > _GRID_TOLERANCE_MM:
            return False
    return True
