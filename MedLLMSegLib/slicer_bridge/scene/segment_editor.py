"""A segmentation in Slicer's Segment Editor, over the scan that it was drawn on."""

from __future__ import annotations

import slicer

EDITOR = "SegmentEditor"  # the module's name


def scan_of(segmentationNode):
    """The volume node that a segmentation was drawn on, or None."""
    return segmentationNode.GetNodeReference(
        segmentationNode.GetReferenceImageGeometryReferenceRole()
    )


def edit_segmentation(segmentationNode, volumeNode=None) -> None:
    """Open the Segment Editor with a segmentation and a scan chosen.

    volumeNode: the scan for a segmentation that does not say what it was drawn on.
    """
    # First: as it opens, the editor chooses a segmentation by itself.
    slicer.util.selectModule(EDITOR)
    editor = slicer.modules.segmenteditor.widgetRepresentation().self().editor
    editor.setSegmentationNode(segmentationNode)
    editor.setSourceVolumeNode(scan_of(segmentationNode) or volumeNode)
