"""What a model of the whole brain refuses, and what it warns of: no head, and too few slices.

A network that normalises an image by itself finds something like a brain in anything. What it finds
in a belly lies about in no brain's order, and that is what is looked at.
"""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations

import numpy as np
from scipy import ndimage

from MedLLMSegLib.anatomy.brain import is_whole_brain
from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.geometry import transform_points
from MedLLMSegLib.core.segmentation import LEAST_EXPECTED_DICE, Segmentation
from MedLLMSegLib.core.types import Array
from MedLLMSegLib.core.volume import Volume

FEWEST_SLICES = 10
# Less than this of brain, and less than this share of a scan that is smaller, is no head. An early
# network found 2 and 22 mL in a CT of the belly and in a small MR of the body, and 1,300 mL and
# more in heads.
LEAST_BRAIN_ML, LEAST_SHARE = 100.0, 0.2
# Where structures lie in the MNI152 template, (x, y, z) mm, rounded; of the left ones, and of those
# in the midline. The right ones lie mirrored.
PLACES_MM = {
    "thalamus": (-11, -18, 7),
    "caudate": (-13, 10, 10),
    "putamen": (-25, 2, 0),
    "pallidum": (-20, -4, 0),
    "hippocampus": (-26, -22, -13),
    "amygdala": (-23, -4, -18),
    "lateral_ventricle": (-15, -15, 18),
    "cerebellar_white_matter": (-18, -60, -36),
    "third_ventricle": (0, -12, 2),
    "fourth_ventricle": (0, -46, -32),
    "brain_stem": (0, -28, -32),
}
SMALLEST_ML = 0.3  # of a structure whose place counts
FEWEST_PLACES = 4
# By how much the distance between two structures may differ from the template's, in the median of
# all pairs. 0.05 in the template itself, 0.36 in half a head, 0.87 and 1.66 in two bodies.
MOST_OUT_OF_PLACE = 0.5
# Of the mean probabilities of the structures that were found, the median. 0.88 in a real head, 0.79
# to 0.93 in 26 synthesised ones, cut or not; 0.48 to 0.66 in noise and in a ball.
LEAST_MEDIAN_CERTAINTY = 0.7
FEWEST_FOUND = 5  # structures, for a median
AIR_HU = -900.0  # grey values go as low as this in CT alone
LEAST_CERTAINTY = 0.5  # mean probability of a structure over its own voxels: less likely than not
FLUID_AROUND = "csf"  # found beside anything


def checked_head(volume: Volume, segmentation: Segmentation) -> Segmentation:
    """The result of a scan in which there is a brain, with notes on few slices; that of another
    model as it is.

    Raises `UserError` where there is no brain.
    """
    if not is_whole_brain(segmentation.structures):
        return segmentation
    labels = segmentation.labels
    voxels = np.bincount(labels.array.ravel(), minlength=256)  # of each label
    brain = sum(int(voxels[s.label]) for s in segmentation.structures if s.key != FLUID_AROUND)
    brain_ml = brain * float(labels.grid.voxel_ml)
    scan_ml = float(volume.array.size * volume.grid.voxel_ml)
    if brain_ml < min(LEAST_BRAIN_ML, LEAST_SHARE * scan_ml):
        raise UserError(
            f'No brain was found in "{volume.name}" ({brain_ml:.0f} mL look like one); load an MR'
            " scan of the head, and check its pixel size."
        )
    if is_doubtful(segmentation):
        raise UserError(
            f'No brain was found in "{volume.name}": the model is unsure of everything that it saw'
            " there; load an MR scan of the head."
        )
    if out_of_place(segmentation) > MOST_OUT_OF_PLACE:
        raise UserError(
            f'No brain was found in "{volume.name}": what looks like its parts does not lie as in a'
            " head; load an MR scan of the head."
        )
    notes = (
        *segmentation.notes,
        *notes_on_modality(volume),
        *notes_on_slices(volume),
    )
    return replace(segmentation, notes=notes)


def is_doubtful(segmentation: Segmentation) -> bool:
    """Whether the network is unsure of most of what it found."""
    known = [value for value in segmentation.confidence.values() if not math.isnan(value)]
    return len(known) >= FEWEST_FOUND and float(np.median(known)) < LEAST_MEDIAN_CERTAINTY


def out_of_place(segmentation: Segmentation) -> float:
    """By which share the distances between structures differ from those in the template, in the
    median of all pairs; 0 where too little was found to tell.
    """
    centres = _centres_ras(segmentation)
    if len(centres) < FEWEST_PLACES:
        return 0.0
    differences = [
        abs(np.linalg.norm(a - b) / np.linalg.norm(c - d) - 1)
        for (a, c), (b, d) in combinations(centres, 2)
    ]
    return float(np.median(differences))


def _centres_ras(segmentation: Segmentation) -> list[tuple[Array, Array]]:
    """(where a structure lies, where it lies in the template) of those that are large enough."""
    labels = segmentation.labels
    boxes = ndimage.find_objects(labels.array)
    found = []
    for structure in segmentation.structures:
        place = PLACES_MM.get(structure.sideless_key)
        box = boxes[structure.label - 1] if structure.label <= len(boxes) else None
        if place is None or box is None:
            continue
        voxels = np.argwhere(labels.array[box] == structure.label)  # (n, 3)
        if len(voxels) * labels.grid.voxel_ml < SMALLEST_ML:
            continue
        kji = voxels.mean(axis=0) + [span.start for span in box]
        mirrored = (-1, 1, 1) if structure.side == "right" else (1, 1, 1)
        found.append((transform_points(labels.ijk_to_ras, kji[::-1]), np.multiply(place, mirrored)))
    return found


def notes_on_modality(volume: Volume) -> tuple[str, ...]:
    """That the scan looks like a CT, where it does."""
    if float(np.min(volume.array)) > AIR_HU:
        return ()
    return (
        "The scan has grey values as in CT, and the model was made for MR: check every outline.",
    )


def notes_on_slices(volume: Volume) -> tuple[str, ...]:
    """What the user should know of a scan with few slices."""
    slices = min(volume.array.shape)
    if slices >= FEWEST_SLICES:
        return ()
    count = "one slice" if slices == 1 else f"{slices} slices"
    return (
        f"What is segmented has only {count}: what lies between and beyond is not seen, so"
        " outlines and volumes are rough.",
    )


def with_doubts(segmentation: Segmentation) -> Segmentation:
    """The result with a note on what the network is unsure of."""
    notes = (*segmentation.notes, *notes_on_certainty(segmentation))
    return replace(segmentation, notes=notes)


def notes_on_certainty(segmentation: Segmentation) -> tuple[str, ...]:
    """Which structures the network is unsure of: by the Dice it expects, or without that by its
    own probabilities. Lights say which are to be looked at first, so that where they are known,
    the note does not: some structures are never outlined well, and are not unusual for it.
    """
    quality = segmentation.quality
    advice = "" if quality is not None and quality.structures else " Look at them first."
    if segmentation.expected_dice:
        values, least = segmentation.expected_dice, LEAST_EXPECTED_DICE
        says = f"The model expects a Dice below {least:g} of these"
    else:
        values, least = segmentation.confidence, LEAST_CERTAINTY
        says = (
            f"The model is unsure of these, with a mean probability below {least:g} over their"
            " voxels"
        )
    unsure = [s.name for s in segmentation.structures if values.get(s.label, 1.0) < least]
    return (f"{says}: {', '.join(unsure)}.{advice}",) if unsure else ()
