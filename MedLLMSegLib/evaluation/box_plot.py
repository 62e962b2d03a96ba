"""Box plots of an evaluation: one box a structure (or an arm), one dot a head or patient."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from MedLLMSegLib.core.safe_files import atomic_write
from MedLLMSegLib.core.types import Array, Json
from MedLLMSegLib.metrics.group_statistics import group_means
from MedLLMSegLib.metrics.overlap import METRICS, Metric

from .scores import Score, column_values, structures_of

PANELS = ("dice", "nsd_1mm", "hd95_mm")
BOX, DOT, MEAN, GRID, SOFT = "#3b6ea5", "#1c1e21", "#c2511b", "#e3e5e8", "#5d6470"
LEGEND = (
    "dot: one head or patient (its cases averaged)",
    "box: quartiles and median",
    "whiskers: to the last value within 1.5 boxes",
    "diamond: mean",
)


@dataclass(frozen=True, eq=False)
class Panel:
    """One panel of a box plot. boxes: name -> (n,) values, one for each dot, NaN where missing."""

    title: str
    metric: Metric | None
    boxes: Mapping[str, ArrayLike]


def plot_scores(scores: list[Score], summary: Json, path: Path) -> Path:
    """Dice, NSD and HD95 of each structure as a PNG.

    Each dot is the mean over the cases of a head or patient.
    """
    groups = [score.group for score in scores]
    panels = []
    for name in PANELS:
        boxes = {}
        for key in structures_of(scores):
            means = group_means(column_values(scores, f"{name}_{key}"), groups)
            boxes[key.replace("_", " ")] = list(means.values())
        panels.append(Panel(METRICS[name].title, METRICS[name], boxes))
    return plot_boxes(panels, _title(summary), path)


def _title(summary: Json) -> str:
    title = (
        f"{summary['model']}: {_count(summary['cases'], 'case')} of "
        f"{_count(summary['groups'], 'head or patient', 'heads or patients')}"
    )
    if summary["charged"]:
        charged = sum(summary["charged"].values())
        title += (
            f"\n{_count(charged, 'structure')} only one label map has: Dice and NSD 0, HD95 the"
            " image's diagonal"
        )
    return title


def plot_boxes(panels: Sequence[Panel], title: str, path: Path) -> Path:
    """A PNG with one panel beside the other.

    Missing values are left out. A few values far beyond the rest (an image's diagonal) become
    triangles at the upper edge, with the largest value beside them, so that the rest stays legible.
    """
    most_boxes = max(len(panel.boxes) for panel in panels)
    width = max(4.5, max(3.4, 1.1 + 0.8 * most_boxes) * len(panels))  # inches
    figure = Figure(figsize=(width, 4.8), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=11)
    for n, panel in enumerate(panels, 1):
        axes = figure.add_subplot(1, len(panels), n)
        boxes = [_finite(values) for values in panel.boxes.values()]
        ceiling = _ceiling(boxes)
        for position, values in enumerate(boxes, 1):
            _draw_box(axes, position, values, ceiling)
        _finish_axes(axes, panel)
    lines = [LEGEND] if width > 9 else [LEGEND[:2], LEGEND[2:]]
    figure.supxlabel("\n".join("   ".join(line) for line in lines), fontsize=8.5, color=SOFT)
    with atomic_write(path, ".png") as temporary:
        figure.savefig(temporary)
    return path


def _finite(values: ArrayLike) -> Array:
    array = np.asarray(values, float)
    return array[np.isfinite(array)]


def _ceiling(boxes: Sequence[Array]) -> float:
    """The value above which dots become triangles: three times the highest whisker.

    Infinite if no value is above that. boxes: finite values of each box.
    """
    filled = [values for values in boxes if len(values)]
    if not filled:
        return math.inf
    highest_whisker = max(_whisker(values) for values in filled)
    largest = max(values.max() for values in filled)
    return 3 * highest_whisker if largest > 3 * highest_whisker > 0 else math.inf


def _whisker(values: Array) -> float:
    """The end of the upper whisker: 1.5 boxes above the third quartile."""
    height = np.ptp(np.quantile(values, [0.25, 0.75]))
    return float(np.quantile(values, 0.75) + 1.5 * height)


def _draw_box(axes: Axes, position: int, values: Array, ceiling: float) -> None:
    if not len(values):
        transform = axes.get_xaxis_transform()
        axes.text(position, 0.5, "none", transform=transform, ha="center", color=SOFT)
        return
    axes.boxplot(
        values,
        positions=[position],
        widths=0.55,
        showfliers=False,
        patch_artist=True,
        boxprops={"facecolor": "#dce8f4", "edgecolor": BOX},
        whiskerprops={"color": BOX},
        capprops={"color": BOX},
        medianprops={"color": BOX, "linewidth": 2},
    )
    inside = values[values <= ceiling]
    jitter = np.random.default_rng(0).uniform(-0.17, 0.17, len(inside))
    axes.scatter(position + jitter, inside, s=12, color=DOT, alpha=0.45, linewidths=0, zorder=3)
    axes.plot(
        position,
        min(values.mean(), ceiling),
        "D",
        color=MEAN,
        markeredgecolor="white",
        markersize=6,
        zorder=4,
    )
    beyond = values[values > ceiling]
    if len(beyond):
        _draw_beyond(axes, position, beyond, ceiling)


def _draw_beyond(axes: Axes, position: int, values: Array, ceiling: float) -> None:
    """Triangles at the ceiling, with the number of values and the largest one."""
    axes.scatter(
        position + 0.12 * (np.arange(len(values)) % 5 - 2),
        np.full(len(values), ceiling),
        s=26,
        marker="^",
        color=DOT,
        alpha=0.6,
        linewidths=0,
        zorder=3,
    )
    axes.text(
        position,
        ceiling * 0.97,
        f"{len(values)} up to {values.max():.4g}",
        ha="center",
        va="top",
        fontsize=8,
        color=SOFT,
    )


def _finish_axes(axes: Axes, panel: Panel) -> None:
    metric, labels = panel.metric, list(panel.boxes)
    direction = ""
    if metric is not None:
        direction = ", higher is better" if metric.best else ", lower is better"
    axes.set_title(panel.title + direction, fontsize=10)
    long = max(map(len, labels)) > 10
    axes.set_xticks(
        range(1, len(labels) + 1),
        labels,
        rotation=30 if long else 0,
        ha="right" if long else "center",
        fontsize=9,
    )
    axes.set_xlim(0.4, len(labels) + 0.6)
    if metric is not None and not metric.best and axes.get_ylim()[0] > 0:
        axes.set_ylim(bottom=0)
    axes.yaxis.grid(True, color=GRID)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _count(n: int, one: str, many: str = "") -> str:
    return f"{n} {one if n == 1 else many or one + 's'}"
