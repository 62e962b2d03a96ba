"""Scans from files and folders, and results into files: NIfTI, NRRD, MHA, DICOM series, .seg.nrrd.

Every written file is read back and compared before it takes its name.
"""

from __future__ import annotations

import os
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.safe_files import atomic_write, write_error
from MedLLMSegLib.core.segmentation import Segmentation
from MedLLMSegLib.core.types import PathLike
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.io.dicom.series import load_dicom
from MedLLMSegLib.io.dicom.sort import dicom_files, is_dicom

from .itk_images import (
    FORMATS,
    READABLE,
    check_file_name,
    image_to_volume,
    itk_warnings_off,
    read_image,
    scan_suffix,
    volume_to_image,
)
from .seg_nrrd import segmentation_fields

LABEL_SUFFIXES = (".seg.nrrd", ".nii.gz", ".nii", ".nrrd")
VOLUME_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")
DICOM_SUFFIXES = (".dcm", ".ima")
# The file beside a batch's results that says what they were made from
RECORD_SUFFIX = ".medllmseg.json"
# The names of segmentations, which are no scans
SEGMENTATION_SUFFIXES = (".seg.nrrd", ".seg.nii.gz")
# NIfTI stores its matrix as float32, with an error of 0.02 micrometres at a distance of one metre.
_GRID_TOLERANCE_MM = 1e-2


def scan_name(path: PathLike) -> str:
    """What to call a scan: its file's name without the suffix, or its folder's name."""
    path = Path(path)
    suffix = scan_suffix(path)
    if suffix is not None:
        return path.name[: -len(suffix)]
    if path.suffix.lower() in DICOM_SUFFIXES:
        return path.stem
    return path.name or path.resolve().name


def load_volume(path: PathLike) -> Volume:
    """Read one scan: a file (NIfTI, NRRD, MHA, MHD), the folder of a DICOM series, or one of its
    files.

    The array keeps the file's own data type and axes, [k, j, i]. A file of several images (4D)
    gives [t, k, j, i], which `segment` refuses. `tags` holds "window_center" and "window_width" if
    a DICOM file has them. Raises `UserError`; ITK's own error is its ``__cause__``.
    """
    path = Path(path).expanduser()
    check_file_name(path)
    if not os.path.exists(path):
        raise UserError(f'There is no file or folder "{path}"; check the path.')
    if os.path.isdir(path):
        if not dicom_files(path):
            raise UserError(
                f'The folder "{path}" holds no DICOM series; name a scan file ({READABLE}) '
                "or a folder with the slices of one series."
            )
    elif path.stat().st_size == 0:
        raise UserError(f'"{path}" is empty (0 bytes); copy or export it again.')
    elif scan_suffix(path):
        return image_to_volume(read_image(path), scan_name(path))
    elif not is_dicom(path):
        raise UserError(
            f'"{path}" is not a scan in a format that can be read here ({READABLE}); '
            "convert it, for example with 3D Slicer."
        )
    volume = load_dicom(path)
    return replace(volume, name=scan_name(path))


def save_segmentation(segmentation: Segmentation, path: PathLike) -> Path:
    """Write the label map on the scan's grid, and return its path.

    The suffix chooses the format: plain uint8 in .nii.gz, .nii and .nrrd; .seg.nrrd for Slicer.
    Raises `UserError`.
    """
    path = Path(path).expanduser()
    if not path.name.lower().endswith(LABEL_SUFFIXES):
        raise UserError(
            f'"{path.name}" does not say in which format to save; end it with one of '
            f"{', '.join(LABEL_SUFFIXES)}."
        )
    labels = segmentation.labels
    image = volume_to_image(labels.with_array(np.asarray(labels.array, np.uint8)))
    if path.name.lower().endswith(".seg.nrrd"):
        for key, value in segmentation_fields(segmentation).items():
            image.SetMetaData(key, value)
    return _save(image, path)


def save_volume(volume: Volume, path: PathLike) -> Path:
    """Write an image in its own data type, and return its path.

    Channels [c, k, j, i] become a 4D NIfTI, or vectors in NRRD and MHA. Raises `UserError`.
    """
    path = Path(path).expanduser()
    suffix = scan_suffix(path)
    if suffix not in VOLUME_SUFFIXES:
        raise UserError(
            f'"{path.name}" does not say in which format to save; end it with .nii.gz, .nii, .nrrd'
            " or .mha."
        )
    return _save(volume_to_image(volume, vectors=suffix in (".nrrd", ".mha")), path)


def _save(image: sitk.Image, path: Path) -> Path:
    check_file_name(path)
    suffix = next(s for s in (*LABEL_SUFFIXES, *FORMATS) if path.name.lower().endswith(s))
    if suffix.startswith(".nii") and not _has_right_angles(image):
        raise UserError(
            f'"{path.name}" cannot be NIfTI, because the scan\'s axes are not at right angles; '
            "save it as .nrrd."
        )
    with atomic_write(path, suffix) as temporary:
        try:
            with itk_warnings_off():
                sitk.WriteImage(image, str(temporary), useCompression=suffix != ".nii")
            written = read_image(temporary)  # ITK's NIfTI writer does not notice a full disk
        except (RuntimeError, UserError) as error:
            raise write_error(path, error) from error
        if not _is_same_image(image, written):
            raise write_error(path)
    return path


def _has_right_angles(image: sitk.Image) -> bool:
    axes = np.array(image.GetDirection()).reshape(image.GetDimension(), -1)
    return bool(np.abs(axes.T @ axes - np.eye(len(axes))).max() <= 1e-4)


def _is_same_image(image: sitk.Image, written: sitk.Image) -> bool:
    """Whether voxels, grid and text fields of an image are those of the file that was written."""
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
