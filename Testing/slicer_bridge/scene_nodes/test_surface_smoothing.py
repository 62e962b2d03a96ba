"""Smoother surfaces in 3D, from the same label map."""

import numpy as np
import pytest

pytest.importorskip(
    "slicer_core", reason="slicer-core is not installed: NOTHING ABOUT MRML WAS TESTED"
)
import slicer
import vtk

from MedLLMSegLib.slicer_bridge.logic.module_logic import SegmentationLogic
from MedLLMSegLib.slicer_bridge.scene.surface_smoothing import (
    CLOSED_SURFACE,
    set_smoothing,
    smoothing_of,
)
from Testing.helpers.segmentation_jobs import segment_contents
from Testing.slicer_bridge.stand_in import GRID, OBLIQUE, BallSegmenter


@pytest.fixture
def node(add_volume):
    array = np.random.default_rng(0).integers(0, 400, GRID).astype(np.int16)
    return SegmentationLogic(BallSegmenter()).segment(add_volume(array, OBLIQUE, "MRHead"))


def surface_mm2(node):
    """The area of all surfaces: the rougher, the larger."""
    total, mass = 0.0, vtk.vtkMassProperties()
    for segment_id in node.GetSegmentation().GetSegmentIDs():
        mass.SetInputData(node.GetClosedSurfaceInternalRepresentation(segment_id))
        mass.Update()
        total += mass.GetSurfaceArea()
    return total


def test_surfaces_get_smoother_and_the_label_map_stays(node):
    before = segment_contents(node)
    assert smoothing_of(node) == 50
    node.CreateClosedSurfaceRepresentation()
    areas = []
    for percent in (0, 50, 100):
        set_smoothing(node, percent)
        assert smoothing_of(node) == percent
        areas.append(surface_mm2(node))
    assert areas[0] > 1.02 * areas[1] > 1.02 * areas[2]
    assert segment_contents(node) == before


def test_surfaces_that_are_not_there_are_not_made(node):
    set_smoothing(node, 80)
    assert not node.GetSegmentation().ContainsRepresentation(CLOSED_SURFACE)
    node.CreateClosedSurfaceRepresentation()
    smooth = surface_mm2(node)
    set_smoothing(node, 0)
    assert surface_mm2(node) > smooth


def test_a_segmentation_made_as_surfaces_is_left_alone(scene):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    ball = vtk.vtkSphereSource()
    ball.Update()
    node.SetSourceRepresentationToClosedSurface()
    node.AddSegmentFromClosedSurfaceRepresentation(ball.GetOutput(), "ball", (1, 0, 0))
    set_smoothing(node, 90)
    assert smoothing_of(node) == 50
    segment_id = node.GetSegmentation().GetNthSegmentID(0)
    surface = node.GetClosedSurfaceInternalRepresentation(segment_id)
    assert surface.GetNumberOfPoints() == ball.GetOutput().GetNumberOfPoints()


def test_it_is_saved_with_the_segmentation(node, scene, tmp_path):
    set_smoothing(node, 30)
    storage = slicer.vtkMRMLSegmentationStorageNode()
    storage.SetFileName(str(tmp_path / "s.seg.nrrd"))
    assert storage.WriteData(node)
    read = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    assert storage.ReadData(read)
    assert smoothing_of(read) == 30
