"""What a NIfTI file says of its position and voxels: sides never change without a word."""

import gzip
import struct

import numpy as np
import pytest
import SimpleITK as sitk

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.io.volume_files import load_volume, save_segmentation, save_volume
from Testing.helpers.volumes import make_segmentation, make_volume

nibabel = pytest.importorskip("nibabel")

SHAPE = (16, 20, 24)  # k, j, i
K, J, I = np.indices(SHAPE)  # noqa: E741  (voxel indices k, j, i)
ARRAY = (5 * I + 3 * J + 20 * K).astype(np.int16)
A = np.diag([1.1, 1.0, 1.2, 1.0])
A[:3, 3] = [-10, -20, 30]
TURNED = np.eye(4)
TURNED[:2, :2] = [[0.985, -0.174], [0.174, 0.985]]
TURNED[:3, 3] = [8, -6, 12]
MIRROR = np.diag([-1.0, 1, 1, 1])


def shear(amount):
    matrix = np.eye(4)
    matrix[0, 1] = amount
    return matrix


def nifti(path, qform=(A, 1), sform=(A, 1), fields=(), pack=gzip.compress):
    """A file with these forms (matrix, code). fields: (byte, struct's format, values) to change."""
    image = nibabel.Nifti1Image(ARRAY.T, A)
    image.set_sform(*sform)
    image.set_qform(*qform, strip_shears=True)
    content = bytearray(image.to_bytes())
    for place, kind, *values in fields:
        struct.pack_into("<" + kind, content, place, *values)
    path.write_bytes(pack(bytes(content)) if path.suffix == ".gz" else bytes(content))
    return path


PIXDIM, VOX_OFFSET, SLOPE, CODES, SROW = 80, 108, 112, 252, 280
NO_FORMS = (CODES, "2h", 0, 0)


def slicer_matrix(path):
    """(4, 4) where Slicer's own reader puts the voxels of the array as it is stored, and whether it
    turned their order along k (it does for left-handed axes).
    """
    slicer = pytest.importorskip("slicer")
    vtk = pytest.importorskip("vtk")
    scene = slicer.vtkMRMLScene()
    node, storage = slicer.vtkMRMLScalarVolumeNode(), slicer.vtkMRMLVolumeArchetypeStorageNode()
    scene.AddNode(node)
    scene.AddNode(storage)
    storage.SetFileName(str(path))
    storage.SetSingleFile(1)
    assert storage.ReadData(node)
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    ras = np.array([[matrix.GetElement(r, c) for c in range(4)] for r in range(4)])
    first = node.GetImageData().GetScalarComponentAsDouble(0, 0, 0, 0)
    if first != ARRAY[0, 0, 0]:  # slices in the other order
        assert first == ARRAY[-1, 0, 0]
        ras[:3, 3] += ras[:3, 2] * (SHAPE[0] - 1)
        ras[:3, 2] *= -1
    return ras


FORMS = {
    "both alike": {},
    "another turn, code 4": {"qform": (TURNED @ A, 1), "sform": (A, 4)},
    "another turn, code 1": {"qform": (TURNED @ A, 1), "sform": (A, 1)},
    "another turn, codes 2": {"qform": (TURNED @ A, 2), "sform": (A, 2)},
    "mirrored sform, code 1": {"sform": (MIRROR @ A, 1)},
    "mirrored sform, code 2": {"sform": (MIRROR @ A, 2)},
    "sform alone": {"qform": (A, 0)},
    "qform alone": {"sform": (A, 0)},
    "left-handed qform alone": {"qform": (A @ np.diag([1, 1, -1.0, 1]), 1), "sform": (A, 0)},
    "sheared sform": {"qform": (A @ shear(0.2), 1), "sform": (A @ shear(0.2), 1)},
    "sizes in the sform": {"sform": (np.diag([2.0, 2, 2, 1]) @ A, 1)},
    "metres": {"fields": [(123, "b", 1)]},
}


@pytest.mark.parametrize("name", FORMS)
def test_a_scan_lies_where_slicer_shows_it_and_a_note_says_where_others_do_not(tmp_path, name):
    path = nifti(tmp_path / "a.nii.gz", **FORMS[name])
    volume = load_volume(path)
    assert np.array_equal(volume.array, ARRAY)
    np.testing.assert_allclose(volume.ijk_to_ras, slicer_matrix(path), atol=1e-3)
    others = nibabel.load(path).affine
    agree = np.allclose(volume.ijk_to_ras, others, atol=1e-3)
    assert bool(volume.notes) != agree
    if not agree:
        assert "nibabel" in volume.notes[0]
        np.testing.assert_allclose(volume.forms.other_ijk_to_ras, others, atol=1e-3)
    if name == "mirrored sform, code 2":
        assert "mirrored (LAS in place of RAS)" in volume.notes[0]


@pytest.mark.parametrize("axis", (0, 1, 2))
@pytest.mark.parametrize("forms", ((1, 1), (0, 1), (1, 0)))
def test_a_negative_voxel_size_names_no_side_by_itself(tmp_path, axis, forms):
    """Slicer mirrors such a file, nibabel and FSL do not: the user says who is right."""
    size = -float(A[axis, axis])
    fields = [(PIXDIM + 4 * axis, "f", size), (CODES, "2h", *forms)]
    path = nifti(tmp_path / "a.nii.gz", fields=fields)
    with pytest.raises(UserError, match="negative voxel size") as caught:
        load_volume(path)
    shown_by_slicer = ("LAS", "RPS", "RAI")[axis]
    assert f"shows it as {shown_by_slicer} and other programs as RAS" in str(caught.value)
    as_others = load_volume(path, assume_orientation="RAS")
    np.testing.assert_allclose(as_others.ijk_to_ras, nibabel.load(path).affine, atol=1e-3)
    as_slicer = load_volume(path, assume_orientation=shown_by_slicer)
    np.testing.assert_allclose(as_slicer.ijk_to_ras, slicer_matrix(path), atol=1e-3)
    assert "was assumed" in as_slicer.notes[0]


@pytest.mark.parametrize("size", (1.1, -1.1))
def test_a_file_without_orientation_is_refused_unless_one_is_assumed(tmp_path, size):
    path = nifti(tmp_path / "a.nii.gz", fields=[NO_FORMS, (PIXDIM, "f", size)])
    with pytest.raises(UserError, match="does not state its orientation"):
        load_volume(path)
    for code, directions in (("RAS", np.eye(3)), ("lps", np.diag([-1, -1, 1]))):
        volume = load_volume(path, assume_orientation=code)
        np.testing.assert_allclose(
            volume.ijk_to_ras[:3, :3], directions * [1.1, 1.0, 1.2], atol=1e-6
        )
        assert f"{code.upper()} was assumed" in volume.notes[0]
    sagittal = load_volume(path, assume_orientation="PSR").ijk_to_ras
    np.testing.assert_allclose(sagittal[:3, 0], [0, -1.1, 0], atol=1e-6)
    np.testing.assert_allclose(sagittal[:3, 2], [1.2, 0, 0], atol=1e-6)
    for wrong in ("RAR", "RA", "xyz", ""):
        with pytest.raises(UserError, match="not an orientation"):
            load_volume(path, assume_orientation=wrong)


def test_a_stated_orientation_is_kept_whatever_is_assumed(tmp_path):
    path = nifti(tmp_path / "a.nii.gz")
    volume = load_volume(path, assume_orientation="LPS")
    np.testing.assert_allclose(volume.ijk_to_ras, A, atol=1e-6)
    assert volume.notes == ()


@pytest.mark.parametrize("amount, whole_mm", ((1e-5, 0.02), (1e-4, 0.02), (1e-3, 0.02)))
def test_shear_by_rounded_numbers_is_no_shear(tmp_path, amount, whole_mm):
    path = nifti(tmp_path / "a.nii.gz", qform=(A, 0), sform=(A @ shear(amount), 1))
    volume = load_volume(path)
    assert volume.notes == ()
    axes = volume.grid.directions
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-4)
    assert np.abs(volume.ijk_to_ras - nibabel.load(path).affine).max() * 24 < whole_mm
    save_volume(volume, tmp_path / "b.nii.gz")


def test_a_sheared_scan_keeps_its_grid_and_says_so(tmp_path):
    path = nifti(tmp_path / "a.nii.gz", qform=(A, 0), sform=(A @ shear(0.2), 1))
    volume = load_volume(path)
    np.testing.assert_allclose(volume.ijk_to_ras, A @ shear(0.2), atol=1e-6)
    assert "not at right angles" in volume.notes[0]


@pytest.mark.parametrize(
    "fields, sentence",
    (
        ([(SROW, "f", np.nan)], "sform.*not a number"),
        ([(SROW + 12, "f", np.inf)], "sform.*not a number"),
        ([(256, "f", np.nan)], "qform.*not a number"),
        ([(PIXDIM, "f", np.nan)], "voxel size of nan"),
        ([(CODES, "2h", 0, 1), (SROW, "12f", *[0.0] * 12)], "lie in one plane"),
        ([(VOX_OFFSET, "f", 350.0)], "vox_offset"),
        ([(VOX_OFFSET, "f", -1.0)], "vox_offset"),
        ([(VOX_OFFSET, "f", 1e9)], "cut short"),
        ([(VOX_OFFSET, "f", 3e38)], "cut short"),
        ([(VOX_OFFSET, "f", np.nan)], "something else or damaged"),
        ([(40, "8h", 4, 24, 20, 16, -1, 1, 1, 1)], "something else or damaged"),
        ([(40, "8h", 7, *[32767] * 7)], "cut short|values in each voxel"),
        ([(40, "8h", 3, *[32767] * 3, 1, 1, 1, 1)], "cut short"),
        ([(40, "8h", 5, 24, 20, 8, 1, 2, 1, 1)], "2 values in each voxel"),
        ([(70, "2h", 128, 24)], "colour"),
        ([(70, "2h", 32, 64)], "complex"),
        ([(70, "2h", 999, 16)], "not known here"),
        ([(344, "4s", b"\0\0\0\0")], "something else or damaged"),
    ),
)
@pytest.mark.parametrize("name", ("a.nii", "a.nii.gz"))
def test_headers_that_cannot_be_followed_are_one_sentence(tmp_path, name, fields, sentence, capfd):
    path = nifti(tmp_path / name, fields=fields)
    with pytest.raises(UserError, match=sentence) as caught:
        load_volume(path)
    assert str(path) in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_missing_or_odd_start_of_the_voxels(tmp_path):
    """0 stands for the first byte that may be one, where the file's length agrees."""
    path = nifti(tmp_path / "a.nii", fields=[(VOX_OFFSET, "f", 0.0)])
    assert np.array_equal(load_volume(path).array, ARRAY)
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(UserError, match="vox_offset"):
        load_volume(path)
    content = nifti(tmp_path / "b.nii", fields=[(VOX_OFFSET, "f", 353.0)]).read_bytes()
    (tmp_path / "b.nii").write_bytes(content[:352] + b"\0" + content[352:])
    assert np.array_equal(load_volume(tmp_path / "b.nii").array, ARRAY)


@pytest.mark.parametrize("dims", ((4, 24, 20, 16, 0, 1, 1, 1), (3, 24, 20, 16, 0, 0, 0, 0)))
def test_an_axis_of_length_0_beyond_the_third_is_none(tmp_path, dims):
    volume = load_volume(nifti(tmp_path / "a.nii.gz", fields=[(40, "8h", *dims)]))
    assert np.array_equal(volume.array, ARRAY)
    np.testing.assert_allclose(volume.ijk_to_ras, A, atol=1e-6)


PACKINGS = {
    "two parts": lambda b: gzip.compress(b[:5000]) + gzip.compress(b[5000:]),
    "an empty part first": lambda b: gzip.compress(b"") + gzip.compress(b),
    "zeros behind": lambda b: gzip.compress(b) + bytes(64),
    "one byte behind": lambda b: gzip.compress(b) + b"\x1f",
    "something else behind": lambda b: gzip.compress(b) + b"something else",
    "no compression": lambda b: gzip.compress(b, 0),
    "not packed": lambda b: b,
}


@pytest.mark.parametrize("name", PACKINGS)
def test_oddities_of_gzip(tmp_path, name):
    path = nifti(tmp_path / "a.nii.gz", pack=PACKINGS[name])
    assert np.array_equal(load_volume(path).array, ARRAY)
    path.rename(tmp_path / "b.nii")  # what is inside counts, not the name
    assert np.array_equal(load_volume(tmp_path / "b.nii").array, ARRAY)


def wrong_checksum(content):
    packed = bytearray(gzip.compress(content))
    packed[-8] ^= 1
    return bytes(packed)


@pytest.mark.parametrize(
    "pack",
    (
        wrong_checksum,
        lambda b: gzip.compress(b)[:-8],
        lambda b: gzip.compress(b)[:-1],
        lambda b: gzip.compress(b) + gzip.compress(bytes(100))[:-9],
        lambda b: gzip.compress(b[:-1]),
        lambda b: gzip.compress(b + bytes(1 << 27)),
    ),
)
def test_damaged_gzip_is_refused(tmp_path, pack):
    with pytest.raises(UserError, match="is cut short"):
        load_volume(nifti(tmp_path / "a.nii.gz", pack=pack))


@pytest.mark.parametrize(
    "slope, intercept",
    ((2.0, 1.0), (0.5, 0.0), (1.0, 5.0), (0.0, 0.0), (0.0, 3.0), (np.nan, np.nan), (np.inf, 0.0)),
)
def test_values_are_rescaled_as_itk_does(tmp_path, slope, intercept):
    path = nifti(tmp_path / "a.nii.gz", fields=[(SLOPE, "2f", slope, intercept)])
    expected = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    actual = load_volume(path).array
    assert actual.dtype == expected.dtype
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("codes", ((1, 1), (2, 2), (1, 4), (4, 4), (0, 2), (1, 0)))
def test_results_state_the_scans_position_in_both_forms_with_its_codes(tmp_path, codes):
    scan = load_volume(nifti(tmp_path / "a.nii.gz", (TURNED @ A, codes[0]), (TURNED @ A, codes[1])))
    segmentation = make_segmentation()
    labels = scan.with_array(np.zeros(SHAPE, np.uint8))
    labels.array[3, 4, 5] = 1
    result = type(segmentation)(labels, segmentation.structures)
    for name in ("l.nii.gz", "l.nii"):
        header = nibabel.load(save_segmentation(result, tmp_path / name)).header
        assert header["qform_code"] == (codes[0] or codes[1])
        assert header["sform_code"] == (codes[1] or codes[0])
        for matrix in (header.get_qform(), header.get_sform()):
            np.testing.assert_allclose(matrix, TURNED @ A, atol=1e-3)
        np.testing.assert_allclose(slicer_or_itk(tmp_path / name), TURNED @ A, atol=1e-3)


def slicer_or_itk(path):
    image = sitk.ReadImage(str(path))
    lps = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    matrix = np.eye(4)
    matrix[:3] = np.diag([-1.0, -1, 1]) @ np.column_stack([lps, image.GetOrigin()])
    return matrix


def test_a_scan_of_two_positions_gets_results_where_slicer_shows_it(tmp_path):
    path = nifti(tmp_path / "a.nii.gz", (TURNED @ A, 1), (A, 4))
    scan = load_volume(path)
    written = nibabel.load(save_volume(scan, tmp_path / "b.nii.gz"))
    assert (written.header["qform_code"], written.header["sform_code"]) == (1, 1)
    np.testing.assert_allclose(written.affine, TURNED @ A, atol=2e-3)


def test_a_scan_that_is_no_nifti_gets_the_scanners_code(tmp_path):
    header = nibabel.load(save_volume(make_volume(), tmp_path / "a.nii.gz")).header
    assert (header["qform_code"], header["sform_code"]) == (1, 1)
