"""How thick the left ventricle's wall is, in the 17 segments of the American Heart Association
(Cerqueira et al., Circulation 105 (2002) 539), from a label map of short-axis slices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.geometry import Grid

SEGMENTS = (
    "basal anterior",
    "basal anteroseptal",
    "basal inferoseptal",
    "basal inferior",
    "basal inferolateral",
    "basal anterolateral",
    "mid anterior",
    "mid anteroseptal",
    "mid inferoseptal",
    "mid inferior",
    "mid inferolateral",
    "mid anterolateral",
    "apical anterior",
    "apical septal",
    "apical inferior",
    "apical lateral",
    "apex",
)
RAYS = 72  # of a slice, 5 degrees apart
STEP_MM = 0.25  # along a ray
WHOLE_RING = 0.9  # of the rays must meet the wall; else the slice lies in the outflow tract
LEAST_SLICES = 3
THINNEST_APEX_MM = 4.0  # thicker slices say nothing of how thick the apex is
# From the middle of the septum towards the anterior wall, 60 degrees each: places in a ring of six
RING_OF_SIX = (2, 1, 6, 5, 4, 3)
RING_OF_FOUR = (14, 13, 16, 15)  # 90 degrees each, the first one around the middle of the septum


@dataclass(frozen=True)
class HeartLabels:
    """The numbers of a label map."""

    right_ventricle: int = 1
    myocardium: int = 2
    left_ventricle: int = 3


@dataclass(frozen=True, eq=False)
class _Slice:
    """What the rays of one slice say. thickness_mm: (RAYS,), NaN where there is no wall.

    towards_right: the unit vector (x, y) in the slice's plane to the middle of the septum; None
    where no right ventricle touches the wall.
    """

    place: int
    thickness_mm: NDArray[np.float64]
    towards_right: NDArray[np.float64] | None

    @property
    def is_whole(self) -> bool:
        return bool(np.isfinite(self.thickness_mm).mean() >= WHOLE_RING)


def wall_thickness_mm(
    labels: NDArray[np.uint8], grid: Grid, numbers: HeartLabels | None = None
) -> NDArray[np.float64]:
    """Mean thickness of the wall in mm, (17,) in the order of `SEGMENTS`; NaN where unknown.

    labels: [k, j, i] on the grid, of one image. The slices are those across the axis with the
    largest spacing (k among equals). Along rays from the cavity's centre the wall is what lies
    between cavity and outside. The septum is where the wall borders on the right ventricle; the
    anterior side follows from it and from where base and apex lie, so the grid's geometry must be
    the scan's. The apex is measured in slices of at most `THINNEST_APEX_MM` mm alone. Raises
    `UserError` where too little of the ring is there.
    """
    numbers = numbers or HeartLabels()
    axis = int(np.argmax(grid.spacing_mm))
    stack = np.moveaxis(labels, axis, 0)
    slices = [
        found
        for place, plane in enumerate(stack)
        if (found := _measured(place, plane, _plane_spacing(grid, axis), numbers)) is not None
    ]
    rings = [each for each in slices if each.is_whole]
    if len(rings) < LEAST_SLICES:
        raise UserError(
            f"The wall is a whole ring in {len(rings)} slices, and {LEAST_SLICES} are needed for"
            " its thickness; give short-axis slices from base to apex."
        )
    septum = _septum(slices)
    if septum is None:
        raise UserError(
            "No right ventricle borders on the wall, so its segments cannot be named; look at the"
            " outlines."
        )
    base_first = _base_is_first(stack, numbers)
    if not base_first:
        rings.reverse()
    anterior = _turn_to_anterior(grid, axis, base_first)
    sums, counts = np.zeros(len(SEGMENTS)), np.zeros(len(SEGMENTS))
    for level, ring in zip(_levels(len(rings)), rings, strict=True):
        own = ring.towards_right if ring.towards_right is not None else septum
        number = _segment_of_rays(level, own, anterior)
        known = np.isfinite(ring.thickness_mm)
        np.add.at(sums, number[known], ring.thickness_mm[known])
        np.add.at(counts, number[known], 1)
    with np.errstate(invalid="ignore"):
        thickness: NDArray[np.float64] = sums / np.where(counts > 0, counts, np.nan)
    thickness[-1] = _apex_mm(stack, grid.spacing_mm[axis], base_first, numbers)
    return thickness


def _plane_spacing(grid: Grid, axis: int) -> NDArray[np.float64]:
    """(2,) mm along the rows and columns of a slice."""
    return np.delete(np.asarray(grid.spacing_mm, float), axis)


def _measured(
    place: int, plane: NDArray[np.uint8], spacing_mm: NDArray[np.float64], numbers: HeartLabels
) -> _Slice | None:
    """The rays of one slice (rows, columns); None where it has no cavity with a wall around it."""
    cavity, wall = plane == numbers.left_ventricle, plane == numbers.myocardium
    if not cavity.any() or not wall.any():
        return None
    centre = np.argwhere(cavity).mean(axis=0)  # (row, column)
    reach_mm = float(np.hypot(*(np.array(plane.shape) * spacing_mm)))
    radii = np.arange(0, reach_mm, STEP_MM)
    directions = _directions()  # (RAYS, 2) along (row, column)
    points = centre[:, None, None] + (
        directions.T[:, :, None] * radii / spacing_mm[:, None, None]
    )  # (2, RAYS, n)
    along = ndimage.map_coordinates(wall.astype(np.float32), points, order=1, mode="constant")
    thickness = along.sum(axis=1) * STEP_MM
    thickness[thickness < STEP_MM] = np.nan
    beyond = _right_beyond(plane == numbers.right_ventricle, along, points)
    towards = directions[beyond].sum(axis=0) if beyond.any() else np.zeros(2)
    length = float(np.linalg.norm(towards))
    return _Slice(place, thickness, towards / length if length > 1e-6 else None)


def _directions() -> NDArray[np.float64]:
    angles = 2 * np.pi * np.arange(RAYS) / RAYS
    return np.stack([np.sin(angles), np.cos(angles)], axis=1)


def _right_beyond(
    right: NDArray[np.bool_], along: NDArray[np.float32], points: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """(RAYS,): whether a ray meets the right ventricle within 3 mm of where it leaves the wall."""
    inside = along > 0.5
    last = inside.shape[1] - 1 - inside[:, ::-1].argmax(axis=1)  # of the wall
    few = round(3.0 / STEP_MM)
    rays = np.arange(len(last))
    hit = np.zeros(len(last), bool)
    values = ndimage.map_coordinates(right.astype(np.float32), points, order=1, mode="constant")
    for step in range(1, few + 1):
        place = np.minimum(last + step, values.shape[1] - 1)
        hit |= values[rays, place] > 0.5
    return hit & inside.any(axis=1)


def _septum(slices: Sequence[_Slice]) -> NDArray[np.float64] | None:
    """The mean direction to the septum, for slices that show no right ventricle."""
    known = [each.towards_right for each in slices if each.towards_right is not None]
    if not known:
        return None
    mean: NDArray[np.float64] = np.mean(known, axis=0)
    return mean / max(float(np.linalg.norm(mean)), 1e-6)


def _base_is_first(stack: NDArray[np.uint8], numbers: HeartLabels) -> bool:
    """Whether the ventricles are larger towards the first slice: they taper to the apex."""
    chambers = np.isin(stack, (numbers.left_ventricle, numbers.right_ventricle))
    areas = chambers.sum(axis=(1, 2)).astype(float)
    there = np.flatnonzero(areas)
    middle = there.mean()
    return bool((areas[there] * (there - middle)).sum() <= 0)


def _turn_to_anterior(grid: Grid, axis: int, base_first: bool) -> int:
    """+1 where the way from the septum to the anterior wall is that from rows to columns
    (`_directions`), -1 where it is the opposite one.

    In the patient, (apex to base) x (centre to septum) points to the anterior wall.
    """
    columns = np.asarray(grid.ijk_to_ras, float)[:3, :3]  # of (i, j, k)
    by_axis = [columns[:, 2], columns[:, 1], columns[:, 0]]  # of (k, j, i)
    along = by_axis.pop(axis) * (-1.0 if base_first else 1.0)  # apex to base
    rows, cols = (vector / np.linalg.norm(vector) for vector in by_axis)
    # With the septum along the columns (angle 0), the anterior wall lies along +rows (angle 90)?
    return 1 if float(np.dot(np.cross(along, cols), rows)) > 0 else -1


def _levels(rings: int) -> list[int]:
    """0 basal, 1 mid, 2 apical, for each ring from base to apex: thirds."""
    return [int(3 * n / rings) for n in range(rings)]


def _segment_of_rays(level: int, septum: NDArray[np.float64], anterior: int) -> NDArray[np.intp]:
    """(RAYS,) places in `SEGMENTS`. septum: unit vector (row, column)."""
    directions = _directions()
    own = np.arctan2(directions[:, 0], directions[:, 1])
    angle = np.rad2deg(own - np.arctan2(septum[0], septum[1])) * anterior
    # Rays on a border, as far as rounding goes, belong to the sector that begins there.
    angle = np.round(angle % 360, 6) % 360
    if level < 2:
        ring = np.array(RING_OF_SIX)[(angle // 60).astype(int)] + 6 * level
    else:
        ring = np.array(RING_OF_FOUR)[(((angle + 45) % 360) // 90).astype(int)]
    place: NDArray[np.intp] = ring.astype(np.intp) - 1
    return place


def _apex_mm(
    stack: NDArray[np.uint8], slice_mm: float, base_first: bool, numbers: HeartLabels
) -> float:
    """How thick the wall is below the cavity's last slice; NaN where the slices are too thick."""
    if slice_mm > THINNEST_APEX_MM:
        return float("nan")
    ordered = stack if base_first else stack[::-1]
    cavity = (ordered == numbers.left_ventricle).any(axis=(1, 2))
    last = int(np.flatnonzero(cavity)[-1])
    row, column = np.argwhere(ordered[last] == numbers.left_ventricle).mean(axis=0).round()
    below = ordered[last + 1 :, int(row), int(column)] == numbers.myocardium
    count = int(np.argmin(below)) if not below.all() else len(below)
    return count * slice_mm if count else float("nan")
