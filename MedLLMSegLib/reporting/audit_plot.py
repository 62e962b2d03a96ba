"""The rates of a classifier's groups as dots with their intervals, a panel for each rate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from MedLLMSegLib.core.safe_files import atomic_write

INK, SOFT, MARKED = "#1c1e21", "#5d6470", "#d55e00"


class Rate(Protocol):
    """What is drawn of a group's rate. value: with `value`, `low` and `high`, NaN without."""

    @property
    def attribute(self) -> str: ...

    @property
    def group(self) -> str: ...

    @property
    def rate(self) -> str: ...

    @property
    def n(self) -> int: ...

    @property
    def value(self) -> Any: ...

    @property
    def differs(self) -> bool: ...


def draw_audit(rates: Sequence[Rate], path: Path, title: str) -> Path:
    """Write a PNG. A group that differs from all others is drawn in orange."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(row.rate for row in rates))
    groups = list(dict.fromkeys((row.attribute, row.group) for row in rates))
    figure = Figure(figsize=(2.4 * len(names) + 2, 0.34 * len(groups) + 1.4), dpi=110)
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    for axes, name in zip(panels, names, strict=True):
        for row in (each for each in rates if each.rate == name):
            height = groups.index((row.attribute, row.group))
            color = MARKED if row.differs else INK
            axes.plot([row.value.low, row.value.high], [height, height], color=color, linewidth=1)
            axes.plot(row.value.value, height, "o", color=color, markersize=5)
            axes.annotate(
                f"n {row.n}",
                (1.02, height),
                color=SOFT,
                fontsize=7,
                va="center",
                annotation_clip=False,
            )
        axes.set(title=name, xlim=(-0.02, 1.02))
        axes.grid(True, axis="x", color="#e3e5e8")
        axes.title.set_fontsize(9)
    panels[0].set_yticks(range(len(groups)), [" ".join(group) for group in groups], fontsize=8)
    panels[0].invert_yaxis()
    figure.suptitle(title, fontsize=9)
    figure.tight_layout()
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png")
    return path
