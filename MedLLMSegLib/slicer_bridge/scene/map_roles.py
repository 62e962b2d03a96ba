"""How the maps that a run makes are told from the scene's other volumes."""

from __future__ import annotations

# The reference of a segmentation node to its map, and the attribute that the map itself carries.
UNCERTAINTY_MAP = "MedLLMSegUncertainty"
HEAT_MAP = "MedLLMSegHeatMap"  # likewise of a diagnosis: its table node's reference


def is_map(node) -> bool:
    """Whether a volume node is a map of uncertainty or a heat map, not a scan."""
    return node.GetAttribute(UNCERTAINTY_MAP) is not None or node.GetAttribute(HEAT_MAP) is not None
