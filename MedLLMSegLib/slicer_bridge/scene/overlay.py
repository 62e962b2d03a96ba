"""Maps over the scan in the slice views: how unsure the model is, and heat maps of a diagnosis."""

from __future__ import annotations

from contextlib import ExitStack

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk

from MedLLMSegLib.core.errors import UserError

from .map_colours import map_colours
from .map_layer import layer_of, make_layer, refresh_layer, remove_layer
from .map_roles import EVIDENCE_MAP, HEAT_MAP, UNCERTAINTY_MAP, is_map

OPACITY = 0.7
TITLES = {UNCERTAINTY_MAP: "uncertainty", EVIDENCE_MAP: "evidence"}  # behind the scan's name
# In a slice composite node: the reference to the user's own foreground, and its opacity.
USERS_FOREGROUND = "MedLLMSegUnder"


class OverlayState:
    """Which map of a role a segmentation node refers to, and what that map holds.

    Voxels are never written in place, so none need to be copied.
    """

    def __init__(self, segmentationNode, role: str = UNCERTAINTY_MAP):
        self.role, self.node = role, segmentationNode.GetNodeReference(role)
        if self.node is not None:
            self.image, self.matrix = self.node.GetImageData(), vtk.vtkMatrix4x4()
            self.node.GetIJKToRASMatrix(self.matrix)
            self.transform = self.node.GetTransformNodeID()

    def put_back(self, segmentationNode) -> None:
        if self.node is None or self.node.GetScene() is None:
            segmentationNode.SetNodeReferenceID(self.role, None)
            return
        _fill(self.node, self.image, self.matrix, self.transform)
        segmentationNode.SetNodeReferenceID(self.role, self.node.GetID())


def uncertainty_of(segmentationNode):
    """The map of a segmentation's last run, or None."""
    return segmentationNode.GetNodeReference(UNCERTAINTY_MAP)


def evidence_of(segmentationNode):
    """The map of the evidence for one of a segmentation's structures, or None."""
    return segmentationNode.GetNodeReference(EVIDENCE_MAP)


def heat_map_of(tableNode):
    """The heat map of a diagnosis, or None."""
    return tableNode.GetNodeReference(HEAT_MAP)


def map_node(array: np.ndarray, scan, role: str = UNCERTAINTY_MAP):
    """A map, float32 [k, j, i] on the grid of a volume node, as a node outside of any scene.

    It is told from a scan wherever it gets to: a sequence's proxy takes its attributes.
    """
    node, matrix = slicer.vtkMRMLScalarVolumeNode(), vtk.vtkMatrix4x4()
    node.SetAttribute(role, "map")
    scan.GetIJKToRASMatrix(matrix)
    _fill(node, _image(array), matrix, None)
    return node


def name_map(owner, node, role: str = UNCERTAINTY_MAP) -> None:
    """Make a volume node the map of a segmentation or a diagnosis, and give it a map's colours.

    owner: the segmentation node, or the diagnosis's table node. node: None for no map.
    """
    owner.SetNodeReferenceID(role, node.GetID() if node else None)
    if node:
        node.SetAttribute(role, "map")
        _colour(node)


def write_uncertainty(array: np.ndarray | None, volumeNode, segmentationNode, undo: ExitStack):
    """Give a segmentation its map of uncertainty, and take that of evidence, which was about the
    segments before; returns the volume node, or None. See `write_map`.
    """
    write_map(None, volumeNode, segmentationNode, undo, EVIDENCE_MAP)
    return write_map(array, volumeNode, segmentationNode, undo, UNCERTAINTY_MAP)


def write_map(array: np.ndarray | None, volumeNode, segmentationNode, undo: ExitStack, role: str):
    """Give a segmentation its map of a role; returns the volume node, or None.

    array: float32 [k, j, i] on the scan's grid, or None for no map. A map of an earlier run gets
    the new voxels. undo: takes the steps that undo all of this.
    """
    undo.callback(OverlayState(segmentationNode, role).put_back, segmentationNode)
    if array is None:
        name_map(segmentationNode, None, role)
        return None
    node = segmentationNode.GetNodeReference(role) or _new_node(volumeNode, undo, TITLES[role])
    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    _fill(node, _image(array), matrix, volumeNode.GetTransformNodeID())
    name_map(segmentationNode, node, role)
    return node


def show_overlay(node, show: bool = True, opacity: float = OPACITY) -> None:
    """Show a map over the slice views, or hide it, which brings the user's foreground back.

    opacity: 0 to 1, of the map where its value is 1; lower values are less opaque.
    """
    scene = node.GetScene()
    layer = make_layer(node) if show else layer_of(node)
    for n in range(scene.GetNumberOfNodesByClass("vtkMRMLSliceCompositeNode")):
        view = scene.GetNthNodeByClass(n, "vtkMRMLSliceCompositeNode")
        if show:
            _store_foreground(view)
            view.SetForegroundVolumeID(layer.GetID())
            view.SetForegroundOpacity(opacity)
        elif layer is not None and view.GetForegroundVolumeID() == layer.GetID():
            _restore_foreground(view)
    if not show:
        remove_layer(node)


def _store_foreground(view) -> None:
    """Store the user's foreground in the slice composite node, which is saved with the scene."""
    own = view.GetScene().GetNodeByID(view.GetForegroundVolumeID() or "")
    if own is None or not is_map(own):  # not where one map follows another
        view.SetNodeReferenceID(USERS_FOREGROUND, own.GetID() if own else None)
        view.SetAttribute(USERS_FOREGROUND, str(view.GetForegroundOpacity()))


def _restore_foreground(view) -> None:
    own, opacity = view.GetNodeReference(USERS_FOREGROUND), view.GetAttribute(USERS_FOREGROUND)
    view.SetForegroundVolumeID(own.GetID() if own else None)
    if opacity is not None:
        view.SetForegroundOpacity(float(opacity))


def show_map_of(owner, role: str, below, show: bool, missing: str, opacity: float = OPACITY):
    """Show the map that a node refers to over the slice views, or hide it; returns the map.

    owner: a segmentation or a diagnosis's table. below: the volume to show under it; None leaves
    the background as it is. opacity: as for `show_overlay`. Raises `UserError` with the sentence
    ``missing`` if there is no map.
    """
    shown_map = owner.GetNodeReference(role) if owner is not None and owner.GetScene() else None
    if shown_map is None:
        raise UserError(missing)
    if below is not None and show:
        slicer.util.setSliceViewerLayers(background=below)
    show_overlay(shown_map, show, opacity)
    return shown_map


def look_at(segmentationNode) -> None:
    """Move the slice views to the middle of the first segment."""
    segments = segmentationNode.GetSegmentation()
    if segments.GetNumberOfSegments():
        center = segmentationNode.GetSegmentCenterRAS(segments.GetNthSegmentID(0))
        if center is not None:
            slicer.vtkMRMLSliceNode.JumpAllSlices(segmentationNode.GetScene(), *center)


def _new_node(volumeNode, undo: ExitStack, title: str):
    scene = volumeNode.GetScene()
    node = scene.AddNewNodeByClass(
        "vtkMRMLScalarVolumeNode", scene.GenerateUniqueName(f"{volumeNode.GetName()} {title}")
    )
    undo.callback(_remove, node)
    return node


def _colour(node) -> None:
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID(map_colours(node.GetScene()))
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(0.0, 1.0)
    display.ApplyThresholdOff()


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
    refresh_layer(node)
