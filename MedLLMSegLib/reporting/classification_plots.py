"""ROC and FROC curves, confusion matrices, learning curves and t-SNE maps as PNG files."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from sklearn.metrics import roc_curve

from MedLLMSegLib.core.safe_files import atomic_write
from MedLLMSegLib.core.types import Array
from MedLLMSegLib.metrics.classification import area_under_roc, confusion_table, positive_classes
from MedLLMSegLib.metrics.classification_intervals import bootstrap_weights

# Okabe and Ito
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#5d6470")
GRID, SOFT, INK = "#e3e5e8", "#5d6470", "#1c1e21"
BAND_RATES = np.linspace(0.0, 1.0, 101)  # false positive rates on which a band is drawn


def draw_roc(
    truth: Array,
    probabilities: Array,
    groups: Sequence[Hashable],
    classes: Sequence[str],
    path: Path,
    threshold: float | None = None,
    repeats: int = 500,
) -> Path:
    """The ROC curve with its pointwise 95 % band over patients.

    With more than two classes there is a curve for each against the rest, and no band. truth: (n,).
    probabilities: (n, classes). threshold: marked on the curve of two classes.
    """
    figure, axes = _canvas(5.2, 4.8)
    axes.plot([0, 1], [0, 1], ":", color=SOFT, linewidth=1)
    for color, c in zip(PALETTE, positive_classes(len(classes)), strict=False):
        positive, score = truth == c, probabilities[:, c]
        if not 0 < positive.sum() < len(positive):
            continue
        false_positive_rate, sensitivity, _ = roc_curve(positive, score)
        name = f"{classes[c]}, AUC {_auc(positive, score):.3f}"
        axes.plot(false_positive_rate, sensitivity, color=color, label=name)
        if len(classes) == 2:
            _draw_band(axes, positive, score, bootstrap_weights(groups, repeats), color)
            if threshold is not None:
                _mark_threshold(axes, positive, score, threshold)
    axes.set(xlabel="1 - specificity", ylabel="sensitivity", xlim=(0, 1), ylim=(0, 1.01))
    axes.legend(loc="lower right", fontsize="small")
    _add_grid(axes)
    return _save(figure, path)


def _auc(positive: Array, score: Array) -> float:
    return area_under_roc(positive.astype(int), np.stack([1 - score, score], 1))


def _mark_threshold(axes: Axes, positive: Array, score: Array, threshold: float) -> None:
    decided = score >= threshold
    false_positive_rate, sensitivity = decided[~positive].mean(), decided[positive].mean()
    name = f"threshold {threshold:.3f}"
    axes.plot(false_positive_rate, sensitivity, "o", color=INK, label=name)


def _draw_band(
    axes: Axes, positive: Array, score: Array, weights: Array | None, color: str
) -> None:
    """The band of the draws' curves. weights: (repeats, n), None for one patient only."""
    if weights is None:
        return
    curves = []
    for weight in weights:
        if weight[positive].sum() and weight[~positive].sum():
            false_positive_rate, sensitivity, _ = roc_curve(positive, score, sample_weight=weight)
            curves.append(np.interp(BAND_RATES, false_positive_rate, sensitivity))
    low, high = np.quantile(curves, [0.025, 0.975], axis=0)
    name = "95 % of draws of patients"
    axes.fill_between(BAND_RATES, low, high, color=color, alpha=0.18, linewidth=0, label=name)


def draw_confusion(truth: Array, decisions: Array, classes: Sequence[str], path: Path) -> Path:
    """Counts of true (rows) and predicted (columns) classes; the shade is the share of the row."""
    table = confusion_table(truth, decisions, len(classes))
    share = table / np.maximum(table.sum(1, keepdims=True), 1)
    figure, axes = _canvas(1.8 + 0.95 * len(classes), 1.4 + 0.85 * len(classes))
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(*table.shape):
        color = "white" if share[row, column] > 0.5 else INK
        axes.text(column, row, str(table[row, column]), ha="center", va="center", color=color)
    names = [name.replace("_", " ") for name in classes]
    axes.set_xticks(range(len(classes)), names, rotation=20, ha="right")
    axes.set_yticks(range(len(classes)), names)
    axes.set(xlabel="answer", ylabel="truth")
    return _save(figure, path)


def draw_froc(
    curves: Mapping[str, tuple[Array, Array]], path: Path, xlabel: str, least: float = 0.0
) -> Path:
    """Sensitivity over false positives, as steps.

    curves: name -> (false positives, sensitivity), each (n,). least: where the axis begins.
    """
    figure, axes = _canvas(5.6, 4.4)
    for color, (name, curve) in zip(PALETTE, curves.items(), strict=False):
        false_positives, sensitivity = curve
        axes.step(false_positives, sensitivity, where="post", color=color, label=name)
    axes.set(xlabel=xlabel, ylabel="sensitivity", ylim=(0, 1.01))
    axes.set_xscale("symlog", linthresh=0.01)
    axes.set_xlim(left=least)
    axes.legend(loc="lower right", fontsize="small")
    _add_grid(axes)
    return _save(figure, path)


def draw_map(points: Array, columns: Mapping[str, Sequence[str]], path: Path, title: str) -> Path:
    """A t-SNE map in several copies, each coloured by one column.

    points: (n, 2). columns: heading -> (n,) values.
    """
    figure = Figure(figsize=(4.8 * len(columns), 4.8), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=10)
    for n, (heading, values) in enumerate(columns.items(), 1):
        axes = figure.add_subplot(1, len(columns), n)
        _draw_points(axes, points, np.asarray(values))
        axes.set_title(heading, fontsize=9)
        axes.set(xticks=[], yticks=[])
        axes.legend(fontsize="x-small", loc="best", markerscale=1.5)
    return _save(figure, path)


def _draw_points(axes: Axes, points: Array, values: Array) -> None:
    """One colour for each value, at most ten times the palette."""
    colors = itertools.chain.from_iterable(itertools.repeat(PALETTE, 10))
    for color, value in zip(colors, sorted(set(values.tolist())), strict=False):
        chosen = values == value
        name = f"{str(value).replace('_', ' ')} ({chosen.sum()})"
        x, y = points[chosen].T
        axes.scatter(x, y, s=9, color=color, alpha=0.7, linewidths=0, label=name)


def _canvas(width_in: float, height_in: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width_in, height_in), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def _add_grid(axes: Axes) -> None:
    axes.grid(color=GRID)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _save(figure: Figure, path: Path) -> Path:
    with atomic_write(path, ".png") as temporary:
        figure.savefig(temporary)
    return Path(path)
