"""The colours of the maps over a scan, as a colour node of the scene."""

from __future__ import annotations

import numpy as np
import slicer

TAG = "MedLLMSegMap"
COLOURS = f"vtkMRMLColorTableNode{TAG}"  # the node's ID, as it is the only one of its tag
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
    """
    if scene.GetNodeByID(COLOURS) is None:
        node = slicer.vtkMRMLColorTableNode()
        node.SetName("MedLLMSeg map")
        node.SetSingletonTag(TAG)
        node.SetHideFromEditors(True)
        node.SetTypeToUser()
        node.SetNumberOfColors(COUNT)
        for n, (red, green, blue) in enumerate(colour_table()):
            node.SetColor(n, f"{n / (COUNT - 1):.2f}", red, green, blue, n / (COUNT - 1))
        scene.AddNode(node)
    return COLOURS
