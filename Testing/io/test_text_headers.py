"""NRRD and MetaImage: missing data files, damaged contents, orientations that are not stated."""

import numpy as np
import pytest
import SimpleITK as sitk

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.io.volume_files import load_volume
from Testing.helpers.volumes import make_volume

META = """ObjectType = Image
NDims = 3
BinaryData = True
BinaryDataByteOrderMSB = False
{orientation}DimSize = 24 20 16
ElementSpacing = 1.1 1 1.2
ElementType = MET_SHORT
ElementDataFile = {data}
"""
NRRD = """NRRD0004
type: short
dimension: 3
{space}sizes: 24 20 16
kinds: domain domain domain
endian: little
encoding: raw
{data}"""
ARRAY = np.arange(16 * 20 * 24, dtype="<i2").reshape(16, 20, 24)
DIRECTIONS = "space directions: (1.1,0,0) (0,1,0) (0,0,1.2)\n"
TRANSFORM = "TransformMatrix = 1 0 0 0 1 0 0 0 1\n"


def meta(path, orientation=TRANSFORM, data="data.raw"):
    path.write_text(META.format(orientation=orientation, data=data))
    return path


def nrrd(path, space="space: left-posterior-superior\n" + DIRECTIONS, data="data file: data.raw\n"):
    path.write_text(NRRD.format(space=space, data=data) + "\n")
    return path


@pytest.mark.parametrize("write, name", ((meta, "a.mhd"), (nrrd, "a.nhdr")))
def test_a_missing_data_file_is_named(tmp_path, write, name, capfd):
    path = write(tmp_path / name)
    with pytest.raises(UserError, match=r"its data file .*data\.raw.* is missing"):
        load_volume(path)
    (tmp_path / "data.raw").write_bytes(b"")
    with pytest.raises(UserError, match=r"data\.raw.* is empty"):
        load_volume(path)
    assert capfd.readouterr() == ("", "")
    (tmp_path / "data.raw").write_bytes(ARRAY.tobytes()[:-100])
    with pytest.raises(UserError, match=f"{name}.* could not be read"):
        load_volume(path)
    (tmp_path / "data.raw").write_bytes(ARRAY.tobytes())
    volume = load_volume(path)
    assert np.array_equal(volume.array, ARRAY)
    np.testing.assert_allclose(volume.ijk_to_ras, np.diag([-1.1, -1, 1.2, 1]))


@pytest.mark.parametrize("suffix", (".nrrd", ".mha", ".nhdr", ".mhd"))
def test_a_hole_in_packed_voxels_is_found_by_their_checksum(tmp_path, suffix):
    image = sitk.GetImageFromArray(make_volume().array)
    sitk.WriteImage(image, str(tmp_path / f"a{suffix}"), useCompression=True)
    assert np.array_equal(load_volume(tmp_path / f"a{suffix}").array, make_volume().array)
    (data,) = [p for p in tmp_path.iterdir() if suffix in (".nrrd", ".mha") or p.suffix != suffix]
    content = bytearray(data.read_bytes())
    middle = len(content) * 3 // 4
    content[middle : middle + 8] = bytes(8)
    data.write_bytes(content)
    with pytest.raises(UserError, match="cut short or damaged"):
        load_volume(tmp_path / f"a{suffix}")


@pytest.mark.parametrize(
    "space, stated",
    (
        ("space: left-posterior-superior\n" + DIRECTIONS, True),
        ("space: RAS\n" + DIRECTIONS, True),
        ("space: left-anterior-superior\n" + DIRECTIONS, True),
        ("space: scanner-xyz\n" + DIRECTIONS, False),
        ("space dimension: 3\n" + DIRECTIONS, False),
        ("spacings: 1.1 1 1.2\n", False),
    ),
)
def test_nrrd_names_no_sides_without_a_known_space(tmp_path, space, stated):
    (tmp_path / "data.raw").write_bytes(ARRAY.tobytes())
    check_stated(nrrd(tmp_path / "a.nhdr", space), stated)


@pytest.mark.parametrize("orientation, stated", ((TRANSFORM, True), ("", False)))
def test_metaimage_names_no_sides_without_its_matrix(tmp_path, orientation, stated):
    (tmp_path / "data.raw").write_bytes(ARRAY.tobytes())
    check_stated(meta(tmp_path / "a.mhd", orientation), stated)


def check_stated(path, stated):
    if stated:
        assert load_volume(path).notes == ()
        return
    with pytest.raises(UserError, match="does not state its orientation"):
        load_volume(path)
    volume = load_volume(path, assume_orientation="RAS")
    np.testing.assert_allclose(volume.ijk_to_ras, np.diag([1.1, 1, 1.2, 1]), atol=1e-6)
    assert "RAS was assumed" in volume.notes[0]


def test_nrrd_sides_follow_its_space(tmp_path):
    (tmp_path / "data.raw").write_bytes(ARRAY.tobytes())
    for name, x, y in (("RAS", 1.1, 1), ("LAS", -1.1, 1), ("LPS", -1.1, -1)):
        volume = load_volume(nrrd(tmp_path / "a.nhdr", f"space: {name}\n{DIRECTIONS}"))
        np.testing.assert_allclose(volume.ijk_to_ras, np.diag([x, y, 1.2, 1]), atol=1e-6)


LONG_LINES = {
    "value": b"kinds: domain domain domain" + b"x" * 4000,
    "spaces": b"endian: little" + b" " * 4000,
    "no field": b" " * 9000,
}


@pytest.mark.parametrize("name", LONG_LINES)
def test_a_line_that_crashes_itks_nrrd_reader_is_refused(tmp_path, name):
    """ITK writes it past the end of its own memory, and the whole process ends."""
    head = b"NRRD0004\ntype: short\ndimension: 3\nspace: LPS\nsizes: 2 2 2\n"
    head += b"space directions: (1,0,0) (0,1,0) (0,0,2)\nencoding: raw\n"
    path = tmp_path / "a.nrrd"
    path.write_bytes(head + b"endian: little\n\n" + bytes(16))
    assert load_volume(path).array.shape == (2, 2, 2)
    path.write_bytes(head + LONG_LINES[name] + b"\n\n" + bytes(16))
    with pytest.raises(UserError, match="named like a NRRD file"):
        load_volume(path)


def test_long_texts_of_the_user_in_an_nrrd_are_no_fault(tmp_path):
    head = b"NRRD0004\ntype: short\ndimension: 3\nspace: LPS\nsizes: 2 2 2\nendian: little\n"
    head += b"space directions: (1,0,0) (0,1,0) (0,0,2)\nencoding: raw\nnote:=" + b"x" * 9000
    path = tmp_path / "a.nrrd"
    path.write_bytes(head + b"\n# " + b"y" * 9000 + b"\n\n" + bytes(16))
    assert load_volume(path).array.shape == (2, 2, 2)


@pytest.mark.parametrize("axes", ["2147483647", "-9223372036854775808", "10", "0", "x"])
def test_a_number_of_axes_that_crashes_itks_metaimage_reader_is_refused(tmp_path, axes):
    path = tmp_path / "a.mha"
    head = f"ObjectType = Image\nNDims = {axes}\nTransformMatrix = 1 0 0 0 1 0 0 0 1\n"
    head += "DimSize = 2 2 2\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    path.write_text(head + "\0" * 16)
    with pytest.raises(UserError, match="named like a MetaImage file"):
        load_volume(path)
