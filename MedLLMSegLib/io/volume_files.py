"""Scans from files and folders, and results into files: NIfTI, NRRD, MHA, DICOM series, Slicer's
.seg.nrrd.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from MedLLMSegLib.anatomy.structures import TERMINOLOGY
from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.safe_files import atomic_write, write_error
from MedLLMSegLib.core.segmentation import Code, Segmentation, Structure
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.io.dicom.series import dicom_files, is_dicom, load_dicom, read_slice

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

LABEL_SUFFIXES = (".seg.nrrd", ".nii.gz", ".nii", ".nrrd")
RECORD_SUFFIX = ".medllmseg.json"  # beside a batch's results: what they were made from
VOLUME_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")
_OURS = (".seg.nrrd", ".seg.nii.gz")
_GRID_TOLERANCE_MM = (
    1e-2  # NIfTI stores its matrix as float32: 0.02 micrometres at a metre's distance
)


def scan_name(path) -> str:
    """What to call a scan: its file's name without the suffix, or its folder's name."""
    path = Path(path)
    suffix = scan_suffix(path)
    if suffix:
        return path.name[: -len(suffix)]
    return (
        path.stem if path.suffix.lower() in (".dcm", ".ima") else path.name or path.resolve().name
    )


def load_volume(path) -> Volume:
    """Read one scan from a file (NIfTI, NRRD, MHA, MHD), a DICOM series folder, or one file of a
    DICOM series.

    The array keeps the file's own type and axes, [k, j, i]; a file of several images (4D) gives [t,
    k, j, i], which `segment` refuses. `tags` holds "window_center" and "window_width" where a DICOM
    file has them. Raises `UserError`. What ITK said is its ``__cause__``.
    """
    path = Path(path).expanduser()
    check_file_name(path)
    if os.path.isdir(path):
        if not dicom_files(path):
            raise UserError(
                f'The folder "{path}" holds no DICOM series; name a scan file ({READABLE}) '
                "or a folder with the slices of one series."
            )
    elif not os.path.exists(path):
        raise UserError(f'There is no file or folder "{path}"; check the path.')
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
    return Volume(volume.array, volume.ijk_to_ras, scan_name(path), volume.tags)


def find_scans(paths: Iterable) -> list[Path]:
    """The scans that files and folders stand for, each once, in the order given.

    A folder with DICOM files in it, and no other scan files, is one scan. Any other folder stands
    for its scan files and those of its direct subfolders that are DICOM series, sorted. Several
    files of one DICOM series stand for that series once. A path that does not exist is kept:
    loading it says what is wrong. Raises `UserError` for a folder with no scan.
    """
    found, seen = [], set()
    for path in (Path(p).expanduser() for p in paths):
        for scan in _scans_in(path) if os.path.isdir(path) else [path]:
            key = _series_key(scan) or scan.resolve()
            if key not in seen:
                seen.add(key)
                found.append(scan)
    return found


def _series_key(path: Path) -> tuple[Path, str] | None:
    """Folder and series of a DICOM slice; None for any other file, and for a damaged one
    (loading it says so).
    """
    try:
        one = read_slice(path) if is_dicom(path) else None
    except UserError:
        return None
    return (path.parent.resolve(), one.series) if one and one.in_series else None


def _scans_in(folder: Path) -> list[Path]:
    try:
        images, slices, folders = _contents(folder)
        if slices and not images:
            return [folder]
        series = [p for p in folders if _contents(p)[1] and not _contents(p)[0]]
        scans = sorted(images + slices + series)
    except OSError as error:
        raise UserError(
            f'The folder "{folder}" may not be read ({error.strerror}); check its permissions.'
        ) from error
    if not scans:
        raise UserError(
            f'The folder "{folder}" holds no scan that can be read here ({READABLE}); '
            "name another folder or the scan's file."
        )
    return scans


def _contents(folder: Path) -> tuple[list[Path], list[Path], list[Path]]:
    """(scan files other than our results, DICOM files, folders) directly in a folder.

    Hidden files and our own results (a .nii.gz with its record beside it) are left out.
    """
    entries = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    images = [
        p
        for p in entries
        if scan_suffix(p)
        and p.is_file()
        and not p.name.lower().endswith(_OURS)
        and not (p.with_name(scan_name(p) + RECORD_SUFFIX).exists() and p.name.endswith(".nii.gz"))
    ]
    return images, [p for p in entries if is_dicom(p)], [p for p in entries if p.is_dir()]


def save_segmentation(segmentation: Segmentation, path) -> Path:
    """Write the label map on the scan's grid: .nii.gz, .nii and .nrrd as plain uint8, .seg.nrrd for
    Slicer.

    The file is read back and compared before it takes its name. Raises `UserError`.
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
        for key, value in segment_tags(segmentation).items():
            image.SetMetaData(key, value)
    return _save(image, path)


def save_volume(volume: Volume, path) -> Path:
    """Write an image in its own type; channels [c, k, j, i] become a 4D NIfTI or a NRRD (MHA) of
    vectors.

    The file is read back and compared before it takes its name. Raises `UserError`.
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
    axes = np.array(image.GetDirection()).reshape(image.GetDimension(), -1)
    if suffix.startswith(".nii") and np.abs(axes.T @ axes - np.eye(len(axes))).max() > 1e-4:
        raise UserError(
            f'"{path.name}" cannot be NIfTI, because the scan\'s axes are not at right angles; '
            "save it as .nrrd."
        )
    with atomic_write(path, suffix) as temporary:
        try:
            with itk_warnings_off():
                sitk.WriteImage(image, str(temporary), useCompression=suffix != ".nii")
            back = read_image(temporary)  # ITK's NIfTI writer does not notice a full disk
        except (RuntimeError, UserError) as error:
            raise write_error(path, error) from error
        if not _same(image, back):
            raise write_error(path)
    return path


def _same(image: sitk.Image, back: sitk.Image) -> bool:
    """Whether voxels, grid and text fields came back. Voxels are compared by checksum, which
    copies nothing.
    """
    if (
        image.GetSize() != back.GetSize()
        or image.GetPixelID() != back.GetPixelID()
        or len({zlib.crc32(sitk.GetArrayViewFromImage(each)) for each in (image, back)}) > 1
    ):
        return False
    far = [[0] * image.GetDimension(), [n - 1 for n in image.GetSize()]]
    for a in far:
        ends = [np.array(each.TransformIndexToPhysicalPoint(a)) for each in (image, back)]
        if np.abs(ends[0] - ends[1]).max() > _GRID_TOLERANCE_MM:
            return False
    return all(
        back.HasMetaDataKey(key) and back.GetMetaData(key) == image.GetMetaData(key)
        for key in image.GetMetaDataKeys()
    )


def segment_tags(segmentation: Segmentation) -> dict[str, str]:
    """The text fields that make a label map NRRD Slicer's segmentation file (.seg.nrrd).

    Source: Slicer, Docs/developer_guide/modules/segmentations.md and
    vtkMRMLSegmentationStorageNode.
    """
    extent = " ".join(f"0 {n - 1}" for n in segmentation.labels.array.shape[::-1])
    tags = {
        "Segmentation_ContainedRepresentationNames": "Binary labelmap|",
        "Segmentation_ConversionParameters": "",
        "Segmentation_MasterRepresentation": "Binary labelmap",
        "Segmentation_ReferenceImageExtentOffset": "0 0 0",
    }
    for n, structure in enumerate(segmentation.found):
        fields = {
            "ID": structure.key,
            "Name": structure.name,
            "NameAutoGenerated": "0",
            "Color": " ".join(f"{c / 255:.6g}" for c in structure.color),
            "ColorAutoGenerated": "0",
            "LabelValue": str(structure.label),
            "Layer": "0",
            "Extent": extent,
            "Tags": f"TerminologyEntry:{terminology(structure)}|",
        }
        tags |= {f"Segment{n}_{name}": value for name, value in fields.items()}
    return tags


def terminology(structure: Structure) -> str:
    """A structure's codes as Slicer's terminology entry: seven fields parted by ~, each code
    scheme^value^meaning.
    """

    def code(c: Code | None) -> str:
        return f"{c.scheme}^{c.value}^{c.meaning}" if c else "^^"

    return "~".join(
        (
            TERMINOLOGY,
            code(structure.category),
            code(structure.type),
            code(structure.modifier),
            "Anatomic codes - DICOM master list",
            "^^",
            "^^",
        )
    )
