"""How the maps that a run makes are known among the scene's volumes. Light, as the panel asks
for each volume.
"""

from __future__ import annotations

UNCERTAINTY_MAP = (  # the segmentation node's reference to its map, and the map's own mark
    "MedLLMSegUncertainty"
)
HEAT_MAP = "MedLLMSegHeatMap"  # likewise of a diagnosis: its table node's reference


def is_map(node) -> bool:
    """Whether a volume node is a map of uncertainty or a heat map, and no scan."""
    return node.GetAttribute(UNCERTAINTY_MAP) is not None or node.GetAttribute(HEAT_MAP) is not None
