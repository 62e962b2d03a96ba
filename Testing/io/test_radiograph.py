"""A flat X-ray from a volume or any other file, or refused in one sentence."""

import numpy as np
import pytest

from MedLLMSegLib import UserError, Volume, save_volume
from MedLLMSegLib.io.radiograph import load_radiograph, radiograph_of
from Testing.helpers.bad_radiographs import BAD
from Testing.helpers.dicom_writer import write_dicom
from Testing.helpers.flat_images import GREY, RAMP, linear, save, volume
from Testing.helpers.places import DATA

needs_shared = pytest.mark.skipif(not DATA.is_dir(), reason=f"NOT TESTED: {DATA} is absent")


@pytest.mark.parametrize("suffix", (".nrrd", ".nii.gz", ".mha"))
def test_a_volume_of_one_slice_is_the_same_image(tmp_path, suffix):
    path = write_dicom(tmp_path / "x.dcm", RAMP.astype(np.uint16), ImagerPixelSpacing=[0.2, 0.2])
    dicom = load_radiograph(path)
    save_volume(dicom.volume, tmp_path / f"x{suffix}")
    volume = load_radiograph(tmp_path / f"x{suffix}")
    assert np.allclose(volume.array, dicom.array, atol=1e-5)
    assert volume.volume.spacing_mm[1:] == pytest.approx((0.2, 0.2))


def test_a_volume_from_slicer_brings_its_window_and_direction_of_grey():
    volume = Volume(
        RAMP[None].astype(np.int16),
        np.diag([-1.0, -1, 1, 1]),
        "node",
        {"window_center": 1500.0, "window_width": 1000.0},
    )
    assert np.allclose(radiograph_of(volume).array, linear(RAMP, 1500, 1000), atol=1e-5)
    turned = Volume(volume.array, volume.ijk_to_ras, "node", {**volume.tags, "inverted": 1.0})
    assert np.allclose(radiograph_of(turned).array, 1 - linear(RAMP, 1500, 1000), atol=1e-5)
    colour = radiograph_of(
        Volume(np.stack([volume.array] * 3), volume.ijk_to_ras, "node", volume.tags)
    )
    assert np.array_equal(colour.array, radiograph_of(volume).array)
    assert "stored in colour" in colour.notes[0]
    with pytest.raises(UserError, match="a colour image"):
        radiograph_of(
            Volume(
                np.stack([volume.array, volume.array, 0 * volume.array]),
                volume.ijk_to_ras,
                "node",
                volume.tags,
            )
        )
    other = Volume(RAMP[:, None].astype(np.int16), np.diag([0.2, 5, 0.3, 1]), "coronal")
    assert radiograph_of(other).array.shape == RAMP.shape


@needs_shared
def test_real_radiographs():
    one, two = (load_radiograph(DATA / f"samples/cxr_monochrome{n}.dcm") for n in ("", "2"))
    assert np.allclose(
        one.array, 1 - two.array, atol=1e-6
    )  # the same stored values, once called MONOCHROME1 and once 2
    assert (two.view, two.modality, two.body_part) == (
        "PA",
        "CR",
        "CHEST",
    )
    assert "no window" in two.notes[0]
    assert (
        two.array[300:600, 490:530].mean() > two.array[300:600, 250:350].mean() + 0.1
    )  # the spine is brighter than a lung
    nih = load_radiograph(next(iter(sorted((DATA / "cxr/images").iterdir()))))
    assert nih.array.shape == (256, 256)
    assert nih.notes == ()


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_radiograph_is_refused_in_one_sentence(name, tmp_path):
    make, words = BAD[name]
    path = make(tmp_path)
    with pytest.raises(UserError) as caught:
        load_radiograph(path)
    message = str(caught.value)
    assert words in message, message
    assert message.endswith("."), message
    assert ". " not in message, message


def test_windows_belong_to_dicom(tmp_path):
    for path in (save(tmp_path / "x.png", GREY), volume(tmp_path / "x.nrrd", GREY[None])):
        with pytest.raises(UserError, match="no windows to choose from"):
            load_radiograph(path, window=1)
