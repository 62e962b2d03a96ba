"""The pictures of docs/nodules.md: the FROC curves, and the two real nodules."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from MedLLMSegLib.core.safe_files import make_folder
from MedLLMSegLib.core.types import Array
from MedLLMSegLib.reporting.classification_plots import draw_froc

from .operating_points import POINTS, Answers, curve_of
from .real_nodules import RealNodule
from .shapes import READERS

CURVES, REAL = "images/nodules-froc.png", "images/nodules-real.png"
COLOURS = {"network": "#e69f00", "blobs": "#56b4e9"}  # Okabe and Ito
WINDOW_HU = (-1000.0, 300.0)


def draw_curves(answers: Mapping[str, Answers], docs: Path) -> None:
    """Recall over false positives a scan, of each arm: the steps that the page's table reads."""
    make_folder((docs / CURVES).parent)
    curves = {arm: curve_of(each) for arm, each in answers.items()}
    draw_froc(
        {arm: (curve.false_positives, curve.sensitivity) for arm, curve in curves.items()},
        docs / CURVES,
        "false positives a scan",
        least=POINTS[0],
    )


def draw_real(nodules: list[RealNodule], docs: Path) -> None:
    """Each real nodule in its widest slice, without outlines and with them. Needs matplotlib."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6, 2.9 * len(nodules)), layout="constrained")
    panels = figure.subplots(len(nodules), 2, squeeze=False)
    for nodule, row in zip(nodules, panels, strict=True):
        agreed = nodule.readers >= READERS
        k = int(agreed.sum(axis=(1, 2)).argmax())
        for panel in row:
            low, high = WINDOW_HU
            panel.imshow(nodule.crop.array[k], cmap="gray", vmin=low, vmax=high)
            panel.set_axis_off()
        _outline(row[1], agreed[k], "#009e73", "dashed")
        for who, colour in COLOURS.items():
            if who in nodule.outlines:
                _outline(row[1], nodule.outlines[who][k], colour, "solid")
        row[0].set_title(nodule.name, fontsize=8, loc="left")
    figure.suptitle("dashed green: readers; orange: network; blue: blobs", fontsize=8)
    make_folder((docs / REAL).parent)
    figure.savefig(docs / REAL, dpi=80)


def _outline(panel, mask: Array, colour: str, style: str) -> None:
    if mask.any() and not mask.all():
        panel.contour(mask, [0.5], colors=[colour], linewidths=1, linestyles=style)
