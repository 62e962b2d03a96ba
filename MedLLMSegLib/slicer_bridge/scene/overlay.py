"""What lies over the scan: the map of how unsure the model is, a volume node that belongs to its
segmentation; and where to look.
"""

from __future__ import annotations

from contextlib import ExitStack

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk

from MedLLMSegLib.core.errors import UserError

from .map_roles import HEAT_MAP, UNCERTAINTY_MAP, is_map

COLOURS = "vtkMRMLColorTableNodeIron"
SURE = 0.05  # below this the map is transparent: there is nothing to look at
OPACITY = 0.6
# a slice composite node's reference to the user's own foreground, and the attribute for its opacity
UNDER = "MedLLMSegUnder"


class OverlayState:
    """Which map a segmentation node refers to, and what that holds. Voxels are never written in
    place: none is copied.
    """

    def __init__(self, segmentationNode):
        self.node = uncertainty_of(segmentationNode)
        if self.node is not None:
            self.image, self.matrix = self.node.GetImageData(), vtk.vtkMatrix4x4()
            self.node.GetIJKToRASMatrix(self.matrix)
            self.transform = self.node.GetTransformNodeID()

    def put_back(self, segmentationNode) -> None:
        if self.node is None or self.node.GetScene() is None:
            segmentationNode.SetNodeReferenceID(UNCERTAINTY_MAP, None)
            return
        _fill(self.node, self.image, self.matrix, self.transform)
        segmentationNode.SetNodeReferenceID(UNCERTAINTY_MAP, self.node.GetID())


def uncertainty_of(segmentationNode):
    """The map of a segmentation's last run, or None."""
    return segmentationNode.GetNodeReference(UNCERTAINTY_MAP)


def heat_map_of(tableNode):
    """The heat map of a diagnosis, or None."""
    return tableNode.GetNodeReference(HEAT_MAP)


def map_node(array: np.ndarray, scan):
    """A map, float32 [k, j, i] on the grid of a volume node, as a node outside of any scene."""
    node, matrix = slicer.vtkMRMLScalarVolumeNode(), vtk.vtkMatrix4x4()
    scan.GetIJKToRASMatrix(matrix)
    _fill(node, _image(array), matrix, None)
    return node


def name_map(owner, node, role: str = UNCERTAINTY_MAP) -> None:
    """Make a volume node the map of a segmentation (or a diagnosis) and give it a map's colours;
    None for no map.
    """
    owner.SetNodeReferenceID(role, node.GetID() if node else None)
    if node:
        node.SetAttribute(role, "map")
        _colour(node)


def write_uncertainty(array: np.ndarray | None, volumeNode, segmentationNode, undo: ExitStack):
    """Give a segmentation its map, float32 [k, j, i] on the scan's grid, or (None) none; returns
    the volume node.

    A map of an earlier run gets the new voxels. undo: takes what makes it as it was.
    """
    undo.callback(OverlayState(segmentationNode).put_back, segmentationNode)
    if array is None:
        name_map(segmentationNode, None)
        return None
    node = uncertainty_of(segmentationNode) or _new_node(volumeNode, undo)
    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    _fill(node, _image(array), matrix, volumeNode.GetTransformNodeID())
    name_map(segmentationNode, node)
    return node


def show_overlay(node, show: bool = True) -> None:
    """Lay a map over whatever the slice views show, or take it away: then their own foreground
    comes back.
    """
    scene = node.GetScene()
    for n in range(scene.GetNumberOfNodesByClass("vtkMRMLSliceCompositeNode")):
        view = scene.GetNthNodeByClass(n, "vtkMRMLSliceCompositeNode")
        if show:
            _keep_foreground(view)
            view.SetForegroundVolumeID(node.GetID())
            view.SetForegroundOpacity(OPACITY)
        elif view.GetForegroundVolumeID() == node.GetID():
            _put_foreground_back(view)


def _keep_foreground(view) -> None:
    """Note in a slice composite node, which is saved with the scene, what the user has in the
    foreground.
    """
    own = view.GetScene().GetNodeByID(view.GetForegroundVolumeID() or "")
    if own is None or not is_map(own):  # one map may follow another
        view.SetNodeReferenceID(UNDER, own.GetID() if own else None)
        view.SetAttribute(UNDER, str(view.GetForegroundOpacity()))


def _put_foreground_back(view) -> None:
    own, opacity = view.GetNodeReference(UNDER), view.GetAttribute(UNDER)
    view.SetForegroundVolumeID(own.GetID() if own else None)
    if opacity is not None:
        view.SetForegroundOpacity(float(opacity))


def show_map_of(owner, role: str, below, show: bool, missing: str):
    """Lay the map that a node refers to over the slice views, or take it away; returns the map.

    owner: a segmentation or a diagnosis's table. below: the volume that is shown under it; None
    keeps what is shown. Raises `UserError` with the sentence ``missing`` if there is no map.
    """
    found = owner.GetNodeReference(role) if owner is not None and owner.GetScene() else None
    if found is None:
        raise UserError(missing)
    if below is not None and show:
        slicer.util.setSliceViewerLayers(background=below)
    show_overlay(found, show)
    return found


def look_at(segmentationNode) -> None:
    """Move the slice views to the middle of the first segment, as an organ may be far from the
    slices that are shown.
    """
    segments = segmentationNode.GetSegmentation()
    if segments.GetNumberOfSegments():
        center = segmentationNode.GetSegmentCenterRAS(segments.GetNthSegmentID(0))
        if center is not None:
            slicer.vtkMRMLSliceNode.JumpAllSlices(segmentationNode.GetScene(), *center)


def _new_node(volumeNode, undo: ExitStack):
    scene = volumeNode.GetScene()
    node = scene.AddNewNodeByClass(
        "vtkMRMLScalarVolumeNode", scene.GenerateUniqueName(f"{volumeNode.GetName()} uncertainty")
    )
    undo.callback(_remove, node)
    return node


def _colour(node) -> None:
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID(COLOURS)
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(0.0, 1.0)
    display.AutoThresholdOff()
    display.SetThreshold(SURE, 1.0)
    display.ApplyThresholdOn()


def _remove(node) -> None:
    scene = node.GetScene()
    for index in reversed(range(node.GetNumberOfDisplayNodes())):
        scene.RemoveNode(node.GetNthDisplayNode(index))
    scene.RemoveNode(node)


def _image(array: np.ndarray):
    image = vtk.vtkImageData()
    image.SetDimensions(*array.shape[::-1])
    image.GetPointData().SetScalars(
        numpy_to_vtk(np.ascontiguousarray(array, np.float32).ravel(), deep=True)
    )
    return image


def _fill(node, image, matrix, transform: str | None) -> None:
    with slicer.util.NodeModify(node):
        node.SetIJKToRASMatrix(matrix)
        node.SetAndObserveImageData(image)
        node.SetAndObserveTransformNodeID(
            transform if transform and node.GetScene().GetNodeByID(transform) else None
        )
