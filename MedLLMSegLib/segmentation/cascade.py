"""An organ that is located in a whole head and outlined in crops around it, each side by itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.geometry import Grid, centred_grid, transform_points
from MedLLMSegLib.core.progress import Progress
from MedLLMSegLib.core.volume import Volume

from .loaded_segmenter import SegmenterModel
from .localize import SIDES, Localizer, Location, is_crop, localize
from .outline import Outline, outline
from .prepare import whole_grid
from .result_maps import OutputRequest

# Largest distance between an outline's centre and the localizer's. The localizer's worst error on
# synthetic heads was below 10 mm.
REACH_MM = 15.0


def outline_sides(
    volume: Volume,
    model: SegmenterModel,
    side: str | None,
    request: OutputRequest,
    progress: Progress,
) -> tuple[list[Outline], tuple[str, ...]]:
    """(outlines, notes): of both organs of a head, or of the one organ of a crop."""
    if model.localizer is None or is_crop(volume):
        return _outline_crop(volume, model, side, request, progress)
    return _outline_head(volume, model, model.localizer, side, request, progress)


def _outline_crop(
    volume: Volume,
    model: SegmenterModel,
    side: str | None,
    request: OutputRequest,
    progress: Progress,
) -> tuple[list[Outline], tuple[str, ...]]:
    """([outline], notes) of a scan that already is a crop around one organ.

    The network knows the left organ, so a right one is mirrored. Without a side both ways are
    tried, and the more confident outline is taken.
    """
    ways = (side == "right",) if side else (False, True)
    outlines = []
    for mirrored, part in zip(ways, progress.parts(len(ways)), strict=True):
        grid = whole_grid(volume, model.settings["spacing_mm"], mirrored=mirrored)
        outlines.append(outline(volume, model, grid, request, part, side=side))
        model = model.with_precision(outlines[-1].precision)
    best = max(outlines, key=lambda organ: organ.confidence)
    if not _is_plausible(best, model):
        raise UserError(
            f'No hippocampus was found in "{volume.name}", which is small enough to be a crop'
            " around one; load a T1 MRI of the head, or a crop around one hippocampus."
        )
    if side:
        note = (
            f"The scan is a crop around one hippocampus; it was taken as the {side} one, as asked."
        )
    else:
        looks_like = "right" if ways[outlines.index(best)] else "left"
        note = (
            "The scan is a crop around one hippocampus of unspecified side; it looks like a"
            f" {looks_like} one."
        )
    return [best], (note,)


def _outline_head(
    volume: Volume,
    model: SegmenterModel,
    localizer: Localizer,
    side: str | None,
    request: OutputRequest,
    progress: Progress,
) -> tuple[list[Outline], tuple[str, ...]]:
    """(outlines, notes): locate each side and outline it in a crop around its centre, then once
    more in a crop that fits it.
    """
    locations = localize(volume, localizer, model.device, progress.part(0.0, 0.55), model.precision)
    requested = [location for location in locations if side in (None, location.side)]
    outlines = []
    parts = progress.part(0.55, 1.0).parts(len(requested))
    for location, part in zip(requested, parts, strict=True):
        side_progress = part.part(0.0, 1.0, f"{{}} {location.side}")
        organ = outline_at(location, volume, model, request, side_progress)
        if organ is not None:
            model = model.with_precision(organ.precision)
            outlines.append(organ)
    if not outlines:
        raise UserError(
            f'No {side + " " if side else ""}hippocampus was found in "{volume.name}"; '
            "load a T1 MRI of the head with both temporal lobes in it."
        )
    outlined = [organ.side for organ in outlines]
    missing = [each for each in SIDES if side in (None, each) and each not in outlined]
    notes = [
        f"The {each} hippocampus was not found; only the other side was segmented."
        for each in missing
    ]
    return outlines, tuple(notes)


def outline_at(
    location: Location,
    volume: Volume,
    model: SegmenterModel,
    request: OutputRequest,
    progress: Progress,
) -> Outline | None:
    """The organ at a location, outlined in a crop around its centre and once more in a crop that
    fits it; None where the outline is not plausible.
    """
    side, search, fit = location.side, *progress.parts(2)
    search_grid = centred_grid(
        location.centre_ras,
        tuple(model.settings["search_shape"]),
        model.settings["spacing_mm"],
        mirrored=side == "right",
    )
    first = outline(volume, model, search_grid, replace(request, augment=0), search, side=side)
    if not _is_plausible(first, model, location.centre_ras):
        return None
    model = model.with_precision(first.precision)  # one for all looks at a scan
    second = outline(volume, model, _fitting_grid(first, model), request, fit, side=side)
    return second if _is_plausible(second, model, location.centre_ras) else first


def _is_plausible(
    organ: Outline,
    model: SegmenterModel,
    expected_ras: tuple[float, float, float] | None = None,
) -> bool:
    """Whether an outline has an organ's volume and lies where it should.

    The limits of the volume, in mL, are in the model's settings. expected_ras: (3,) mm, where the
    localizer found the organ; in images unlike the training's the segmenter may outline something
    else.
    """
    crop = organ.way_back.crop
    low_ml, high_ml = model.settings["plausible_ml"]
    if not low_ml <= len(organ.organ_vox) * crop.voxel_ml <= high_ml:
        return False
    if expected_ras is None:
        return True
    centre_ras = transform_points(crop.ijk_to_ras, organ.organ_vox.mean(0)[::-1])
    return float(np.linalg.norm(centre_ras - expected_ras)) <= REACH_MM


def _fitting_grid(organ: Outline, model: SegmenterModel) -> Grid:
    """The crop that the training cases would have around this organ: its bounding box and their
    mean margins.
    """
    crop = organ.way_back.crop
    low = organ.organ_vox.min(0) - np.array(model.settings["margin_low_vox"])
    high = organ.organ_vox.max(0) + np.array(model.settings["margin_high_vox"])
    matrix = crop.ijk_to_ras.copy()
    matrix[:3, 3] = transform_points(crop.ijk_to_ras, low[::-1])
    k, j, i = (int(length) for length in high - low + 1)
    return Grid((k, j, i), matrix)
