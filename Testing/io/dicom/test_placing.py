"""Frames are placed by their own positions, in any form and order, as dcm2niix places them."""

import numpy as np
import pytest

from MedLLMSegLib.io.volume_files import load_volume
from Testing.helpers.dicom_oracles import assert_same_voxels, dcm2niix_volume, itk_volume
from Testing.helpers.dicom_phantom import (
    AXES,
    COUNT,
    ENHANCED_CT,
    ENHANCED_MR,
    ENHANCED_PET,
    LEGACY_MR,
    NM,
    ORIGIN,
    PHANTOM,
    SC_WORDS,
    SPACING_MM,
    STEP_MM,
    US_VOLUME,
    XA_3D,
    dataset,
    enhanced_dataset,
    expected_matrix,
    item,
    slice_dataset,
    text,
    write,
    write_classic,
    write_enhanced,
)

SHUFFLED = np.random.default_rng(1).permutation(COUNT).tolist()
BACKWARDS = list(range(COUNT))[::-1]


def assert_phantom(volume):
    assert np.array_equal(volume.array, PHANTOM)
    np.testing.assert_allclose(volume.ijk_to_ras, expected_matrix(), atol=1e-5)


@pytest.mark.parametrize("order", (range(COUNT), BACKWARDS, SHUFFLED), ids=str)
def test_a_classic_series_in_any_order_of_its_files(tmp_path, order):
    folder = write_classic(tmp_path / "scan", order=order)
    volume = load_volume(folder)
    assert_phantom(volume)
    assert volume.notes == ()
    assert_same_voxels(volume, dcm2niix_volume(folder, tmp_path / "out"))
    files = [folder / f"IM{list(order).index(n):03d}.dcm" for n in range(COUNT)]
    assert_same_voxels(volume, itk_volume(files))
    assert_phantom(load_volume(files[5]))


@pytest.mark.parametrize("order", (range(COUNT), BACKWARDS, SHUFFLED), ids=str)
@pytest.mark.parametrize(
    "sop_class", (ENHANCED_MR, LEGACY_MR, ENHANCED_CT, ENHANCED_PET, SC_WORDS, XA_3D)
)
def test_the_frames_of_a_multi_frame_file_in_any_order_and_class(tmp_path, sop_class, order):
    path = write_enhanced(tmp_path / "scan", order, sop_class=sop_class)
    assert_phantom(load_volume(path))
    assert_phantom(load_volume(path.parent))
    assert_same_voxels(load_volume(path), dcm2niix_volume(path.parent, tmp_path / "out"))


def test_highdicom_agrees_on_a_multi_frame_file(tmp_path):
    highdicom = pytest.importorskip("highdicom")
    path = write_enhanced(tmp_path / "scan", SHUFFLED, sop_class=ENHANCED_CT, edit=with_slopes)
    theirs = highdicom.imread(path).get_volume(apply_real_world_transform=False)
    lps = theirs.affine[:, [2, 1, 0, 3]]  # its axes are (k, j, i)
    array, ours = theirs.array, load_volume(path)
    assert_same_voxels(ours, type(ours)(array, np.diag([-1, -1, 1, 1]) @ lps))


def with_slopes(groups, number):
    groups.PixelValueTransformationSequence = item(
        RescaleIntercept=str(-number), RescaleSlope=str(1 + number % 2), RescaleType="HU"
    )


def test_a_series_of_enhanced_files_of_one_frame_each(tmp_path):
    for number, n in enumerate(SHUFFLED):
        made = enhanced_dataset([n], edit=None)
        made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = f"1.2.77.{n + 1}"
        made.InstanceNumber = n + 1
        made.NumberOfFrames = 1
        write(made, tmp_path / f"{number}.dcm")
    assert_phantom(load_volume(tmp_path))
    assert_phantom(load_volume(tmp_path / "3.dcm"))


def test_the_parts_of_a_concatenation_are_one_volume(tmp_path):
    for number, order in enumerate((range(5, COUNT), range(5))):
        made = enhanced_dataset(order)
        made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = f"1.2.77.{number + 1}"
        made.ConcatenationUID, made.InConcatenationNumber = "1.2.78", number + 1
        write(made, tmp_path / f"{number}.dcm")
    assert_phantom(load_volume(tmp_path))


def nuclear(step_mm=STEP_MM, image_type="RECON TOMO"):
    made = dataset(PHANTOM.astype(np.uint16), NM, Modality="NM")
    made.ImageType = ["DERIVED", "PRIMARY", image_type, "EMISSION"]
    made.PixelSpacing, made.SliceThickness = text(SPACING_MM), "9"
    made.SpacingBetweenSlices = str(step_mm)
    made.DetectorInformationSequence = item(
        ImagePositionPatient=text(ORIGIN), ImageOrientationPatient=text(AXES)
    )
    made.SliceVector = list(range(1, COUNT + 1))
    made.FrameIncrementPointer = 0x00540080
    return made


def test_nuclear_medicine_steps_along_its_normal(tmp_path):
    (tmp_path / "scan").mkdir()
    path = write(nuclear(), tmp_path / "scan" / "nm.dcm")
    assert_phantom(load_volume(path))
    assert_same_voxels(load_volume(path), dcm2niix_volume(path.parent, tmp_path / "out"))


def test_nuclear_medicine_that_steps_against_its_normal(tmp_path):
    """DICOM PS3.3, C.8.4.15: a negative spacing between slices."""
    volume = load_volume(write(nuclear(-STEP_MM), tmp_path / "nm.dcm"))
    assert np.array_equal(volume.array, PHANTOM[::-1])
    first = volume.ijk_to_ras @ [0, 0, COUNT - 1, 1]
    np.testing.assert_allclose(first, expected_matrix()[:, 3], atol=1e-5)


def test_an_ultrasound_volume_counts_from_its_probe_and_a_note_says_so(tmp_path):
    def from_probe(groups, number):
        position = groups.PlanePositionSequence[0].ImagePositionPatient
        del groups.PlanePositionSequence
        groups.PlanePositionVolumeSequence = item(ImagePositionVolume=[float(x) for x in position])
        groups.PlaneOrientationVolumeSequence = item(ImageOrientationVolume=AXES.ravel().tolist())

    volume = load_volume(write_enhanced(tmp_path, SHUFFLED, sop_class=US_VOLUME, edit=from_probe))
    assert_phantom(volume)
    assert "from the ultrasound probe" in volume.notes[0]


def test_directions_of_three_decimals_are_taken_for_right_angles(tmp_path):
    rounded = [f"{number:.3f}" for number in AXES.ravel()]
    write_classic(tmp_path, lambda made, n: setattr(made, "ImageOrientationPatient", rounded))
    volume = load_volume(tmp_path)
    axes = volume.ijk_to_ras[:3, :3] / np.linalg.norm(volume.ijk_to_ras[:3, :3], axis=0)
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-9)
    corner = [0, 0, COUNT - 1, 1]
    np.testing.assert_allclose(volume.ijk_to_ras @ corner, expected_matrix() @ corner, atol=0.05)


def test_a_secondary_capture_with_positions_is_placed_by_them(tmp_path):
    for n in range(COUNT):
        made = slice_dataset(n)
        made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
        write(made, tmp_path / f"{n}.dcm")
    assert_phantom(load_volume(tmp_path))
