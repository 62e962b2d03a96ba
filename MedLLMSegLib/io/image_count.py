"""How many images a file holds, by its header alone."""

from __future__ import annotations

import math
from pathlib import Path

import SimpleITK as sitk

from MedLLMSegLib.core.errors import UserError

from .itk_images import itk_calls, scan_suffix
from .nifti.header import HEADER_BYTES, parse_header
from .nifti.voxels import ByteSource
from .packed_files import plain_blocks


def image_count(path: Path) -> int:
    """The 3D images along a file's fourth axis: NIfTI, NRRD or MetaImage; 1 for anything else.

    Also 1 for a file that cannot be read, of which `load_volume` says why.
    """
    suffix = scan_suffix(path)
    if suffix is None or path.is_dir():
        return 1
    try:
        if suffix in (".nii", ".nii.gz"):
            header = parse_header(ByteSource(plain_blocks(path)).read(HEADER_BYTES), path)
            sizes: tuple[int, ...] = header.shape
        else:
            sizes = _itk_sizes(path)
    except (OSError, RuntimeError, UserError):
        return 1
    return math.prod(sizes[3:])


def _itk_sizes(path: Path) -> tuple[int, ...]:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    with itk_calls():
        reader.ReadImageInformation()
    return tuple(reader.GetSize())
