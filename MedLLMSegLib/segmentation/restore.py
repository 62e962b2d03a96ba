"""Logits on a crop's grid and its `Restore` -> probabilities and labels on the scan's own grid."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from MedLLMSegLib.core.geometry import inside_mask, overlap_box, sub_grid
from MedLLMSegLib.core.resampling import resample
from MedLLMSegLib.core.types import Array

from .prepare import Restore

# Half-open, in voxels along (k, j, i).
Box: TypeAlias = tuple[slice, slice, slice]

TOUCHING = np.ones((3, 3, 3))  # 26 neighbours


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
    probabilities: Array,
    way_back: Restore,
    labels_alone: bool = False,
    slab_bytes: float = 256e6,
) -> Iterator[tuple[NDArray[np.float32], Box]]:
    """As `restore`, but in slabs along k, for scans whose maps would not fit into memory.

    labels_alone: leave out what is certainly background, which is most of a large scan.
    slab_bytes: about the most that one slab takes.
    """
    span_k, span_j, span_i = overlap_box(way_back.scan, way_back.crop, margin_vox=0)
    if labels_alone:
        span_k, span_j, span_i = _around_foreground(
            probabilities[0], way_back, (span_k, span_j, span_i)
        )
    plane_voxels = (span_j.stop - span_j.start) * (span_i.stop - span_i.start)
    plane_bytes = 4 * len(probabilities) * plane_voxels
    planes = max(1, int(slab_bytes / max(1, plane_bytes)))
    for first in range(span_k.start, span_k.stop, planes):
        box = (slice(first, min(first + planes, span_k.stop)), span_j, span_i)
        yield _sample(probabilities, way_back, box), box


def _around_foreground(background: Array, way_back: Restore, box: Box) -> Box:
    """The part of ``box`` where the interpolated background probability may be below one half.

    background: [k, j, i] on the crop. box: on the scan.
    """
    foreground = background < 0.5
    indices = [
        np.flatnonzero(foreground.any(axis=other_axes)) for other_axes in ((1, 2), (0, 2), (0, 1))
    ]
    if not len(indices[0]):
        return _as_box(slice(span.start, span.start) for span in box)
    on_crop = _as_box(slice(int(found[0]) - 2, int(found[-1]) + 3) for found in indices)
    on_scan = overlap_box(way_back.scan, sub_grid(way_back.crop, on_crop), margin_vox=2)
    return _as_box(
        slice(
            max(outer.start, inner.start),
            max(outer.start, inner.start, min(outer.stop, inner.stop)),
        )
        for outer, inner in zip(box, on_scan, strict=True)
    )


def _as_box(slices: Iterable[slice]) -> Box:
    along_k, along_j, along_i = slices
    return along_k, along_j, along_i


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


def keep_largest(labels: Array, rule: str = "each") -> Array:
    """A label map [k, j, i] reduced to its largest connected part (26 neighbours).

    rule: a key of `LARGEST_PART_RULES`. A structure's own largest part may be a mistake far from
    the organ, such as chest wall for a right ventricle; "together" removes it.
    """
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
