"""From a volume node to a segmentation node: the logic behind the Slicer panel, the console and scripts."""
from __future__ import annotations

from typing import Callable

from ..errors import UserError


class SegmentationLogic:
    """Segments volume nodes with a segmenting function that is handed in (default: `MedLLMSegLib.segment`).

    Names are written as in Slicer's API. Neither importing nor making one imports torch, numpy or VTK.
    result: the `Segmentation` of the last run (volumes, confidence, notes for the user), None before it.
    """

    def __init__(self, segmentFunction: Callable | None = None):
        self.segmentFunction = segmentFunction
        self.result = None

    def segment(self, volumeNode, segmentationNode=None, model: str = "hippocampus-t1", side: str | None = None,
                device: str = "auto", progress: Callable[[str, float], None] | None = None):
        """Segment a scan and return the vtkMRMLSegmentationNode that holds the result.

        volumeNode: vtkMRMLScalarVolumeNode; its linear parent transforms are respected.
        segmentationNode: the node to update, or None for a new one beside the scan.
        side: "left" or "right" to segment that side alone, or to say which one a crop around one organ shows.
        progress: called with (stage, fraction from 0 to 1); it may raise `Cancelled`.

        Raises `UserError` with one sentence for the user, `Cancelled`, or what the segmenting function raises.
        However it fails, the scene is left as it was.
        """
        from .nodes import read_volume, write_segmentation

        volume = read_volume(volumeNode)
        result = self._function()(volume, model, device=device, side=side, progress=progress)
        node = write_segmentation(result, volumeNode, segmentationNode, side)
        self.result = result
        return node

    def _function(self) -> Callable:
        if self.segmentFunction is None:
            try:
                from ..pipeline import segment  # brings torch: only when it is needed
            except ModuleNotFoundError as error:
                raise UserError(f"The Python package {error.name} is missing; press Segment in the MedLLMSeg module once, "
                                "which offers to install what is needed.") from error

            self.segmentFunction = segment
        return self.segmentFunction
