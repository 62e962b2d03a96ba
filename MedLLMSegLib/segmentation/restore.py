"""Probabilities of all classes on a crop's grid and its `Restore` -> on the scan's own grid.

For labels alone see `way_back`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from MedLLMSegLib.core.geometry import Box, inside_mask, overlap_box, sub_grid
from MedLLMSegLib.core.resampling import resample
from MedLLMSegLib.core.types import Array

from .prepare import Restore


def softmax(
    logits: Array, temperature: float = 1.0, out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Softmax over the first axis of [c, k, j, i], in float32.

    It works plane by plane: with ``out=logits`` no second array is held.
    """
    probabilities = np.empty(logits.shape, np.float32) if out is None else out
    for k in range(logits.shape[1]):
        plane = logits[:, k] if temperature == 1.0 else logits[:, k] / temperature
        exponentials = np.exp(plane - plane.max(axis=0))
        probabilities[:, k] = exponentials / exponentials.sum(axis=0)
    return probabilities


def restore(probabilities: Array, way_back: Restore) -> tuple[NDArray[np.float32], Box]:
    """Probabilities [c, k, j, i] on the crop -> (the same on the scan's voxels within a box, box).

    Probabilities are interpolated and the winner is chosen afterwards: more exact than
    interpolating labels. Beyond the crop's faces everything is background (class 0). Between the
    centres of its outermost voxels and its faces, the outermost voxels count.
    """
    box = overlap_box(way_back.scan, way_back.crop, margin_vox=0)
    return _sample(probabilities, way_back, box), box


def restore_slabs(
    probabilities: Array, way_back: Restore, slab_bytes: float = 256e6
) -> Iterator[tuple[NDArray[np.float32], Box]]:
    """As `restore`, but in slabs along k, for scans whose maps would not fit into memory.

    slab_bytes: about the most that one slab takes.
    """
    span_k, span_j, span_i = overlap_box(way_back.scan, way_back.crop, margin_vox=0)
    plane_voxels = (span_j.stop - span_j.start) * (span_i.stop - span_i.start)
    plane_bytes = 4 * len(probabilities) * plane_voxels
    planes = max(1, int(slab_bytes / max(1, plane_bytes)))
    for first in range(span_k.start, span_k.stop, planes):
        box = (slice(first, min(first + planes, span_k.stop)), span_j, span_i)
        yield _sample(probabilities, way_back, box), box


def _sample(probabilities: Array, way_back: Restore, box: Box) -> NDArray[np.float32]:
    """Probabilities [c, k, j, i] on the scan's voxels within a box."""
    target = sub_grid(way_back.scan, box)
    values = np.empty((len(probabilities), *target.shape), np.float32)
    for class_number, probability in enumerate(probabilities):
        # Not averaged: at a thick slice's centre the network saw the slice, a mean already
        values[class_number] = resample(probability, way_back.crop, target, average=False)
    outside = ~inside_mask(way_back.crop, target)
    values[:, outside] = 0
    values[0, outside] = 1
    return values
