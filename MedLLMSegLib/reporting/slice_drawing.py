"""Drawing one slice of a scan with outlines, letters and a scale, in radiological convention.

A slice is a plane in space sampled on its own square pixels, so oblique scans and flat voxels need
no special care: one millimetre has the same length in every direction, and the patient's left is on
the viewer's right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import Normal, Stroke

from MedLLMSegLib.core.geometry import Grid
from MedLLMSegLib.core.resampling import resample
from MedLLMSegLib.core.types import Array
from MedLLMSegLib.core.volume import Volume

from .structure_masks import Mask

BACKGROUND, INK = "#101114", "#e8e8ea"
_PANEL_IN, _DPI = 4.0, 110
_MOST_PIXELS = 700
_HALO = [Stroke(linewidth=2.2, foreground="black"), Normal()]  # letters stay readable on white


@dataclass(frozen=True)
class View:
    """A direction of view.

    right, down: RAS directions of the picture's axes. letters: left, right, top, bottom.
    """

    name: str
    right: tuple[float, float, float]
    down: tuple[float, float, float]
    letters: str

    def centre(self, through_ras: Array, middle_ras: Array) -> Array:
        """The centre (3,) of a picture whose plane goes through one point.

        Within that plane, the picture is centred on the other point.
        """
        normal = np.abs(np.cross(self.right, self.down))
        return np.where(normal > 0.5, through_ras, middle_ras)


AXIAL = View("axial", (-1, 0, 0), (0, -1, 0), "RLAP")
CORONAL = View("coronal", (-1, 0, 0), (0, 0, -1), "RLSI")
SAGITTAL = View("sagittal", (0, -1, 0), (0, 0, -1), "APSI")
VIEWS = (AXIAL, CORONAL, SAGITTAL)


def square_panels(rows: int, columns: int) -> tuple[Figure, list[Axes]]:
    """A figure of square dark panels, row by row.

    The figure has its own canvas: pyplot's global state is left alone.
    """
    figure = Figure(figsize=(_PANEL_IN * columns, _PANEL_IN * rows), dpi=_DPI, facecolor=BACKGROUND)
    FigureCanvasAgg(figure)
    panels = []
    for row in range(rows):
        for column in range(columns):
            left, bottom = (column + 0.006) / columns, (rows - 1 - row + 0.006) / rows
            panel = figure.add_axes((left, bottom, 0.988 / columns, 0.988 / rows))
            panel.set_facecolor("black")
            panel.set_xticks([])
            panel.set_yticks([])
            panel.spines[:].set_visible(False)
            panels.append(panel)
    return figure, panels


def draw_slice(
    panel: Axes,
    volume: Volume,
    outlines: Sequence[Mask],
    view: View,
    centre_ras: Array,
    side_mm: float,
) -> None:
    """One square plane with outlines, letters and a scale.

    The panel's axes are mm from the centre, down positive.
    """
    step_mm = max(min(*volume.spacing_mm, side_mm / 300), side_mm / _MOST_PIXELS)
    grid = plane_grid(view, np.asarray(centre_ras, float), side_mm, step_mm)
    half = side_mm / 2
    panel.imshow(
        _grey_levels(resample(volume.array, volume.grid, grid, outside=np.nan)[0]),
        cmap="gray",
        vmin=0,
        vmax=1,
        extent=(-half, half, half, -half),
        interpolation="bilinear",
        aspect="equal",
    )
    for mask in outlines:
        _draw_outline(panel, mask, grid, side_mm)
    panel.set_xlim(-half, half)
    panel.set_ylim(half, -half)
    places = ((0.035, 0.5), (0.965, 0.5), (0.5, 0.965), (0.5, 0.035))
    for letter, (x, y) in zip(view.letters, places, strict=True):
        label(panel, x, y, letter, fontsize=12, fontweight="bold", ha="center")
    label(panel, 0.03, 0.965, view.name)
    draw_scale(panel, side_mm)


def plane_grid(view: View, centre_ras: Array, side_mm: float, step_mm: float) -> Grid:
    """A square grid one voxel thick: i runs to the viewer's right, j down."""
    right, down = np.array(view.right, float), np.array(view.down, float)
    pixels = max(2, round(side_mm / step_mm))
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack([right, down, np.cross(right, down)], axis=1) * step_mm
    matrix[:3, 3] = centre_ras - step_mm * (right * (pixels - 1) + down * (pixels - 1)) / 2
    return Grid((1, pixels, pixels), matrix)


def _grey_levels(image: Array) -> Array:
    """0 (black) to 1 (white) by percentiles of what lies inside the scan; NaN becomes black."""
    low, high = 0.0, 1.0
    inside = image[np.isfinite(image)]
    if len(inside):
        low, high = (float(value) for value in np.percentile(inside, [0.5, 99.7]))
        if high <= low:
            high = low + 1.0
    levels: Array = np.clip((np.nan_to_num(image, nan=low) - low) / (high - low), 0, 1)
    return levels


def _draw_outline(panel: Axes, mask: Mask, grid: Grid, side_mm: float) -> None:
    """The contour of a mask in a plane, if it reaches it."""
    cover = resample(mask.array, mask.grid, grid, outside=0.0)[0]
    if cover.max() > 0.5:
        mm = (np.arange(len(cover)) + 0.5) * side_mm / len(cover) - side_mm / 2
        color = np.array(mask.structure.color) / 255
        panel.contour(mm, mm, cover, [0.5], colors=[color], linewidths=1.8)


def label(panel: Axes, x: float, y: float, text: str, **style: object) -> None:
    """Text at (x, y) of a panel, each 0 to 1, with a dark halo."""
    settings = {
        "transform": panel.transAxes,
        "color": INK,
        "fontsize": 10,
        "va": "center",
        "path_effects": _HALO,
        **style,
    }
    panel.text(x, y, text, **settings)  # type: ignore[arg-type]  # a dict of mixed values


def draw_frame(panel: Axes, view: View, offset_ras: Array, side_mm: float) -> None:
    """The square that zoomed pictures show. offset_ras: mm from the panel's centre to theirs."""
    right, down = (float(np.dot(axis, offset_ras)) for axis in (view.right, view.down))
    corner = (right - side_mm / 2, down - side_mm / 2)
    panel.add_patch(
        Rectangle(corner, side_mm, side_mm, fill=False, edgecolor=INK, linewidth=0.8, alpha=0.7)
    )


def draw_scale(panel: Axes, side_mm: float) -> None:
    """A bar of a round length in the lower right corner of a square panel of this width."""
    length_mm = max(mm for mm in (1, 2, 5, 10, 20, 50, 100) if mm <= max(1, side_mm / 4))
    right = 0.96
    left = right - length_mm / side_mm
    panel.plot(
        [left, right],
        [0.045, 0.045],
        transform=panel.transAxes,
        color=INK,
        linewidth=2.5,
        solid_capstyle="butt",
        path_effects=_HALO,
    )
    middle = (left + right) / 2
    label(panel, middle, 0.06, f"{length_mm} mm", fontsize=9, ha="center", va="bottom")
