"""How the maps that a run makes are told from the scene's other volumes."""

from __future__ import annotations

# The reference of a segmentation node to its map, and the attribute that the map itself carries.
UNCERTAINTY_MAP = "MedLLMSegUncertainty"
EVIDENCE_MAP = "MedLLMSegEvidence"  # likewise: where the evidence for a structure lies
HEAT_MAP = "MedLLMSegHeatMap"  # likewise of a diagnosis: its table node's reference
SEGMENTATION_MAPS = (UNCERTAINTY_MAP, EVIDENCE_MAP)
MAPS = (*SEGMENTATION_MAPS, HEAT_MAP)


def is_map(node) -> bool:
    """Whether a volume node is a map of ours, not a scan."""
    return any(node.GetAttribute(role) is not None for role in MAPS)
