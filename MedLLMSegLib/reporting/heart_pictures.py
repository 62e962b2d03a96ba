"""Pictures of a heart's function: curves of volume, bull's-eyes of the wall, outlined slices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from MedLLMSegLib.core.segmentation import Structure
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.metrics.heart_function import LEFT, RIGHT, HeartFunction

MOST_SLICES = 8
# Of the bull's-eye: (inner radius, outer radius, angle of the first segment's middle, segments)
RINGS = ((0.75, 1.0, 90.0, 6), (0.5, 0.75, 90.0, 6), (0.25, 0.5, 90.0, 4), (0.0, 0.25, 0.0, 1))


def volume_curves(function: HeartFunction) -> Figure:
    """The volumes of both ventricles over the beat; end-diastole and end-systole are marked."""
    figure = Figure(figsize=(7.2, 3.4), layout="constrained")
    axes = figure.add_subplot()
    for key, name, colour in (
        (LEFT, "left ventricle", "#c83c3c"),
        (RIGHT, "right ventricle", "#3f7fb5"),
    ):
        curve = np.asarray(function.volumes_ml[key], float)
        curve = np.where(curve > 0, curve, np.nan)
        axes.plot(np.arange(1, len(curve) + 1), curve, "o-", ms=3.5, color=colour, label=name)
    for image, name in ((function.end_diastole, "ED"), (function.end_systole, "ES")):
        axes.axvline(image + 1, color="0.5", lw=1, ls=":")
        axes.annotate(
            name, (image + 1, 1), xycoords=("data", "axes fraction"), ha="center", va="bottom"
        )
    axes.set(xlabel="image", ylabel="volume (mL)")
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    return figure


def bulls_eyes(thickness_mm: NDArray[np.float64]) -> Figure:
    """The wall's thickness at end-diastole and end-systole, and how much thicker it grew.

    thickness_mm: (2, 17). The anterior wall is on top, the septum on the left.
    """
    figure = Figure(figsize=(11, 3.9), layout="constrained")
    with np.errstate(invalid="ignore", divide="ignore"):
        grown = 100 * (thickness_mm[1] / thickness_mm[0] - 1)
    top = max(float(np.nanmax(thickness_mm)), 1.0)
    for place, (title, values, unit, colours, limits) in enumerate(
        (
            ("end-diastole", thickness_mm[0], "mm", "viridis", (0.0, top)),
            ("end-systole", thickness_mm[1], "mm", "viridis", (0.0, top)),
            ("thickening", grown, "%", "RdBu", (-100.0, 100.0)),
        ),
        1,
    ):
        axes = figure.add_subplot(1, 3, place, projection="polar")
        colour = ScalarMappable(Normalize(*limits), colours)
        _bulls_eye(axes, values, colour)
        axes.set_title(title, fontsize=11)
        figure.colorbar(colour, ax=axes, shrink=0.7, pad=0.08, label=unit)
    return figure


def _bulls_eye(axes: Axes, values: NDArray[np.float64], colour: ScalarMappable) -> None:
    """Draw 17 values (see `wall_thickness.SEGMENTS`) as rings around the apex."""
    axes.set_axis_off()
    number = 0
    for inner, outer, first, count in RINGS:
        width = 360 / count
        for n in range(count):
            value, middle = float(values[number]), np.deg2rad(first + n * width)
            is_known = bool(np.isfinite(value))
            face = colour.to_rgba(value) if is_known else (0.85, 0.85, 0.85, 1.0)  # type: ignore[arg-type]
            axes.bar(
                middle,
                outer - inner,
                width=np.deg2rad(width),
                bottom=inner,
                color=face,
                edgecolor="white",
                lw=1,
            )
            is_dark = 0.3 * face[0] + 0.59 * face[1] + 0.11 * face[2] < 0.55
            axes.text(
                middle,
                (inner + outer) / 2 if count > 1 else 0.0,
                f"{value:.0f}" if is_known else "–",
                ha="center",
                va="center",
                fontsize=8,
                color="white" if is_dark else "black",
            )
            number += 1


def outlined_slices(
    scans: Mapping[str, Volume], labels: Mapping[str, Volume], structures: Sequence[Structure]
) -> Figure:
    """A row of slices for each image, with outlines.

    scans, labels: title of a row, such as "end-diastole" -> image and label map on one grid. The
    slices are those across the axis with the largest spacing, around what was found.
    """
    first = next(iter(labels.values()))
    axis = int(np.argmax(first.grid.spacing_mm))
    found = np.any([each.array > 0 for each in labels.values()], axis=0)
    places = np.argwhere(np.moveaxis(found, axis, 0))
    if not len(places):
        places = np.array([[0, 0, 0], np.array(np.moveaxis(found, axis, 0).shape) - 1])
    low, high = places.min(0), places.max(0) + 1
    chosen = np.unique(np.linspace(low[0], high[0] - 1, MOST_SLICES).round().astype(int))
    spacing = np.delete(np.asarray(first.grid.spacing_mm), axis)
    margin = np.ceil(15 / spacing).astype(int)
    shape = np.moveaxis(found, axis, 0).shape
    rows = slice(max(0, low[1] - margin[0]), min(shape[1], high[1] + margin[0]))
    columns = slice(max(0, low[2] - margin[1]), min(shape[2], high[2] + margin[1]))
    figure = Figure(
        figsize=(1.5 * len(chosen), 1.65 * len(scans)), layout="constrained", facecolor="black"
    )
    panels = figure.subplots(len(scans), len(chosen), squeeze=False)
    for row, (title, scan) in zip(panels, scans.items(), strict=True):
        image = np.moveaxis(scan.array, axis, 0)
        label_map = np.moveaxis(labels[title].array, axis, 0)
        lowest, highest = np.percentile(image[low[0] : high[0]], (1, 99.5))
        for panel, place in zip(row, chosen, strict=True):
            panel.imshow(
                image[place][rows, columns],
                cmap="gray",
                vmin=lowest,
                vmax=highest,
                aspect=spacing[0] / spacing[1],
            )
            _draw_outlines(panel, label_map[place][rows, columns], structures)
            panel.set_axis_off()
        row[0].text(
            0.03, 0.97, title, color="white", fontsize=8, va="top", transform=row[0].transAxes
        )
    return figure


def _draw_outlines(panel: Axes, labels: NDArray[np.uint8], structures: Sequence[Structure]) -> None:
    for structure in structures:
        mask = labels == structure.label
        if mask.any() and not mask.all():
            colour = [channel / 255 for channel in structure.color]
            panel.contour(mask.astype(float), [0.5], colors=[colour], linewidths=1)
