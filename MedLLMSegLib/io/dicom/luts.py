"""The look-up tables of a DICOM image: the one thing of a radiograph's header that GDCM keeps to
itself.

A walk over the data elements (DICOM PS3.5, section 7) up to the VOI LUT sequence, in the two
little-endian encodings that files have; tables of other encodings (deflated, big-endian: both rare
or retired) are not found.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from MedLLMSegLib.core.windowing import Lut

MODALITY, VOI = 0x00283000, 0x00283010
_DESCRIPTOR, _NAME, _DATA = 0x00283002, 0x00283003, 0x00283006
_ITEM, _ITEM_END, _UNDEFINED = 0xFFFEE000, 0xFFFEE00D, 0xFFFFFFFF
_LONG = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
_IMPLICIT, _EXPLICIT = b"1.2.840.10008.1.2", b"1.2.840.10008.1.2.1"
_DEEPEST = 16


def read_luts(path, signed: bool = False) -> dict[int, tuple[Lut, ...]]:
    """The tables of the sequences `MODALITY` and `VOI` of a DICOM file; a damaged sequence gives
    none.

    signed: whether the grey values that the tables take may be negative, which decides how their
    first entry's is read.
    """
    try:
        with open(path, "rb") as file:
            syntax = transfer_syntax(file)
            if (
                syntax in (_EXPLICIT, _IMPLICIT)
                or syntax.startswith(b"1.2.840.10008.1.2.4.")
                or syntax.endswith(b".1.2.5")
            ):
                found = _data_set(file, syntax != _IMPLICIT, None, 0)
                return {
                    tag: tuple(lut for item in found.get(tag, ()) if (lut := _lut(item, signed)))
                    for tag in (MODALITY, VOI)
                }
    except (OSError, struct.error, ValueError):
        pass
    return {MODALITY: (), VOI: ()}


def transfer_syntax(file: BinaryIO) -> bytes:
    """The UID of a DICOM file's encoding, b"" if it names none; the file then stands at its data
    set.
    """
    file.seek(128)
    if file.read(4) != b"DICM":
        return b""
    found, start = b"", file.tell()
    while (element := _element(file, True)) is not None and element[0] >> 16 == 2:
        tag, _, length = element
        value = file.read(length)
        found, start = value.rstrip(b"\0 ") if tag == 0x00020010 else found, file.tell()
    file.seek(start)
    return found


def _element(file: BinaryIO, explicit: bool) -> tuple[int, bytes, int] | None:
    """(tag, value representation, length) of the element that begins here; None at the end of
    the file.
    """
    head = file.read(8)
    if len(head) < 8:
        return None
    group, number = struct.unpack("<HH", head[:4])
    if group == 0xFFFE or not explicit:
        return group << 16 | number, b"", struct.unpack("<I", head[4:])[0]
    if head[4:6] in _LONG:
        return group << 16 | number, head[4:6], struct.unpack("<I", file.read(4))[0]
    return group << 16 | number, head[4:6], struct.unpack("<H", head[6:])[0]


def _data_set(file: BinaryIO, explicit: bool, end: int | None, depth: int) -> dict:
    """The wanted elements up to an offset, or to the end of an item: tag -> bytes, or a list of
    items.
    """
    if depth > _DEEPEST:
        raise ValueError("sequences in sequences without end")
    found = {}
    while end is None or file.tell() < end:
        element = _element(file, explicit)
        if element is None or element[0] == _ITEM_END or (depth == 0 and element[0] > VOI):
            break
        tag, vr, length = element
        if length == _UNDEFINED or tag in (MODALITY, VOI):
            found[tag] = list(_items(file, explicit and vr != b"UN", length, depth + 1))
        elif tag in (_DESCRIPTOR, _NAME, _DATA):
            found[tag] = file.read(length)
        else:
            file.seek(length, 1)
    return found


def _items(file: BinaryIO, explicit: bool, length: int, depth: int) -> Iterator[dict]:
    end = None if length == _UNDEFINED else file.tell() + length
    while end is None or file.tell() < end:
        element = _element(file, explicit)
        if element is None or element[0] != _ITEM:
            return
        stop = None if element[2] == _UNDEFINED else file.tell() + element[2]
        yield _data_set(file, explicit, stop, depth)
        if stop is not None:
            file.seek(stop)


def _lut(item: dict, signed: bool) -> Lut | None:
    """A table of one item of a sequence; None for one that is not whole."""
    descriptor, data = item.get(_DESCRIPTOR, b""), item.get(_DATA, b"")
    if len(descriptor) < 6 or not data:
        return None
    count, first, bits = struct.unpack("<HhH" if signed else "<HHH", descriptor[:6])
    count = count or 65536  # as 65536 does not fit the field
    values = (
        np.frombuffer(data[: len(data) // 2 * 2], "<u2")
        if len(data) >= 2 * count
        else np.frombuffer(data, np.uint8)
    )
    if len(values) < count or not 1 <= bits <= 16:
        return None
    return Lut(
        first,
        values[:count].copy(),
        bits,
        item.get(_NAME, b"").decode("ascii", "replace").strip("\0 "),
    )
