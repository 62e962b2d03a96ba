"""The intracranial volume: the sum of all structures of the whole brain, where the scan shows what
the skull holds; and what the field of view cuts off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import ndimage

from MedLLMSegLib.anatomy.brain import brain_structures, is_whole_brain
from MedLLMSegLib.core.resampling import resample
from MedLLMSegLib.core.segmentation import IntracranialVolume, Segmentation, Structure
from MedLLMSegLib.core.types import Array
from MedLLMSegLib.core.volume import Volume

from .result_grid import result_grid

FLUID_AROUND = "csf"
SKULL_OFF = "the skull was taken off the image"
# The shell around the brain in which skull and scalp lie, mm. Nearer, a mask of the brain leaves
# some of it over; farther lie the neck and the shoulders, or the air.
NEAREST_MM, FARTHEST_MM = 6.0, 25.0
# A structure is cut off if it fills this much of an outermost plane of voxels: less is a few stray
# voxels, or a brain that just fits.
LEAST_CUT_MM2 = 50.0
COARSE_MM = 3.0  # the voxels that the shell is looked at in: scalp and skull are thicker
# A voxel is tissue if it differs from what fills the space around the head by this share of the
# brain's own range of grey values, and by so many standard deviations of the noise ...
TISSUE_CONTRAST, NOISES = 0.1, 3.0
# ... and the skull is there if so large a share of the shell is tissue. Measured: 0.48 and more in
# six elderly heads and 0 in eleven OASIS brains without a skull; 0.36 and more in 16 synthetic
# heads, and 0.18 at most in 16 without a skull, most with noise and some with ghosts.
LEAST_TISSUE = 0.25


def with_intracranial(
    volume: Volume, segmentation: Segmentation, asked: Sequence[Structure] = ()
) -> Segmentation:
    """A whole result with its intracranial volume, and a note on what the field of view cuts off.

    volume: the scan. segmentation: on its grid or another (see `result_grid`), with all of the
    model's structures; that of a model of less than the whole brain is returned as it is. asked:
    the structures that are named where they are cut, () for all.
    """
    if not is_whole_brain(segmentation.structures):
        return segmentation
    cut_off = cut_structures(segmentation)
    if {s.key for s in cut_off} == {FLUID_AROUND} and not skull_present(volume, segmentation):
        cut_off = ()  # a scan cropped at a brain without its skull, whose fluid is gone in any case
    named = [s for s in cut_off if not asked or s in asked]
    names = ", ".join(_in_a_sentence(structure.name) for structure in named)
    cut = "the field of view cuts the brain" if cut_off else ""
    cut += f" ({names})" if names else ""
    notes = segmentation.notes
    if names:
        notes = (*notes, f"{cut[:1].upper()}{cut[1:]}: what is outlined there is not all of it.")
    return replace(
        segmentation, intracranial=intracranial_volume(volume, segmentation, cut), notes=notes
    )


def _in_a_sentence(name: str) -> str:
    """A structure's name without its capital, unless it is an abbreviation such as CSF."""
    return name if name.isupper() else name[:1].lower() + name[1:]


def cut_structures(segmentation: Segmentation) -> tuple[Structure, ...]:
    """The structures that reach the outermost voxels of the scan, with `LEAST_CUT_MM2` or more."""
    labels = segmentation.labels.array
    spacing_mm = segmentation.labels.spacing_mm
    cut_mm2 = np.zeros(256)  # of each label, in the plane where it is largest
    for axis in range(3):
        voxel_mm2 = float(np.prod([mm for other, mm in enumerate(spacing_mm) if other != axis]))
        for end in (0, -1):
            plane = np.take(labels, end, axis=axis)
            area_mm2 = np.bincount(plane.ravel(), minlength=256) * voxel_mm2
            cut_mm2 = np.maximum(cut_mm2, area_mm2)
    return tuple(s for s in segmentation.structures if cut_mm2[s.label] >= LEAST_CUT_MM2)


def intracranial_volume(
    volume: Volume, segmentation: Segmentation, cut: str = ""
) -> IntracranialVolume | None:
    """The intracranial volume of a scan; None for a model that does not outline the whole brain.

    segmentation: with all of the model's structures. cut: what the field of
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

    volume: 3D. segmentation: of the brain, on the scan's grid or another that covers it. False,
    too, where nothing was found, or where the field of view ends at the brain: then nobody can say.
    """
    grid = result_grid(volume, COARSE_MM)
    image = resample(volume.array, volume.grid, grid)
    labels = segmentation.labels
    brain = resample((labels.array > 0).astype(np.float32), labels.grid, grid) > 0.5
    if not brain.any():
        return False
    distance_mm = ndimage.distance_transform_edt(~brain, sampling=grid.spacing_mm)
    shell = image[(distance_mm > NEAREST_MM) & (distance_mm < FARTHEST_MM)]
    if not shell.size:
        return False
    low, high = np.percentile(image[brain], (2, 98))
    outside = distance_mm > NEAREST_MM
    tolerance = max(TISSUE_CONTRAST * float(high - low), NOISES * _noise(image, outside))
    surroundings = _commonest(image[outside], tolerance)
    tissue = np.abs(shell - surroundings) > tolerance
    return bool(tissue.mean() > LEAST_TISSUE)


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
