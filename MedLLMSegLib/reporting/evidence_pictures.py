"""Pictures of evidence: slices of a scan with a map laid over them, and the region's outline."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from MedLLMSegLib.core.resampling import resample
from MedLLMSegLib.core.segmentation import Structure
from MedLLMSegLib.core.types import Array
from MedLLMSegLib.core.volume import Volume

from .slice_drawing import VIEWS, View, draw_slice, label, plane_grid, square_panels
from .structure_masks import mask_of

CLOSE_MM = 30.0  # around the region in the upper row
STRONGEST = 0.65  # how much of the colour covers the scan where the map is 1
_PIXELS = 300


def evidence_picture(
    volume: Volume, evidence: Volume, region: Volume, structure: Structure
) -> Figure:
    """Three planes through the region's centre: from close by, and the whole scan below.

    evidence: [k, j, i], 0 to 1, from red to yellow. region: [k, j, i], above 0 inside, drawn as an
    outline. Both lie on the scan's grid. structure: gives the outline's name and colour.
    """
    mask = mask_of(region.array > 0, region.grid, structure)
    corners = volume.grid.corners_ras()
    middle = (corners.min(0) + corners.max(0)) / 2
    scan_mm = float((corners.max(0) - corners.min(0)).max())
    points = mask.points_ras() if mask is not None else middle[None]
    centre = points[np.linalg.norm(points - points.mean(0), axis=1).argmin()]
    close_mm = min(scan_mm, float((points.max(0) - points.min(0)).max()) + 2 * CLOSE_MM)
    rows = [(points.mean(0), close_mm)]
    if scan_mm > 1.3 * close_mm:
        rows.append((middle, scan_mm))
    figure, panels = square_panels(len(rows), len(VIEWS))
    for row, (around, side_mm) in enumerate(rows):
        for column, view in enumerate(VIEWS):
            panel = panels[row * len(VIEWS) + column]
            at = view.centre(centre, around)
            draw_slice(panel, volume, [mask] if mask is not None else [], view, at, side_mm)
            draw_heat(panel, evidence, view, at, side_mm)
    label(panels[0], 0.03, 0.912, structure.name, color=np.array(structure.color) / 255)
    return figure


def draw_heat(panel: Axes, evidence: Volume, view: View, centre_ras: Array, side_mm: float) -> None:
    """Lay a map of 0 to 1 over a panel of `draw_slice`: clear where it is 0, from red to yellow."""
    grid = plane_grid(view, np.asarray(centre_ras, float), side_mm, side_mm / _PIXELS)
    heat = resample(evidence.array, evidence.grid, grid, outside=0.0)[0].clip(0, 1)
    colour = np.stack([np.ones_like(heat), heat, np.zeros_like(heat), STRONGEST * heat], axis=-1)
    half = side_mm / 2
    panel.imshow(
        colour, extent=(-half, half, half, -half), interpolation="bilinear", aspect="equal"
    )
