"""Which layer explains a model best: chosen by insertion and deletion on two heads of val, for
hippocampus-t1 alone (`MedLLMSegLib.studies.explanations`); docs/explain.md has the figures.
"""

from __future__ import annotations

from MedLLMSegLib.segmentation.loaded_segmenter import SegmenterModel

from .grad_cam import CamSettings

CHOSEN: dict[str, CamSettings] = {"hippocampus-t1": CamSettings("embedding", "place")}
OTHERS = CamSettings("embedding", "place")  # models that were not measured


def settings_for(model: SegmenterModel) -> CamSettings:
    """The layer and the way for a model."""
    return CHOSEN.get(model.entry.id, OTHERS)
