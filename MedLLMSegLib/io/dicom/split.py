"""The frames of a series, told apart into the volumes that they form.

A series may hold several directions (a scout, three planes), stacks, time points, echoes or
diffusion weightings; each of them is a volume of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from MedLLMSegLib.core.types import Array

from .frames import Frame

SAME_PLACE_MM = 1e-3
SAME_AXES = 1e-3  # of a direction's components
# Keys by which frames in the same place are told apart, the likeliest first
_IN_ONE_PLACE = (
    "stack",
    "time point",
    "time slot",
    "phase",
    "trigger time",
    "echo time",
    "energy",
    "energy window",
    "component",
    "image type",
    "detector",
    "b-value",
    "diffusion direction",
    "acquisition",
    "acquisition time",
)
_UNITS = {"echo time": " ms", "trigger time": " ms", "b-value": " s/mm²"}


@dataclass(frozen=True, eq=False)
class FrameGroup:
    """Frames that form one volume. label: what tells it from the others, such as "echo time 5 ms";
    "" where there are no others.
    """

    frames: list[Frame]
    label: str = ""


def split_volumes(frames: Sequence[Frame]) -> list[FrameGroup]:
    """The volumes that the frames of one series form, in the order of the frames.

    Frames that nothing tells apart stay together, even where they lie in the same place.
    """
    planes = _groups_of(frames, _PlaneNumbers())
    groups: list[FrameGroup] = []
    for plane in planes:
        label = _plane_label(plane[0]) if len(planes) > 1 else ""
        for part in _split_places(plane):
            words = [word for word in (label, part.label) if word]
            groups.append(FrameGroup(part.frames, ", ".join(words)))
    return groups


class _PlaneNumbers:
    """A number for each size and direction of a frame: the same for frames of one stack."""

    def __init__(self) -> None:
        self.known: list[Frame] = []

    def __call__(self, frame: Frame) -> int:
        for number, other in enumerate(self.known):
            if frame.size == other.size and _same_axes(frame, other):
                return number
        self.known.append(frame)
        return len(self.known) - 1


def _same_axes(frame: Frame, other: Frame) -> bool:
    if frame.axes is None or other.axes is None:
        return True  # that it is missing is said when the volume is placed
    return bool(np.abs(frame.axes - other.axes).max() <= SAME_AXES)


def _plane_label(frame: Frame) -> str:
    columns, rows = frame.size
    if frame.axes is None:
        return f"{columns} x {rows}, no direction"
    normal = np.abs(np.cross(frame.axes[0], frame.axes[1]))
    name = ("sagittal", "coronal", "axial")[int(normal.argmax())]
    return f"{columns} x {rows}, {name}"


def _groups_of(frames: Iterable[Frame], key: Callable[[Frame], Hashable]) -> list[list[Frame]]:
    groups: dict[Hashable, list[Frame]] = {}
    for frame in frames:
        groups.setdefault(key(frame), []).append(frame)
    return list(groups.values())


def _split_places(frames: list[Frame]) -> list[FrameGroup]:
    """Frames of one direction, so that no two of a volume lie in the same place if possible."""
    if len(frames) < 2 or any(f.position is None or f.axes is None for f in frames):
        return [FrameGroup(frames)]
    stacks = _separate_stacks(frames)
    if len(stacks) > 1:
        return stacks
    if not _has_duplicates(frames):
        return [FrameGroup(frames)]
    varying = [key for key in _IN_ONE_PLACE if len({f.keys.get(key) for f in frames}) > 1]
    for keys in [*[(key,) for key in varying], *[tuple(varying[:n]) for n in (2, 3, 4, 99)]]:
        groups = _groups_by_keys(frames, keys)
        if len(groups) > 1 and not any(_has_duplicates(group.frames) for group in groups):
            return groups
    return _by_order(frames)


def _groups_by_keys(frames: list[Frame], keys: tuple[str, ...]) -> list[FrameGroup]:
    def values(frame: Frame) -> tuple[str, ...]:
        return tuple(frame.keys.get(key, "") for key in keys)

    groups = sorted(_groups_of(frames, values), key=lambda group: _sortable(values(group[0])))
    return [
        FrameGroup(group, ", ".join(_words(key, group[0].keys.get(key, "none")) for key in keys))
        for group in groups
    ]


def _sortable(values: tuple[str, ...]) -> list[tuple[float, str]]:
    """Numbers by their size, and text behind them."""
    keys: list[tuple[float, str]] = []
    for value in values:
        try:
            keys.append((float(value or -1), ""))
        except ValueError:
            keys.append((float("inf"), value))
    return keys


def _words(key: str, value: str) -> str:
    return f"{key} {value.replace(chr(92), '/')}{_UNITS.get(key, '')}"


def _separate_stacks(frames: list[Frame]) -> list[FrameGroup]:
    """Stacks by their ID where these lie apart: together they would form no even stack."""
    groups = _groups_by_keys(frames, ("stack",))
    if len(groups) < 2 or min(len(group.frames) for group in groups) < 2 or _is_even(frames):
        return groups[:1] if len(groups) == 1 else [FrameGroup(frames)]
    return groups


def depths_mm(frames: Sequence[Frame]) -> Array:
    """How far along the first frame's normal each frame lies."""
    axes = frames[0].axes
    assert axes is not None
    normal = np.cross(axes[0], axes[1])
    positions = np.array([frame.position for frame in frames], float)
    depths: Array = positions @ (normal / max(np.linalg.norm(normal), 1e-9))
    return depths


def _has_duplicates(frames: list[Frame]) -> bool:
    if len(frames) < 2:
        return False
    return bool((np.diff(np.sort(depths_mm(frames))) < SAME_PLACE_MM).any())


def _is_even(frames: list[Frame]) -> bool:
    steps = np.diff(np.sort(depths_mm(frames)))
    return bool(steps.min() > SAME_PLACE_MM and np.ptp(steps) < 0.1 * steps.mean())


def _by_order(frames: list[Frame]) -> list[FrameGroup]:
    """Where several places have the same number of frames each, the first of each place form the
    first volume.
    """
    ordered = sorted(frames, key=lambda frame: (frame.instance, frame.index))
    depths = np.round(depths_mm(ordered) / SAME_PLACE_MM).astype(int)
    number_at: dict[int, int] = {}
    numbers = []
    for depth in depths.tolist():
        number_at[depth] = number_at.get(depth, -1) + 1
        numbers.append(number_at[depth])
    counts = set(number_at.values())
    if len(counts) != 1 or len(number_at) == 1:
        return [FrameGroup(frames)]
    return [
        FrameGroup(
            [frame for frame, own in zip(ordered, numbers, strict=True) if own == number],
            f"image {number + 1} of each place",
        )
        for number in range(counts.pop() + 1)
    ]
