"""Slices of a scan with the outlines of its segmentation, drawn in radiological convention.

Each picture is a plane in space sampled on its own square pixels, so oblique scans and flat voxels
need no special care: one millimetre is the same length in every direction, and the patient's left
is on the viewer's right.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import Normal, Stroke

from MedLLMSegLib.anatomy.structures import TISSUE
from MedLLMSegLib.core.geometry import Grid, resample, sub_grid, transform_points
from MedLLMSegLib.core.segmentation import Segmentation, Structure
from MedLLMSegLib.core.volume import Volume

BACKGROUND, INK = "#101114", "#e8e8ea"
RIM = 4  # room for smoothing
_PANEL_IN, _DPI = 4.0, 110
_MARGIN_MM, _SMALLEST_MM = 12.0, 40.0
_MOST_PIXELS = 700
_HALO = [Stroke(linewidth=2.2, foreground="black"), Normal()]  # letters stay readable on white


@dataclass(frozen=True)
class View:
    """A direction of looking. right, down: RAS directions of the picture's axes; letters: left,
    right, top, bottom.
    """

    name: str
    right: tuple[float, float, float]
    down: tuple[float, float, float]
    letters: str

    def at(self, through_ras: np.ndarray, middle_ras: np.ndarray) -> np.ndarray:
        """The middle of a picture whose plane goes through one point and whose frame is centred
        on another.
        """
        normal = np.abs(np.cross(self.right, self.down))
        return np.where(normal > 0.5, through_ras, middle_ras)


AXIAL = View("axial", (-1, 0, 0), (0, -1, 0), "RLAP")
CORONAL = View("coronal", (-1, 0, 0), (0, 0, -1), "RLSI")
SAGITTAL = View("sagittal", (0, -1, 0), (0, 0, -1), "APSI")
VIEWS = (AXIAL, CORONAL, SAGITTAL)


@dataclass(frozen=True)
class Organ:
    """Structures that are parts of one thing (same type and side), drawn together."""

    name: str
    structures: tuple[Structure, ...]


@dataclass(frozen=True, eq=False)
class Mask:
    """One structure cut out of the label map. array: float32 [k, j, i] of 0 and 1, RIM voxels of
    0 around, on ``grid``.
    """

    structure: Structure
    array: np.ndarray
    grid: Grid

    def points_ras(self) -> np.ndarray:
        """(n, 3) RAS mm of its voxels."""
        return transform_points(self.grid.ijk_to_ras, np.argwhere(self.array > 0)[:, ::-1])


def organs(structures: tuple[Structure, ...]) -> list[Organ]:
    """The structures put together by type and side, in order; each one without a code of its own
    stands alone.
    """
    found: dict[tuple, list[Structure]] = {}
    for s in structures:
        plain = s.key if s.type == TISSUE else None
        found.setdefault((s.type.value, s.modifier and s.modifier.value, plain), []).append(s)

    def name(parts: list[Structure]) -> str:
        s = parts[0]
        whole = f"{s.modifier.meaning} {s.type.meaning}" if s.modifier else s.type.meaning
        return s.name if len(parts) == 1 else whole.capitalize()

    return [Organ(name(parts), tuple(parts)) for parts in found.values()]


def masks(segmentation: Segmentation) -> dict[int, Mask]:
    """Label -> its `Mask`, for the structures that have voxels."""
    labels, found = segmentation.labels, {}
    padded = np.pad(labels.array, RIM)
    shifted = labels.grid.ijk_to_ras.copy()
    shifted[:3, 3] = transform_points(shifted, [-RIM] * 3)
    whole = Grid(padded.shape, shifted)
    for s in segmentation.structures:
        here = padded == s.label
        if here.any():
            spans = [
                np.flatnonzero(here.any(axis=tuple(b for b in range(3) if b != a)))
                for a in range(3)
            ]
            box = tuple(slice(int(n[0]) - RIM, int(n[-1]) + 1 + RIM) for n in spans)
            found[s.label] = Mask(s, here[box].astype(np.float32), sub_grid(whole, box))
    return found


def plane(view: View, centre_ras, width_mm: float, height_mm: float, step_mm: float) -> Grid:
    """A grid one voxel thick: i runs to the viewer's right, j down."""
    right, down = np.array(view.right, float), np.array(view.down, float)
    cols, rows = (max(2, int(round(mm / step_mm))) for mm in (width_mm, height_mm))
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack([right, down, np.cross(right, down)], axis=1) * step_mm
    matrix[:3, 3] = centre_ras - step_mm * (right * (cols - 1) + down * (rows - 1)) / 2
    return Grid((1, rows, cols), matrix)


def slice_picture(volume: Volume, organ: Organ | None, found: dict[int, Mask]) -> Figure:
    """A row for each structure of an organ: three planes through its centre, and in the last column
    the whole scan.

    Without an organ: three planes through the middle of the scan.
    """
    parts = [found[s.label] for s in (organ.structures if organ else ()) if s.label in found]
    low, high = _bounds(volume.grid.corners_ras())
    span = high - low
    if not parts:
        figure, panels = _figure(1, 3)
        for panel, view in zip(panels, VIEWS):
            draw_slice(panel, volume, [], view, (low + high) / 2, float(span.max()))
        return figure
    first, last = _bounds(np.concatenate([m.points_ras() for m in parts]))
    middle, side = (
        (first + last) / 2,
        max(_SMALLEST_MM, float((last - first).max()) + 2 * _MARGIN_MM),
    )
    if side > 0.75 * span.max():  # the scan is hardly larger than the organ: show all of it
        middle, side = (low + high) / 2, float(span.max()) * 1.02
    zoomed = span.max() > 1.5 * side
    figure, panels = _figure(len(parts), 4 if zoomed else 3)
    for row, part in enumerate(parts):
        points = part.points_ras()
        centre = points[
            np.linalg.norm(points - points.mean(0), axis=1).argmin()
        ]  # not the air inside a curve
        line = panels[row * (4 if zoomed else 3) :]
        for panel, view in zip(line, VIEWS):
            # The plane goes through the structure's centre; the picture's middle is the organ's.
            draw_slice(panel, volume, list(found.values()), view, view.at(centre, middle), side)
        line[0].text(
            0.03,
            0.912,
            part.structure.name,
            transform=line[0].transAxes,
            fontsize=10,
            va="center",
            color=np.array(part.structure.color) / 255,
            path_effects=_HALO,
        )
        if zoomed:
            view = VIEWS[row % len(VIEWS)]
            whole = (low + high) / 2
            draw_slice(
                line[3],
                volume,
                list(found.values()),
                view,
                view.at(centre, whole),
                float(span.max()),
            )
            _frame(line[3], view, middle - whole, side)
    return figure


def _bounds(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return points.min(0), points.max(0)


def _figure(rows: int, columns: int) -> tuple[Figure, list]:
    """A figure of its own canvas (pyplot's global state is left alone) and its square dark
    panels, row by row.
    """
    figure = Figure(figsize=(_PANEL_IN * columns, _PANEL_IN * rows), dpi=_DPI, facecolor=BACKGROUND)
    FigureCanvasAgg(figure)
    panels = []
    for row in range(rows):
        for column in range(columns):
            panel = figure.add_axes(
                (
                    (column + 0.006) / columns,
                    (rows - 1 - row + 0.006) / rows,
                    0.988 / columns,
                    0.988 / rows,
                )
            )
            panel.set_facecolor("black")
            panel.set_xticks([])
            panel.set_yticks([])
            panel.spines[:].set_visible(False)
            panels.append(panel)
    return figure, panels


def _frame(panel, view: View, offset_ras: np.ndarray, side: float) -> None:
    """The square that the zoomed pictures show. offset_ras: from the panel's middle to theirs,
    mm.
    """
    corner = [float(np.dot(axis, offset_ras)) - side / 2 for axis in (view.right, view.down)]
    panel.add_patch(
        Rectangle(corner, side, side, fill=False, edgecolor=INK, linewidth=0.8, alpha=0.7)
    )


def draw_slice(
    panel, volume: Volume, outlines: list[Mask], view: View, centre_ras, side_mm: float
) -> None:
    """One square plane with outlines, letters and a scale; the panel's axes are mm from the
    centre, down positive.
    """
    step = max(min(*volume.spacing_mm, side_mm / 300), side_mm / _MOST_PIXELS)
    grid = plane(view, np.asarray(centre_ras, float), side_mm, side_mm, step)
    image = resample(volume.array, volume.grid, grid, outside=np.nan)[0]
    low, high = window(image)
    half = side_mm / 2
    shown = np.clip((np.nan_to_num(image, nan=low) - low) / (high - low), 0, 1)
    panel.imshow(
        shown,
        cmap="gray",
        vmin=0,
        vmax=1,
        extent=(-half, half, half, -half),
        interpolation="bilinear",
        aspect="equal",
    )
    for mask in outlines:
        cover = resample(mask.array, mask.grid, grid, outside=0.0)[0]
        if cover.max() > 0.5:
            mm = (np.arange(len(cover)) + 0.5) * side_mm / len(cover) - half
            panel.contour(
                mm, mm, cover, [0.5], colors=[np.array(mask.structure.color) / 255], linewidths=1.8
            )
    panel.set_xlim(-half, half)
    panel.set_ylim(half, -half)
    for letter, x, y in zip(view.letters, (0.035, 0.965, 0.5, 0.5), (0.5, 0.5, 0.965, 0.035)):
        panel.text(
            x,
            y,
            letter,
            transform=panel.transAxes,
            color=INK,
            fontsize=12,
            fontweight="bold",
            ha="center",
            va="center",
            path_effects=_HALO,
        )
    panel.text(
        0.03,
        0.965,
        view.name,
        transform=panel.transAxes,
        color=INK,
        fontsize=10,
        va="center",
        path_effects=_HALO,
    )
    draw_scale(panel, side_mm)


def window(image: np.ndarray) -> tuple[float, float]:
    """Grey values to show as black and white: percentiles of what lies inside the scan."""
    inside = image[np.isfinite(image)]
    if not len(inside):
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(inside, [0.5, 99.7]))
    return (low, high) if high > low else (low, low + 1.0)


def draw_scale(panel, side_mm: float) -> None:
    """A bar of a round length in the lower right corner of a square panel of this width."""
    length = max(mm for mm in (1, 2, 5, 10, 20, 50, 100) if mm <= max(1, side_mm / 4))
    right = 0.96
    left = right - length / side_mm
    panel.plot(
        [left, right],
        [0.045, 0.045],
        transform=panel.transAxes,
        color=INK,
        linewidth=2.5,
        solid_capstyle="butt",
        path_effects=_HALO,
    )
    panel.text(
        (left + right) / 2,
        0.06,
        f"{length} mm",
        transform=panel.transAxes,
        color=INK,
        fontsize=9,
        ha="center",
        va="bottom",
        path_effects=_HALO,
    )
