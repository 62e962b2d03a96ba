"""What the slice views show of a map: a label map of its values.

The views blend a label map by the opacity of each label's colour, and a scalar volume by one
opacity alone: only so does a map hide nothing where it is low, and has no edge.
"""

from __future__ import annotations

import numpy as np
import slicer
import vtk

from .map_colours import COUNT, map_colours
from .map_roles import UNCERTAINTY_MAP

LAYER = "MedLLMSegLayer"  # a map's reference to its layer
OBSERVER = "MedLLMSegObserver"  # the layer's attribute: what tells it of the map's new voxels


def layer_of(map_node):
    """The label map that the views show for a map, or None while it is not shown."""
    return map_node.GetNodeReference(LAYER)


def make_layer(map_node):
    """The label map for a map, made or brought up to date; in the map's scene, and not saved.

    It follows the map's voxels, which a sequence browser exchanges when it goes to another image.
    """
    if layer_of(map_node) is None:
        node = slicer.vtkMRMLLabelMapVolumeNode()
        node.SetName(f"{map_node.GetName()} (shown)")
        node.SetAttribute(UNCERTAINTY_MAP, "layer")  # no scan, and nobody's own foreground
        # Not hidden: the views' own selectors would not list it, and choose nothing instead.
        node.SetSaveWithScene(False)
        scene = map_node.GetScene()
        scene.AddNode(node)
        node.CreateDefaultDisplayNodes()
        node.GetDisplayNode().SetSaveWithScene(False)
        node.GetDisplayNode().SetAndObserveColorNodeID(map_colours(scene))
        map_node.SetNodeReferenceID(LAYER, node.GetID())
        changed = slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent
        tag = map_node.AddObserver(changed, lambda caller, event: refresh_layer(caller))
        node.SetAttribute(OBSERVER, str(tag))
    refresh_layer(map_node)
    return layer_of(map_node)


def refresh_layer(map_node) -> None:
    """Give a map's layer, if there is one, the map's values and place."""
    layer = layer_of(map_node)
    if layer is None or map_node.GetImageData() is None:  # a scene is being loaded or closed
        return
    values = np.clip(slicer.util.arrayFromVolume(map_node), 0, 1)  # [k, j, i]; NaN becomes 0
    labels = np.round((COUNT - 1) * np.nan_to_num(values)).astype(np.uint8)
    matrix = vtk.vtkMatrix4x4()
    map_node.GetIJKToRASMatrix(matrix)
    slicer.util.updateVolumeFromArray(layer, labels)
    layer.SetIJKToRASMatrix(matrix)
    layer.SetAndObserveTransformNodeID(map_node.GetTransformNodeID())


def remove_layer(map_node) -> None:
    """Take a map's layer out of the scene."""
    layer = layer_of(map_node)
    if layer is not None:
        map_node.SetNodeReferenceID(LAYER, None)
        map_node.RemoveObserver(int(layer.GetAttribute(OBSERVER)))
        for n in reversed(range(layer.GetNumberOfDisplayNodes())):
            layer.GetScene().RemoveNode(layer.GetNthDisplayNode(n))
        layer.GetScene().RemoveNode(layer)
