"""Logits on a crop's grid and its `Restore` -> probabilities and labels on the scan's own grid."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import ndimage

from MedLLMSegLib.core.geometry import inside_mask, overlap_box, resample, sub_grid

from .prepare import Restore

Box = tuple[slice, slice, slice]  # half-open, in voxels along (k, j, i)


def softmax(
    logits: np.ndarray, temperature: float = 1.0, out: np.ndarray | None = None
) -> np.ndarray:
    """Over the first axis of [c, k, j, i], in float32. Plane by plane: with ``out=logits`` no
    second array is held.
    """
    out = np.empty(logits.shape, np.float32) if out is None else out
    for k in range(logits.shape[1]):
        plane = logits[:, k] if temperature == 1.0 else logits[:, k] / temperature
        shifted = np.exp(plane - plane.max(axis=0))
        out[:, k] = shifted / shifted.sum(axis=0)
    return out


def restore(probabilities: np.ndarray, way_back: Restore) -> tuple[np.ndarray, Box]:
    """Probabilities [c, k, j, i] on the crop -> the same on the scan's voxels within the returned
    box.

    Probabilities are interpolated and the winner is chosen afterwards: more exact than
    interpolating labels. Beyond the crop's faces everything is background (class 0); up to them its
    outermost voxels count, whose centres lie half a voxel further in.
    """
    box = overlap_box(way_back.scan, way_back.crop, margin_vox=0)
    return _sampled(probabilities, way_back, box), box


def restore_slabs(
    probabilities: np.ndarray,
    way_back: Restore,
    labels_alone: bool = False,
    slab_bytes: float = 256e6,
) -> Iterator[tuple[np.ndarray, Box]]:
    """The same in slabs along k of at most about ``slab_bytes`` each, for scans whose maps would
    not fit into memory.

    labels_alone: leave out what is background for certain, which is most of a large scan.
    """
    whole = overlap_box(way_back.scan, way_back.crop, margin_vox=0)
    if labels_alone:
        whole = _around_foreground(probabilities[0], way_back, whole)
    plane = (
        4 * len(probabilities) * (whole[1].stop - whole[1].start) * (whole[2].stop - whole[2].start)
    )
    planes = max(1, int(slab_bytes / max(1, plane)))
    for first in range(whole[0].start, whole[0].stop, planes):
        box = (slice(first, min(first + planes, whole[0].stop)), whole[1], whole[2])
        yield _sampled(probabilities, way_back, box), box


def _around_foreground(background: np.ndarray, way_back: Restore, whole: Box) -> Box:
    """The part of a box on the scan where the background's probability [k, j, i] may be
    interpolated to below one half.
    """
    near = background < 0.5
    spans = [np.flatnonzero(near.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    if not len(spans[0]):
        return tuple(slice(s.start, s.start) for s in whole)
    found = sub_grid(way_back.crop, tuple(slice(int(s[0]) - 2, int(s[-1]) + 3) for s in spans))
    wide = overlap_box(way_back.scan, found, margin_vox=2)
    return tuple(
        slice(max(a.start, b.start), max(a.start, b.start, min(a.stop, b.stop)))
        for a, b in zip(whole, wide)
    )


def _sampled(probabilities: np.ndarray, way_back: Restore, box: Box) -> np.ndarray:
    target = sub_grid(way_back.scan, box)
    values = np.empty((len(probabilities), *target.shape), np.float32)
    for value, probability in zip(values, probabilities):
        value[...] = resample(probability, way_back.crop, target)
    beyond = ~inside_mask(way_back.crop, target)
    values[:, beyond] = 0
    values[0, beyond] = 1
    return values


def keep_largest(labels: np.ndarray, how: str = "each") -> np.ndarray:
    """A label map [k, j, i] with the largest connected part (26 neighbours) alone, of what ``how``
    says; see `LARGEST_PART_RULES`.

    A structure's largest part may be a mistake far from the organ that "together" still finds:
    chest wall for a right ventricle.
    """
    if how in ("together", "both"):
        labels = _largest_together(labels)
    if how == "together":
        return labels
    cleaned = np.zeros_like(labels)
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is not None:
            cleaned[box][largest_component(labels[box] == label)] = label
    return cleaned


def _largest_together(labels: np.ndarray) -> np.ndarray:
    cleaned = np.zeros_like(labels)
    for box in ndimage.find_objects(
        labels > 0, max_label=1
    ):  # the rest of a large scan needs no memory
        if box is not None:
            cleaned[box] = np.where(largest_component(labels[box] > 0), labels[box], 0)
    return cleaned


def largest_component(mask: np.ndarray) -> np.ndarray:
    """The largest connected part of a mask [k, j, i] (26 neighbours)."""
    parts, count = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    if count <= 1:
        return mask
    return parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
