"""The parts of the hippocampi inside a segmentation of the brain, by a second model.

The brain's model says where each hippocampus is and where it ends; the second one looks at a crop
around it and says which part of it is which.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from MedLLMSegLib.anatomy.brain import BRAIN_STRUCTURES
from MedLLMSegLib.anatomy.structures import PARTS_IN_BRAIN, hippocampus_parts_in_brain
from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.geometry import transform_points
from MedLLMSegLib.core.progress import Progress
from MedLLMSegLib.core.segmentation import Segmentation, Structure
from MedLLMSegLib.core.volume import Volume

from .cascade import outline_at
from .clean import largest_component
from .finish import finish
from .hippocampus_candidates import as_point
from .loaded_segmenter import SegmenterModel, load_model
from .localize import Location
from .result_maps import OutputRequest, ResultMaps
from .selection import chosen_structures

_HIPPOCAMPUS = next(s for s in BRAIN_STRUCTURES if s.key == "hippocampus")
WHOLE = {"left": _HIPPOCAMPUS.left, "right": _HIPPOCAMPUS.right}  # FreeSurfer's 17 and 53
# Overlap (Dice) of the two models' outlines below which they do not mean the same organ. A guess.
LEAST_OVERLAP = 0.5


def load_parts_model(
    parts: str | Path | SegmenterModel | None,
    model: SegmenterModel,
    names: Sequence[str] = (),
    device: str = "auto",
    probabilities: bool = False,
) -> SegmenterModel | None:
    """The loaded model whose parts go into the structures of another; None for no model.

    parts: an id, a bundle's folder, or a loaded model. names: of the other model's structures,
    those that are asked for; () for all. probabilities: whether maps of them are asked for. Raises
    `UserError` where the parts have no place.
    """
    if parts is None:
        return None
    if probabilities:
        raise UserError(
            "Parts inside another model's structures have no probability maps; ask for the maps or"
            " for the parts."
        )
    if not isinstance(parts, SegmenterModel):
        parts = load_model(parts, device, model.precision, model.engine)
    structures = model.structures_for(lateral=True)
    if names:
        structures = chosen_structures(names, structures)
    check_parts_model(parts, structures, model.entry.id)
    return parts


def check_parts_model(parts: SegmenterModel, structures: Sequence[Structure], model: str) -> None:
    """Raise `UserError` unless a model's parts can be drawn inside the structures of another.

    parts: the model that divides. structures, model: of the one that outlines the whole.
    """
    if parts.anatomy != "hippocampus":
        raise UserError(
            f'The model "{parts.entry.id}" knows no parts of the hippocampus, and nothing else can'
            " be put inside another model's structures; use hippocampus-t1."
        )
    by_label = {s.label: s for s in structures}
    wholes = [by_label.get(label) for label in WHOLE.values()]
    if not all(whole is not None and "hippocampus" in whole.name.lower() for whole in wholes):
        raise UserError(
            f'The parts of "{parts.entry.id}" go into a left and a right hippocampus with'
            f' FreeSurfer\'s numbers (17 and 53), and not both are asked of the model "{model}";'
            " use a model of the whole brain, with both hippocampi."
        )
    taken = sorted(
        {label for labels in PARTS_IN_BRAIN.values() for label in labels} & set(by_label)
    )
    if taken:
        raise UserError(
            f'The model "{model}" has a structure with the label {taken[0]}, which the parts of the'
            " hippocampus need; segment the two models by themselves."
        )


def with_hippocampus_parts(
    volume: Volume, segmentation: Segmentation, parts: SegmenterModel, progress: Progress
) -> Segmentation:
    """A segmentation whose hippocampi are divided into their parts.

    The outer border stays: a voxel of the hippocampus gets the part that the second model sees
    there, or the nearest one (in mm) where that model sees none. A hippocampus stays whole, and a
    note says so, where there is none or the two models do not agree on it.

    volume: the scan, whose segmentation may be on another grid. Its labels are those of
    `anatomy.structures.PARTS_IN_BRAIN`. parts: a model that `check_parts_model` accepts.
    """
    labels = segmentation.labels.array.copy()
    structures = list(segmentation.structures)
    confidence, notes = dict(segmentation.confidence), list(segmentation.notes)
    expected = dict(segmentation.expected_dice)
    for (side, whole), part in zip(WHOLE.items(), progress.parts(len(WHOLE)), strict=True):
        place = next((n for n, s in enumerate(structures) if s.label == whole), None)
        if place is None:  # not asked for
            continue
        try:
            values, certainty = _divided(volume, segmentation, side, parts, part)
        except _StaysWhole as reason:
            notes.append(f"The {side} hippocampus was not divided into parts: {reason}.")
            continue
        np.copyto(labels, values, where=values > 0)
        confidence.pop(whole, None)
        expected.pop(whole, None)  # the other model expects nothing of its parts
        confidence |= certainty
        structures[place : place + 1] = hippocampus_parts_in_brain(side, structures[place].group)
    if set(structures) != set(segmentation.structures):
        notes.append(
            f"The parts of the hippocampus are by {parts.entry.id} ({parts.entry.modality})."
        )
    return replace(
        segmentation,
        labels=replace(segmentation.labels, array=labels),
        structures=tuple(structures),
        confidence=confidence,
        expected_dice=expected,
        quality=segmentation.quality and segmentation.quality.of(s.label for s in structures),
        notes=tuple(notes),
    )


class _StaysWhole(Exception):
    """Why a hippocampus is not divided, as the end of a sentence."""


def _divided(
    volume: Volume, segmentation: Segmentation, side: str, model: SegmenterModel, progress: Progress
) -> tuple[NDArray[np.uint8], dict[int, float]]:
    """(label map [k, j, i] of the parts of one hippocampus alone, confidence by label).

    Raises `_StaysWhole`.
    """
    grid = segmentation.labels.grid
    whole = segmentation.labels.array == WHOLE[side]
    if not whole.any():
        raise _StaysWhole("it was not found")
    centre_vox = np.argwhere(largest_component(whole)).mean(0)  # k, j, i
    centre_ras = as_point(transform_points(grid.ijk_to_ras, centre_vox[::-1]))
    location = Location(side, centre_ras, 1.0, float(whole.sum() * grid.voxel_ml))
    request = OutputRequest(grid)
    organ = outline_at(location, volume, model, request, progress.part(0.0, 0.9))
    if organ is None:
        raise _StaysWhole(f"{model.entry.id} saw none where it was outlined")
    own = ResultMaps.empty(model.structures_for(lateral=True), request)
    finish(own, organ, model, progress.part(0.9, 1.0))
    overlap = _dice(whole, own.labels > 0)
    if overlap < LEAST_OVERLAP:
        raise _StaysWhole(
            f"the outline of {model.entry.id} is another one (they overlap with Dice {overlap:.2f})"
        )
    value_of = dict(zip((1, 2) if side == "left" else (3, 4), PARTS_IN_BRAIN[side], strict=True))
    values = _nearest_parts(whole, own.labels, tuple(segmentation.labels.spacing_mm))
    divided = np.zeros_like(values)
    for own_label, value in value_of.items():
        divided[values == own_label] = value
    return divided, {value: own.confidence[label] for label, value in value_of.items()}


def _dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    both = int(np.count_nonzero(one & other))
    return 2 * both / (int(np.count_nonzero(one)) + int(np.count_nonzero(other)))


def _nearest_parts(
    whole: NDArray[np.bool_], parts: NDArray[np.uint8], spacing_mm: tuple[float, ...]
) -> NDArray[np.uint8]:
    """The part nearest to each voxel of a whole organ; 0 elsewhere.

    whole, parts: [k, j, i]. spacing_mm: along (k, j, i). Only the box that holds both is worked on.
    """
    result = np.zeros_like(parts)
    (box,) = ndimage.find_objects((whole | (parts > 0)).astype(np.uint8))
    nearest = ndimage.distance_transform_edt(
        parts[box] == 0, sampling=spacing_mm, return_distances=False, return_indices=True
    )
    result[box] = np.where(whole[box], parts[box][tuple(nearest)], 0)
    return result
