"""Series over time: which sequence a node belongs to, and the segmentation of one of its images.

Slicer keeps the images of a `vtkMRMLSequenceNode` in a scene of their own; a
`vtkMRMLSequenceBrowserNode` shows one at a time through a proxy node in the main scene.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import slicer

from MedLLMSegLib.core.errors import UserError

from .heart_nodes import HeartState
from .map_roles import UNCERTAINTY_MAP
from .segments import BINARY_LABELMAP, Drawing, old_segments, set_segments, to_vtk
from .sequence_tables import TableState
from .volume_nodes import ijk_to_ras
from .volumes_table import VOLUMES


@dataclass(frozen=True, eq=False)
class SequenceSource:
    """A sequence, with the browser that shows it and the proxy node that it is shown by.

    browser, proxy: None if there is none yet.
    """

    sequence: Any
    browser: Any = None
    proxy: Any = None


class SequenceState:
    """The segmentations of a sequence, the map of uncertainty, the table of their volumes and the
    heart's function as they are now. proxy: the node that shows the segmentations.

    For Restore, as `restore_point.NodeState` is for one segmentation.
    """

    worth_keeping = True

    def __init__(self, sequence, proxy):
        self.sequence = sequence
        self.map = proxy.GetNodeReference(UNCERTAINTY_MAP)
        self.volumes, self.heart = TableState(VOLUMES, sequence), HeartState(sequence)
        self.segmentations = {
            sequence.GetNthIndexValue(n): copy_of(sequence.GetNthDataNode(n))
            for n in range(sequence.GetNumberOfDataNodes())
        }

    def now(self, node) -> SequenceState:
        return SequenceState(self.sequence, node)

    def put_back(self, node) -> None:
        """Make the sequence what it was. node: the proxy that shows it.

        Tables that the user has deleted meanwhile are not brought back.
        """
        for value, segmentation in self.segmentations.items():
            self.sequence.SetDataNodeAtValue(segmentation, value)
        is_there = self.map is not None and self.map.GetScene() is not None
        node.SetNodeReferenceID(UNCERTAINTY_MAP, self.map.GetID() if is_there else None)
        self.volumes.put_back(node)
        self.heart.put_back(node)


def source_of(node, wholeSequence: bool = True) -> SequenceSource | None:
    """The sequence that a node is or shows an image of; None for a scan by itself.

    Raises `UserError` for a sequence without scans.
    """
    if node is None or node.GetScene() is None:
        return None
    shown = browsed_sequences(node.GetScene())
    if node.IsA("vtkMRMLSequenceNode"):
        _require_scans(node)
        return next((s for s in shown if s.sequence is node), SequenceSource(node))
    if not wholeSequence:
        return None
    return next((s for s in shown if s.proxy is node), None)


def _require_scans(sequence) -> None:
    first = sequence.GetNthDataNode(0) if sequence.GetNumberOfDataNodes() else None
    if first is None or not first.IsA("vtkMRMLScalarVolumeNode"):
        raise UserError(
            f'The sequence "{sequence.GetName()}" holds no scans; choose a sequence of volumes.'
        )


def browsed_sequences(scene) -> Iterator[SequenceSource]:
    """Every sequence of every browser."""
    for n in range(scene.GetNumberOfNodesByClass("vtkMRMLSequenceBrowserNode")):
        browser = scene.GetNthNodeByClass(n, "vtkMRMLSequenceBrowserNode")
        for m in range(scene.GetNumberOfNodesByClass("vtkMRMLSequenceNode")):
            sequence = scene.GetNthNodeByClass(m, "vtkMRMLSequenceNode")
            if browser.IsSynchronizedSequenceNode(sequence, True):  # the master too
                yield SequenceSource(sequence, browser, browser.GetProxyNode(sequence))


def output_sequence(source: SequenceSource, segmentationNode) -> SequenceSource | None:
    """The sequence of segmentations to update, given the proxy that shows it; None for a new one.

    Raises `UserError` for a segmentation that is no proxy of the scans' own browser.
    """
    if segmentationNode is None or segmentationNode.GetScene() is None:
        return None
    for shown in browsed_sequences(segmentationNode.GetScene()):
        if shown.proxy is segmentationNode and shown.browser is source.browser:
            return shown
    raise UserError(
        f'"{segmentationNode.GetName()}" is one segmentation and "{source.sequence.GetName()}" a'
        " sequence of scans; choose a new segmentation as the output."
    )


def empty_like(sequence):
    """An empty sequence, outside of any scene, with the index of another."""
    made = slicer.vtkMRMLSequenceNode()
    made.SetIndexName(sequence.GetIndexName())
    made.SetIndexUnit(sequence.GetIndexUnit())
    made.SetIndexType(sequence.GetIndexType())
    return made


def copy_of(node):
    """A copy of a node, outside of any scene."""
    made = node.CreateNodeInstance()
    made.UnRegister(None)
    made.SetName(node.GetName())
    made.CopyContent(node, True)
    return made


def segmentation_of_image(drawing: Drawing, scan, before, side: str | None):
    """The segmentation node of one image, outside of any scene.

    before: what an earlier run and the user had drawn on that image, or None.
    """
    node = copy_of(before) if before is not None else slicer.vtkMRMLSegmentationNode()
    segments, matrix = node.GetSegmentation(), ijk_to_ras(scan)
    old = old_segments(segments, drawing, side)
    if segments.GetNumberOfSegments() == len(old):
        segments.SetSourceRepresentationName(BINARY_LABELMAP)
    elif segments.GetSourceRepresentationName() != BINARY_LABELMAP:
        raise UserError(
            "The output's segments are surfaces, which a label map cannot be added to; choose a new"
            " segmentation."
        )
    set_segments(segments, drawing, matrix, old)
    extent = [edge for size in drawing.shape[::-1] for edge in (0, size - 1)]
    converter = slicer.vtkSegmentationConverter
    segments.SetConversionParameter(
        converter.GetReferenceImageGeometryParameterName(),
        converter.SerializeImageGeometry(to_vtk(matrix), extent),
    )
    return node
