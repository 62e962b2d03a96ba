"""The colours of the maps over a scan, as a colour node of the scene."""

from __future__ import annotations

import numpy as np
import slicer

COLOURS = "MedLLMSegMap"  # the attribute of the colour node
# From black to orange in equal steps of lightness: the first four fifths of Matplotlib's map
# "inferno" (CC0), whose bright end could not be told from bright tissue.
STOPS = (
    (0, 0, 0),
    (22, 11, 57),
    (66, 10, 104),
    (106, 23, 110),
    (147, 38, 103),
    (188, 55, 84),
    (221, 81, 58),
    (243, 120, 25),
    (252, 165, 10),
)
COUNT = 256


def colour_table() -> np.ndarray:
    """(256, 3) RGB, 0 to 1, from the lowest value to the highest."""
    places = np.linspace(0, 1, len(STOPS))
    stops = np.array(STOPS) / 255
    channels = [np.interp(np.linspace(0, 1, COUNT), places, stops[:, c]) for c in range(3)]
    return np.stack(channels, axis=1)


def map_colours(scene) -> str:
    """The ID of the scene's colour node for maps; it is made where it is missing.

    A colour is as opaque as its value is high: nothing of the scan is hidden at zero.

    The node goes with its scene. As a singleton it would outlive it, and go on to name the ID of a
    storage node that is gone: the next scene gives that ID to the file of somebody else's colours.
    """
    for n in range(scene.GetNumberOfNodesByClass("vtkMRMLColorTableNode")):
        node = scene.GetNthNodeByClass(n, "vtkMRMLColorTableNode")
        if node.GetAttribute(COLOURS) is not None:
            return node.GetID()
    return scene.AddNode(_colour_node()).GetID()


def _colour_node():
    node = slicer.vtkMRMLColorTableNode()
    node.SetName("MedLLMSeg map")
    node.SetAttribute(COLOURS, "colours")
    node.SetHideFromEditors(True)
    node.SetTypeToUser()
    node.SetNumberOfColors(COUNT)
    for n, (red, green, blue) in enumerate(colour_table()):
        node.SetColor(n, f"{n / (COUNT - 1):.2f}", red, green, blue, n / (COUNT - 1))
    return node
