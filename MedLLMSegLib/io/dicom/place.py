"""The frames of one volume in their order, and where they lie: placed by each frame's own position.

Nothing is assumed: what is not stated, or does not form an even grid, is refused in one sentence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import Array
from MedLLMSegLib.io.itk_images import LPS_TO_RAS

from .frames import Frame
from .split import SAME_PLACE_MM, depths_mm

# How far a slice may lie from its place on an even grid, as a part of the slice distance
MAX_UNEVENNESS = 0.1
# How far it may lie beside the others: a part of a pixel, and what a direction that was rounded to
# three decimals amounts to over the stack's height
MAX_SIDEWAYS_PIXELS = 0.1
ROUNDED_DIRECTION = 7e-4
SAME_SPACING = 1e-3  # as a part of the spacing
NOT_PERPENDICULAR = 3e-3  # cosine of the angle between rows and columns, and error of a length


@dataclass(frozen=True, eq=False)
class PlacedFrames:
    """frames: from the first slice to the last. ijk_to_ras: (4, 4), of the volume they form."""

    frames: list[Frame]
    ijk_to_ras: Array


def place_frames(frames: Sequence[Frame], subject: str) -> PlacedFrames:
    """Order the frames of one volume along their normal.

    subject: for messages, such as 'The DICOM series in "scan"'. Raises `UserError` unless all
    frames say where they lie and together form one even grid at right angles.
    """
    spacing_mm = _common_spacing(frames, subject)
    axes = _common_axes(frames, subject)
    depths = depths_mm(frames)
    ordered = [frames[n] for n in np.argsort(depths, kind="stable")]
    step_mm = _even_step(ordered, subject)
    _check_in_line(ordered, axes, min(spacing_mm), subject)
    row_mm, column_mm = spacing_mm
    normal = np.cross(axes[0], axes[1])
    lps = np.column_stack([axes[0] * column_mm, axes[1] * row_mm, normal * step_mm])
    return PlacedFrames(ordered, _matrix(lps, ordered[0].position))


def place_single(frame: Frame, subject: str) -> PlacedFrames:
    """One flat image. Where it states no position, it lies at the origin as it is seen; pixels
    whose size it does not state are 1 mm wide, as a picture's, and as high as their aspect says.
    """
    row_mm, column_mm = frame.spacing_mm or (frame.aspect, 1.0)
    if min(row_mm, column_mm) <= 0:
        raise _zero_spacing(subject, (row_mm, column_mm))
    axes = np.eye(3)[:2] if frame.axes is None else _checked_axes(frame.axes, subject)
    normal = np.cross(axes[0], axes[1])
    step_mm = frame.thickness_mm if frame.thickness_mm > 0 else 1.0
    lps = np.column_stack([axes[0] * column_mm, axes[1] * row_mm, normal * step_mm])
    return PlacedFrames([frame], _matrix(lps, frame.position))


def _matrix(lps: Array, position: Array | None) -> Array:
    """ijk_to_ras from the columns (3, 3) of the steps along i, j and k, and the first position."""
    matrix = np.eye(4)
    matrix[:3, :3] = LPS_TO_RAS @ lps
    matrix[:3, 3] = LPS_TO_RAS @ (np.zeros(3) if position is None else position)
    return matrix


def _zero_spacing(subject: str, spacing_mm: tuple[float, float]) -> UserError:
    row_mm, column_mm = spacing_mm
    return UserError(
        f"{subject} states a voxel size of {column_mm:g} x {row_mm:g} mm, and none may be zero or"
        " negative; correct the pixel spacing in its tags, or export it again."
    )


def _common_spacing(frames: Sequence[Frame], subject: str) -> tuple[float, float]:
    """The pixel size (between rows, between columns) of all frames. Raises `UserError`."""
    known = [frame.spacing_mm for frame in frames if frame.spacing_mm is not None]
    if len(known) < len(frames):
        missing = len(frames) - len(known)
        raise UserError(
            f"{subject} does not state the size of its pixels (pixel spacing is missing or empty in"
            f" {missing} of {len(frames)} slices); export it again with it."
        )
    for spacing_mm in known:
        if min(spacing_mm) <= 0:
            raise _zero_spacing(subject, spacing_mm)
    smallest, largest = np.min(known, axis=0), np.max(known, axis=0)
    if ((largest - smallest) > SAME_SPACING * smallest).any():
        raise UserError(
            f"{subject} mixes slices of different pixel sizes ({smallest[1]:g} x {smallest[0]:g} to"
            f" {largest[1]:g} x {largest[0]:g} mm), and one grid is needed; keep the slices of one"
            " scan together."
        )
    return known[0]


def _common_axes(frames: Sequence[Frame], subject: str) -> Array:
    """(2, 3): the row and column directions of all frames. Raises `UserError` if none."""
    axes = frames[0].axes
    if axes is None or any(frame.position is None or frame.axes is None for frame in frames):
        raise UserError(
            f"{subject} does not say where its slices lie (image position and orientation are"
            " missing); export it again with them."
        )
    return _checked_axes(axes, subject)


def _checked_axes(axes: Array, subject: str) -> Array:
    """(2, 3) unit vectors at right angles. Raises `UserError` for axes that are far from it."""
    lengths = np.linalg.norm(axes, axis=1)
    if np.abs(lengths - 1).max() > NOT_PERPENDICULAR or abs(axes[0] @ axes[1]) > NOT_PERPENDICULAR:
        raise UserError(
            f"{subject} states directions that are not at right angles or not of length 1"
            f" ({', '.join(f'{n:g}' for n in axes.ravel())}); export it again."
        )
    left, _, right = np.linalg.svd(axes, full_matrices=False)
    nearest: Array = left @ right  # at right angles, though the file's digits were rounded
    return nearest


def _even_step(frames: Sequence[Frame], subject: str) -> float:
    """The distance in mm between neighbours of these ordered frames. Raises `UserError`."""
    depths = depths_mm(frames)
    gaps = np.diff(depths)
    duplicates = int((gaps < SAME_PLACE_MM).sum())
    if duplicates:
        raise UserError(
            f"{subject} has {duplicates} slices at the same place as another (several time points,"
            " echoes or a copy), and one 3D image is needed; keep one slice for each place."
        )
    step_mm = float(depths[-1] - depths[0]) / (len(depths) - 1)
    even_depths = depths[0] + step_mm * np.arange(len(depths))
    if np.abs(depths - even_depths).max() / step_mm > MAX_UNEVENNESS:
        raise UserError(
            f"{subject} has missing or unevenly spaced slices (distances from {gaps.min():.3g} to"
            f" {gaps.max():.3g} mm); export the series again with all its slices"
            f"{_even_part(frames)}."
        )
    return step_mm


def _even_part(frames: Sequence[Frame]) -> str:
    """How to choose the longest part that is even; "" where there is none of three slices."""
    gaps = np.diff(depths_mm(frames))
    usual = float(np.median(gaps))
    best = (0, 0)
    start = 0
    for n in range(len(gaps) + 1):
        if n < len(gaps) and abs(gaps[n] - usual) <= MAX_UNEVENNESS * usual:
            continue
        best = max(best, (n + 1 - start, start))
        start = n + 1
    length, start = best
    if length < 3:
        return ""
    numbers = [frame_number(frames, n) for n in range(start, start + length)]
    return f", or take the {length} slices without a gap with --frames {_ranges(sorted(numbers))}"


def frame_number(frames: Sequence[Frame], place: int) -> int:
    """What --frames calls the frame at this place in the order: its number in its file, from 1; of
    a series of single files its place.
    """
    frame = frames[place]
    return frame.index + 1 if frame.file_frames > 1 else place + 1


def _ranges(numbers: Sequence[int]) -> str:
    """ "1-3,7" for 1, 2, 3 and 7."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(f"{a}" if a == b else f"{a}-{b}" for a, b in parts)


def _check_in_line(frames: Sequence[Frame], axes: Array, pixel_mm: float, subject: str) -> None:
    """Raise `UserError` unless the frames, in order, lie straight above each other."""
    positions = np.array([frame.position for frame in frames], float)
    normal = np.cross(axes[0], axes[1])
    offsets = positions - positions[0]
    depths = offsets @ normal
    sideways = offsets - depths[:, None] * normal  # (n, 3)
    distance = np.linalg.norm(sideways, axis=1)
    allowed = MAX_SIDEWAYS_PIXELS * pixel_mm + ROUNDED_DIRECTION * depths[-1]
    if distance.max() <= allowed:
        return
    tilt = sideways[-1] / depths[-1]
    from_tilt = np.linalg.norm(sideways - depths[:, None] * tilt, axis=1)
    if from_tilt.max() <= allowed:
        raise UserError(
            f"{subject} is sheared by {distance.max():.3g} mm (a tilted gantry), and axes at right"
            " angles are needed; resample it, for example with 3D Slicer, and use the result."
        )
    raise UserError(
        f"{subject} has slices that are shifted by up to {distance.max():.3g} mm from the others"
        " (parts of several scans, or wrong positions), and one straight stack is needed; export"
        " it again."
    )
