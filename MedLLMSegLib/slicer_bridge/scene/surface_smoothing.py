"""How smooth the surfaces of a segmentation are in 3D. Its label map stays as it is: the surfaces
are made from it.
"""

from __future__ import annotations

import slicer

from .segments import BINARY_LABELMAP

CLOSED_SURFACE = "Closed surface"
DEFAULT_PERCENT = 50  # Slicer's own


def _parameter() -> str:
    return slicer.vtkBinaryLabelmapToClosedSurfaceConversionRule.GetSmoothingFactorParameterName()


def smoothing_of(segmentationNode) -> int:
    """The smoothing of a segmentation's surfaces, 0 to 100 percent."""
    text = segmentationNode.GetSegmentation().GetConversionParameter(_parameter())
    try:
        factor = float(text)
    except ValueError:  # it is not set
        return DEFAULT_PERCENT
    return round(100 * min(max(factor, 0.0), 1.0))


def set_smoothing(segmentationNode, percent: int) -> None:
    """Smooth a segmentation's surfaces; those that are there are made anew.

    percent: 0 for the steps of the voxels, 100 for the smoothest. A segmentation that was made as
    surfaces is left alone.
    """
    segmentation = segmentationNode.GetSegmentation()
    if segmentation.GetSourceRepresentationName() != BINARY_LABELMAP:
        return
    if smoothing_of(segmentationNode) == percent:
        return
    segmentation.SetConversionParameter(_parameter(), f"{percent / 100:g}")
    if segmentation.ContainsRepresentation(CLOSED_SURFACE):
        segmentation.CreateRepresentation(CLOSED_SURFACE, True)  # also where there is one
