"""An organ that is looked for in a whole head and outlined in crops around it, each side by
itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from MedLLMSegLib.anatomy.structures import STRUCTURES_OF_ANATOMY
from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.geometry import Grid, centred_grid, transform_points
from MedLLMSegLib.core.progress import Report
from MedLLMSegLib.core.segmentation import Structure
from MedLLMSegLib.core.volume import Volume

from .loaded_segmenter import SegmenterModel
from .localize import SIDES, is_crop, localize
from .prepare import Preparation, Restore, prepare, whole_grid
from .restore import largest_component, restore
from .result_maps import OutputRequest, ResultMaps
from .uncertainty import entropy, make_views, mean_probabilities

# how far an outline's centre may lie from the localizer's; whose worst error on synthetic heads was
# below 10
REACH_MM = 15.0


@dataclass(frozen=True, eq=False)
class OrganOutline:
    """One organ on a crop. probabilities: float32 [classes, k, j, i] on `way_back.crop`. side:
    "left", "right" or None.
    """

    probabilities: np.ndarray
    way_back: Restore
    side: str | None

    @cached_property
    def organ_vox(self) -> np.ndarray:
        """(n, 3) indices k, j, i on the crop of the organ's largest part."""
        return np.argwhere(largest_component(self.probabilities[0] < 0.5))


def segment_sides(
    volume: Volume, model: SegmenterModel, side: str | None, wanted: OutputRequest, report: Report
):
    """Both organs of a head, or the one of a crop: (structures, ResultMaps, notes)."""
    look = _outline_crop if model.localizer is None or is_crop(volume) else _outline_head
    outlines, notes = look(volume, model, side, wanted.augment, report)
    report("restore", 0.9)
    structures = STRUCTURES_OF_ANATOMY[model.anatomy](lateral=outlines[0].side is not None)
    maps = _assemble(volume, outlines, structures, wanted)
    if not maps.labels.any():
        raise UserError(
            f'No {model.anatomy} was found in "{volume.name}"; check that it is a T1 MRI of the'
            " head."
        )
    return structures, maps, notes


def _outline_crop(
    volume: Volume, model: SegmenterModel, side: str | None, augment: int, report: Report
):
    """A scan that is a crop around one organ already: no localizer; right ones are mirrored to look
    like left ones.

    Without a side both ways are tried and the surer one is taken.
    """
    ways = (side == "right",) if side else (False, True)
    found = []
    for n, mirrored in enumerate(ways):
        part = lambda stage, f, n=n: report(stage, 0.9 * (n + f) / len(ways))
        grid = whole_grid(volume, model.settings["spacing_mm"], mirrored=mirrored)
        found.append(_outline(volume, model, grid, side, part, augment))
    outline = max(found, key=_confidence)
    look = "right" if ways[found.index(outline)] else "left"
    note = (
        f"The scan is a crop around one hippocampus; it was taken as the {side} one, as asked."
        if side
        else (
            f"The scan is a crop around one hippocampus of unspecified side; it looks like a {look}"
            " one."
        )
    )
    if not _plausible(outline, model):
        raise UserError(
            f'No hippocampus was found in "{volume.name}", which is small enough to be a crop'
            " around one; load a T1 MRI of the head, or a crop around one hippocampus."
        )
    return [outline], (note,)


def _outline_head(
    volume: Volume, model: SegmenterModel, side: str | None, augment: int, report: Report
):
    """Find each side, outline it in a crop around its centre, and once more in a crop that fits
    it.
    """
    locations = localize(
        volume, model.localizer, model.device, lambda stage, f: report(stage, 0.5 * f)
    )
    wanted = [place for place in locations if side in (None, place.side)]
    outlines = []
    for n, place in enumerate(wanted):
        begin, share = 0.5 + 0.4 * n / len(wanted), 0.4 / len(wanted)
        part = lambda stage, f, begin=begin, share=share: report(
            f"{stage} {place.side}", begin + share * f
        )
        first = centred_grid(
            place.centre_ras,
            tuple(model.settings["search_shape"]),
            model.settings["spacing_mm"],
            mirrored=place.side == "right",
        )
        outline = _outline(volume, model, first, place.side, part)
        if _plausible(outline, model, place.centre_ras):
            second = _outline(
                volume, model, _fitting_grid(outline, model), place.side, part, augment
            )
            outlines.append(second if _plausible(second, model, place.centre_ras) else outline)
    missing = [s for s in SIDES if side in (None, s) and s not in [o.side for o in outlines]]
    if not outlines:
        raise UserError(
            f'No {side + " " if side else ""}hippocampus was found in "{volume.name}"; '
            "load a T1 MRI of the head with both temporal lobes in it."
        )
    notes = [
        f"The {s} hippocampus was not found; only the other side was segmented." for s in missing
    ]
    return outlines, tuple(notes)


def _outline(
    volume: Volume,
    model: SegmenterModel,
    grid: Grid,
    side: str | None,
    report: Report,
    augment: int = 0,
) -> OrganOutline:
    """A right organ lies mirrored on its grid already; no view mirrors, as a mirrored organ is
    nothing the network knows.
    """
    array, way_back = prepare(volume, grid, Preparation.from_settings(model.settings).grey)
    values = mean_probabilities(
        model.network,
        array,
        model.device,
        temperature=model.temperature,
        views=make_views(augment, array.shape),
        progress=report,
    )
    return OrganOutline(values, way_back, side)


def _confidence(outline: OrganOutline) -> float:
    """Mean probability of the winning class over the organ's voxels; 0 where there are none."""
    organ = outline.probabilities[0] < 0.5
    return float(outline.probabilities.max(axis=0)[organ].mean()) if organ.any() else 0.0


def _plausible(outline: OrganOutline, model: SegmenterModel, expected_ras=None) -> bool:
    """Whether an outline has an organ's volume (limits in mL in the model's settings) and lies
    where it should.

    expected_ras: (3,) mm, where the localizer saw the organ; in images unlike the training's the
    segmenter may outline something else.
    """
    found = outline.organ_vox
    low, high = model.settings["plausible_ml"]
    if not low <= len(found) * outline.way_back.crop.voxel_ml <= high:
        return False
    centre = transform_points(outline.way_back.crop.ijk_to_ras, found.mean(0)[::-1])
    return expected_ras is None or float(np.linalg.norm(centre - expected_ras)) <= REACH_MM


def _fitting_grid(outline: OrganOutline, model: SegmenterModel) -> Grid:
    """The crop that the training cases would have around this organ: its bounding box and their
    mean margins.
    """
    found = outline.organ_vox
    low = found.min(0) - np.array(model.settings["margin_low_vox"])
    high = found.max(0) + np.array(model.settings["margin_high_vox"])
    crop = outline.way_back.crop
    matrix = crop.ijk_to_ras.copy()
    matrix[:3, 3] = transform_points(crop.ijk_to_ras, low[::-1])
    return Grid(tuple(int(n) for n in high - low + 1), matrix)


def _assemble(
    volume: Volume,
    outlines: list[OrganOutline],
    structures: tuple[Structure, ...],
    wanted: OutputRequest,
) -> ResultMaps:
    """Outlines on their crops -> everything on the scan's grid."""
    maps = ResultMaps.empty(volume.array.shape, structures, wanted)
    for outline in outlines:
        values, box = restore(outline.probabilities, outline.way_back)  # (classes, k, j, i)
        winner = values.argmax(axis=0).astype(np.uint8)
        winner[~largest_component(winner > 0)] = 0
        offset = (len(values) - 1) * (outline.side == "right")
        part = maps.labels[box]
        part[winner > 0] = winner[winner > 0] + offset
        if maps.uncertainty is not None:
            np.maximum(maps.uncertainty[box], entropy(values), out=maps.uncertainty[box])
        for c in range(1, len(values)):
            if (winner == c).any():
                maps.confidence[c + offset] = float(values[c][winner == c].mean())
            if maps.probabilities is not None:
                place = (c + offset - 1, *box)
                np.maximum(maps.probabilities[place], values[c], out=maps.probabilities[place])
    return maps
