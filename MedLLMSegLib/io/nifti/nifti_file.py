"""A NIfTI-1 file to a `Volume`, and the codes of the forms in a written file."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import Array
from MedLLMSegLib.core.volume import NiftiForms, Volume

from ..file_errors import unreadable
from ..itk_images import FRAME_STEP, at_most_4d
from ..packed_files import plain_blocks
from .header import CODES_AT, HEADER_BYTES, NiftiHeader, parse_header
from .position import find_position
from .voxels import ByteSource, read_voxels

SCANNER = 1  # NIfTI's code of a position in the scanner


def read_nifti(path: Path, name: str, assume: str | None = None) -> Volume:
    """Read a NIfTI file, compressed or not: [k, j, i], or [t, k, j, i] for a series of images.

    assume: the orientation of a file that states none (`find_position`). Raises `UserError`.
    """
    try:
        source = ByteSource(plain_blocks(path))
        header = parse_header(source.read(HEADER_BYTES), path)
        _check_components(header, path)
        array = _rescaled(read_voxels(header, source, path), header)
    except OSError as error:
        raise unreadable(path, error) from error
    except MemoryError as error:
        size = " x ".join(map(str, header.shape))
        raise UserError(
            f'"{path}" has {size} voxels, for which there is not enough memory; close other'
            " programs, or use a smaller scan."
        ) from error
    position = find_position(header, path, assume)
    tags = {FRAME_STEP: position.frame_step} if len(header.shape) > 3 else {}
    return Volume(
        at_most_4d(array),
        position.ijk_to_ras,
        name,
        tags,
        notes=position.notes,
        forms=position.forms,
    )


def _check_components(header: NiftiHeader, path: Path) -> None:
    """Raise `UserError` for several values in each voxel, which a fifth axis and more stand for."""
    values = math.prod(header.shape[4:])
    if values > 1:
        raise UserError(
            f'"{path}" has {values} values in each voxel (colour or vectors), and plain grey values'
            " are needed; convert it to a scalar volume."
        )


def _rescaled(stored: Array, header: NiftiHeader) -> Array:
    """The values after slope and intercept, in ITK's data types. A slope of 0 counts as 1."""
    slope = header.slope if math.isfinite(header.slope) and header.slope != 0 else 1.0
    intercept = header.intercept if math.isfinite(header.intercept) else 0.0
    if slope == 1.0 and intercept == 0.0:
        return stored
    values = stored.astype(stored.dtype if stored.dtype.kind == "f" else np.float32, copy=False)
    rescaled: Array = values * values.dtype.type(slope) + values.dtype.type(intercept)
    return rescaled


def written_codes(forms: NiftiForms | None) -> tuple[int, int]:
    """The codes for qform and sform of a result, which states its position in both: the scan's own,
    where it states one position. Otherwise both get the code of the one that was used.
    """
    qform, sform = forms.codes if forms else (0, 0)
    if forms and forms.other_ijk_to_ras is not None:
        return (qform or sform,) * 2
    return qform or sform or SCANNER, sform or qform or SCANNER


def set_codes(path: Path, codes: tuple[int, int]) -> None:
    """Write the codes of qform and sform into an uncompressed file of this machine's byte order."""
    with open(path, "rb+") as file:
        file.seek(CODES_AT)
        file.write(struct.pack("=2h", *codes))
