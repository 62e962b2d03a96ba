"""Pairs of images and label maps that other programs name or place in their own way."""

import numpy as np
import pytest

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.data import read_cases, read_labels
from MedLLMSegLib.evaluation.labelled_cases import labelled_cases
from MedLLMSegLib.io.volume_files import load_volume
from Testing.helpers.labelled_files import write_json

nibabel = pytest.importorskip("nibabel")

K, J, I = np.indices((16, 20, 24))  # noqa: E741  (voxel indices k, j, i)
VALUES = (5 * I + 3 * J + 20 * K).astype(np.int16).T
LABELS = (VALUES > 150).astype(np.uint8)
AFFINE = np.array([[1.1, 0, 0, -10], [0, 1.0, 0, -20], [0, 0, 1.2, 30], [0, 0, 0, 1]])
TURN = np.array([[0.985, -0.174, 0, 8], [0.174, 0.985, 0, -6], [0, 0, 1, 12], [0, 0, 0, 1]])


def folders(root, image, label):
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir()
    nibabel.save(nibabel.Nifti1Image(VALUES, AFFINE), root / "imagesTr" / image)
    nibabel.save(nibabel.Nifti1Image(LABELS, AFFINE), root / "labelsTr" / label)
    return root


def test_nnunets_file_names_are_understood(tmp_path):
    data = folders(tmp_path, "c_0000.nii.gz", "c.nii.gz")
    write_json(data, "dataset.json", {"labels": {"background": 0, "ball": 1}})
    (case,) = read_cases(data).cases
    assert (case.id, case.image.name, case.label.name) == ("c", "c_0000.nii.gz", "c.nii.gz")
    (case,) = labelled_cases(data).cases
    assert case.image.name == "c_0000.nii.gz"


def test_an_image_of_the_cases_own_name_comes_first(tmp_path):
    data = folders(tmp_path, "c_0000.nii.gz", "c.nii.gz")
    nibabel.save(nibabel.Nifti1Image(VALUES, AFFINE), data / "imagesTr" / "c.nii.gz")
    assert read_cases(data).cases[0].image.name == "c.nii.gz"


def test_a_label_map_on_the_second_position_of_its_image(tmp_path):
    """Slicer takes the image's qform and the label map's only sform; nibabel and FSL see both in
    one place.
    """
    image = nibabel.Nifti1Image(VALUES, AFFINE)
    image.set_sform(AFFINE, 4)
    image.set_qform(TURN @ AFFINE, 1)
    nibabel.save(image, tmp_path / "image.nii.gz")
    nibabel.save(nibabel.Nifti1Image(LABELS, AFFINE), tmp_path / "label.nii.gz")
    volume = load_volume(tmp_path / "image.nii.gz")
    assert np.array_equal(read_labels(tmp_path / "label.nii.gz", volume).T, LABELS)
    moved = AFFINE.copy()
    moved[0, 3] += 5
    nibabel.save(nibabel.Nifti1Image(LABELS, moved), tmp_path / "label.nii.gz")
    with pytest.raises(UserError, match="is shifted by up to 5 mm from its image"):
        read_labels(tmp_path / "label.nii.gz", volume)
