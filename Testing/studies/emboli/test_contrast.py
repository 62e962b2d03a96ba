"""Whether a chest CT has the contrast that emboli need to be seen."""

from dataclasses import replace

import numpy as np
import pytest

from MedLLMSegLib import save_volume
from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.studies.emboli.__main__ import checked, main
from MedLLMSegLib.studies.emboli.chest import read_chest
from MedLLMSegLib.studies.emboli.contrast import NOT_KNOWN, Contrast, contrast_of
from Testing.helpers.made_up_chest import GRID, artery_label, chest_volume
from Testing.helpers.places import DATA

PLAIN = DATA / "lung_ct/whole/Lung_Dx-A0001.nii.gz"


def measured(labelled=True, **chest):
    found = read_chest(chest_volume(**chest), 3.0)
    return contrast_of(found, found.on_grid(artery_label()) if labelled else None)


def test_the_artery_is_measured_in_its_label_and_compared_with_the_heart():
    contrast = measured()
    assert contrast.artery_hu == pytest.approx(500, abs=10)
    assert contrast.other_hu == pytest.approx(400, abs=10)
    assert contrast.warnings == ()


def test_without_a_label_the_blood_between_the_lungs_is_estimated():
    contrast = measured(labelled=False)
    assert not contrast.measured
    assert 380 < contrast.artery_hu < 510


@pytest.mark.parametrize("labelled", [True, False])
def test_a_plain_ct_is_refused_with_its_hu(labelled):
    with pytest.raises(UserError, match=r"without contrast medium.* (3\d|4\d) HU"):
        measured(labelled, blood_hu=40.0, heart_hu=40.0)


def test_a_late_phase_and_a_weak_contrast_are_told():
    (late,) = measured(blood_hu=300.0, heart_hu=400.0).warnings
    assert "the phase is late" in late
    (weak,) = measured(blood_hu=180.0, heart_hu=160.0).warnings
    assert "the contrast is weak" in weak


def test_an_aortic_phase_is_accepted_neither_with_a_label_nor_without(tmp_path):
    """Blood in the artery has no contrast medium, and the heart has."""
    save_volume(chest_volume(blood_hu=60.0, heart_hu=400.0), tmp_path / "aortic.nii.gz")
    save_volume(artery_label(), tmp_path / "artery.nii.gz")
    estimated = checked(tmp_path / "aortic.nii.gz")
    assert int(estimated["hu"]) > 200
    assert estimated["answer"] == NOT_KNOWN
    assert "--artery" in NOT_KNOWN
    labelled = checked(tmp_path / "aortic.nii.gz", tmp_path / "artery.nii.gz")
    assert labelled["answer"].startswith("refused: This CT was made without contrast medium")


def test_an_estimate_speaks_of_the_blood_that_it_saw():
    weak = Contrast(150.0, 10.0, None, measured=False)
    assert weak.answer == f"{weak.warnings[0]} {NOT_KNOWN}"
    assert weak.warnings[0].startswith("The blood between the lungs has 150 HU")


def test_flipped_axes_and_other_voxels_change_nothing():
    volume = chest_volume()
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    flip[:3, 3] = [volume.array.shape[2] - 1, volume.array.shape[1] - 1, 0]
    turned = Volume(volume.array[:, ::-1, ::-1], volume.ijk_to_ras @ flip)
    plain = contrast_of(read_chest(volume, 3.0))
    assert contrast_of(read_chest(turned, 3.0)).artery_hu == pytest.approx(plain.artery_hu, abs=5)
    thick = Volume(volume.array[::2], volume.ijk_to_ras @ np.diag([1.0, 1, 2, 1]))
    assert contrast_of(read_chest(thick, 3.0)).artery_hu == pytest.approx(plain.artery_hu, abs=30)


def spoilt(change):
    volume = chest_volume()
    array = volume.array.astype(np.float32)
    change(array)
    return replace(volume, array=array)


@pytest.mark.parametrize(
    ("volume", "words"),
    [
        (spoilt(lambda a: a.__setitem__((0, 0, 0), np.nan)), "NaN or infinite"),
        (spoilt(lambda a: a.fill(7)), "same value"),
        (spoilt(lambda a: np.maximum(a, 0, out=a)), "Hounsfield"),
        (Volume(np.zeros((0, 4, 4)), GRID), "no voxels"),
        (Volume(np.arange(16.0).reshape(1, 4, 4), GRID), "flat image"),
        (Volume(np.full((9, 9, 9), -1000) + np.arange(9), GRID), "CT of the chest"),
    ],
)
def test_what_is_no_chest_ct_is_refused_in_a_sentence(volume, words):
    with pytest.raises(UserError, match=words):
        read_chest(volume)


def test_a_label_of_another_scan_is_refused():
    chest = read_chest(chest_volume(), 3.0)
    far = GRID.copy()
    far[:3, 3] = 5000
    with pytest.raises(UserError, match="marks nothing within the scan"):
        chest.on_grid(Volume(artery_label().array, far))


def test_the_command_says_it_of_a_file(tmp_path, capsys):
    save_volume(chest_volume(), tmp_path / "chest.nii.gz")
    save_volume(artery_label(), tmp_path / "artery.nii.gz")
    command = ["--check", str(tmp_path / "chest.nii.gz")]
    assert main([*command, "--artery", str(tmp_path / "artery.nii.gz")]) == 0
    assert "HU; accepted" in capsys.readouterr().out
    assert main(command) == 0
    assert "whether it is in the pulmonary arteries is not known" in capsys.readouterr().out


def test_a_file_that_is_not_there_and_a_label_of_another_scan_are_mistakes(tmp_path, capsys):
    missing = tmp_path / "nothing.nii.gz"
    assert main(["--check", str(missing)]) == 2
    assert "There is no file" in capsys.readouterr().err
    save_volume(chest_volume(), tmp_path / "chest.nii.gz")
    far = GRID.copy()
    far[:3, 3] = 5000
    save_volume(Volume(artery_label().array, far), tmp_path / "far.nii.gz")
    command = ["--check", str(tmp_path / "chest.nii.gz"), "--artery"]
    assert main([*command, str(missing)]) == 2
    assert main([*command, str(tmp_path / "far.nii.gz")]) == 2
    assert "marks nothing within the scan" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(not PLAIN.exists(), reason=f"there is no {PLAIN}")
def test_a_real_plain_chest_ct_is_refused():
    assert "without contrast medium" in checked(PLAIN)["answer"]
