"""Which model can divide structures that another one outlines: the hippocampi of a brain."""

from __future__ import annotations

from collections.abc import Sequence

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import Json

from .catalogue import ModelEntry, read_metadata

# FreeSurfer's numbers of the left and right hippocampus (`segmentation.hippocampus_parts.WHOLE`).
HIPPOCAMPI = (17, 53)
ANATOMY = "hippocampus"


def parts_model_for(entry: ModelEntry, entries: Sequence[ModelEntry]) -> ModelEntry | None:
    """The first of the models that divides structures of this one; None where none does.

    A model of the brain has a left and a right hippocampus with FreeSurfer's numbers, and a model
    of the hippocampus knows its parts. Bundles whose metadata cannot be read fit nothing.
    """
    if not _has_hippocampi(_metadata(entry)):
        return None
    return next((e for e in entries if _metadata(e).get("anatomy") == ANATOMY), None)


def _has_hippocampi(metadata: Json) -> bool:
    labels = metadata.get("labels")
    if not isinstance(labels, list):  # names by number are of older bundles, of fewer structures
        return False
    names = {
        label.get("label"): str(label.get("name", "")).lower()
        for label in labels
        if isinstance(label, dict)
    }
    return all(ANATOMY in names.get(label, "") for label in HIPPOCAMPI)


def _metadata(entry: ModelEntry) -> Json:
    try:
        return read_metadata(entry.folder)
    except UserError:  # where the model is used, that is said
        return {}
