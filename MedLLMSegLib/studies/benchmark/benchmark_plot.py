"""The page's picture: Dice of each arm, and how far F is from it, for each family of arms."""

from __future__ import annotations

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas

from MedLLMSegLib.core.safe_files import atomic_write

from .benchmark_results import BenchmarkResults
from .verdict import ArmKey, family, figure

FAMILIES = {
    "our network, all training cases": (
        [ArmKey("ours", a, 100) for a in "ACDFI"] + [ArmKey("dynunet", "J", 100)]
    ),
    "our network, a tenth of them": (
        [ArmKey("ours", a, 10) for a in "ACDFI"] + [ArmKey("dynunet", "J", 10)]
    ),
    "the paper's plain network, all": [ArmKey("paper", a, 100) for a in "ADF"],
}
LABELS = {
    "A": "A no block",
    "C": "C trainable MLP",
    "D": "D frozen random",
    "F": "F frozen pretrained",
    "I": "I F in training only",
    "J": "J DynUNet",
}
DOT, SEED, SOFT, LINE = "#1c1e21", "#c2511b", "#5d6470", "#b9bec6"


def draw(results: BenchmarkResults, path: Path) -> Path:
    """A PNG with a row for each family: left the arms' Dice, right F minus each arm; "not run"
    stands where nothing was.
    """
    heights = [len(keys) + 1 for keys in FAMILIES.values()]
    canvas = Canvas(figsize=(10, 0.36 * sum(heights) + 1.2), dpi=120, layout="constrained")
    FigureCanvasAgg(canvas)
    axes = canvas.subplots(len(FAMILIES), 2, gridspec_kw={"height_ratios": heights}, squeeze=False)
    for (left, right), (title, keys) in zip(axes, FAMILIES.items(), strict=True):
        _draw_dice(left, results, keys, title)
        _draw_differences(right, results, keys)
    canvas.supxlabel(
        "dot and line: mean and 95 % interval over heads, seeds averaged; small marks: each seed",
        fontsize=8.5,
        color=SOFT,
    )
    with atomic_write(path, ".png") as temporary:
        canvas.savefig(temporary)
    return path


def _draw_dice(axes, results: BenchmarkResults, keys: list[ArmKey], title: str) -> None:
    for row, key in enumerate(keys):
        found = figure(results, key)
        if found is None:
            _not_run(axes, row)
            continue
        axes.plot(
            list(found.seeds.values()),
            [row + 0.22] * len(found.seeds),
            "|",
            color=SEED,
            markersize=6,
        )
        axes.plot((found.low, found.high), (row, row), "-", color=DOT, linewidth=1.5)
        axes.plot(found.mean, row, "o", color=DOT, markersize=5)
    axes.set_yticks(range(len(keys)), [LABELS[key.arm] for key in keys])
    _dress(axes, len(keys), f"Dice: {title}")


def _draw_differences(axes, results: BenchmarkResults, keys: list[ArmKey]) -> None:
    f = next(key for key in keys if key.arm == "F")
    tests = family(results, [(f, key) for key in keys if key != f])
    axes.axvline(0, color=LINE, linewidth=1)
    for row, key in enumerate(keys):
        test = tests.get((f, key))
        if key == f:
            continue
        if test is None:
            _not_run(axes, row)
            continue
        axes.plot((test.low, test.high), (row, row), "-", color=DOT, linewidth=1.5)
        axes.plot(test.difference, row, "o", color=DOT, markersize=5)
    axes.set_yticks(range(len(keys)), ["" if key == f else f"F - {key.arm}" for key in keys])
    _dress(axes, len(keys), "F minus the arm (right of the line: F is better)")


def _not_run(axes, row: int) -> None:
    axes.text(
        0.5,
        row,
        "not run",
        transform=axes.get_yaxis_transform(),
        ha="center",
        va="center",
        fontsize=8.5,
        color=SOFT,
    )


def _dress(axes, rows: int, title: str) -> None:
    axes.set_title(title, fontsize=9.5, loc="left")
    axes.set_ylim(rows - 0.4, -0.6)
    axes.tick_params(labelsize=8.5, length=0)
    axes.grid(axis="x", color="#e3e5e8", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    if not axes.lines:
        axes.set_xticks([])
