"""Small DICOM files for tests, byte by byte (DICOM PS3.5, section 7): SimpleITK writes no
sequences and no second window.
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
    "ModalityLUTSequence": (0x0028, 0x3000, "SQ"),
    "LUTDescriptor": (0x0028, 0x3002, "US"),
    "LUTExplanation": (0x0028, 0x3003, "LO"),
    "LUTData": (0x0028, 0x3006, "OW"),
    "VOILUTSequence": (0x0028, 0x3010, "SQ"),
    "PresentationLUTShape": (0x2050, 0x0020, "CS"),
    "PixelData": (0x7FE0, 0x0010, "OW"),
}


def element(name, value, explicit=True, undefined=False):
    group, number, vr = NAMES[name]
    if vr == "SQ":
        items = [
            b"".join(element(k, item[k], explicit, undefined) for k in sorted(item, key=NAMES.get))
            for item in value
        ]
        if undefined:
            data = b"".join(
                b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + each + b"\xfe\xff\x0d\xe0\0\0\0\0"
                for each in items
            )
            data += b"\xfe\xff\xdd\xe0\0\0\0\0"
        else:
            data = b"".join(
                b"\xfe\xff\x00\xe0" + struct.pack("<I", len(each)) + each for each in items
            )
    elif vr in ("OW", "OB"):
        data = np.ascontiguousarray(value).tobytes()
    elif vr == "US":
        data = np.asarray(value, "<u2").tobytes()
    else:
        data = (
            "\\".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
        ).encode("ascii")
    if len(data) % 2:
        data += b"\0" if vr in ("UI", "OB", "OW") else b" "
    length = 0xFFFFFFFF if vr == "SQ" and undefined else len(data)
    head = struct.pack("<HH", group, number)
    if not explicit:
        return head + struct.pack("<I", length) + data
    return (
        head
        + vr.encode()
        + (b"\0\0" + struct.pack("<I", length) if vr in LONG else struct.pack("<H", length))
        + data
    )


def write_dicom(path, pixels, explicit=True, undefined=False, syntax=None, **tags):
    """pixels: (rows, columns), (frames, rows, columns) or (rows, columns, 3) of uint8, uint16 or
    int16.
    """
    colour = pixels.ndim == 3 and pixels.shape[-1] == 3
    rows, columns = pixels.shape[:2] if colour or pixels.ndim == 2 else pixels.shape[1:]
    bits = 8 * pixels.dtype.itemsize
    own = {
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
        own["PlanarConfiguration"] = 0
    elif pixels.ndim == 3:
        own["NumberOfFrames"] = len(pixels)
    own = {k: v for k, v in {**own, **tags}.items() if v is not None}
    body = b"".join(element(k, own[k], explicit, undefined) for k in sorted(own, key=NAMES.get))
    syntax = (syntax or (EXPLICIT if explicit else IMPLICIT)).encode()
    meta = b""
    for number, vr, data in (
        (1, b"OB", b"\0\1"),
        (2, b"UI", own["SOPClassUID"].encode()),
        (3, b"UI", own["SOPInstanceUID"].encode()),
        (16, b"UI", syntax),
        (18, b"UI", b"1.2.3.9"),
    ):
        data += b"\0" * (len(data) % 2)
        meta += (
            struct.pack("<HH", 2, number)
            + vr
            + (
                b"\0\0" + struct.pack("<I", len(data))
                if vr == b"OB"
                else struct.pack("<H", len(data))
            )
            + data
        )
    length = struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(meta))
    path.write_bytes(b"\0" * 128 + b"DICM" + length + meta + body)
    return path
