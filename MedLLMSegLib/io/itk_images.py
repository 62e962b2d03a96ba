"""SimpleITK images and `Volume`: the change of frame (LPS to RAS), and the checks that ITK leaves
out.

ITK reads a truncated NIfTI file without complaint and fills the rest with whatever lies in memory,
turns a voxel size of zero into 1 mm, and does not notice a full disk; so the file is looked at here
before ITK gets it.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.volume import Volume

FRAME_STEP = (  # tag of a series: the distance between its images, in the file's own unit
    "frame_step"
)
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])


class Format(NamedTuple):
    """A file format: its name for messages, ITK's reader and writer, and what must stand near
    the file's start.
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
READABLE = "NIfTI (.nii, .nii.gz), NRRD, MHA or MHD, or a DICOM series"


def scan_suffix(path) -> str | None:
    """The suffix of a format we read ("scan.NII.GZ" -> ".nii.gz"), or None."""
    name = Path(path).name.lower()
    return next((suffix for suffix in FORMATS if name.endswith(suffix)), None)


def check_file_name(path) -> None:
    """Raise `UserError` for a name that is not valid text."""
    try:
        str(path).encode("utf-8")  # ITK ends the whole process on a name that is not valid text
    except UnicodeEncodeError as error:
        shown = str(path).encode("utf-8", "replace").decode()
        raise UserError(
            f'The file name "{shown}" has characters that are not valid text; rename it.'
        ) from error


@contextmanager
def itk_warnings_off() -> Iterator[None]:
    """ITK's C++ warnings off. The switch is the process's own, so it is held for one call and
    put back.
    """
    before = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(before)


def read_image(path: Path) -> sitk.Image:
    """One image file that ITK chooses no reader for: we do, by the suffix. Raises `UserError`."""
    file_format = FORMATS[scan_suffix(path)]
    try:
        if file_format is _NIFTI:
            _check_nifti(path)
        else:
            with open(path, "rb") as file:
                if file_format.signature not in file.read(4096):
                    raise UserError(_not_a(path, file_format))
    except OSError as error:
        raise UserError(
            f'"{path}" may not be read ({error.strerror}); check the file and its permissions.'
        ) from error
    return run_reader(sitk.ImageFileReader(), file_format.image_io, path, str(path))


def run_reader(reader, image_io: str, path: Path, files) -> sitk.Image:
    """Run an ITK reader on a file name, or on the names of a series; its exceptions become
    `UserError`.
    """
    try:
        reader.SetImageIO(image_io)
        reader.SetFileName(files) if isinstance(files, str) else reader.SetFileNames(files)
        with itk_warnings_off():
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


def _not_a(path: Path, file_format: Format) -> str:
    return (
        f'"{path}" is named like a {file_format.name} file, but its content is something else or damaged; '
        "check that it is the right file, or export it again."
    )


def _check_nifti(path: Path) -> None:
    """Raise `UserError` unless the header is NIfTI, the voxel sizes are not zero, and all voxels
    are there and finite.

    ITK would turn a voxel that is not a number into 0 without a word.
    """
    with open(path, "rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    opened = gzip.open if packed else open
    try:
        with opened(path, "rb") as file:
            start, size, dtype, sizes_mm = _nifti_header(file.read(348), path)
            file.seek(start)
            held, wrong = _count(file, size, dtype)
            while packed and file.read(
                1 << 20
            ):  # to the end, so that gzip's own checksum is compared
                pass
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(
            f'"{path}" is cut short or damaged (its compressed data ends too early or does not'
            " match its checksum); copy or download it again."
        ) from error
    if held < size:
        raise UserError(
            f'"{path}" is cut short: it holds {held} of {size} bytes; copy or download it again.'
        )
    if wrong:
        raise UserError(
            f'"{path}" has {wrong} voxels that are not a number or infinite; '
            "replace them (for example by 0) and try again."
        )
    if not all(math.isfinite(s) and s != 0 for s in sizes_mm):
        sizes = " x ".join(f"{s:g}" for s in sizes_mm)
        raise UserError(
            f'"{path}" has a voxel size of {sizes} mm, and none may be zero; '
            "correct the spacing in the file's header."
        )


def _count(file, size: int, dtype: np.dtype | None) -> tuple[int, int]:
    """(bytes of voxels that are there, how many are not finite) from a file that stands at its
    first voxel.

    dtype: of floating-point voxels; others cannot be wrong.
    """
    held = wrong = 0
    while held < size and (block := file.read(min(1 << 20, size - held))):
        held += len(block)
        if dtype is not None:
            values = np.frombuffer(block, dtype, len(block) // dtype.itemsize)
            wrong += len(values) - int(np.count_nonzero(np.isfinite(values)))
    return held, wrong


def _nifti_header(head: bytes, path: Path) -> tuple[int, int, np.dtype | None, tuple[float, ...]]:
    """From the start of a NIfTI-1 file: first byte and number of bytes of the voxels, their type if
    it is a floating-point one, and voxel sizes in mm along i, j, k.
    """
    sizes = (
        {struct.unpack_from(order + "i", head)[0]: order for order in "<>"}
        if len(head) >= 348
        else {}
    )
    if 540 in sizes:
        raise UserError(
            f'"{path}" is a NIfTI-2 file, and NIfTI-1 is needed; convert it, for example with'
            " nibabel."
        )
    if 348 not in sizes:
        raise UserError(_not_a(path, _NIFTI))
    order = sizes[348]
    dim, (bits,) = (
        struct.unpack_from(order + "8h", head, 40),
        struct.unpack_from(order + "h", head, 72),
    )
    pixdim, (start,) = (
        struct.unpack_from(order + "8f", head, 76),
        struct.unpack_from(order + "f", head, 108),
    )
    if not 1 <= dim[0] <= 7 or min(dim[1 : dim[0] + 1]) < 1 or not math.isfinite(start):
        raise UserError(_not_a(path, _NIFTI))
    (code,) = struct.unpack_from(order + "h", head, 70)
    dtype = np.dtype(order + {16: "f4", 64: "f8"}[code]) if code in (16, 64) else None
    return (
        max(0, int(start)),
        math.prod(dim[1 : dim[0] + 1]) * bits // 8,
        dtype,
        pixdim[1 : min(dim[0], 3) + 1],
    )


def image_to_volume(
    image: sitk.Image, name: str, tags: Mapping[str, float] | None = None
) -> Volume:
    """An ITK image (2D to 5D) as a Volume: [k, j, i], or [t, k, j, i] for a series of images."""
    values = image.GetNumberOfComponentsPerPixel()
    if values > 1:
        raise UserError(
            f'"{name}" has {values} values in each voxel (colour or vectors), and plain grey values'
            " are needed; convert it to a scalar volume."
        )
    n = image.GetDimension()
    array = sitk.GetArrayFromImage(image)
    if n == 2:
        array = array[None]
    if array.ndim > 3:
        array = array.reshape(-1, *array.shape[-3:])
        array = array[0] if len(array) == 1 else array
    axes = min(n, 3)
    matrix = np.eye(4)
    direction = np.array(image.GetDirection()).reshape(n, n)[:axes, :axes]
    matrix[:axes, :axes] = direction * np.array(image.GetSpacing())[:axes]
    matrix[:axes, 3] = image.GetOrigin()[:axes]
    matrix[:3] = LPS_TO_RAS @ matrix[:3]
    step = {FRAME_STEP: float(image.GetSpacing()[3]) or 1.0} if n > 3 else {}
    return Volume(array, matrix, name, {**step, **(tags or {})})


def volume_to_image(volume: Volume, vectors: bool = False) -> sitk.Image:
    """A Volume [k, j, i] or [c, k, j, i] as an ITK image.

    vectors: channels become the values of a voxel (NRRD); otherwise they become a fourth axis
    (NIfTI).
    """
    array = np.asarray(volume.array)
    if array.dtype in (bool, np.float16):  # ITK has neither
        array = array.astype(np.uint8 if array.dtype == bool else np.float32)
    if array.ndim == 4 and len(array) == 1:
        array = array[0]
    many = array.ndim == 4
    image = sitk.GetImageFromArray(
        np.moveaxis(array, 0, -1) if many and vectors else array, isVector=many and vectors
    )
    lps = LPS_TO_RAS @ np.asarray(volume.ijk_to_ras, float)[:3]
    spacing = np.linalg.norm(lps[:, :3], axis=0)
    if not (
        np.isfinite(lps).all()
        and spacing.min() > 0
        and abs(np.linalg.det(lps[:, :3] / spacing)) > 1e-3
    ):
        raise UserError(
            f'"{volume.name}" has no valid position in space (its matrix is'
            f" {np.asarray(volume.ijk_to_ras).tolist()}); export it again with its spacing and"
            " direction."
        )
    n = image.GetDimension()
    direction = np.eye(n)
    direction[:3, :3] = lps[:, :3] / spacing
    image.SetDirection(direction.ravel().tolist())
    image.SetSpacing([*spacing.tolist(), *[volume.tags.get(FRAME_STEP, 1.0)] * (n - 3)])
    image.SetOrigin([*lps[:, 3].tolist(), *[0.0] * (n - 3)])
    return image
