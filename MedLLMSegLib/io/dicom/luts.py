"""The look-up tables of a DICOM image, the only part of a radiograph's header that GDCM hides.

The reader walks over the data elements (DICOM PS3.5, section 7) up to the VOI LUT sequence. It
knows the two little-endian encodings; files in others (deflated and big-endian, both rare or
retired) give no tables.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, NamedTuple

import numpy as np

from MedLLMSegLib.core.types import Array, PathLike
from MedLLMSegLib.core.windowing import Lut

MODALITY, VOI = 0x00283000, 0x00283010
_DESCRIPTOR, _NAME, _DATA = 0x00283002, 0x00283003, 0x00283006
_TRANSFER_SYNTAX = 0x00020010
_ITEM, _ITEM_END, _UNDEFINED_LENGTH = 0xFFFEE000, 0xFFFEE00D, 0xFFFFFFFF
# Value representations with a length of 32 bits
_LONG = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
_IMPLICIT, _EXPLICIT = b"1.2.840.10008.1.2", b"1.2.840.10008.1.2.1"
_COMPRESSED = b"1.2.840.10008.1.2.4."
_RUN_LENGTH_SUFFIX = b".1.2.5"
_MAX_DEPTH = 16  # of sequences in sequences


class Element(NamedTuple):
    """The start of a data element. vr: its value representation, b"" where it is implicit."""

    tag: int
    vr: bytes
    length: int


@dataclass
class DataSet:
    """The wanted elements of a data set: values and sequences of items, by tag."""

    values: dict[int, bytes] = field(default_factory=dict)
    sequences: dict[int, list[DataSet]] = field(default_factory=dict)


def read_luts(path: PathLike, signed: bool = False) -> dict[int, tuple[Lut, ...]]:
    """The tables of the sequences `MODALITY` and `VOI` of a DICOM file.

    signed: whether the grey values may be negative, which decides how a table's first one is read.
    A damaged file gives no tables.
    """
    try:
        with open(path, "rb") as file:
            syntax = transfer_syntax(file)
            if not _is_little_endian(syntax):
                return {MODALITY: (), VOI: ()}
            data_set = _read_data_set(file, explicit=syntax != _IMPLICIT, end=None, depth=0)
    except (OSError, struct.error, ValueError):
        return {MODALITY: (), VOI: ()}
    return {tag: _luts(data_set.sequences.get(tag, []), signed) for tag in (MODALITY, VOI)}


def _is_little_endian(syntax: bytes) -> bool:
    """Whether the data elements are in one of the two encodings known here."""
    if syntax in (_EXPLICIT, _IMPLICIT):
        return True
    return syntax.startswith(_COMPRESSED) or syntax.endswith(_RUN_LENGTH_SUFFIX)


def transfer_syntax(file: BinaryIO) -> bytes:
    """The UID of a DICOM file's encoding; b"" if it states none.

    The file is then positioned at its data set.
    """
    file.seek(128)
    if file.read(4) != b"DICM":
        return b""
    syntax = b""
    start = file.tell()
    while (element := _read_element(file, explicit=True)) is not None and element.tag >> 16 == 2:
        value = file.read(element.length)
        if element.tag == _TRANSFER_SYNTAX:
            syntax = value.rstrip(b"\0 ")
        start = file.tell()
    file.seek(start)
    return syntax


def _read_element(file: BinaryIO, explicit: bool) -> Element | None:
    """The element that starts here; None at the end of the file."""
    head = file.read(8)
    if len(head) < 8:
        return None
    group, number = struct.unpack("<HH", head[:4])
    tag = group << 16 | number
    if group == 0xFFFE or not explicit:  # an item, or an implicit value representation
        (length,) = struct.unpack("<I", head[4:])
        return Element(tag, b"", length)
    vr = head[4:6]
    if vr in _LONG:
        (length,) = struct.unpack("<I", file.read(4))
    else:
        (length,) = struct.unpack("<H", head[6:])
    return Element(tag, vr, length)


def _read_data_set(file: BinaryIO, explicit: bool, end: int | None, depth: int) -> DataSet:
    """The wanted elements from here to ``end`` (an offset), or to the end of an item."""
    if depth > _MAX_DEPTH:
        raise ValueError(f"sequences are nested more than {_MAX_DEPTH} deep")
    data_set = DataSet()
    while end is None or file.tell() < end:
        element = _read_element(file, explicit)
        if element is None or element.tag == _ITEM_END or (depth == 0 and element.tag > VOI):
            break
        tag, vr, length = element
        if length == _UNDEFINED_LENGTH or tag in (MODALITY, VOI):
            items = _read_items(file, explicit and vr != b"UN", length, depth + 1)
            data_set.sequences[tag] = list(items)
        elif tag in (_DESCRIPTOR, _NAME, _DATA):
            data_set.values[tag] = file.read(length)
        else:
            file.seek(length, 1)
    return data_set


def _read_items(file: BinaryIO, explicit: bool, length: int, depth: int) -> Iterator[DataSet]:
    """The items of a sequence whose value starts here."""
    sequence_end = None if length == _UNDEFINED_LENGTH else file.tell() + length
    while sequence_end is None or file.tell() < sequence_end:
        element = _read_element(file, explicit)
        if element is None or element.tag != _ITEM:
            return
        item_end = None if element.length == _UNDEFINED_LENGTH else file.tell() + element.length
        yield _read_data_set(file, explicit, item_end, depth)
        if item_end is not None:
            file.seek(item_end)


def _luts(items: list[DataSet], signed: bool) -> tuple[Lut, ...]:
    luts = (_lut(item, signed) for item in items)
    return tuple(lut for lut in luts if lut is not None)


def _lut(item: DataSet, signed: bool) -> Lut | None:
    """The table in one item of a sequence; None for one that is incomplete."""
    descriptor = item.values.get(_DESCRIPTOR, b"")
    data = item.values.get(_DATA, b"")
    if len(descriptor) < 6 or not data:
        return None
    count, first, bits = struct.unpack("<HhH" if signed else "<HHH", descriptor[:6])
    count = count or 65536  # which does not fit the field
    entries = _entries(data, count)
    if len(entries) < count or not 1 <= bits <= 16:
        return None
    name = item.values.get(_NAME, b"").decode("ascii", "replace").strip("\0 ")
    return Lut(first, entries[:count].copy(), bits, name)


def _entries(data: bytes, count: int) -> Array:
    """The entries of a table, which are stored in 16 bits each, or in 8."""
    if len(data) >= 2 * count:
        return np.frombuffer(data[: len(data) // 2 * 2], "<u2")
    return np.frombuffer(data, np.uint8)
