"""Volume nodes as the library's volumes, on Slicer's real nodes."""

import numpy as np
import pytest

pytest.importorskip(
    "slicer_core", reason="slicer-core is not installed: NOTHING ABOUT MRML WAS TESTED"
)
import slicer
import vtk

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.slicer_bridge.scene import volume_nodes as nodes
from Testing.helpers.scene_nodes import (
    GRIDS,
    MOVED,
    SHAPE,
    SHEARED,
)


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_a_volume_node_is_read_as_it_lies(add_volume, grid):
    array = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    volume = nodes.read_volume(add_volume(array, grid, "T1"))
    np.testing.assert_array_equal(volume.array, array)
    np.testing.assert_allclose(volume.ijk_to_ras, grid, atol=1e-9)
    assert volume.name == "T1"
    assert volume.array.dtype == np.float32


def test_linear_parent_transforms_are_part_of_where_it_lies(scan, add_transform):
    scan.SetAndObserveTransformNodeID(add_transform(MOVED, parent=add_transform(SHEARED)).GetID())
    expected = SHEARED @ MOVED @ GRIDS["oblique, anisotropic"]
    np.testing.assert_allclose(nodes.read_volume(scan).ijk_to_ras, expected, atol=1e-9)


def test_what_is_read_is_a_copy(scan):
    volume = nodes.read_volume(scan)
    volume.array[:] = 7
    assert slicer.util.arrayFromVolume(scan).max() > 7


def _no_volume(scene):
    return None


def _segmentation_node(scene):
    return scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "seg")


def _label_map(scene):
    return slicer.util.addVolumeFromArray(
        np.ones(SHAPE, np.uint8), name="seg", nodeClassName="vtkMRMLLabelMapVolumeNode"
    )


def _colour_volume(scene):
    return slicer.util.addVolumeFromArray(
        np.ones((*SHAPE, 3), np.uint8), name="photo", nodeClassName="vtkMRMLVectorVolumeNode"
    )


def _colour_in_scalar_node(scene):
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "photo")
    image = vtk.vtkImageData()
    image.SetDimensions(4, 4, 4)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 3)
    node.SetAndObserveImageData(image)
    return node


def _no_image(scene):
    return scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")


def _image_without_voxels(scene):
    node = _no_image(scene)
    node.SetAndObserveImageData(vtk.vtkImageData())
    return node


def _image_of_size_zero(scene):
    node = _image_without_voxels(scene)
    node.GetImageData().SetDimensions(0, 0, 0)
    node.GetImageData().AllocateScalars(vtk.VTK_SHORT, 1)
    return node


def _bent(scene):
    node = slicer.util.addVolumeFromArray(np.ones(SHAPE, np.uint8), name="head")
    bend = scene.AddNewNodeByClass("vtkMRMLTransformNode", "warp")
    spline = vtk.vtkThinPlateSplineTransform()
    spline.SetBasisToR()
    source, target = vtk.vtkPoints(), vtk.vtkPoints()
    for point in ((0, 0, 0), (9, 0, 0), (0, 9, 0), (0, 0, 9), (5, 5, 5)):
        source.InsertNextPoint(point)
        target.InsertNextPoint(point[0], point[1], point[2] + (1 if sum(point) == 15 else 0))
    spline.SetSourceLandmarks(source)
    spline.SetTargetLandmarks(target)
    bend.SetAndObserveTransformToParent(spline)
    node.SetAndObserveTransformNodeID(bend.GetID())
    return node


@pytest.mark.parametrize(
    "make, says",
    [
        (_no_volume, "choose it as the input"),
        (_segmentation_node, "choose it as the input"),
        (_label_map, "label map"),
        (_colour_volume, "3 values in each voxel"),
        (_colour_in_scalar_node, "3 values in each voxel"),
        (_no_image, "no image data"),
        (_image_without_voxels, "no image data"),
        (_image_of_size_zero, "no image data"),
        (_bent, "non-linear transform"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_is_no_scan_is_refused_with_one_sentence(scene, make, says):
    with pytest.raises(UserError) as refusal:
        nodes.read_volume(make(scene))
    message = str(refusal.value)
    assert says in message
    assert message.endswith(".")
    assert message.count(". ") == 0
    assert "\n" not in message
