"""The pictures of an organ: slices through each of its structures, with outlines."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from MedLLMSegLib.core.types import Array
from MedLLMSegLib.core.volume import Volume

from .slice_drawing import VIEWS, draw_frame, draw_slice, label, square_panels
from .structure_masks import Mask, Organ

_MARGIN_MM, _SMALLEST_MM = 12.0, 40.0


def slice_picture(volume: Volume, organ: Organ | None, masks: Mapping[int, Mask]) -> Figure:
    """A row for each structure of an organ: three planes through its centre.

    Where the scan is much larger than the organ, a last column shows the whole scan. Without an
    organ there is one row: three planes through the middle of the scan. masks: label -> mask, of
    all structures.
    """
    low, high = _bounds(volume.grid.corners_ras())
    scan_middle, scan_mm = (low + high) / 2, float((high - low).max())
    structures = organ.structures if organ else ()
    parts = [masks[s.label] for s in structures if s.label in masks]
    if not parts:
        figure, panels = square_panels(1, 3)
        for panel, view in zip(panels, VIEWS, strict=True):
            draw_slice(panel, volume, [], view, scan_middle, scan_mm)
        return figure
    first, last = _bounds(np.concatenate([part.points_ras() for part in parts]))
    middle = (first + last) / 2
    side_mm = max(_SMALLEST_MM, float((last - first).max()) + 2 * _MARGIN_MM)
    if side_mm > 0.75 * scan_mm:  # the scan is hardly larger than the organ: show all of it
        middle, side_mm = scan_middle, scan_mm * 1.02
    is_zoomed = scan_mm > 1.5 * side_mm
    columns = 4 if is_zoomed else 3
    figure, panels = square_panels(len(parts), columns)
    for row, part in enumerate(parts):
        row_panels, outlines = panels[row * columns :], list(masks.values())
        centre = _centre_voxel(part)
        for panel, view in zip(row_panels, VIEWS, strict=False):
            # The plane goes through the structure's centre; the picture's middle is the organ's.
            draw_slice(panel, volume, outlines, view, view.centre(centre, middle), side_mm)
        _write_name(row_panels[0], part)
        if is_zoomed:
            view, overview = VIEWS[row % len(VIEWS)], row_panels[3]
            overview_centre = view.centre(centre, scan_middle)
            draw_slice(overview, volume, outlines, view, overview_centre, scan_mm)
            draw_frame(overview, view, middle - scan_middle, side_mm)
    return figure


def _bounds(points: Array) -> tuple[Array, Array]:
    """The lowest and the highest corner (3,) of points (n, 3)."""
    return points.min(0), points.max(0)


def _centre_voxel(mask: Mask) -> Array:
    """The mask's voxel (3,) RAS mm nearest to its centre, which may lie outside a curved shape."""
    points = mask.points_ras()
    nearest: Array = points[np.linalg.norm(points - points.mean(0), axis=1).argmin()]
    return nearest


def _write_name(panel: Axes, mask: Mask) -> None:
    color = np.array(mask.structure.color) / 255
    label(panel, 0.03, 0.912, mask.structure.name, color=color)
