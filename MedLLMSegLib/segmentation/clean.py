"""Which connected parts of a label map stay."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from MedLLMSegLib.core.types import Array

TOUCHING = np.ones((3, 3, 3))  # 26 neighbours


def keep_largest(labels: Array, rule: str = "each") -> Array:
    """A label map [k, j, i] reduced to its largest connected part (26 neighbours).

    rule: a key of `LARGEST_PART_RULES`. A structure's own largest part may be a mistake far from
    the organ, such as chest wall for a right ventricle; "together" removes it.
    """
    if not labels.size:  # of a scan in which nothing was found
        return labels
    if rule in ("together", "both"):
        labels = _keep_largest_together(labels)
    if rule == "together":
        return labels
    cleaned = np.zeros_like(labels)
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is not None:
            cleaned[box][largest_component(labels[box] == label)] = label
    return cleaned


def _keep_largest_together(labels: Array) -> Array:
    """The largest connected part of all labels together.

    Only the bounding box of the labels is worked on: the rest of a large scan needs no memory.
    """
    cleaned = np.zeros_like(labels)
    for box in ndimage.find_objects(labels > 0, max_label=1):
        if box is not None:
            cleaned[box] = np.where(largest_component(labels[box] > 0), labels[box], 0)
    return cleaned


def largest_component(mask: Array) -> Array:
    """The largest connected part of a mask [k, j, i] (26 neighbours)."""
    components, count = ndimage.label(mask, structure=TOUCHING)
    if count <= 1:
        return mask
    sizes = np.bincount(components.ravel())[1:]
    largest: Array = components == 1 + int(np.argmax(sizes))
    return largest
