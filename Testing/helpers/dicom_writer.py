"""Small DICOM files for tests, byte by byte (DICOM PS3.5, section 7).

SimpleITK writes no sequences and no second window.
"""

import struct

import numpy as np

EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
LONG = ("OB", "OW", "SQ", "UN", "UT")
NAMES = {
    "SOPClassUID": (0x0008, 0x0016, "UI"),
    "SOPInstanceUID": (0x0008, 0x0018, "UI"),
    "Modality": (0x0008, 0x0060, "CS"),
    "SeriesDescription": (0x0008, 0x103E, "LO"),
    "BodyPartExamined": (0x0018, 0x0015, "CS"),
    "ViewPosition": (0x0018, 0x5101, "CS"),
    "ImagerPixelSpacing": (0x0018, 0x1164, "DS"),
    "SeriesInstanceUID": (0x0020, 0x000E, "UI"),
    "PatientOrientation": (0x0020, 0x0020, "CS"),
    "SamplesPerPixel": (0x0028, 0x0002, "US"),
    "PhotometricInterpretation": (0x0028, 0x0004, "CS"),
    "PlanarConfiguration": (0x0028, 0x0006, "US"),
    "PixelAspectRatio": (0x0028, 0x0034, "IS"),
    "NumberOfFrames": (0x0028, 0x0008, "IS"),
    "Rows": (0x0028, 0x0010, "US"),
    "Columns": (0x0028, 0x0011, "US"),
    "PixelSpacing": (0x0028, 0x0030, "DS"),
    "BitsAllocated": (0x0028, 0x0100, "US"),
    "BitsStored": (0x0028, 0x0101, "US"),
    "HighBit": (0x0028, 0x0102, "US"),
    "PixelRepresentation": (0x0028, 0x0103, "US"),
    "WindowCenter": (0x0028, 0x1050, "DS"),
    "WindowWidth": (0x0028, 0x1051, "DS"),
    "RescaleIntercept": (0x0028, 0x1052, "DS"),
    "RescaleSlope": (0x0028, 0x1053, "DS"),
    "WindowExplanation": (0x0028, 0x1055, "LO"),
    "VOILUTFunction": (0x0028, 0x1056, "CS"),
    "PixelPaddingValue": (0x0028, 0x0120, "US"),
    "PixelPaddingRangeLimit": (0x0028, 0x0121, "US"),
    "ModalityLUTSequence": (0x0028, 0x3000, "SQ"),
    "LUTDescriptor": (0x0028, 0x3002, "US"),
    "LUTExplanation": (0x0028, 0x3003, "LO"),
    "LUTData": (0x0028, 0x3006, "OW"),
    "VOILUTSequence": (0x0028, 0x3010, "SQ"),
    "PresentationLUTShape": (0x2050, 0x0020, "CS"),
    "PixelData": (0x7FE0, 0x0010, "OW"),
}


SEQUENCE_END = b"\xfe\xff\xdd\xe0\0\0\0\0"
ITEM_START, ITEM_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0\0\0\0\0"
UNDEFINED_LENGTH = 0xFFFFFFFF


def element(name, value, explicit=True, undefined=False):
    """The bytes of one data element.

    explicit: whether the value representation is written. undefined: whether sequences have an
    undefined length.
    """
    group, number, vr = NAMES[name]
    data = _sequence(value, explicit, undefined) if vr == "SQ" else _value(vr, value)
    length = UNDEFINED_LENGTH if vr == "SQ" and undefined else len(data)
    tag = struct.pack("<HH", group, number)
    if not explicit:
        return tag + struct.pack("<I", length) + data
    return tag + vr.encode() + _explicit_length(vr, length) + data


def elements(values, explicit=True, undefined=False):
    """The bytes of several data elements, in the order of their tags."""
    names = sorted(values, key=NAMES.get)
    return b"".join(element(name, values[name], explicit, undefined) for name in names)


def _explicit_length(vr, length):
    return b"\0\0" + struct.pack("<I", length) if vr in LONG else struct.pack("<H", length)


def _sequence(items, explicit, undefined):
    contents = [elements(item, explicit, undefined) for item in items]
    if undefined:
        start = ITEM_START + struct.pack("<I", UNDEFINED_LENGTH)
        return b"".join(start + content + ITEM_END for content in contents) + SEQUENCE_END
    return b"".join(ITEM_START + struct.pack("<I", len(c)) + c for c in contents)


def _value(vr, value):
    """A value's bytes, of even length."""
    if vr in ("OW", "OB"):
        data = np.ascontiguousarray(value).tobytes()
    elif vr == "US":
        data = np.asarray(value, "<u2").tobytes()
    else:
        parts = value if isinstance(value, (list, tuple)) else [value]
        data = "\\".join(map(str, parts)).encode("ascii")
    padding = b"\0" if vr in ("UI", "OB", "OW") else b" "
    return data + padding * (len(data) % 2)


def write_dicom(path, pixels, explicit=True, undefined=False, syntax=None, **tags):
    """Write one DICOM file and return its path.

    pixels: (rows, columns), (frames, rows, columns) or (rows, columns, 3) of uint8, uint16 or
    int16. tags: further elements by name; None leaves one out.
    """
    values = {**_image_elements(pixels), **tags}
    values = {name: value for name, value in values.items() if value is not None}
    body = elements(values, explicit, undefined)
    meta = _file_meta(values, syntax or (EXPLICIT if explicit else IMPLICIT))
    path.write_bytes(b"\0" * 128 + b"DICM" + meta + body)
    return path


def _image_elements(pixels):
    colour = pixels.ndim == 3 and pixels.shape[-1] == 3
    rows, columns = pixels.shape[:2] if colour or pixels.ndim == 2 else pixels.shape[1:]
    bits = 8 * pixels.dtype.itemsize
    values = {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1",
        "SOPInstanceUID": "1.2.3.4",
        "Modality": "CR",
        "SeriesInstanceUID": "1.2.3",
        "SamplesPerPixel": 3 if colour else 1,
        "PhotometricInterpretation": "RGB" if colour else "MONOCHROME2",
        "Rows": rows,
        "Columns": columns,
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
        "PixelData": pixels,
    }
    if colour:
        values["PlanarConfiguration"] = 0
    elif pixels.ndim == 3:
        values["NumberOfFrames"] = len(pixels)
    return values


def _file_meta(values, syntax):
    """Group 2, always explicit and little-endian; it names the encoding of the rest."""
    fields = (
        (1, "OB", b"\0\1"),
        (2, "UI", values["SOPClassUID"].encode()),
        (3, "UI", values["SOPInstanceUID"].encode()),
        (16, "UI", syntax.encode()),
        (18, "UI", b"1.2.3.9"),
    )
    meta = b""
    for number, vr, text in fields:
        data = text + b"\0" * (len(text) % 2)
        meta += struct.pack("<HH", 2, number) + vr.encode() + _explicit_length(vr, len(data)) + data
    return struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(meta)) + meta
