"""Files that are no radiograph, and what the message about each must say."""

import numpy as np

from Testing.helpers.dicom_writer import write_dicom
from Testing.helpers.flat_images import GREY, RAMP, save, volume


def text(path, content="this is no image"):
    path.write_text(content, encoding="utf-8")
    return path


def colours(path):
    rng = np.random.default_rng(0)
    return save(path, rng.integers(0, 255, (64, 48, 3)).astype(np.uint8))


def keep(path, count):
    path.write_bytes(path.read_bytes()[:count])
    return path


def cut(path):
    path.write_bytes(path.read_bytes()[: len(path.read_bytes()) // 2])
    return path


BAD = {
    "missing": (lambda p: p / "gone.png", "no file"),
    "folder": (lambda p: p, "is a folder"),
    "empty picture": (lambda p: text(p / "x.png", ""), "empty"),
    "empty DICOM": (lambda p: text(p / "x.dcm", ""), "empty"),
    "text called PNG": (lambda p: text(p / "x.png"), "named like a PNG file"),
    "text called TIFF": (lambda p: text(p / "x.tif"), "named like a TIFF file"),
    "another format": (lambda p: text(p / "x.docx"), "not an image that can be read"),
    "video": (lambda p: text(p / "x.mp4"), "video"),
    "animation": (lambda p: text(p / "x.gif"), "video or animation"),
    "colour PNG": (lambda p: colours(p / "x.png"), "colour image"),
    "colour JPEG": (lambda p: colours(p / "x.jpg"), "colour image"),
    "colour DICOM": (
        lambda p: write_dicom(
            p / "x.dcm", np.random.default_rng(0).integers(0, 255, (64, 48, 3)).astype(np.uint8)
        ),
        "colour image",
    ),
    "transparent": (lambda p: save(p / "x.png", np.stack([GREY, GREY], -1)), "transparent"),
    "partly transparent colour": (
        lambda p: save(p / "x.png", np.stack([GREY] * 4, -1)),
        "transparent",
    ),
    "1 bit PNG": (lambda p: save(p / "x.png", GREY > 100), "1 bit"),
    "a mask": (lambda p: save(p / "x.png", (GREY > 100).astype(np.uint8)), "two grey values only"),
    "32 bit TIFF": (lambda p: save(p / "x.tif", GREY.astype(np.uint32)), "32-bit unsigned integer"),
    "TIFF of fractions": (lambda p: save(p / "x.tif", GREY.astype(np.float32)), "32-bit float"),
    "TIFF of several pages": (
        lambda p: save(p / "x.tif", np.stack([GREY] * 3), photometric="minisblack"),
        "holds 3 images",
    ),
    "multi-frame DICOM": (lambda p: write_dicom(p / "x.dcm", np.stack([GREY] * 5)), "5 frames"),
    "video DICOM": (
        lambda p: write_dicom(p / "x.dcm", GREY, syntax="1.2.840.10008.1.2.4.102"),
        "is a video",
    ),
    "cut DICOM": (lambda p: cut(write_dicom(p / "x.dcm", GREY)), "x.dcm"),
    "DICOM cut in its header": (lambda p: keep(write_dicom(p / "x.dcm", GREY), 152), "x.dcm"),
    "cut PNG": (lambda p: cut(save(p / "x.png", GREY)), "x.png"),
    "icon": (lambda p: save(p / "x.png", GREY[:16, :16]), "16 x 16 pixels"),
    "constant": (lambda p: save(p / "x.png", GREY * 0 + 7), "same value (7)"),
    "window beside the values": (
        lambda p: write_dicom(p / "x.dcm", GREY, WindowCenter=9000, WindowWidth=10),
        "shows nothing in its window",
    ),
    "3D volume": (
        lambda p: volume(
            p / "x.nii.gz", np.random.default_rng(0).normal(0, 1, (40, 48, 64)).astype(np.float32)
        ),
        "3D scan (64 x 48 x 40 voxels)",
    ),
    "4D volume": (
        lambda p: volume(
            p / "x.nii.gz", np.random.default_rng(0).normal(0, 1, (3, 2, 48, 64)).astype(np.float32)
        ),
        "series of 3",
    ),
    "CT slice without tags": (
        lambda p: volume(p / "x.nrrd", (RAMP[None] - 1024).astype(np.int16)),
        "Hounsfield",
    ),
    "colour volume": (
        lambda p: volume(p / "x.nrrd", np.stack([GREY] * 3, -1)[None], True),
        "3 values in each voxel",
    ),
}
