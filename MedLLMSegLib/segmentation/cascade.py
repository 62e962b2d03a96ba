"""An organ that is located in a whole head and outlined in crops around it, each side by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.geometry import Grid, centred_grid, transform_points
from MedLLMSegLib.core.progress import Progress
from MedLLMSegLib.core.segmentation import Structure
from MedLLMSegLib.core.types import Array
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.registry.segmenter_settings import WINDOW

from .kept_precision import FP32
from .loaded_segmenter import SegmenterModel
from .localize import SIDES, Localizer, Location, is_crop, localize
from .prepare import Preparation, Restore, prepare, whole_grid
from .restore import largest_component, restore
from .result_maps import OutputRequest, ResultMaps, RunResult
from .uncertainty import entropy, make_views, mean_probabilities

# Largest distance between an outline's centre and the localizer's. The localizer's worst error on
# synthetic heads was below 10 mm.
REACH_MM = 15.0


@dataclass(frozen=True, eq=False)
class OrganOutline:
    """One organ on a crop.

    probabilities: float32 [classes, k, j, i] on `way_back.crop`. side: "left", "right" or None.
    precision: "fp32" or "bf16", of the network.
    """

    probabilities: Array
    way_back: Restore
    side: str | None
    precision: str = FP32

    @cached_property
    def organ_vox(self) -> NDArray[np.int_]:
        """(n, 3) indices k, j, i on the crop of the organ's largest part."""
        return np.argwhere(largest_component(self.probabilities[0] < 0.5))

    @property
    def confidence(self) -> float:
        """Mean probability of the winning class over the organ's voxels; 0 where there are none."""
        organ = self.probabilities[0] < 0.5
        if not organ.any():
            return 0.0
        return float(self.probabilities.max(axis=0)[organ].mean())


def segment_sides(
    volume: Volume,
    model: SegmenterModel,
    side: str | None,
    request: OutputRequest,
    progress: Progress,
) -> RunResult:
    """Both organs of a head, or the one organ of a crop."""
    if model.localizer is None or is_crop(volume):
        outlines, notes = _outline_crop(volume, model, side, request.augment, progress)
    else:
        outlines, notes = _outline_head(
            volume, model, model.localizer, side, request.augment, progress
        )
    progress("restore", 0.9)
    structures = model.structures_for(lateral=outlines[0].side is not None)
    maps = _assemble(outlines, structures, request)
    if not maps.labels.any():
        raise UserError(
            f'No {model.anatomy} was found in "{volume.name}"; check that it is a T1 MRI of the'
            " head."
        )
    return RunResult(structures, maps, notes, outlines[-1].precision)


def _outline_crop(
    volume: Volume, model: SegmenterModel, side: str | None, augment: int, progress: Progress
) -> tuple[list[OrganOutline], tuple[str, ...]]:
    """([outline], notes) of a scan that already is a crop around one organ.

    The network knows the left organ, so a right one is mirrored. Without a side both ways are
    tried, and the more confident outline is taken.
    """
    ways = (side == "right",) if side else (False, True)
    parts = progress.part(0.0, 0.9).parts(len(ways))
    outlines = []
    for mirrored, part in zip(ways, parts, strict=True):
        grid = whole_grid(volume, model.settings["spacing_mm"], mirrored=mirrored)
        outlines.append(outline_organ(volume, model, grid, side, part, augment))
    best = max(outlines, key=lambda outline: outline.confidence)
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
    augment: int,
    progress: Progress,
) -> tuple[list[OrganOutline], tuple[str, ...]]:
    """(outlines, notes): locate each side and outline it in a crop around its centre, then once
    more in a crop that fits it.
    """
    locations = localize(volume, localizer, model.device, progress.part(0.0, 0.5))
    requested = [location for location in locations if side in (None, location.side)]
    outlines = []
    parts = progress.part(0.5, 0.9).parts(len(requested))
    for location, part in zip(requested, parts, strict=True):
        side_progress = part.part(0.0, 1.0, f"{{}} {location.side}")
        outline = _outline_at(location, volume, model, augment, side_progress)
        if outline is not None:
            outlines.append(outline)
    if not outlines:
        raise UserError(
            f'No {side + " " if side else ""}hippocampus was found in "{volume.name}"; '
            "load a T1 MRI of the head with both temporal lobes in it."
        )
    outlined = [outline.side for outline in outlines]
    missing = [each for each in SIDES if side in (None, each) and each not in outlined]
    notes = [
        f"The {each} hippocampus was not found; only the other side was segmented."
        for each in missing
    ]
    return outlines, tuple(notes)


def _outline_at(
    location: Location, volume: Volume, model: SegmenterModel, augment: int, progress: Progress
) -> OrganOutline | None:
    """The organ at a location, or None where the outline is not plausible."""
    search_grid = centred_grid(
        location.centre_ras,
        tuple(model.settings["search_shape"]),
        model.settings["spacing_mm"],
        mirrored=location.side == "right",
    )
    first = outline_organ(volume, model, search_grid, location.side, progress)
    if not _is_plausible(first, model, location.centre_ras):
        return None
    fitting_grid = _fitting_grid(first, model)
    second = outline_organ(volume, model, fitting_grid, location.side, progress, augment)
    return second if _is_plausible(second, model, location.centre_ras) else first


def outline_organ(
    volume: Volume,
    model: SegmenterModel,
    grid: Grid,
    side: str | None,
    progress: Progress,
    augment: int = 0,
) -> OrganOutline:
    """Outline the organ on one crop.

    A right organ already lies mirrored on its grid. No view mirrors, as the network does not know
    mirrored organs.
    """
    grey = Preparation.from_settings(model.settings).grey
    array, way_back = prepare(volume, grid, grey)
    precision = model.precision_for(array, WINDOW, progress)
    probabilities = mean_probabilities(
        model.network,
        array,
        model.device,
        temperature=model.temperature,
        precision=precision.name,
        views=make_views(augment, array.shape),
        progress=progress,
    )
    return OrganOutline(probabilities, way_back, side, precision.name)


def _is_plausible(
    outline: OrganOutline,
    model: SegmenterModel,
    expected_ras: tuple[float, float, float] | None = None,
) -> bool:
    """Whether an outline has an organ's volume and lies where it should.

    The limits of the volume, in mL, are in the model's settings. expected_ras: (3,) mm, where the
    localizer found the organ; in images unlike the training's the segmenter may outline something
    else.
    """
    crop = outline.way_back.crop
    low_ml, high_ml = model.settings["plausible_ml"]
    if not low_ml <= len(outline.organ_vox) * crop.voxel_ml <= high_ml:
        return False
    if expected_ras is None:
        return True
    centre_ras = transform_points(crop.ijk_to_ras, outline.organ_vox.mean(0)[::-1])
    return float(np.linalg.norm(centre_ras - expected_ras)) <= REACH_MM


def _fitting_grid(outline: OrganOutline, model: SegmenterModel) -> Grid:
    """The crop that the training cases would have around this organ: its bounding box and their
    mean margins.
    """
    crop = outline.way_back.crop
    low = outline.organ_vox.min(0) - np.array(model.settings["margin_low_vox"])
    high = outline.organ_vox.max(0) + np.array(model.settings["margin_high_vox"])
    matrix = crop.ijk_to_ras.copy()
    matrix[:3, 3] = transform_points(crop.ijk_to_ras, low[::-1])
    k, j, i = (int(length) for length in high - low + 1)
    return Grid((k, j, i), matrix)


def _assemble(
    outlines: Sequence[OrganOutline],
    structures: Sequence[Structure],
    request: OutputRequest,
) -> ResultMaps:
    """Outlines on their crops -> everything on the grid of the result."""
    maps = ResultMaps.empty(structures, request)
    for outline in outlines:
        _add_outline(maps, outline, Restore(request.grid, outline.way_back.crop))
    return maps


def _add_outline(maps: ResultMaps, outline: OrganOutline, way_back: Restore) -> None:
    """Add one organ to the maps, which lie where ``way_back`` leads.

    A right organ's labels follow those of the left one.
    """
    values, box = restore(outline.probabilities, way_back)  # (classes, k, j, i)
    winner = values.argmax(axis=0).astype(np.uint8)
    winner[~largest_component(winner > 0)] = 0
    label_offset = len(values) - 1 if outline.side == "right" else 0
    labels = maps.labels[box]
    labels[winner > 0] = winner[winner > 0] + label_offset
    if maps.uncertainty is not None:
        np.maximum(maps.uncertainty[box], entropy(values), out=maps.uncertainty[box])
    for class_number in range(1, len(values)):
        label, own = class_number + label_offset, winner == class_number
        if own.any():
            maps.confidence[label] = float(values[class_number][own].mean())
        if maps.probabilities is not None:
            map_box = (label - 1, *box)
            np.maximum(
                maps.probabilities[map_box], values[class_number], out=maps.probabilities[map_box]
            )
