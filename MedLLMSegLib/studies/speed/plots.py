"""The table's pictures: time and memory against the size of the scan, and ours beside the rest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas

from MedLLMSegLib.core.safe_files import atomic_write
from MedLLMSegLib.core.types import Json

from .measure import EXPONENT, WHY
from .row import OURS

GROWTH_PICTURE, RATIOS_PICTURE = "growth.png", "ratios.png"
COLOURS = ("#c2511b", "#1c6e8c", "#6a4c93", "#4d7c0f")
DOT, SOFT, LINE = "#1c1e21", "#5d6470", "#b9bec6"


def draw(results: Mapping[str, Json], folder: Path) -> list[Path]:
    """The pictures of what was measured, as PNG; returns their paths.

    results: a name such as "before" -> the results of `run_bench`.
    """
    paths = []
    if any(_growth_rows(each) for each in results.values()):
        paths.append(_saved(_growth(results), folder / GROWTH_PICTURE))
    if any(_ratios_of(each) for each in results.values()):
        paths.append(_saved(_ratios(results), folder / RATIOS_PICTURE))
    return paths


def _growth_rows(results: Json) -> dict[str, Json]:
    return {
        name: row
        for name, row in results["rows"].items()
        if WHY not in row and EXPONENT in row["ratios"]
    }


def _ratios_of(results: Json) -> dict[str, float]:
    """Ours over each of the others, by row and other."""
    return {
        f"{name}: {other}": ratio
        for name, row in results["rows"].items()
        if WHY not in row and OURS in row["contestants"]
        for other, ratio in row["ratios"].items()
    }


def _saved(canvas: Canvas, path: Path) -> Path:
    FigureCanvasAgg(canvas)
    with atomic_write(path, ".png") as temporary:
        canvas.savefig(temporary)
    return path


def _growth(results: Mapping[str, Json]) -> Canvas:
    """Processor time, and the peak of memory, over the voxels of the scan; both logarithmic."""
    canvas = Canvas(figsize=(10, 4.2), dpi=120, layout="constrained")
    left, right = canvas.subplots(1, 2)
    styles = dict(zip(results, ("-", "--", ":", "-."), strict=False))
    names = list(dict.fromkeys(name for each in results.values() for name in _growth_rows(each)))
    for run, each in results.items():
        for name, row in _growth_rows(each).items():
            exponent = row["ratios"][EXPONENT]
            label = f"{name.removeprefix('growth-')} {run} (exponent {exponent:.2f})"
            look = {"linestyle": styles[run], "color": COLOURS[names.index(name) % len(COLOURS)]}
            _line(left, row, "processor_s", label=label, **look)
            _line(right, row, "peak_mib", label=label, **look)
    _dress(left, "processor time, s")
    _dress(right, "peak memory of the process, MiB")
    left.legend(fontsize=8, frameon=False)
    return canvas


def _line(axes: Any, row: Json, figure: str, **look: str) -> None:
    points = [
        (each["voxels"], each[figure]) for each in row["contestants"].values() if figure in each
    ]
    if points:
        axes.plot(*zip(*points, strict=True), marker="o", markersize=4, linewidth=1.5, **look)


def _dress(axes: Any, title: str) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_title(title, fontsize=9.5, loc="left")
    axes.set_xlabel("voxels of the scan", fontsize=8.5, color=SOFT)
    axes.tick_params(labelsize=8.5)
    axes.grid(color="#e3e5e8", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _ratios(results: Mapping[str, Json]) -> Canvas:
    """Ours over each of the others, a line each; left of 1 ours is faster."""
    by_run = {run: _ratios_of(each) for run, each in results.items()}
    names = list(dict.fromkeys(name for found in by_run.values() for name in found))
    canvas = Canvas(figsize=(8, 0.3 * len(names) + 1.4), dpi=120, layout="constrained")
    axes = canvas.subplots()
    axes.axvline(1, color=LINE, linewidth=1)
    colours = [*COLOURS[: len(results) - 1], DOT] if len(results) > 1 else [DOT]
    for colour, (run, found) in zip(colours, by_run.items(), strict=False):
        rows = [names.index(name) for name in found]
        axes.plot(list(found.values()), rows, "o", color=colour, markersize=5, label=run)
    axes.set_xscale("log")
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_title(
        "processor time, ours over the other (left of the line: ours is faster)",
        fontsize=9.5,
        loc="left",
    )
    axes.tick_params(labelsize=8.5, length=0)
    axes.grid(axis="x", color="#e3e5e8", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    if len(results) > 1:
        axes.legend(fontsize=8, frameon=False)
    return canvas
