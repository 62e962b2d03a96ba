"""A file that is damaged or of another kind is refused in one sentence."""

import gzip
import re
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.volume import check_scan
from MedLLMSegLib.io.volume_files import load_volume, save_volume
from Testing.helpers.volumes import (
    make_volume,
    nifti_bytes,
)


def nifti2() -> bytes:
    nibabel = pytest.importorskip("nibabel")
    return nibabel.Nifti2Image(make_volume().array, np.eye(4)).to_bytes()


def set_field(field, value):
    def mutate(header):
        header[field] = value

    return mutate


def cut(name: str, part: float = 0.6) -> bytes:
    """The beginning of a good file of that name."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        data = save_volume(make_volume(), Path(folder) / name).read_bytes()
    return data[: int(len(data) * part)]


def flip_byte(name: str) -> bytes:
    data = bytearray(cut(name, 1.0))
    data[len(data) * 2 // 3] ^= 0xFF
    return bytes(data)


TEXT = b"this is a text, not a scan\n" * 100


BAD_FILES = [  # name, what is in it, what the sentence must say
    ("a.nii.gz", lambda: b"", "is empty"),
    ("a.nrrd", lambda: b"", "is empty"),
    ("a.nii.gz", lambda: TEXT, "named like a NIfTI file"),
    ("a.nii", lambda: TEXT, "named like a NIfTI file"),
    ("a.nii.gz", lambda: gzip.compress(TEXT), "named like a NIfTI file"),
    ("a.nii.gz", lambda: gzip.compress(b"short"), "named like a NIfTI file"),
    ("a.nrrd", lambda: TEXT, "named like a NRRD file"),
    ("a.mha", lambda: TEXT, "named like a MetaImage file"),
    ("a.txt", lambda: TEXT, "not a scan in a format"),
    ("a.png", lambda: b"\x89PNG\r\n", "not a scan in a format"),
    ("a.dcm", lambda: TEXT, "not a scan in a format"),
    ("a.dcm", lambda: bytes(128) + b"DICM" + TEXT, "damaged or cut short"),
    ("a.nii", lambda: cut("a.nii"), "is cut short"),
    ("a.nii.gz", lambda: cut("a.nii.gz"), "is cut short or damaged"),
    ("a.nii.gz", lambda: gzip.compress(cut("a.nii")), "is cut short"),
    ("a.nii.gz", lambda: flip_byte("a.nii.gz"), "damaged"),
    ("a.nrrd", lambda: cut("a.nrrd"), "is cut short or damaged"),
    ("a.mha", lambda: cut("a.mha"), "is cut short or damaged"),
    ("a.nrrd", lambda: flip_byte("a.nrrd"), "damaged"),  # ITK does not compare checksums
    ("a.mha", lambda: flip_byte("a.mha"), "damaged"),
    (
        "a.nii",
        lambda: nifti_bytes(set_field("pixdim", [1, 0, 0, 0, 1, 1, 1, 1])),
        "voxel size of 0 x 0 x 0 mm",
    ),
    (
        "a.nii",
        lambda: nifti_bytes(set_field("pixdim", [1, 1, 2, 0, 1, 1, 1, 1])),
        "voxel size of 1 x 2 x 0 mm",
    ),
    (
        "a.nii.gz",
        lambda: gzip.compress(nifti_bytes(set_field("pixdim", [1, 1, 2, np.nan, 1, 1, 1, 1]))),
        "size of 1 x 2 x nan",
    ),
    ("a.nii", nifti2, "NIfTI-2"),
    (
        "a.mha",
        lambda: re.sub(rb"Spacing = \S+", b"Spacing = 0", cut("a.mha", 1.0)),
        "voxel size of zero",
    ),
]


@pytest.mark.parametrize(
    "name, content, sentence",
    BAD_FILES,
    ids=[f"{b[0]}: {b[2]} ({n})" for n, b in enumerate(BAD_FILES)],
)
def test_a_bad_file_is_one_sentence(tmp_path, name, content, sentence):
    path = tmp_path / name
    path.write_bytes(content())
    with pytest.raises(UserError, match=sentence) as caught:
        load_volume(path)
    message = str(caught.value)
    assert str(path) in message
    assert message.endswith(".")
    assert "\n" not in message
    assert "ITK" not in message


def test_colour_is_refused(tmp_path):
    image = sitk.GetImageFromArray(np.zeros((4, 5, 6, 3), np.uint8), isVector=True)
    sitk.WriteImage(image, str(tmp_path / "a.nrrd"))
    with pytest.raises(UserError, match="3 values in each voxel"):
        load_volume(tmp_path / "a.nrrd")


def test_a_flat_image_is_left_to_the_scans_check(tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((5, 6), np.uint8)), str(tmp_path / "a.nii.gz"))
    volume = load_volume(tmp_path / "a.nii.gz")
    assert volume.array.shape == (1, 5, 6)
    with pytest.raises(UserError, match="flat image"):
        check_scan(volume)


def test_reading_leaves_no_trace_of_itk(tmp_path, capfd):
    (tmp_path / "a.nii").write_bytes(
        nifti_bytes(set_field("srow_x", [9, 0, 0, 0]))
    )  # ITK warns: unexpected scales
    before = sitk.ProcessObject.GetGlobalWarningDisplay()
    load_volume(tmp_path / "a.nii")
    out, err = capfd.readouterr()
    assert "WARNING" not in out + err
    assert sitk.ProcessObject.GetGlobalWarningDisplay() == before
