"""The pictures of many structures in groups: slices through all and through each group, and 3D
views from outside and within.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from MedLLMSegLib.anatomy.brain import CORTEX, DEEP_GREY, FLUID, HINDBRAIN, group_place
from MedLLMSegLib.core.segmentation import Structure
from MedLLMSegLib.core.types import Array
from MedLLMSegLib.core.volume import Volume

from .slice_drawing import VIEWS, draw_slice, label, square_panels
from .structure_masks import Mask
from .surface_picture import surface_picture

_MARGIN_MM, _PLANE_MM = 10.0, 3.0
# What hides everything else in a 3D view: the fluid around the brain, then the brain's outside
_SHELL = "csf"
_OUTSIDE = (CORTEX, HINDBRAIN)
_INSIDE = (DEEP_GREY, FLUID)


def has_groups(structures: Sequence[Structure]) -> bool:
    """Whether the structures belong to groups, and so are drawn together."""
    return any(structure.group for structure in structures)


def group_slices(volume: Volume, masks: Mapping[int, Mask]) -> Iterator[tuple[str, Figure]]:
    """(title, picture): three planes through the middle of everything with all outlines, then a
    row of three planes for each group with its own outlines.

    masks: label -> mask, of all structures that were found.
    """
    every = list(masks.values())
    figure, panels = square_panels(1, len(VIEWS))
    if every:
        _draw_row(panels, volume, every)
        yield "All structures", figure
    else:
        low, high = _bounds(volume.grid.corners_ras())
        for panel, view in zip(panels, VIEWS, strict=True):
            draw_slice(panel, volume, [], view, (low + high) / 2, float((high - low).max()))
        yield "The scan", figure
        return
    groups = _by_group(every)
    figure, panels = square_panels(len(groups), len(VIEWS))
    for row, (name, parts) in enumerate(groups.items()):
        row_panels = panels[row * len(VIEWS) :][: len(VIEWS)]
        _draw_row(row_panels, volume, parts)
        label(row_panels[0], 0.03, 0.912, name[:1].upper() + name[1:])
    yield "Group by group", figure


def _draw_row(panels: Sequence[Axes], volume: Volume, parts: Sequence[Mask]) -> None:
    """Three planes through some structures, as large as they are."""
    points = [part.points_ras() for part in parts]
    low, high = _bounds(np.concatenate([np.stack(_bounds(each)) for each in points]))
    middle, side_mm = (low + high) / 2, float((high - low).max()) + 2 * _MARGIN_MM
    names = [part.structure.sideless_key for part in parts]
    through = _richest_planes(points, names, low)
    for panel, view in zip(panels, VIEWS, strict=True):
        draw_slice(panel, volume, parts, view, view.centre(through, middle), side_mm)


def _richest_planes(points: Sequence[Array], names: Sequence[str], low: Array) -> Array:
    """(3,) RAS mm: where planes across x, y and z show the most structures, and much of each.

    points: (n, 3) RAS mm of each structure's voxels. names: the same for a left and a right one,
    which count once: else the best sagittal plane would be the one between them, which shows the
    edges of both. low: the lowest corner of all.
    """
    steps = [((each - low) / _PLANE_MM).astype(int) for each in points]
    planes = 1 + max(int(each.max()) for each in steps)
    best = []
    for axis in range(3):
        shown: dict[str, Array] = {}  # the name's voxels in each plane, of the larger side
        for name, each in zip(names, steps, strict=True):
            area = np.bincount(each[:, axis], minlength=planes)
            shown[name] = np.maximum(shown.get(name, 0), area)
        # The square root: another structure counts more than more of the first one.
        richest = int(np.sqrt(np.stack(list(shown.values()))).sum(0).argmax())
        best.append(low[axis] + (richest + 0.5) * _PLANE_MM)
    return np.array(best)


def _by_group(masks: Sequence[Mask]) -> dict[str, list[Mask]]:
    groups: dict[str, list[Mask]] = {}
    for mask in sorted(masks, key=lambda mask: group_place(mask.structure.group)):
        groups.setdefault(mask.structure.group, []).append(mask)
    return groups


def group_surfaces(masks: Mapping[int, Mask]) -> Iterator[tuple[str, Figure]]:
    """(title, picture) of the 3D views. The fluid around the brain is left out: it hides all."""
    shown = [mask for mask in masks.values() if mask.structure.key != _SHELL]
    outside = [mask for mask in shown if mask.structure.group in _OUTSIDE]
    inside = [mask for mask in shown if mask.structure.group in _INSIDE]
    for title, parts in (("3D view", outside), ("3D view of the inside", inside)):
        picture = surface_picture(parts) if parts else None
        if picture is not None:
            yield title, picture


def _bounds(points: Array) -> tuple[Array, Array]:
    """The lowest and the highest corner (3,) of points (n, 3)."""
    return points.min(0), points.max(0)
