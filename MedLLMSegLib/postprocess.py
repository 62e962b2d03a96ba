"""Logits on a crop's grid and its `Restore` -> probabilities and labels on the scan's own grid."""
from __future__ import annotations

import numpy as np
from scipy import ndimage

from .geometry import inside, overlap_box, resample, sub_grid
from .preprocess import Restore


def softmax(logits: np.ndarray) -> np.ndarray:
    """Over the first axis of [c, k, j, i], in float32."""
    shifted = np.exp(logits - logits.max(axis=0))
    return shifted / shifted.sum(axis=0)


def restore(probabilities: np.ndarray, way_back: Restore) -> tuple[np.ndarray, tuple[slice, slice, slice]]:
    """Probabilities [c, k, j, i] on the crop -> the same on the scan's voxels within the returned box.

    Probabilities are interpolated and the winner is chosen afterwards: more exact than interpolating labels.
    Beyond the crop's faces everything is background (class 0); up to them its outermost voxels count, whose
    centres lie half a voxel further in.
    """
    box = overlap_box(way_back.scan, way_back.crop, margin_vox=0)
    target = sub_grid(way_back.scan, box)
    values = np.stack([resample(p, way_back.crop, target) for p in probabilities])
    beyond = ~inside(way_back.crop, target)
    values[:, beyond] = 0
    values[0, beyond] = 1
    return values, box


def largest_component(mask: np.ndarray) -> np.ndarray:
    """The largest connected part of a mask [k, j, i] (26 neighbours)."""
    parts, count = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    if count <= 1:
        return mask
    return parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
