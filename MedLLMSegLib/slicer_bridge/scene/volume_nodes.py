"""MRML nodes to the library's `Volume`, and the `Drawing` of a result back into a segmentation
node.

Frames. A volume node's voxels lie in its own RAS frame, which its parent transforms carry to world
RAS. `read_volume` returns world RAS: what is segmented is what is seen. `write_drawing` goes the
other way without resampling: the labels keep the scan's voxel grid and the segmentation node lies
under the scan's parent transform, so that the two cover each other voxel on voxel, and still do
when the transform is changed.
"""

from __future__ import annotations

from contextlib import ExitStack

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.volume import Volume

from .overlay import uncertainty_of, write_uncertainty
from .restore_point import NodeState
from .segment_display import display_properties_kept
from .segments import BINARY_LABELMAP, Drawing, old_segments, set_segments
from .volumetry_table import volumetry_of, write_volumetry


def read_volume(node, frame=None, name: str | None = None) -> Volume:
    """A scalar volume node as a `Volume`: a copy of its voxels [k, j, i] with ijk_to_ras to world
    RAS, in mm.

    frame: the node whose parent transforms count, such as the proxy of a sequence's image; None for
    the node itself. Raises `UserError` for anything but a grey-scale scan with voxels under linear
    parent transforms.
    """
    image, scalars, name = _voxels(node, name)
    components = components_of(node)
    if (
        components > 1
        or node.IsA("vtkMRMLTensorVolumeNode")
        or node.IsA("vtkMRMLDiffusionWeightedVolumeNode")
    ):
        raise UserError(
            f'"{name}" holds {components if components > 1 else "several"} values in each voxel,'
            " and one grey value is needed; load a series over time as a sequence (Add data,"
            " Description: Volume Sequence), or make a scalar volume of it (Vector to Scalar"
            " Volume), and choose that."
        )
    if scalars is None or scalars.GetNumberOfTuples() == 0:
        raise _without_voxels(name)
    shape = image.GetDimensions()[::-1]  # (i, j, k) in VTK, [k, j, i] in numpy
    array = vtk_to_numpy(scalars).reshape(shape)
    return Volume(array.copy(), _to_world(frame or node) @ ijk_to_ras(node), name)


def read_components(node) -> list[Volume]:
    """As `read_volume`, with the values in each voxel of a vector volume as a `Volume` each."""
    image, scalars, name = _voxels(node)
    if scalars is None or scalars.GetNumberOfTuples() == 0:
        raise _without_voxels(name)
    array = vtk_to_numpy(scalars).reshape(*image.GetDimensions()[::-1], -1)  # [k, j, i, c]
    matrix = _to_world(node) @ ijk_to_ras(node)
    return [
        Volume(array[..., n].copy(), matrix, f"{name}, image {n + 1}")
        for n in range(array.shape[-1])
    ]


def components_of(node) -> int:
    """How many values a volume node holds in each voxel; 1 without voxels."""
    image = node.GetImageData()
    scalars = image.GetPointData().GetScalars() if image else None
    return max(1, image.GetNumberOfScalarComponents()) if scalars else 1


def _voxels(node, name: str | None = None):
    """(vtkImageData or None, its scalars or None, the node's name for messages) of a scan."""
    if node is None or not node.IsA("vtkMRMLVolumeNode"):
        raise UserError("No scan is selected; load one and choose it as the input volume.")
    name = name or node.GetName() or "The scan"
    if node.IsA("vtkMRMLLabelMapVolumeNode"):
        raise UserError(
            f'"{name}" is a label map, not a scan; choose the scan that it was drawn on.'
        )
    image = node.GetImageData()
    return image, image.GetPointData().GetScalars() if image else None, name


def _without_voxels(name: str) -> UserError:
    return UserError(f'"{name}" holds no image data; load the scan again or choose another one.')


def write_drawing(
    drawing: Drawing,
    volumeNode,
    segmentationNode=None,
    side: str | None = None,
    uncertainty: np.ndarray | None = None,
):
    """Put a result into a segmentation node, one segment for each structure that was found, and its
    volumetry into a table node that the segmentation refers to.

    volumeNode: the node that was segmented, still in its scene.
    segmentationNode: the node to update, or None for a new one next to the scan. Segments of an
        earlier run are replaced in place, and keep their names, colours and visibility; all others,
        and their order, stay.
    side: "left" or "right" if only that side was asked for: segments of the other side stay.
    uncertainty: float32 [k, j, i] on the scan's grid, which becomes a volume node that the
        segmentation refers to.

    Returns the node and its state before: a `NodeState`, or None for a new node. If anything fails,
    the scene is left as it was. Raises `UserError` if the two nodes do not fit each other.
    """
    _refuse_unfit(drawing, volumeNode)
    with ExitStack() as undo:  # last step first, unless all goes well
        before = None
        if segmentationNode is None or segmentationNode.GetScene() is None:
            segmentationNode = _new_node(volumeNode.GetScene(), volumeNode, undo)
        else:
            before = _remember(segmentationNode, undo)
        segments = segmentationNode.GetSegmentation()
        old = old_segments(segments, drawing, side)
        with display_properties_kept(segmentationNode), slicer.util.NodeModify(segmentationNode):
            _set_frame(segmentationNode, volumeNode, segments.GetNumberOfSegments() - len(old))
            set_segments(segments, drawing, ijk_to_segmentation(segmentationNode, volumeNode), old)
            segmentationNode.CreateDefaultDisplayNodes()
        place_next_to(segmentationNode, volumeNode)
        if write_uncertainty(uncertainty, volumeNode, segmentationNode, undo):
            place_next_to(uncertainty_of(segmentationNode), volumeNode, undo)
        if write_volumetry(drawing.volumetry, drawing.confidence, segmentationNode, undo):
            place_next_to(volumetry_of(segmentationNode), volumeNode, undo)
        undo.pop_all()
    return segmentationNode, before


def _refuse_unfit(drawing: Drawing, volumeNode) -> None:
    """Raise `UserError` if the scan is gone or changed, or if nothing was found in it."""
    if volumeNode.GetScene() is None:
        raise UserError(
            "The scan was removed from the scene while it was being segmented; load it and try"
            " again."
        )
    image = volumeNode.GetImageData()
    if image is None or image.GetDimensions()[::-1] != drawing.shape:
        raise UserError(
            f'"{volumeNode.GetName()}" was changed while it was being segmented; try again.'
        )
    if not drawing.present:
        raise UserError(
            f'Nothing was found in "{volumeNode.GetName()}"; check that it is the right scan.'
        )


def _to_world(node) -> np.ndarray:
    """(4, 4) from a node's own RAS frame to world RAS, mm."""
    parent = node.GetParentTransformNode()
    if parent is None:
        return np.eye(4)
    if not parent.IsTransformToWorldLinear():
        raise UserError(
            f'"{node.GetName()}" is bent by a non-linear transform ("{parent.GetName()}"); harden'
            " the transform on it (Transforms module) or take the node out of it, and try again."
        )
    matrix = vtk.vtkMatrix4x4()
    parent.GetMatrixTransformToWorld(matrix)
    return _array(matrix)


def world_to_node(node) -> np.ndarray:
    """(4, 4) from world RAS to a node's own RAS frame, mm. Raises `UserError` for a bent one."""
    return np.linalg.inv(_to_world(node))


def ijk_to_ras(volumeNode) -> np.ndarray:
    """(4, 4) from voxel indices (i, j, k) to the node's own RAS frame, mm."""
    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    return _array(matrix)


def _array(matrix: vtk.vtkMatrix4x4) -> np.ndarray:
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def _new_node(scene, volumeNode, undo: ExitStack):
    name = scene.GenerateUniqueName(f"{volumeNode.GetName()} segmentation")
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    undo.callback(_remove_node, node)
    return node


def _remove_node(node) -> None:
    """Remove a node with its display nodes and its place in the subject hierarchy."""
    _remove_display_nodes(node)
    restore_place(node, parent=None)
    node.GetScene().RemoveNode(node)


def _remove_display_nodes(node) -> None:
    for index in reversed(range(node.GetNumberOfDisplayNodes())):
        node.GetScene().RemoveNode(node.GetNthDisplayNode(index))


def _remember(node, undo: ExitStack) -> NodeState:
    """The state of an existing node, which ``undo`` brings back if anything fails."""
    before = NodeState(node)
    hierarchy = node.GetScene().GetSubjectHierarchyNode()
    item = hierarchy.GetItemByDataNode(node)
    undo.callback(restore_place, node, hierarchy.GetItemParent(item) if item else None)
    undo.callback(before.put_back, node)
    if node.GetDisplayNode() is None:
        undo.callback(_remove_display_nodes, node)
    return before


def _set_frame(node, volumeNode, others: int) -> None:
    """Give the node the scan's transform and reference geometry.

    others: how many other segments stay in the node; with any, its frame stays too.
    """
    if others and node.GetSegmentation().GetSourceRepresentationName() != BINARY_LABELMAP:
        raise UserError(
            f'"{node.GetName()}" is made of surfaces, which a label map cannot be added to; '
            "choose another output segmentation or a new one."
        )
    if not others:
        node.SetSourceRepresentationToBinaryLabelmap()
        node.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
    if not others or node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole()) is None:
        node.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)


def ijk_to_segmentation(node, volumeNode) -> np.ndarray:
    """(4, 4) from the scan's voxel indices to the segmentation node's own RAS frame, mm."""
    if node.GetTransformNodeID() == volumeNode.GetTransformNodeID():
        return ijk_to_ras(volumeNode)
    return np.linalg.inv(_to_world(node)) @ _to_world(volumeNode) @ ijk_to_ras(volumeNode)


def place_next_to(node, volumeNode, undo: ExitStack | None = None) -> None:
    """Put a node next to the scan in the subject hierarchy, in its study.

    A node that the user has put into a folder stays there.
    """
    hierarchy = volumeNode.GetScene().GetSubjectHierarchyNode()
    root = hierarchy.GetSceneItemID()
    study = hierarchy.GetItemParent(_item(hierarchy, volumeNode))
    if undo and not hierarchy.GetItemByDataNode(node):
        undo.callback(restore_place, node, None)
    item = _item(hierarchy, node)
    if hierarchy.GetItemParent(item) == root != study:
        hierarchy.SetItemParent(item, study)


def _item(hierarchy, node) -> int:
    """A node's subject hierarchy item; made if it has none, as outside of Slicer's desktop."""
    return hierarchy.GetItemByDataNode(node) or hierarchy.CreateItem(
        hierarchy.GetSceneItemID(), node
    )


def restore_place(node, parent: int | None) -> None:
    """Put a node back under the subject hierarchy item ``parent``; None takes it out of the
    hierarchy.
    """
    hierarchy = node.GetScene().GetSubjectHierarchyNode()
    item = hierarchy.GetItemByDataNode(node)
    if item and parent is None:
        hierarchy.RemoveItem(item, False, False)  # neither its data node nor its children
    elif item:
        hierarchy.SetItemParent(item, parent)
