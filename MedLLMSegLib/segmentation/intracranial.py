"""The intracranial volume: the sum of all structures of the whole brain, where the scan shows what
the skull holds.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from MedLLMSegLib.anatomy.brain import brain_structures, is_whole_brain
from MedLLMSegLib.core.segmentation import IntracranialVolume, Segmentation
from MedLLMSegLib.core.types import Array
from MedLLMSegLib.core.volume import Volume

SKULL_OFF = "the skull was taken off the image, and the fluid around the brain with it"
# The shell around the brain in which skull and scalp lie, mm. Nearer, a mask of the brain leaves
# some of it over; farther lie the neck and the shoulders, or the air.
NEAREST_MM, FARTHEST_MM = 6.0, 25.0
_COARSE_MM = 3.0  # the voxels that the shell is looked at in: scalp and skull are thicker
# A voxel is tissue if it differs from what fills the space around the head by this share of the
# brain's own range of grey values, and by so many standard deviations of the noise ...
TISSUE_CONTRAST, NOISES = 0.1, 3.0
# ... and the skull is there if so large a share of the shell is tissue. Measured: 0.51 and more in
# six elderly heads and 0 in eleven OASIS brains without a skull; 0.35 and more in 16 synthetic
# heads, and 0.18 at most in 16 without a skull, all with noise and some with ghosts.
LEAST_TISSUE = 0.25


def intracranial_volume(
    volume: Volume, segmentation: Segmentation, cut: str = ""
) -> IntracranialVolume | None:
    """The intracranial volume of a scan; None for a model that does not outline the whole brain.

    segmentation: with all of the model's structures, on the scan's grid. cut: what the field of
    view cuts off, as the end of a sentence ("the field of view cuts the brain stem"); "" where the
    whole brain is in view.
    """
    if not is_whole_brain(segmentation.structures):
        return None
    if cut:
        return IntracranialVolume(None, cut)
    if not skull_present(volume, segmentation):
        return IntracranialVolume(None, SKULL_OFF)
    labels = [s.label for s in brain_structures()]
    voxels = np.count_nonzero(np.isin(segmentation.labels.array, labels))
    return IntracranialVolume(float(voxels * segmentation.labels.grid.voxel_ml))


def skull_present(volume: Volume, segmentation: Segmentation) -> bool:
    """Whether there is tissue around the brain, of whatever contrast.

    volume: 3D. segmentation: of the brain, on the same grid. False, too, where nothing was found,
    or where the field of view ends at the brain: then nobody can say.
    """
    steps = [max(1, round(_COARSE_MM / mm)) for mm in volume.spacing_mm]
    image = _block_means(volume.array, steps)
    brain = _block_means(segmentation.labels.array > 0, steps) > 0.5
    if not brain.any():
        return False
    spacing_mm = [step * mm for step, mm in zip(steps, volume.spacing_mm, strict=True)]
    distance_mm = ndimage.distance_transform_edt(~brain, sampling=spacing_mm)
    shell = image[(distance_mm > NEAREST_MM) & (distance_mm < FARTHEST_MM)]
    if not shell.size:
        return False
    low, high = np.percentile(image[brain], (2, 98))
    outside = distance_mm > NEAREST_MM
    tolerance = max(TISSUE_CONTRAST * float(high - low), NOISES * _noise(image, outside))
    surroundings = _commonest(image[outside], tolerance)
    tissue = np.abs(shell - surroundings) > tolerance
    return bool(tissue.mean() > LEAST_TISSUE)


def _block_means(array: Array, steps: list[int]) -> Array:
    """float32 means of blocks of so many voxels along (k, j, i): noise goes, and tissue stays.

    An incomplete block at the end of an axis is left out.
    """
    for axis, step in enumerate(steps):
        blocks = array.shape[axis] // step
        whole = np.moveaxis(array, axis, 0)[: blocks * step]
        means = whole.reshape(blocks, step, *whole.shape[1:]).mean(1, dtype=np.float32)
        array = np.moveaxis(means, 0, axis)
    return array


def _noise(image: Array, mask: Array) -> float:
    """The standard deviation of the noise within a mask, from the differences of neighbours.

    The median of their size, as edges of tissue are few; 0.6745 is that of the normal distribution.
    """
    both = mask[..., 1:] & mask[..., :-1]
    differences = np.abs(np.diff(image, axis=-1))[both]
    return float(np.median(differences)) / (0.6745 * np.sqrt(2)) if differences.size else 0.0


def _commonest(values: Array, tolerance: float) -> float:
    """The grey value that most of these voxels have, give or take the tolerance."""
    if tolerance <= 0:
        return float(np.median(values))
    bins = np.round(values / tolerance).astype(np.int64)
    found, counts = np.unique(bins, return_counts=True)
    return float(np.median(values[bins == found[counts.argmax()]]))
