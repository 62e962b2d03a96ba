"""Scans in and results out: every format, every orientation, and everything that can be wrong
with a file.
"""

import gzip
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from MedLLMSegLib.anatomy.structures import hippocampus_structures
from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.geometry import transform_points
from MedLLMSegLib.core.segmentation import Segmentation
from MedLLMSegLib.core.volume import Volume, check_scan
from MedLLMSegLib.io.scan_search import find_scans
from MedLLMSegLib.io.volume_files import load_volume, save_segmentation, save_volume, scan_name

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = Path(os.environ.get("MEDLLMSEG_DATA", ROOT.parent / "shared" / "data")) / "samples"
SHAPE = (9, 11, 13)  # k, j, i: all different, so that a swapped axis cannot hide
SPOT = (2, 3, 10)  # k, j, i of the one bright voxel, off every centre


def rotated(degrees: float) -> np.ndarray:
    """A turn about an axis that is none of the scanner's."""
    x, y, z = np.array([1.0, 2.0, 3.0]) / np.sqrt(14)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


DIRECTIONS = {
    "ras": np.eye(3),
    "lps": np.diag([-1.0, -1, 1]),
    "flipped": np.diag([1.0, -1, -1]),
    "left-handed": np.diag([-1.0, 1, 1]),
    "permuted": np.eye(3)[:, [2, 0, 1]],
    "oblique": rotated(25),
    "oblique flipped": rotated(140) @ np.diag([1.0, -1, 1]),
}


def make_volume(direction: str = "oblique", dtype=np.int16, channels: int = 0) -> Volume:
    """Noise with one bright voxel at SPOT, 0.7 x 1.3 x 2.6 mm."""
    rng = np.random.default_rng(1)
    array = rng.integers(0, 50, (channels, *SHAPE) if channels else SHAPE).astype(dtype)
    array[(..., *SPOT)] = 99
    matrix = np.eye(4)
    matrix[:3, :3] = DIRECTIONS[direction] * [0.7, 1.3, 2.6]
    matrix[:3, 3] = [-31.4, 27.1, 118.3]
    return Volume(array, matrix, "scan")


def make_segmentation(direction: str = "oblique") -> Segmentation:
    volume = make_volume(direction)
    labels = np.zeros(SHAPE, np.uint8)
    labels[1:4, 2:5, 8:11] = 1
    labels[5, 6, 7] = 4  # 2 and 3 are left empty: a structure may be missing
    return Segmentation(volume.with_array(labels), hippocampus_structures(lateral=True))


def spot_ras(volume: Volume, value=99) -> np.ndarray:
    """Where the voxels of a value lie: (n, 3) RAS mm."""
    return transform_points(volume.ijk_to_ras, np.argwhere(volume.array == value)[:, ::-1])


# ---------------------------------------------------------------- what goes out comes back


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_a_scan_comes_back_where_it_was(tmp_path, suffix, direction):
    volume = make_volume(direction)
    back = load_volume(save_volume(volume, tmp_path / f"scan{suffix}"))
    assert back.array.dtype == np.int16 and np.array_equal(back.array, volume.array)
    np.testing.assert_allclose(back.ijk_to_ras, volume.ijk_to_ras, atol=1e-4)
    np.testing.assert_allclose(spot_ras(back), spot_ras(volume), atol=1e-3)
    assert back.name == "scan"


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mhd"])
def test_the_position_is_right_by_itks_own_account(tmp_path, suffix):
    """Round trips would hide an error made twice: here ITK writes, and says where the voxel is
    (in LPS).
    """
    image = sitk.GetImageFromArray(make_volume().array)
    image.SetSpacing((0.7, 1.3, 2.6))
    image.SetOrigin((31.0, -27.0, 118.0))
    image.SetDirection(rotated(25).ravel().tolist())
    sitk.WriteImage(image, str(tmp_path / f"scan{suffix}"))
    volume = load_volume(tmp_path / f"scan{suffix}")
    lps = np.array(image.TransformIndexToPhysicalPoint(SPOT[::-1]))
    np.testing.assert_allclose(spot_ras(volume), [lps * [-1, -1, 1]], atol=1e-3)


def test_nibabel_agrees_on_the_affine(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    volume = make_volume()
    affine = nibabel.load(save_volume(volume, tmp_path / "scan.nii.gz"))
    for matrix in (affine.header.get_sform(coded=True)[0], affine.header.get_qform(coded=True)[0]):
        np.testing.assert_allclose(matrix, volume.ijk_to_ras, atol=1e-4)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
def test_the_files_own_type_is_kept(tmp_path, dtype):
    assert (
        load_volume(save_volume(make_volume(dtype=dtype), tmp_path / "a.nrrd")).array.dtype == dtype
    )


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".seg.nrrd"])
def test_a_segmentation_lies_on_the_scans_grid(tmp_path, suffix, direction):
    segmentation = make_segmentation(direction)
    scan = load_volume(save_volume(make_volume(direction), tmp_path / "scan.nii.gz"))
    back = load_volume(save_segmentation(segmentation, tmp_path / f"labels{suffix}"))
    assert back.array.dtype == np.uint8 and np.array_equal(back.array, segmentation.labels.array)
    np.testing.assert_allclose(back.ijk_to_ras, scan.ijk_to_ras, atol=1e-4)
    np.testing.assert_allclose(spot_ras(back, 4), spot_ras(segmentation.labels, 4), atol=1e-3)


def test_seg_nrrd_says_what_slicer_needs(tmp_path):
    path = save_segmentation(make_segmentation(), tmp_path / "a.seg.nrrd")
    header = path.read_bytes().split(b"\n\n")[0].decode().splitlines()
    fields = dict(line.split(":=", 1) for line in header if ":=" in line)
    assert (
        fields["Segment0_ID"] == "left_anterior"
        and fields["Segment0_Name"] == "Left hippocampus (anterior)"
    )
    assert fields["Segment1_LabelValue"] == "4" and fields["Segment1_Layer"] == "0"
    assert "Segment2_ID" not in fields  # 2 and 3 have no voxels and are left out
    assert fields["Segment0_Extent"] == "0 12 0 10 0 8"
    color = [float(c) for c in fields["Segment1_Color"].split()]
    assert np.allclose(np.array(color) * 255, hippocampus_structures(True)[3].color, atol=1e-3)
    entry = fields["Segment1_Tags"]
    assert entry.startswith("TerminologyEntry:") and entry.endswith("|")
    assert entry.split("~")[1:4] == [
        "SCT^123037004^Anatomical Structure",
        "SCT^5366008^Hippocampus",
        "SCT^24028007^Right",
    ]
    assert len(entry.split("~")) == 7
    assert fields["Segmentation_MasterRepresentation"] == "Binary labelmap"


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd"])
def test_probabilities_keep_their_channels(tmp_path, suffix):
    volume = make_volume(dtype=np.float32, channels=3)
    volume.array[1] += 0.25
    path = save_volume(volume, tmp_path / f"p{suffix}")
    array = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    assert np.array_equal(array if suffix == ".nii.gz" else np.moveaxis(array, -1, 0), volume.array)
    assert array.dtype == np.float32


def test_a_single_time_point_is_a_3d_scan_and_several_are_refused(tmp_path):
    one, many = make_volume(channels=1), make_volume(channels=3)
    assert load_volume(save_volume(one, tmp_path / "one.nii.gz")).array.shape == SHAPE
    back = load_volume(save_volume(many, tmp_path / "many.nii.gz"))
    assert back.array.shape == (3, *SHAPE) and np.array_equal(back.array, many.array)
    with pytest.raises(UserError, match="series of 3 images"):
        check_scan(back)


def test_names_that_are_long_or_in_other_scripts(tmp_path):
    folder = tmp_path / "病院 données" / ("long name " * 12) / ("and longer " * 12)
    path = save_segmentation(make_segmentation(), folder / "Kopf größe 頭.seg.nrrd")
    assert load_volume(path).array.max() == 4
    longest = folder / ("x" * (255 - len(".nii.gz")) + ".nii.gz")  # as long as a name may be
    assert load_volume(save_volume(make_volume(), longest)).name == "x" * 248
    assert len(str(longest)) > 500


@pytest.mark.parametrize(
    "name, stem",
    [
        ("a.nii.gz", "a"),
        ("a.b.NII.GZ", "a.b"),
        ("x.nrrd", "x"),
        ("s.dcm", "s"),
        ("IM0001", "IM0001"),
    ],
)
def test_a_scan_is_called_like_its_file(name, stem):
    assert scan_name(f"/data/{name}") == stem


def test_capital_suffixes_are_read(tmp_path):
    save_volume(make_volume(), tmp_path / "a.nii.gz").rename(tmp_path / "A.NII.GZ")
    assert np.array_equal(load_volume(tmp_path / "A.NII.GZ").array, make_volume().array)


# ---------------------------------------------------------------- what cannot be read


def packed(data: bytes) -> bytes:
    return gzip.compress(data)


def nifti(mutate=None) -> bytes:
    """A .nii file's bytes; mutate(header) changes its first 352."""
    nibabel = pytest.importorskip("nibabel")
    volume = make_volume("ras")
    image = nibabel.Nifti1Image(volume.array.T.copy(), volume.ijk_to_ras)
    header = image.header.copy()
    if mutate:
        mutate(header)
    header["vox_offset"] = 352
    return header.binaryblock + bytes(4) + volume.array.astype(header.get_data_dtype()).tobytes()


def nifti2() -> bytes:
    nibabel = pytest.importorskip("nibabel")
    return nibabel.Nifti2Image(make_volume().array, np.eye(4)).to_bytes()


def set_field(field, value):
    def mutate(header):
        header[field] = value

    return mutate


def shear(header):
    header["srow_x"] = [1, 0.5, 0, 0]
    header["qform_code"] = 0


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
    ("a.nii.gz", lambda: packed(TEXT), "named like a NIfTI file"),
    ("a.nii.gz", lambda: packed(b"short"), "named like a NIfTI file"),
    ("a.nrrd", lambda: TEXT, "named like a NRRD file"),
    ("a.mha", lambda: TEXT, "named like a MetaImage file"),
    ("a.txt", lambda: TEXT, "not a scan in a format"),
    ("a.png", lambda: b"\x89PNG\r\n", "not a scan in a format"),
    ("a.dcm", lambda: TEXT, "not a scan in a format"),
    ("a.dcm", lambda: bytes(128) + b"DICM" + TEXT, "damaged or cut short"),
    ("a.nii", lambda: cut("a.nii"), "is cut short"),
    ("a.nii.gz", lambda: cut("a.nii.gz"), "is cut short or damaged"),
    ("a.nii.gz", lambda: packed(cut("a.nii")), "is cut short"),
    ("a.nii.gz", lambda: flip_byte("a.nii.gz"), "damaged"),
    ("a.nrrd", lambda: cut("a.nrrd"), "could not be read"),
    ("a.mha", lambda: cut("a.mha"), "could not be read"),
    (
        "a.nii",
        lambda: nifti(set_field("pixdim", [1, 0, 0, 0, 1, 1, 1, 1])),
        "voxel size of 0 x 0 x 0 mm",
    ),
    (
        "a.nii",
        lambda: nifti(set_field("pixdim", [1, 1, 2, 0, 1, 1, 1, 1])),
        "voxel size of 1 x 2 x 0 mm",
    ),
    (
        "a.nii.gz",
        lambda: packed(nifti(set_field("pixdim", [1, 1, 2, np.nan, 1, 1, 1, 1]))),
        "size of 1 x 2 x nan",
    ),
    ("a.nii", lambda: nifti(shear), "not at right angles"),
    ("a.nii", lambda: nifti2(), "NIfTI-2"),
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
    assert (
        str(path) in message
        and message.endswith(".")
        and "\n" not in message
        and "ITK" not in message
    )


def test_a_whole_nifti_of_that_kind_is_read(tmp_path):
    """The bad files above fail for their fault, not because the way they are made is wrong."""
    (tmp_path / "a.nii").write_bytes(nifti())
    assert np.array_equal(load_volume(tmp_path / "a.nii").array, make_volume("ras").array)
    (tmp_path / "a.nii.gz").write_bytes(nifti())  # not packed, whatever its name says
    assert np.array_equal(load_volume(tmp_path / "a.nii.gz").array, make_volume("ras").array)


@pytest.mark.parametrize("order", [">", "<"])
def test_both_byte_orders(tmp_path, order):
    nibabel = pytest.importorskip("nibabel")
    volume = make_volume()
    header = nibabel.Nifti1Header(endianness=order)
    header.set_data_dtype(np.int16)
    nibabel.save(nibabel.Nifti1Image(volume.array.T, volume.ijk_to_ras, header), tmp_path / "a.nii")
    assert np.array_equal(load_volume(tmp_path / "a.nii").array, volume.array)
    data = (tmp_path / "a.nii").read_bytes()
    (tmp_path / "a.nii").write_bytes(data[:-2])
    with pytest.raises(UserError, match="cut short"):
        load_volume(tmp_path / "a.nii")


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


def test_missing_paths_and_names(tmp_path):
    for path in (tmp_path / "gone.nii.gz", tmp_path / ("x" * 300 + ".nii")):
        with pytest.raises(UserError, match="no file or folder"):
            load_volume(path)
    with pytest.raises(UserError, match="no DICOM series"):
        load_volume(tmp_path)
    with pytest.raises(UserError, match="not valid text"):  # ITK would end the process here
        load_volume(str(tmp_path / "a\udcff.nii"))


def test_reading_leaves_no_trace_of_itk(tmp_path, capfd):
    (tmp_path / "a.nii").write_bytes(
        nifti(set_field("srow_x", [9, 0, 0, 0]))
    )  # ITK warns: unexpected scales
    before = sitk.ProcessObject.GetGlobalWarningDisplay()
    load_volume(tmp_path / "a.nii")
    out, err = capfd.readouterr()
    assert "WARNING" not in out + err
    assert sitk.ProcessObject.GetGlobalWarningDisplay() == before


# ---------------------------------------------------------------- DICOM


def write_series(
    folder: Path, depths_mm, uid="1.2.3", size=(8, 9), tilt=0.0, description="T1", start=0
):
    """A CT-like series of axial slices, written in the order of depths_mm; slice n holds the
    value of its depth.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for n, depth in enumerate(depths_mm):
        image = sitk.GetImageFromArray(np.full((1, *size[::-1]), round(depth), np.int16))
        image.SetSpacing((0.5, 0.6, 1.0))
        tags = {
            "0008|0060": "CT",
            "0008|103e": description,
            "0020|000e": uid,
            "0020|000d": "1.2",
            "0020|0013": str(n),
            "0020|0032": f"-20\\{-30 + tilt * depth}\\{depth}",
            "0020|0037": "1\\0\\0\\0\\1\\0",
            "0008|0018": f"{uid}.{n}",
            "0028|1050": "40\\300",
            "0028|1051": "400\\1500",
            "0028|1052": "0",
            "0028|1053": "1",
        }
        for key, value in tags.items():
            image.SetMetaData(key, value)
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.SetFileName(str(folder / f"IM{start + n:04d}.dcm"))
        writer.Execute(image)
    return folder


def test_a_dicom_series_is_sorted_by_place_and_keeps_its_window(tmp_path):
    folder = write_series(tmp_path / "série", [30, 10, 20, 40])
    for path in (folder, folder / "IM0002.dcm"):
        volume = load_volume(path)
        assert volume.array.shape == (4, 9, 8)
        assert volume.array[:, 0, 0].tolist() == [10, 20, 30, 40]
        assert volume.spacing_mm == pytest.approx((10, 0.6, 0.5))
        np.testing.assert_allclose(volume.ijk_to_ras[:3, 3], [20, 30, 10], atol=1e-6)
        assert volume.tags == {"window_center": 40, "window_width": 400}
    assert load_volume(folder).name == "série"


def test_the_example_series(request):
    folder = SAMPLES / "example_ct_dicom"
    if not folder.is_dir():
        pytest.skip(
            f"NOT TESTED: the DICOM example is not at {folder}; set MEDLLMSEG_DATA to the data"
            " folder"
        )
    volume = load_volume(folder)
    assert volume.array.shape == (20, 512, 512) and volume.array.dtype == np.int16
    assert volume.spacing_mm == pytest.approx((2.0, 0.9765625, 0.9765625))
    assert volume.array.min() == -1024 and volume.tags["window_center"] == 40
    one = load_volume(sorted(folder.iterdir())[7])
    assert np.array_equal(one.array, volume.array) and np.array_equal(
        one.ijk_to_ras, volume.ijk_to_ras
    )


@pytest.mark.parametrize(
    "depths, tilt, sentence",
    [
        ([0, 2, 4, 8, 10], 0, "missing or unevenly spaced slices"),
        ([0, 2, 4.5, 6, 8], 0, "missing or unevenly spaced slices"),
        ([0, 4, 6, 8, 10], 0, "missing or unevenly spaced slices"),
        ([0, 2, 2, 4], 0, "at the same place"),
        ([0, 2, 4, 6], 1.0, "tilted gantry"),
    ],
)
def test_a_series_that_is_no_even_grid_is_refused(tmp_path, depths, tilt, sentence):
    write_series(tmp_path, depths, tilt=tilt)
    with pytest.raises(UserError, match=sentence):
        load_volume(tmp_path)


def test_a_thousandth_of_a_slice_is_even(tmp_path):
    write_series(tmp_path, [0, 2.002, 3.998, 6])
    assert load_volume(tmp_path).array.shape[0] == 4


def test_two_series_in_one_folder(tmp_path):
    write_series(tmp_path, [1, 2, 3], description="T1 head")
    write_series(tmp_path, [5], uid="1.2.9", description="scout", start=50)
    assert load_volume(tmp_path).array[:, 0, 0].tolist() == [1, 2, 3]  # the other is a single image
    write_series(tmp_path, [4, 5, 6, 7], uid="1.2.4", description="T2 head", start=10)
    with pytest.raises(
        UserError, match=r'3 DICOM series: "T1 head" \(3 slices\), "T2 head" \(4 slices\), "scout"'
    ):
        load_volume(tmp_path)
    assert load_volume(tmp_path / "IM0011.dcm").array[:, 0, 0].tolist() == [4, 5, 6, 7]
    write_series(tmp_path / "mixed", [1, 2, 3])
    write_series(tmp_path / "mixed", [4], size=(5, 5), start=10)
    with pytest.raises(UserError, match="different sizes"):
        load_volume(tmp_path / "mixed")


def test_a_damaged_slice_is_not_left_out_unseen(tmp_path):
    """Without the middle one of three, the other two would look like an even series."""
    write_series(tmp_path, [1, 2, 3])
    data = (tmp_path / "IM0001.dcm").read_bytes()
    (tmp_path / "IM0001.dcm").write_bytes(data[:-60])
    with pytest.raises(UserError, match="IM0001.dcm.*damaged or cut short"):
        load_volume(tmp_path)


def test_other_objects_beside_the_slices_are_passed_over(tmp_path):
    write_series(tmp_path, [1, 2, 3])
    data = (tmp_path / "IM0001.dcm").read_bytes()[:-60]
    (tmp_path / "raw.dcm").write_bytes(
        data.replace(b"1.2.840.10008.5.1.4.1.1.2\0", b"1.2.840.10008.5.1.4.1.1.66")
    )
    assert load_volume(tmp_path).array[:, 0, 0].tolist() == [1, 2, 3]


# ---------------------------------------------------------------- which scans


def test_what_a_folder_stands_for(tmp_path):
    data = tmp_path / "data"
    for name in ("b.nii.gz", "a.nrrd", "c.mha", "labels.seg.nrrd", "._b.nii.gz", "notes.txt"):
        data.mkdir(exist_ok=True)
        (data / name).write_bytes(b"x")
    series = write_series(data / "series", [1, 2])
    (data / "empty").mkdir()
    assert find_scans([data]) == [data / "a.nrrd", data / "b.nii.gz", data / "c.mha", series]
    assert find_scans([series]) == [series]
    assert find_scans(sorted(series.iterdir())) == [
        series / "IM0000.dcm"
    ]  # two slices are one scan
    assert find_scans([data / "b.nii.gz", data]) == [
        data / "b.nii.gz",
        data / "a.nrrd",
        data / "c.mha",
        series,
    ]
    assert find_scans([tmp_path / "gone.nii"]) == [tmp_path / "gone.nii"]
    with pytest.raises(UserError, match="holds no scan"):
        find_scans([data / "empty"])


# ---------------------------------------------------------------- what cannot be written


def left_in(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_file_where_the_folder_should_be(tmp_path):
    (tmp_path / "out").write_text("in the way")
    for path in (tmp_path / "out" / "a.nii.gz", tmp_path / "out" / "deep" / "a.seg.nrrd"):
        with pytest.raises(UserError, match="in the way"):
            save_segmentation(make_segmentation(), path)
    assert left_in(tmp_path) == ["out"]


def test_a_folder_where_the_file_should_be(tmp_path):
    (tmp_path / "a.nii.gz").mkdir()
    with pytest.raises(UserError, match="in the way"):
        save_segmentation(make_segmentation(), tmp_path / "a.nii.gz")
    assert left_in(tmp_path) == ["a.nii.gz"]


def test_a_name_that_says_no_format(tmp_path):
    for name in ("a", "a.png", "a.mha"):
        with pytest.raises(UserError, match="does not say in which format"):
            save_segmentation(make_segmentation(), tmp_path / name)
    with pytest.raises(UserError, match="does not say in which format"):
        save_volume(make_volume(), tmp_path / "a.txt")
    assert not left_in(tmp_path)


def test_a_sheared_grid_is_refused_for_nifti_only(tmp_path):
    volume = make_volume("ras")
    volume.ijk_to_ras[0, 1] = 0.4
    with pytest.raises(UserError, match="right angles"):
        save_volume(volume, tmp_path / "a.nii.gz")
    np.testing.assert_allclose(
        load_volume(save_volume(volume, tmp_path / "a.nrrd")).ijk_to_ras, volume.ijk_to_ras
    )
    assert left_in(tmp_path) == ["a.nrrd"]


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the administrator may write anywhere"
)
def test_no_permission(tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    with pytest.raises(UserError, match="no permission"):
        save_segmentation(make_segmentation(), folder / "a.nii.gz")


FULL_DISK = """
import resource, sys, numpy as np
from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.io.volume_files import save_volume
from MedLLMSegLib.core.volume import Volume
volume = Volume(np.random.default_rng(0).random((40, 40, 40), np.float32), np.eye(4))
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))  # like a full disk, every file ends at 20 kB
try:
    save_volume(volume, sys.argv[1])
except UserError as error:
    print("UserError:", error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are Unix's")
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_a_full_disk_leaves_the_old_file_and_no_half_one(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"the old one")
    run = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True, cwd=ROOT
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("UserError:") and "could not be written completely" in run.stdout
    assert left_in(tmp_path) == [path.name] and path.read_bytes() == b"the old one"
