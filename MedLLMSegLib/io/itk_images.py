"""SimpleITK images and `Volume`: reading with checks, and the change of frame (LPS to RAS).

ITK chooses a reader by a file's name and trusts its content, so the file is checked here before
ITK gets it.
"""

from __future__ import annotations

import locale
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import Array, PathLike
from MedLLMSegLib.core.volume import Volume

from .file_errors import unreadable, wrong_content

# Tag of a series: the distance between its images, in the file's own unit
FRAME_STEP = "frame_step"
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])
READABLE = "NIfTI (.nii, .nii.gz), NRRD, MHA or MHD, or a DICOM series"


class Format(NamedTuple):
    """A file format.

    name: for messages. image_io: ITK's reader and writer. signature: bytes near the file's start.
    """

    name: str
    image_io: str
    signature: bytes


_META = Format("MetaImage", "MetaImageIO", b"NDims")
_NRRD = Format("NRRD", "NrrdImageIO", b"NRRD")
_NIFTI = Format("NIfTI", "NiftiImageIO", b"")
FORMATS = {
    ".nii.gz": _NIFTI,
    ".nii": _NIFTI,
    ".nrrd": _NRRD,
    ".nhdr": _NRRD,
    ".mha": _META,
    ".mhd": _META,
}


def scan_suffix(path: PathLike) -> str | None:
    """The suffix of a format that we read ("scan.NII.GZ" -> ".nii.gz"), or None."""
    name = Path(path).name.lower()
    return next((suffix for suffix in FORMATS if name.endswith(suffix)), None)


def check_file_name(path: PathLike) -> None:
    """Raise `UserError` for a name that is not valid text: ITK ends the whole process on it."""
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError as error:
        printable = str(path).encode("utf-8", "replace").decode()
        raise UserError(
            f'The file name "{printable}" has characters that are not valid text; rename it.'
        ) from error


@contextmanager
def itk_calls() -> Iterator[None]:
    """Around calls of ITK: no warnings from its C++ code, and numbers in text with a point.

    Both are settings of the whole process, and are restored. ITK reads and writes numbers as the
    process's locale has them, which in Qt's programs is the user's: "1,5" in German.
    """
    warnings = sitk.ProcessObject.GetGlobalWarningDisplay()
    numbers = locale.setlocale(locale.LC_NUMERIC)
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    locale.setlocale(locale.LC_NUMERIC, "C")
    try:
        yield
    finally:
        locale.setlocale(locale.LC_NUMERIC, numbers)
        sitk.ProcessObject.SetGlobalWarningDisplay(warnings)


def read_image(path: Path) -> sitk.Image:
    """Read a file in one of ITK's text-headed formats, NRRD or MetaImage. Raises `UserError`."""
    file_format = FORMATS[scan_suffix(path) or ""]
    try:
        with open(path, "rb") as file:
            if file_format.signature not in file.read(4096):
                raise wrong_content(path, file_format.name)
    except OSError as error:
        raise unreadable(path, error) from error
    return run_reader(sitk.ImageFileReader(), file_format.image_io, path, str(path))


def run_reader(
    reader: sitk.ImageFileReader | sitk.ImageSeriesReader,
    image_io: str,
    path: Path,
    files: str | Sequence[str],
) -> sitk.Image:
    """Run an ITK reader on one file, or on the files of a series.

    path: what the messages name. ITK's exceptions become `UserError`.
    """
    try:
        reader.SetImageIO(image_io)
        if isinstance(files, str):
            reader.SetFileName(files)
        else:
            reader.SetFileNames(files)
        with itk_calls():
            return reader.Execute()
    except (RuntimeError, MemoryError) as error:
        if "orthonormal" in str(error):
            raise UserError(
                f'"{path}" has voxel axes that are not at right angles, and a regular grid is'
                " needed; resample it, for example with 3D Slicer, and use the result."
            ) from error
        if "Zero-valued spacing" in str(error):
            raise UserError(
                f'"{path}" has a voxel size of zero along an axis; correct the spacing in the'
                " file's header."
            ) from error
        raise UserError(
            f'"{path}" could not be read, it seems to be damaged or of an unusual kind; '
            "copy or export it again."
        ) from error


def image_to_volume(
    image: sitk.Image, name: str, tags: Mapping[str, float] | None = None
) -> Volume:
    """An ITK image (2D to 5D) as a Volume: [k, j, i], or [t, k, j, i] for a series of images."""
    components = image.GetNumberOfComponentsPerPixel()
    if components > 1:
        raise UserError(
            f'"{name}" has {components} values in each voxel (colour or vectors), and plain grey'
            " values are needed; convert it to a scalar volume."
        )
    spacing = image.GetSpacing()
    frame_step = {FRAME_STEP: float(spacing[3]) or 1.0} if len(spacing) > 3 else {}
    array = at_most_4d(sitk.GetArrayFromImage(image))
    return Volume(array, itk_matrix(image), name, {**frame_step, **(tags or {})})


def itk_matrix(image: sitk.Image | sitk.ImageFileReader) -> Array:
    """(4, 4) from voxels (i, j, k) to RAS mm, of an image or of a reader that knows its header."""
    dimension = image.GetDimension()
    axes = min(dimension, 3)
    direction = np.array(image.GetDirection()).reshape(dimension, dimension)[:axes, :axes]
    matrix = np.eye(4)
    matrix[:axes, :axes] = direction * np.array(image.GetSpacing())[:axes]
    matrix[:axes, 3] = image.GetOrigin()[:axes]
    matrix[:3] = LPS_TO_RAS @ matrix[:3]
    return matrix


def at_most_4d(array: Array) -> Array:
    """[j, i] becomes [1, j, i]; axes beyond three become one, or none if it has length 1."""
    if array.ndim <= 3:
        return array.reshape((1,) * (3 - array.ndim) + array.shape)
    array = array.reshape(-1, *array.shape[-3:])
    if len(array) == 1:
        single: Array = array[0]
        return single
    return array


def volume_to_image(volume: Volume, vectors: bool = False) -> sitk.Image:
    """A Volume [k, j, i] or [c, k, j, i] as an ITK image.

    vectors: channels become the components of a voxel (NRRD); otherwise they become a fourth axis
    (NIfTI).
    """
    lps = LPS_TO_RAS @ np.asarray(volume.ijk_to_ras, float)[:3]
    spacing = np.linalg.norm(lps[:, :3], axis=0)
    array = _itk_array(np.asarray(volume.array))
    is_vector = vectors and array.ndim == 4
    if is_vector:
        array = np.moveaxis(array, 0, -1)
    image = sitk.GetImageFromArray(array, isVector=is_vector)
    if not _is_valid_geometry(lps, spacing):
        raise UserError(
            f'"{volume.name}" has no valid position in space (its matrix is'
            f" {np.asarray(volume.ijk_to_ras).tolist()}); export it again with its spacing and"
            " direction."
        )
    dimension = image.GetDimension()
    direction = np.eye(dimension)
    direction[:3, :3] = lps[:, :3] / spacing
    more_axes = dimension - 3
    image.SetDirection(direction.ravel().tolist())
    image.SetSpacing([*spacing.tolist(), *[volume.tags.get(FRAME_STEP, 1.0)] * more_axes])
    image.SetOrigin([*lps[:, 3].tolist(), *[0.0] * more_axes])
    return image


def _itk_array(array: Array) -> Array:
    """In a data type that ITK has, and without a channel axis of length 1."""
    if array.dtype == bool:
        array = array.astype(np.uint8)
    elif array.dtype == np.float16:
        array = array.astype(np.float32)
    if array.ndim == 4 and len(array) == 1:
        single: Array = array[0]
        return single
    return array


def _is_valid_geometry(lps: Array, spacing: Array) -> bool:
    if not np.isfinite(lps).all() or spacing.min() <= 0:
        return False
    return bool(abs(np.linalg.det(lps[:, :3] / spacing)) > 1e-3)
