"""ROC and FROC curves, confusion matrices, learning curves and t-SNE maps as PNG files."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from sklearn.metrics import confusion_matrix, roc_curve

from MedLLMSegLib.core.safe_files import atomic_write
from MedLLMSegLib.metrics.classification import area_under_roc
from MedLLMSegLib.metrics.classification_intervals import bootstrap_weights

PALETTE = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#5d6470",
)  # Okabe and Ito
GRID, SOFT = "#e3e5e8", "#5d6470"
STEPS = np.linspace(0.0, 1.0, 101)  # false positive rates on which a band is drawn


def draw_roc(
    truth: np.ndarray,
    probabilities: np.ndarray,
    groups: Sequence[Hashable],
    classes: Sequence[str],
    path: Path,
    threshold: float | None = None,
    repeats: int = 500,
) -> Path:
    """The ROC curve with its pointwise 95 % band over patients; with more than two classes each
    against the rest, no band.

    truth: (n,). probabilities: (n, classes). threshold: marked on the curve of two classes.
    """
    figure, axes = _canvas(5.2, 4.8)
    axes.plot([0, 1], [0, 1], ":", color=SOFT, linewidth=1)
    for color, c in zip(PALETTE, range(1, 2) if len(classes) == 2 else range(len(classes))):
        positive, score = truth == c, probabilities[:, c]
        if not 0 < positive.sum() < len(positive):
            continue
        false, true, _ = roc_curve(positive, score)
        axes.plot(false, true, color=color, label=f"{classes[c]}, AUC {_auc(positive, score):.3f}")
        if len(classes) == 2:
            _band(axes, positive, score, groups, color, repeats)
            if threshold is not None:
                said = score >= threshold
                axes.plot(
                    said[~positive].mean(),
                    said[positive].mean(),
                    "o",
                    color="#1c1e21",
                    label=f"threshold {threshold:.3f}",
                )
    axes.set(xlabel="1 - specificity", ylabel="sensitivity", xlim=(0, 1), ylim=(0, 1.01))
    axes.legend(loc="lower right", fontsize="small")
    return _save(figure, axes, path)


def _auc(positive: np.ndarray, score: np.ndarray) -> float:
    return area_under_roc(positive.astype(int), np.stack([1 - score, score], 1))


def _band(axes, positive: np.ndarray, score: np.ndarray, groups, color: str, repeats: int) -> None:
    weights = bootstrap_weights(groups, repeats)
    if weights is None:
        return
    curves = []
    for weight in weights:
        if weight[positive].sum() and weight[~positive].sum():
            false, true, _ = roc_curve(positive, score, sample_weight=weight)
            curves.append(np.interp(STEPS, false, true))
    low, high = np.quantile(curves, [0.025, 0.975], axis=0)
    axes.fill_between(
        STEPS, low, high, color=color, alpha=0.18, linewidth=0, label="95 % of draws of patients"
    )


def draw_confusion(
    truth: np.ndarray, answer: np.ndarray, classes: Sequence[str], path: Path
) -> Path:
    """Counts of true (rows) and answered (columns) classes; the shade is the share of the row."""
    table = confusion_matrix(truth, answer, labels=range(len(classes)))
    share = table / np.maximum(table.sum(1, keepdims=True), 1)
    figure, axes = _canvas(1.8 + 0.95 * len(classes), 1.4 + 0.85 * len(classes))
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for row, col in np.ndindex(table.shape):
        axes.text(
            col,
            row,
            table[row, col],
            ha="center",
            va="center",
            color="white" if share[row, col] > 0.5 else "#1c1e21",
        )
    names = [c.replace("_", " ") for c in classes]
    axes.set_xticks(range(len(classes)), names, rotation=20, ha="right")
    axes.set_yticks(range(len(classes)), names)
    axes.set(xlabel="answer", ylabel="truth")
    return _save(figure, None, path)


def draw_froc(curves: Mapping[str, tuple[np.ndarray, np.ndarray]], path: Path, xlabel: str) -> Path:
    """Sensitivity over false positives. curves: name -> (false positives, sensitivity), drawn as
    steps.
    """
    figure, axes = _canvas(5.6, 4.4)
    for color, (name, (false, found)) in zip(PALETTE, curves.items()):
        axes.step(false, found, where="post", color=color, label=name)
    axes.set(xlabel=xlabel, ylabel="sensitivity", ylim=(0, 1.01))
    axes.set_xscale("symlog", linthresh=0.01)
    axes.set_xlim(left=0)
    axes.legend(loc="lower right", fontsize="small")
    return _save(figure, axes, path)


def draw_history(history: Sequence[Mapping], path: Path, title: str) -> Path:
    """Training loss (left) and val AUC (right) over epochs. history: rows with "epoch", "loss"
    and "val_auc".
    """
    figure, left = _canvas(7, 4)
    epochs = [row["epoch"] for row in history]
    left.plot(epochs, [row["loss"] for row in history], color=PALETTE[0], label="training loss")
    left.set(title=title, xlabel="epoch", ylabel="training loss (cross-entropy)")
    right = left.twinx()
    right.plot(
        epochs,
        [row["val_auc"] for row in history],
        color=PALETTE[1],
        marker="o",
        markersize=3,
        label="val AUC",
    )
    right.set(ylabel="AUC on val", ylim=(0, 1))
    handles = [h for axes in (left, right) for h in axes.get_legend_handles_labels()[0]]
    left.legend(handles=handles, loc="lower left", fontsize="small")
    return _save(figure, None, path)


def draw_map(
    points: np.ndarray, colourings: Mapping[str, Sequence[str]], path: Path, title: str
) -> Path:
    """A t-SNE map beside itself, coloured once for each column. points: (n, 2). colourings:
    heading -> (n,) values.
    """
    figure = Figure(figsize=(4.8 * len(colourings), 4.8), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=10)
    for n, (heading, values) in enumerate(colourings.items(), 1):
        axes = figure.add_subplot(1, len(colourings), n)
        values = np.asarray(values)
        for color, value in zip(PALETTE * 10, sorted(set(values.tolist()))):
            chosen = values == value
            axes.scatter(
                *points[chosen].T,
                s=9,
                color=color,
                alpha=0.7,
                linewidths=0,
                label=f"{str(value).replace('_', ' ')} ({chosen.sum()})",
            )
        axes.set_title(heading, fontsize=9)
        axes.set(xticks=[], yticks=[])
        axes.legend(fontsize="x-small", loc="best", markerscale=1.5)
    return _save(figure, None, path)


def _canvas(width: float, height: float):
    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def _save(figure: Figure, axes, path: Path) -> Path:
    if axes is not None:
        axes.grid(color=GRID)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    with atomic_write(path, ".png") as scratch:
        figure.savefig(scratch)
    return Path(path)
