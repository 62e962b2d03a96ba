"""Training labels out of files that Slicer's own storage node wrote: whole, cropped, with
overlapping segments.
"""

import numpy as np
import pytest

pytest.importorskip("slicer_core", reason="NOT TESTED: slicer-core is not installed")

import slicer
import slicer.util

from MedLLMSegLib import UserError, load_volume, save_volume
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.data import read_cases, read_label_map

C, S = np.cos(0.3), np.sin(0.3)
MATRIX = np.eye(4)
MATRIX[:3, :3] = np.array([[C, -S, 0], [S, C, 0], [0, 0, 1]]) @ np.diag(
    [-0.7, 1.3, 2.6]
)  # oblique, left-handed
MATRIX[:3, 3] = [10, 20, -30]


def masks(overlap):
    first, second = np.zeros((2, 9, 11, 13), np.uint8)
    first[2:5, 3:6, 4:9] = 1
    second[4 if overlap else 5 : 7, 5:8, 6:10] = 1
    return {"Left ventricle": first, "Myocardium": second}


@pytest.fixture
def save(scene, add_volume, tmp_path):
    """save(overlap, cropped) -> folder with a volume and the segmentation Slicer wrote"""

    def write(overlap, cropped):
        image = np.random.default_rng(0).normal(size=(9, 11, 13)).astype(np.float32)
        volume = add_volume(image, MATRIX)
        node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        for name, mask in masks(overlap).items():
            segment = node.GetSegmentation().AddEmptySegment("", name)
            slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, segment, volume)
        storage = scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
        storage.SetCropToMinimumExtent(cropped)
        storage.SetFileName(str(tmp_path / "case.seg.nrrd"))
        assert storage.WriteData(node) == 1
        save_volume(Volume(image, MATRIX), tmp_path / "case.nii.gz")
        return tmp_path

    return write


@pytest.mark.parametrize("cropped", [False, True])
def test_segments_come_back_as_painted(save, cropped):
    found = read_cases(save(False, cropped))
    assert found.labels == {1: "Left ventricle", 2: "Myocardium"}
    labels = read_label_map(found.cases[0], found, load_volume(found.cases[0].image))
    for value, mask in enumerate(masks(False).values(), start=1):
        assert np.array_equal(labels == value, mask == 1)


@pytest.mark.parametrize("cropped", [False, True])
def test_overlapping_segments_are_refused(save, cropped):
    found = read_cases(save(True, cropped))
    with pytest.raises(UserError, match=r'"Left ventricle" and "Myocardium" of .* overlap'):
        read_label_map(found.cases[0], found, load_volume(found.cases[0].image))
