"""What is saved comes back as it was, in every format and orientation, or not at all."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.volume import check_scan
from MedLLMSegLib.io.volume_files import load_volume, save_segmentation, save_volume, scan_name
from Testing.helpers.places import ROOT
from Testing.helpers.volumes import (
    DIRECTIONS,
    SHAPE,
    SPOT,
    make_segmentation,
    make_volume,
    rotated,
    spot_ras,
)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_a_scan_comes_back_where_it_was(tmp_path, suffix, direction):
    volume = make_volume(direction)
    back = load_volume(save_volume(volume, tmp_path / f"scan{suffix}"))
    assert back.array.dtype == np.int16
    assert np.array_equal(back.array, volume.array)
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
    assert back.array.dtype == np.uint8
    assert np.array_equal(back.array, segmentation.labels.array)
    np.testing.assert_allclose(back.ijk_to_ras, scan.ijk_to_ras, atol=1e-4)
    np.testing.assert_allclose(spot_ras(back, 4), spot_ras(segmentation.labels, 4), atol=1e-3)


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
    assert back.array.shape == (3, *SHAPE)
    assert np.array_equal(back.array, many.array)
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


def test_missing_paths_and_names(tmp_path):
    for path in (tmp_path / "gone.nii.gz", tmp_path / ("x" * 300 + ".nii")):
        with pytest.raises(UserError, match="no file or folder"):
            load_volume(path)
    with pytest.raises(UserError, match="no DICOM series"):
        load_volume(tmp_path)
    with pytest.raises(UserError, match="not valid text"):  # ITK would end the process here
        load_volume(str(tmp_path / "a\udcff.nii"))


def left_in(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_file_where_the_folder_should_be(tmp_path):
    (tmp_path / "out").write_text("in the way", encoding="utf-8")
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
# As on a full disk, every file ends at 20 kB.
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
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
        [sys.executable, "-c", FULL_DISK, str(path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("UserError:")
    assert "could not be written completely" in run.stdout
    assert left_in(tmp_path) == [path.name]
    assert path.read_bytes() == b"the old one"
