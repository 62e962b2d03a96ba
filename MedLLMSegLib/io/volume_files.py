"""Scans from files and folders, results into files: NIfTI, NRRD, MHA, DICOM series, .seg.nrrd."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.orientation_code import check_code
from MedLLMSegLib.core.segmentation import Segmentation
from MedLLMSegLib.core.types import PathLike
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.io.dicom.series import load_dicom
from MedLLMSegLib.io.dicom.sort import dicom_files, is_dicom

from .file_errors import check_link
from .itk_images import (
    FORMATS,
    READABLE,
    check_file_name,
    image_to_volume,
    read_image,
    scan_suffix,
    volume_to_image,
)
from .nifti.nifti_file import read_nifti
from .seg_nrrd import segmentation_fields
from .text_headers import check_header, with_orientation
from .write_images import write_image

LABEL_SUFFIXES = (".seg.nrrd", ".nii.gz", ".nii", ".nrrd")
VOLUME_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")
DICOM_SUFFIXES = (".dcm", ".ima")
# The file beside a batch's results that says what they were made from
RECORD_SUFFIX = ".medllmseg.json"
# The names of segmentations, which are no scans
SEGMENTATION_SUFFIXES = (".seg.nrrd", ".seg.nii.gz")


def scan_name(path: PathLike) -> str:
    """What to call a scan: its file's name without the suffix, or its folder's name."""
    path = Path(path)
    suffix = scan_suffix(path)
    if suffix is not None:
        return path.name[: -len(suffix)]
    if path.suffix.lower() in DICOM_SUFFIXES:
        return path.stem
    return path.name or path.resolve().name


def load_volume(
    path: PathLike,
    assume_orientation: str | None = None,
    *,
    series: str | None = None,
    frames: str | None = None,
) -> Volume:
    """Read one scan: a file (NIfTI, NRRD, MHA, MHD), the folder of a DICOM series, or one of its
    files.

    The array keeps the file's own data type and axes, [k, j, i]. A file of several images (4D)
    gives [t, k, j, i], which `segment` refuses. `tags` holds "window_center" and "window_width" if
    a DICOM file has them. assume_orientation: three letters such as "RAS", which say where the
    axes i, j and k of a file lead that does not state its orientation; None to refuse such a file.
    series, frames: which volume of DICOM files to read, as for `load_dicom`.
    Raises `UserError`; ITK's own error is its ``__cause__``.
    """
    path = Path(path).expanduser()
    check_file_name(path)
    check_link(path)
    if not os.path.exists(path):
        raise UserError(f'There is no file or folder "{path}"; check the path.')
    if os.path.isdir(path):
        for entry in path.iterdir():
            check_link(entry)
        if not dicom_files(path):
            raise UserError(
                f'The folder "{path}" holds no DICOM series; name a scan file ({READABLE}) '
                "or a folder with the slices of one series."
            )
    elif path.stat().st_size == 0:
        raise UserError(f'"{path}" is empty (0 bytes); copy or export it again.')
    elif scan_suffix(path):
        if series is not None or frames is not None:
            raise UserError(
                f'"{path}" is not a DICOM file, and series and frames can be chosen only for DICOM;'
                " leave --series and --frames out."
            )
        return _read_file(path, assume_orientation)
    elif not is_dicom(path):
        raise UserError(
            f'"{path}" is not a scan in a format that can be read here ({READABLE}); '
            "convert it, for example with 3D Slicer."
        )
    volume = load_dicom(path, series, frames)
    return replace(volume, name=scan_name(path))


def _read_file(path: Path, assume_orientation: str | None) -> Volume:
    """Read a file in one of `FORMATS`."""
    assume = None if assume_orientation is None else check_code(assume_orientation)
    name = scan_name(path)
    if scan_suffix(path) in (".nii", ".nii.gz"):
        return read_nifti(path, name, assume)
    header = check_header(path)
    return with_orientation(image_to_volume(read_image(path), name), header, path, assume)


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
    return write_image(image, path, _suffix(path), labels.forms)


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
    image = volume_to_image(volume, vectors=suffix in (".nrrd", ".mha"))
    return write_image(image, path, _suffix(path), volume.forms)


def _suffix(path: Path) -> str:
    """The suffix of a file to be written, which is known to have one."""
    return next(s for s in (*LABEL_SUFFIXES, *FORMATS) if path.name.lower().endswith(s))
