"""What the text headers of NRRD and MetaImage say before ITK reads the files: whether the data file
is there and whole, and whether the orientation is stated.

ITK does not compare checksums, and takes an orientation that is not stated for LPS.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from MedLLMSegLib.core.errors import UserError, in_short
from MedLLMSegLib.core.orientation_code import assumed_note, code_directions, not_stated
from MedLLMSegLib.core.volume import Volume

from .file_errors import unreadable, wrong_content
from .itk_images import scan_suffix
from .packed_files import GZIP_SIGNATURE, unzipped

MOST_HEADER_BYTES = 1 << 24
# ITK's readers write past the end of their own memory, and crash, for a longer line of NRRD that
# they refuse, and for more axes of a MetaImage.
MOST_LINE_BYTES = 900
MOST_AXES = 9
# NRRD's names of the spaces whose axes are known, without "-time"
_SPACES = {
    "right-anterior-superior", "ras", "left-anterior-superior", "las",
    "left-posterior-superior", "lps",
}  # fmt: skip
_META_ORIENTATIONS = ("transformmatrix", "orientation", "rotation")
_BLOCK_BYTES = 1 << 20
_GZIP_WINDOW, _ZLIB_WINDOW = 31, 15


@dataclass(frozen=True)
class TextHeader:
    """fields: lower-case name -> value. data_start: byte behind the header."""

    fields: Mapping[str, str]
    data_start: int
    is_meta: bool

    @property
    def axes(self) -> int:
        """The number of axes that lie in space or time."""
        text = self.fields.get("ndims" if self.is_meta else "dimension", "3")
        return int(text) if text.isdigit() else 3

    @property
    def states_orientation(self) -> bool:
        """Whether the file says where the axes of its array lead in the body."""
        if self.is_meta:
            return any(name in self.fields for name in _META_ORIENTATIONS)
        space = self.fields.get("space", "").lower().removesuffix("-time").removesuffix("t")
        return space in _SPACES and "space directions" in self.fields

    @property
    def data_file(self) -> str | None:
        """The name of the one file that holds the voxels; None if they follow the header, or lie in
        several files.
        """
        if self.is_meta:
            name = self.fields.get("elementdatafile", "LOCAL")
            return None if name.upper() in ("LOCAL", "LIST") or "%" in name else name
        name = self.fields.get("data file", self.fields.get("datafile", ""))
        return None if not name or name.startswith("LIST") or "%" in name else name

    @property
    def is_packed(self) -> bool:
        """Whether the voxels are compressed by zlib, with a checksum."""
        if self.is_meta:
            return self.fields.get("compresseddata", "").lower() == "true"
        return self.fields.get("encoding", "").lower() in ("gzip", "gz")


def check_header(path: Path) -> TextHeader:
    """The header of an NRRD or MetaImage file whose voxels are present and not damaged, as far as
    its checksums tell. Raises `UserError`.
    """
    try:
        header = _read_header(path)
        place, start = path, header.data_start
        if header.data_file is not None:
            place, start = path.parent / header.data_file, 0
            _check_data_file(path, place)
        if header.is_packed:
            _check_packed(header, place, start)
    except OSError as error:
        raise unreadable(path, error) from error
    return header


def _check_data_file(path: Path, place: Path) -> None:
    if not os.path.exists(place):
        raise UserError(
            f'"{path}" is a header alone, and its data file "{in_short(place)}" is missing; put'
            " that file beside it, or export the scan again as one file (.nrrd, .mha or .nii.gz)."
        )
    if not os.path.isfile(place) or place.stat().st_size == 0:
        raise UserError(
            f'"{path}" is a header alone, and its data file "{in_short(place)}" is empty or not a'
            " file; copy it again."
        )


def _check_packed(header: TextHeader, place: Path, start: int) -> None:
    """Raise `UserError` if compressed voxels do not match their checksum."""
    with open(place, "rb") as file:
        file.seek(start + _skipped_bytes(header))
        blocks = iter(lambda: file.read(_BLOCK_BYTES), b"")
        first = next(blocks, b"")
        window = _GZIP_WINDOW if first.startswith(GZIP_SIGNATURE) else _ZLIB_WINDOW
        for _ in unzipped(_chained(first, blocks), place, window):
            pass


def _chained(first: bytes, blocks: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from blocks


def _skipped_bytes(header: TextHeader) -> int:
    """Bytes to pass over before the voxels."""
    name = "headersize" if header.is_meta else "byte skip"
    text = header.fields.get(name, header.fields.get("byteskip", "0"))
    return int(text) if text.isdigit() else 0


def _read_header(path: Path) -> TextHeader:
    is_meta = scan_suffix(path) in (".mha", ".mhd")
    fields: dict[str, str] = {}
    with open(path, "rb") as file:
        while line := file.readline(_BLOCK_BYTES):
            if file.tell() > MOST_HEADER_BYTES:
                raise wrong_content(path, "MetaImage" if is_meta else "NRRD")
            text = line.decode("utf-8", "replace").strip()
            is_field = not (is_meta or text.startswith("#") or ":=" in text)
            if is_field and len(line) > MOST_LINE_BYTES:
                raise wrong_content(path, "NRRD")
            if not text and not is_meta:
                break  # an empty line ends NRRD's header
            name, value = _field(text, is_meta)
            if is_meta and name == "ndims" and not _is_axes(value):
                raise wrong_content(path, "MetaImage")
            fields.setdefault(name, value)
            if is_meta and name == "elementdatafile":
                break
        return TextHeader(fields, file.tell(), is_meta)


def _is_axes(text: str) -> bool:
    return text.isdecimal() and 1 <= int(text[:9]) <= MOST_AXES


def _field(line: str, is_meta: bool) -> tuple[str, str]:
    """Name and value of a line. NRRD's key:=value lines are the user's, and no fields."""
    if not is_meta and (line.startswith("#") or ":=" in line):
        return "", ""
    name, _, value = line.partition("=" if is_meta else ":")
    return re.sub(r"\s+", " ", name.strip().lower()), value.strip()


def with_orientation(volume: Volume, header: TextHeader, path: Path, assume: str | None) -> Volume:
    """The volume, whose file states its orientation, or on axes that are assumed.

    assume: three letters, or None. Raises `UserError` for a 3D scan without orientation where none
    is assumed.
    """
    if header.states_orientation or header.axes < 3:
        return volume
    if assume is None:
        raise not_stated(f'"{path}"')
    matrix = np.eye(4)
    matrix[:3, :3] = code_directions(assume) * volume.spacing_mm[::-1]
    if not math.isfinite(float(matrix.sum())):
        return volume  # `check_scan` says what is wrong with it
    return replace(volume, ijk_to_ras=matrix, notes=(*volume.notes, assumed_note(assume)))
