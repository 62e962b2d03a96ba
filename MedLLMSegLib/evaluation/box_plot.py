"""Box plots of an evaluation: one box a structure (or an arm), one dot a head or patient."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from MedLLMSegLib.core.safe_files import atomic_write
from MedLLMSegLib.metrics.group_statistics import group_means
from MedLLMSegLib.metrics.overlap import METRICS, Metric

from .scores import Score, structures_of

PANELS = ("dice", "nsd_1mm", "hd95_mm")
BOX, DOT, MEAN, GRID, SOFT = "#3b6ea5", "#1c1e21", "#c2511b", "#e3e5e8", "#5d6470"
LEGEND = (
    "dot: one head or patient (its cases averaged)",
    "box: quartiles and median",
    "whiskers: to the last value within 1.5 boxes",
    "diamond: mean",
)


def plot_scores(scores: list[Score], summary: dict, path: Path) -> Path:
    """Dice, NSD and HD95 of each structure as a PNG; each dot is the mean over the cases of a
    head or patient.
    """
    keys, groups = structures_of(scores), [s.group for s in scores]
    panels = {}
    for metric in PANELS:
        columns = {
            key.replace("_", " "): [s.values.get(f"{metric}_{key}", math.nan) for s in scores]
            for key in keys
        }
        panels[metric] = {
            name: list(group_means(values, groups).values()) for name, values in columns.items()
        }
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
    return plot_boxes(
        {METRICS[m].title: (METRICS[m], columns) for m, columns in panels.items()}, title, path
    )


def plot_boxes(
    panels: Mapping[str, tuple[Metric | None, Mapping[str, Sequence[float]]]],
    title: str,
    path: Path,
) -> Path:
    """A PNG with a panel for each metric. panels: title -> (metric, name of the box -> one value
    for each dot).

    Values that are missing (NaN) are left out. A few values far beyond the rest (an image's
    diagonal) become triangles at the upper edge with the largest value beside them, so that the
    rest can be seen.
    """
    boxes = max(len(columns) for _, columns in panels.values())
    width = max(4.5, max(3.4, 1.1 + 0.8 * boxes) * len(panels))  # inches
    figure = Figure(figsize=(width, 4.8), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=11)
    for n, (name, (metric, columns)) in enumerate(panels.items(), 1):
        axes = figure.add_subplot(1, len(panels), n)
        ceiling = _ceiling(columns.values())
        for place, values in enumerate(columns.values(), 1):
            _draw(axes, place, np.asarray(values, float)[np.isfinite(values)], ceiling)
        _dress(axes, name, metric, list(columns))
    lines = [LEGEND] if width > 9 else [LEGEND[:2], LEGEND[2:]]
    figure.supxlabel("\n".join("   ".join(line) for line in lines), fontsize=8.5, color=SOFT)
    with atomic_write(path, ".png") as temporary:
        figure.savefig(temporary)
    return path


def _ceiling(columns) -> float:
    """Above which values are drawn as triangles: three times the highest whisker, infinite if
    none is above that.
    """
    there = [
        v for v in (np.asarray(values, float)[np.isfinite(values)] for values in columns) if len(v)
    ]
    if not there:
        return math.inf
    whiskers = max(
        float(np.quantile(v, 0.75) + 1.5 * np.ptp(np.quantile(v, [0.25, 0.75]))) for v in there
    )
    return 3 * whiskers if max(v.max() for v in there) > 3 * whiskers > 0 else math.inf


def _draw(axes, place: int, values: np.ndarray, ceiling: float) -> None:
    if not len(values):
        axes.text(place, 0.5, "none", transform=axes.get_xaxis_transform(), ha="center", color=SOFT)
        return
    axes.boxplot(
        values,
        positions=[place],
        widths=0.55,
        showfliers=False,
        patch_artist=True,
        boxprops={"facecolor": "#dce8f4", "edgecolor": BOX},
        whiskerprops={"color": BOX},
        capprops={"color": BOX},
        medianprops={"color": BOX, "linewidth": 2},
    )
    inside = values[values <= ceiling]
    aside = np.random.default_rng(0).uniform(-0.17, 0.17, len(inside))
    axes.scatter(place + aside, inside, s=12, color=DOT, alpha=0.45, linewidths=0, zorder=3)
    axes.plot(
        place,
        min(values.mean(), ceiling),
        "D",
        color=MEAN,
        markeredgecolor="white",
        markersize=6,
        zorder=4,
    )
    beyond = values[values > ceiling]
    if len(beyond):
        axes.scatter(
            place + 0.12 * (np.arange(len(beyond)) % 5 - 2),
            np.full(len(beyond), ceiling),
            s=26,
            marker="^",
            color=DOT,
            alpha=0.6,
            linewidths=0,
            zorder=3,
        )
        axes.text(
            place,
            ceiling * 0.97,
            f"{len(beyond)} up to {beyond.max():.4g}",
            ha="center",
            va="top",
            fontsize=8,
            color=SOFT,
        )


def _dress(axes, name: str, metric: Metric | None, labels: list[str]) -> None:
    axes.set_title(
        name
        + ("" if metric is None else ", higher is better" if metric.best else ", lower is better"),
        fontsize=10,
    )
    axes.set_xticks(
        range(1, len(labels) + 1),
        labels,
        rotation=30 if max(map(len, labels)) > 10 else 0,
        ha="right" if max(map(len, labels)) > 10 else "center",
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
