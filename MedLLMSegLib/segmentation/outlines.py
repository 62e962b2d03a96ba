"""A scan to its outlines: one of everything that it shows, or one of each side's organ."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from MedLLMSegLib.core.axis_order import AxisOrder
from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.geometry import Grid
from MedLLMSegLib.core.progress import Progress
from MedLLMSegLib.core.volume import Volume

from .cascade import outline_sides
from .closer_look import closer_grid
from .domain_features import outline_features
from .loaded_segmenter import SegmenterModel
from .outline import Outline, outline
from .prepare import Preparation, checked_whole_grid, prepare
from .result_maps import OutputRequest


def in_body_order(volume: Volume, model: SegmenterModel) -> tuple[AxisOrder, Volume]:
    """(order, the scan with its axes in the body's order), as a model is shown it.

    A model that looks along the scan's own axes, or in crops, gets the scan as it is.
    """
    order = AxisOrder.of(volume.grid)
    in_body_axes = model.anatomy is None and model.settings.get("axes", "ras") == "ras"
    if order.changes_nothing or not in_body_axes:
        return AxisOrder(), volume
    ordered = replace(
        volume,
        array=np.ascontiguousarray(order.ordered(volume.array)),
        ijk_to_ras=order.ordered_grid(volume.grid).ijk_to_ras,
        forms=None,
    )
    return order, ordered


def outlines_of(
    volume: Volume,
    model: SegmenterModel,
    side: str | None,
    request: OutputRequest,
    progress: Progress,
) -> tuple[list[Outline], tuple[str, ...]]:
    """(outlines, notes): one of a whole scan, or one of each organ."""
    if model.anatomy:
        return outline_sides(volume, model, side, request, progress)
    if side:
        raise UserError(
            f'The model "{model.entry.id}" outlines no left and right organ, so no side can be'
            " asked for; leave the side out."
        )
    grid = checked_whole_grid(volume, Preparation.from_settings(model.settings))
    request.check_memory(len(model.structures), model.reading.outputs, grid)
    return [_whole_outline(volume, model, grid, request, progress)], ()


def _whole_outline(
    volume: Volume, model: SegmenterModel, grid: Grid, request: OutputRequest, progress: Progress
) -> Outline:
    """What is found in a whole scan, at a closer look where the model asks for one."""
    if model.settings.get("closer_look_mm") is None:
        return outline(volume, model, grid, request, progress)
    looking, closer_looking = progress.part(0.0, 0.7), progress.part(0.7, 1.0)
    first = outline(volume, model, grid, OutputRequest(request.grid), looking, with_features=False)
    closer = closer_grid(first.scores.winner.cpu().numpy(), grid, model.settings)
    if closer is None and not request.needs_all_classes:
        return replace(first, features=grid_features(volume, model, grid))
    model = model.with_precision(first.precision)
    return outline(volume, model, closer or grid, request, closer_looking)


def grid_features(volume: Volume, model: SegmenterModel, grid: Grid) -> NDArray[np.float32] | None:
    """The features (F,) of what lies on a grid; None of a model that knows no domain."""
    if model.domain is None:
        return None
    array, _way = prepare(volume, grid, *Preparation.from_settings(model.settings).scales)
    return outline_features(model, array)
