"""What a model of the whole brain refuses, and what it warns of: no head, and too few slices."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from MedLLMSegLib.anatomy.brain import is_whole_brain
from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.segmentation import Segmentation
from MedLLMSegLib.core.volume import Volume

FEWEST_SLICES = 10
# Less than this of brain, and less than this share of a scan that is smaller, is no head. An early
# network found 2 and 22 mL in a CT of the belly and in a small MR of the body, and 1,300 mL and
# more in heads.
LEAST_BRAIN_ML, LEAST_SHARE = 100.0, 0.2
LEAST_CERTAINTY = 0.5  # mean probability of a structure over its own voxels: less likely than not
LEAST_EXPECTED_DICE = 0.6
FLUID_AROUND = "csf"  # found beside anything


def checked_head(volume: Volume, segmentation: Segmentation) -> Segmentation:
    """The result of a scan in which there is a brain, with notes on few slices and on what the
    network is unsure of; that of another model as it is.

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
            " scan of the head."
        )
    notes = (*segmentation.notes, *notes_on_slices(volume), *notes_on_certainty(segmentation))
    return replace(segmentation, notes=notes)


def notes_on_slices(volume: Volume) -> tuple[str, ...]:
    """What the user should know of a scan with few slices."""
    slices = min(volume.array.shape)
    if slices >= FEWEST_SLICES:
        return ()
    count = "one slice" if slices == 1 else f"{slices} slices"
    return (
        f"The scan has only {count}: what lies between and beyond is not seen, so outlines and"
        " volumes are rough.",
    )


def notes_on_certainty(segmentation: Segmentation) -> tuple[str, ...]:
    """Which structures the network is unsure of: by the Dice it expects, or without that by its
    own probabilities.
    """
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
    return (f"{says}: {', '.join(unsure)}. Look at them first.",) if unsure else ()
