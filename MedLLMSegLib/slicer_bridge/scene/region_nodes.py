"""A Markups ROI as the region in which something is looked for."""

from __future__ import annotations

from itertools import product

import numpy as np
import slicer

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.geometry import transform_points
from MedLLMSegLib.segmentation.region import Region

from .volume_nodes import world_to_node

SAME_MM = 1e-3  # a ROI's corners that differ by less from a straight box's are the same


def region_of(roiNode) -> Region:
    """The box of a vtkMRMLMarkupsROINode in world RAS, turned and moved as it is.

    Raises `UserError` for a ROI that is not drawn yet, or that is bent by its transform.
    """
    name = roiNode.GetName()
    parent = roiNode.GetParentTransformNode()
    if parent is not None and not parent.IsTransformToWorldLinear():
        raise UserError(
            f'The ROI "{name}" is bent by a non-linear transform ("{parent.GetName()}"); take it'
            " out of the transform, or choose another one."
        )
    size_mm = np.array(roiNode.GetSize())
    if roiNode.GetScene() is None or min(size_mm) <= 0:
        raise UserError(
            f'The ROI "{name}" has no size; draw it in the slice views, or leave it out.'
        )
    matrix = slicer.util.arrayFromVTKMatrix(roiNode.GetObjectToWorldMatrix())
    corners = np.array(list(product((-0.5, 0.5), repeat=3))) * size_mm
    world = transform_points(matrix, corners)
    return Region(tuple((float(x), float(y), float(z)) for x, y, z in world))


def faces_in_file(roiNode, volumeNode) -> tuple[tuple[float, ...], bool]:
    """(faces, whether they are exact) of a ROI in the frame of the scan's own file.

    faces: as for `Region.from_faces`; of a turned ROI, of the box around it along the axes.
    """
    region = region_of(roiNode)
    corners = transform_points(world_to_node(volumeNode), region.corners_ras)
    faces = Region(tuple((float(x), float(y), float(z)) for x, y, z in corners)).faces
    straight = np.array(Region.from_faces(faces).corners_ras)
    distances = np.linalg.norm(corners[:, None] - straight[None], axis=-1)  # (8, 8)
    return faces, bool(distances.min(1).max() < SAME_MM)
