"""MRML nodes to the library's `Volume`, and its `Segmentation` back into a segmentation node.

Frames. A volume node's voxels lie in its own RAS frame, which its parent transforms carry to world RAS.
`read_volume` returns world RAS: what is segmented is what is seen. `write_segmentation` goes the other way
without resampling: the labels keep the scan's voxel grid and the segmentation node lies under the scan's
parent transform, so that the two cover each other voxel on voxel, and still do when the transform is changed.
"""
from __future__ import annotations

from contextlib import ExitStack

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from ..anatomy import TERMINOLOGY
from ..errors import UserError
from ..structures import Segmentation, Structure
from ..volume import Volume

STRUCTURE_TAG = "MedLLMSeg.structure"  # a segment of ours: the structure's key
MODEL_TAG = "MedLLMSeg.model"  # and the model that drew it
BINARY_LABELMAP = "Binary labelmap"
REGIONS = "Anatomic codes - DICOM master list"


def read_volume(node) -> Volume:
    """A scalar volume node as a `Volume`: a copy of its voxels [k, j, i] with ijk_to_ras to world RAS, in mm.

    Raises `UserError` for anything but a grey-scale scan with voxels under linear parent transforms.
    """
    if node is None or not node.IsA("vtkMRMLVolumeNode"):
        raise UserError("No scan is selected; load one and choose it as the input volume.")
    name = node.GetName() or "The scan"
    if node.IsA("vtkMRMLLabelMapVolumeNode"):
        raise UserError(f'"{name}" is a label map, not a scan; choose the scan that it was drawn on.')
    image = node.GetImageData()
    scalars = image.GetPointData().GetScalars() if image else None
    components = max(1, image.GetNumberOfScalarComponents()) if scalars else 1
    if components > 1 or node.IsA("vtkMRMLTensorVolumeNode") or node.IsA("vtkMRMLDiffusionWeightedVolumeNode"):
        raise UserError(f'"{name}" holds {components if components > 1 else "several"} values in each voxel, and one '
                        "grey value is needed; make a scalar volume of it (Vector to Scalar Volume) and choose that.")
    if scalars is None or scalars.GetNumberOfTuples() == 0:
        raise UserError(f'"{name}" holds no image data; load the scan again or choose another one.')
    array = vtk_to_numpy(scalars).reshape(image.GetDimensions()[::-1])  # (i, j, k) in VTK, [k, j, i] in numpy
    return Volume(array.copy(), _to_world(node) @ _ijk_to_ras(node), name)


def write_segmentation(segmentation: Segmentation, volumeNode, segmentationNode=None, side: str | None = None):
    """Put a result into a segmentation node, one segment for each structure that was found; returns the node.

    volumeNode: the node that `segmentation` was made from, still in its scene.
    segmentationNode: the node to update, or None for a new one beside the scan. Segments that an earlier run
        wrote are replaced in their places; all others, and their order, stay.
    side: "left" or "right" if only that side was asked for: what an earlier run wrote for the other side stays.

    If anything fails, the scene is left as it was. Raises `UserError` if the two nodes do not go together.
    """
    scene = volumeNode.GetScene()
    if scene is None:
        raise UserError("The scan was removed from the scene while it was being segmented; load it and try again.")
    image = volumeNode.GetImageData()
    if image is None or image.GetDimensions()[::-1] != segmentation.labels.array.shape:
        raise UserError(f'"{volumeNode.GetName()}" was changed while it was being segmented; try again.')
    if not segmentation.labels.array.any():
        raise UserError(f'Nothing was found in "{volumeNode.GetName()}"; check that it is the right scan.')
    with ExitStack() as undo:  # what to take back, last step first, unless all goes well
        if segmentationNode is None or segmentationNode.GetScene() is None:
            segmentationNode = _new_node(scene, volumeNode, undo)
        else:
            _remember(segmentationNode, undo)
        old = _old_segments(segmentationNode, segmentation, side)
        others = segmentationNode.GetSegmentation().GetNumberOfSegments() - len(old)
        with slicer.util.NodeModify(segmentationNode):
            _set_frame(segmentationNode, volumeNode, others)
            _set_segments(segmentationNode, volumeNode, segmentation, old)
            segmentationNode.CreateDefaultDisplayNodes()
        _place_beside(segmentationNode, volumeNode)
        undo.pop_all()
    return segmentationNode


def _to_world(node) -> np.ndarray:
    """(4, 4) from a node's own RAS frame to world RAS, mm."""
    parent = node.GetParentTransformNode()
    if parent is None:
        return np.eye(4)
    if not parent.IsTransformToWorldLinear():
        raise UserError(f'"{node.GetName()}" is bent by a non-linear transform ("{parent.GetName()}"); harden the '
                        "transform on it (Transforms module) or take it out of it, and try again.")
    matrix = vtk.vtkMatrix4x4()
    parent.GetMatrixTransformToWorld(matrix)
    return _array(matrix)


def _ijk_to_ras(volumeNode) -> np.ndarray:
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
    """Take a node out of its scene together with what was made for it: display nodes, place in the hierarchy."""
    _remove_display_nodes(node)
    _restore_place(node, parent=None)
    node.GetScene().RemoveNode(node)


def _remove_display_nodes(node) -> None:
    for index in reversed(range(node.GetNumberOfDisplayNodes())):
        node.GetScene().RemoveNode(node.GetNthDisplayNode(index))


def _remember(node, undo: ExitStack) -> None:
    """Have everything that `write_segmentation` changes in an existing node put back on failure."""
    before = slicer.vtkSegmentation()
    before.DeepCopy(node.GetSegmentation())
    hierarchy, role = node.GetScene().GetSubjectHierarchyNode(), node.GetReferenceImageGeometryReferenceRole()
    item = hierarchy.GetItemByDataNode(node)
    undo.callback(_restore_place, node, hierarchy.GetItemParent(item) if item else None)
    undo.callback(node.SetNodeReferenceID, role, node.GetNodeReferenceID(role))
    undo.callback(node.SetAndObserveTransformNodeID, node.GetTransformNodeID())
    undo.callback(node.GetSegmentation().DeepCopy, before)
    if node.GetDisplayNode() is None:
        undo.callback(_remove_display_nodes, node)


def _old_segments(node, segmentation: Segmentation, side: str | None) -> dict[str, str]:
    """Segments of an earlier run that this result replaces, as structure key -> segment id.

    They are those of the same structure, and what else the same model drew, but for the side that was not asked for.
    Of several with one key only the first is: a copy that the user made of a segment is the user's.
    """
    segments, keys, old = node.GetSegmentation(), {s.key for s in segmentation.structures}, {}
    spared = {s.key for s in segmentation.structures if side and s.modifier and s.modifier.meaning.lower() != side}
    spared -= {s.key for s in segmentation.found}
    for segment_id in segments.GetSegmentIDs():
        segment = segments.GetSegment(segment_id)
        key, model = _tag(segment, STRUCTURE_TAG), _tag(segment, MODEL_TAG)
        if key and key not in spared and (key in keys or model == segmentation.model):
            old.setdefault(key, segment_id)
    return old


def _tag(segment, name: str) -> str:
    value = vtk.reference("")
    return str(value) if segment.GetTag(name, value) else ""


def _set_frame(node, volumeNode, others: int) -> None:
    """Give the node the scan's transform and reference geometry, unless it holds ``others``, segments that are to stay."""
    if others and node.GetSegmentation().GetSourceRepresentationName() != BINARY_LABELMAP:
        raise UserError(f'"{node.GetName()}" is made of surfaces, which a label map cannot be added to; '
                        "choose another output segmentation or a new one.")
    if not others:
        node.SetSourceRepresentationToBinaryLabelmap()
        node.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
    if not others or node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole()) is None:
        node.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)


def _set_segments(node, volumeNode, segmentation: Segmentation, old: dict[str, str]) -> None:
    """Replace the segments of an earlier run, ``old`` (structure key -> id), each in its place; new ones come last."""
    segments = node.GetSegmentation()
    labelmap = _labelmap(segmentation, _ijk_to_segmentation(node, volumeNode))
    found = segmentation.found
    for key in set(old) - {s.key for s in found}:
        segments.RemoveSegment(old[key])
    for structure in found:
        segment_id, following = segments.GenerateUniqueSegmentID(structure.key), ""
        if structure.key in old:
            segment_id = old[structure.key]
            index = segments.GetSegmentIndex(segment_id) + 1
            following = segments.GetNthSegmentID(index) if index < segments.GetNumberOfSegments() else ""
            segments.RemoveSegment(segment_id)
        if not segments.AddSegment(_segment(structure, segmentation.model, labelmap), segment_id, following):
            raise RuntimeError(f"Slicer did not take the segment {structure.name!r} into {node.GetName()!r}")


def _segment(structure: Structure, model: str, labelmap):
    """One structure as a vtkSegment that shares ``labelmap`` with the others, as Slicer's own layers do."""
    segment = slicer.vtkSegment()
    segment.SetName(structure.name)
    segment.SetColor(*(channel / 255.0 for channel in structure.color))
    segment.NameAutoGeneratedOff()  # or Slicer would rename and recolour both parts after their common term
    segment.ColorAutoGeneratedOff()
    segment.SetTag(segment.GetTerminologyEntryTagName(), terminology_entry(structure))
    segment.SetTag(STRUCTURE_TAG, structure.key)
    segment.SetTag(MODEL_TAG, model)
    segment.SetLabelValue(structure.label)
    segment.AddRepresentation(BINARY_LABELMAP, labelmap)
    return segment


def terminology_entry(structure: Structure) -> str:
    """The structure's codes as Slicer writes them into a segment's tag."""
    codes = [structure.category, structure.type, structure.modifier]
    triples = [part for code in codes for part in ((code.value, code.scheme, code.meaning) if code else ("", "", ""))]
    return slicer.vtkSlicerTerminologiesModuleLogic.SerializeTerminologyEntry(
        TERMINOLOGY, *triples, REGIONS, *[""] * 6)


def _ijk_to_segmentation(node, volumeNode) -> np.ndarray:
    """(4, 4) from the scan's voxel indices to the segmentation node's own RAS frame, mm."""
    if node.GetTransformNodeID() == volumeNode.GetTransformNodeID():
        return _ijk_to_ras(volumeNode)
    return np.linalg.inv(_to_world(node)) @ _to_world(volumeNode) @ _ijk_to_ras(volumeNode)


def _labelmap(segmentation: Segmentation, ijk_to_ras: np.ndarray):
    """The labels as a vtkOrientedImageData, cropped to what is not background, on the scan's own grid."""
    labels = segmentation.labels.array
    occupied = [np.flatnonzero(labels.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    (k0, k1), (j0, j1), (i0, i1) = ((int(where[0]), int(where[-1])) for where in occupied)
    image = slicer.vtkOrientedImageData()
    image.SetExtent(i0, i1, j0, j1, k0, k1)  # inclusive; voxel (i, j, k) keeps its index, and so its place
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    vtk_to_numpy(image.GetPointData().GetScalars())[:] = labels[k0:k1 + 1, j0:j1 + 1, i0:i1 + 1].ravel()
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(ijk_to_ras.ravel())
    image.SetImageToWorldMatrix(matrix)
    return image


def _place_beside(node, volumeNode) -> None:
    """Next to the scan in the subject hierarchy (in its study), unless the user has put the node into a folder."""
    hierarchy = volumeNode.GetScene().GetSubjectHierarchyNode()
    root, beside = hierarchy.GetSceneItemID(), hierarchy.GetItemParent(_item(hierarchy, volumeNode))
    item = _item(hierarchy, node)
    if hierarchy.GetItemParent(item) == root != beside:
        hierarchy.SetItemParent(item, beside)


def _item(hierarchy, node) -> int:
    """A node's subject hierarchy item; made if there is none, which outside Slicer's desktop nothing else does."""
    return hierarchy.GetItemByDataNode(node) or hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)


def _restore_place(node, parent: int | None) -> None:
    """Put a node back under the subject hierarchy item ``parent``, or out of the hierarchy if it was in none."""
    hierarchy = node.GetScene().GetSubjectHierarchyNode()
    item = hierarchy.GetItemByDataNode(node)
    if item and parent is None:
        hierarchy.RemoveItem(item, False, False)  # neither its data node nor its children
    elif item:
        hierarchy.SetItemParent(item, parent)
