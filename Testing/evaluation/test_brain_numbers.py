"""Brains in other numberings are measured with FreeSurfer's numbers."""

import csv
import json

import numpy as np
import pytest

from MedLLMSegLib.anatomy.brain import brain_structures
from MedLLMSegLib.anatomy.numberings import FREESURFER, MUSE, NEUROMORPHOMETRICS
from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.segmentation import Segmentation
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.evaluation.brain_numbers import to_freesurfer
from MedLLMSegLib.evaluation.evaluate_segmenter import EvaluationOptions, evaluate
from MedLLMSegLib.evaluation.labelled_cases import labelled_cases
from MedLLMSegLib.io.volume_files import save_volume

ISO = (1.0, 1.0, 1.0)


def line(*numbers) -> np.ndarray:
    return np.array([[numbers]], np.int64)


def converted(numbering, *numbers, spacing_mm=ISO) -> list[int]:
    return to_freesurfer(line(*numbers), numbering, spacing_mm).ravel().tolist()


def test_numbers_become_freesurfers():
    assert converted(NEUROMORPHOMETRICS, 0, 48, 47, 44, 45, 100, 101, 46, 69) == [
        0, 17, 53, 41, 2, 42, 3, 24, 0,
    ]  # fmt: skip
    assert converted(MUSE, 1, 81, 94, 23) == [24, 41, 2, 58]
    assert converted(FREESURFER, 2, 60, 72, 85, 507, 31) == [2, 60, 24, 0, 0, 4]


def test_what_has_no_side_takes_the_nearer_one():
    assert converted(NEUROMORPHOMETRICS, 39, 71, 71, 71, 71, 38) == [8, 8, 8, 47, 47, 47]
    assert converted(FREESURFER, 2, 77, 3, 0, 0, 41, 251) == [2, 2, 3, 0, 0, 41, 41]
    # lesions take white matter, even where cortex is nearer; a part of the left stays left
    assert converted(FREESURFER, 2, 3, 25) == [2, 3, 2]
    assert converted(FREESURFER, 12, 0, 163, 51) == [12, 0, 12, 51]


def test_near_is_in_mm_and_not_in_voxels():
    labels = np.zeros((3, 1, 4), np.int64)
    labels[0, 0, 0], labels[2, 0, 0], labels[0, 0, 3] = 39, 71, 38
    assert to_freesurfer(labels, NEUROMORPHOMETRICS, (1.0, 1.0, 1.0))[2, 0, 0] == 8
    labels[0, 0, 0], labels[2, 0, 3] = 0, 39
    labels[0, 0, 3], labels[0, 0, 0] = 0, 38
    assert to_freesurfer(labels, NEUROMORPHOMETRICS, (1.0, 1.0, 1.0))[2, 0, 0] == 47
    assert to_freesurfer(labels, NEUROMORPHOMETRICS, (5.0, 1.0, 1.0))[2, 0, 0] == 8


def test_a_number_that_a_numbering_does_not_have_is_refused():
    with pytest.raises(UserError, match=r'number 44.*"muse".*neuromorphometrics'):
        converted(MUSE, 0, 44)
    with pytest.raises(UserError, match="number -1"):
        converted(FREESURFER, -1, 2)


@pytest.fixture
def data(tmp_path):
    """Two scans of one person and one of another, with hippocampi as Neuromorphometrics numbers."""
    labels = np.zeros((6, 6, 6), np.uint8)
    labels[1:3, 1:5, 0:3], labels[1:3, 1:5, 3:6], labels[4, 1:3, 1:5] = 48, 47, 71
    labels[5, :, 0:3], labels[5, :, 3:6] = 39, 38
    for case in ("a1", "a2", "b"):
        (tmp_path / "images").mkdir(exist_ok=True)
        (tmp_path / "labels").mkdir(exist_ok=True)
        image = np.random.default_rng(0).random((6, 6, 6)).astype(np.float32)
        save_volume(Volume(image, np.eye(4)), tmp_path / "images" / f"{case}.nii.gz")
        save_volume(Volume(labels, np.eye(4)), tmp_path / "labels" / f"{case}.nii.gz")
    (tmp_path / "subjects.csv").write_text("case,subject\na1,A\na2,A\nb,B\n")
    names = {"47": "Right Hippocampus", "48": "Left Hippocampus"}
    (tmp_path / "labels.json").write_text(json.dumps(names))
    return tmp_path


def test_the_numbering_is_found_in_labels_json_and_scans_of_one_person_are_one_group(data):
    found = labelled_cases(data)
    assert found.numbering is NEUROMORPHOMETRICS
    assert [(case.id, case.group) for case in found.cases] == [("a1", "A"), ("a2", "A"), ("b", "B")]
    assert [case.id for case in labelled_cases(data, ["b"]).cases] == ["b"]
    with pytest.raises(UserError, match="no case"):
        labelled_cases(data, ["c"])


def test_a_folder_of_images_beside_the_labels_and_a_table_will_do(data, tmp_path):
    found = labelled_cases(data / "images", numbering="neuromorphometrics")
    assert len(found.cases) == 3
    table = tmp_path / "cases.csv"
    table.write_text("image,label,group\nimages/b.nii.gz,labels/b.nii.gz,B\n")
    assert [case.group for case in labelled_cases(table, numbering="muse").cases] == ["B"]


def test_an_unknown_numbering_lists_what_there_is(data):
    with pytest.raises(UserError, match="freesurfer, neuromorphometrics, muse"):
        labelled_cases(data, numbering="aal")


@pytest.fixture
def segment():
    """Stands in for a model: hippocampi as in the truth of ``data``, no cerebellar cortex below."""
    answer = np.zeros((6, 6, 6), np.uint8)
    answer[1:3, 1:5, 0:3], answer[1:3, 1:5, 3:6] = 17, 53
    answer[4, 1:3, 1:3], answer[4, 1:3, 3:5] = 8, 47
    answer[5, :, 0:3] = 8

    def run(volume, model, **options):
        return Segmentation(volume.with_array(answer), brain_structures(), {})

    return run


def rows_of(output):
    with open(output, newline="") as file:
        return list(csv.DictReader(file))


def test_a_model_with_freesurfers_numbers_is_measured_on_them(data, tmp_path, segment):
    output = tmp_path / "test.csv"
    options = EvaluationOptions(numbering="neuromorphometrics")
    evaluate("brain", data, output, options=options, segment=segment)
    rows = rows_of(output)
    assert [row["case"] for row in rows] == ["a1", "a2", "b"]
    for key in ("left_hippocampus", "right_hippocampus", "left_cerebellar_cortex"):
        assert {float(row[f"dice_{key}"]) for row in rows} == {1.0}
    assert all(float(row["dice_right_cerebellar_cortex"]) < 1 for row in rows)


def test_only_the_structures_asked_for_are_measured(data, tmp_path, segment):
    output = tmp_path / "test.csv"
    options = EvaluationOptions(structures=("hippocampus",))
    summary = evaluate("brain", data, output, options=options, segment=segment)
    dice = [column for column in rows_of(output)[0] if column.startswith("dice_")]
    assert dice == ["dice_left_hippocampus", "dice_right_hippocampus"]
    assert summary["means"]["dice"]["mean"] == 1.0  # not spoilt by the cerebellum
    assert summary["structures_asked_for"] == ["hippocampus"]
