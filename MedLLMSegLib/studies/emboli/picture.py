"""The picture of docs/emboli.md: what the first CNN-LSTM calls, and the FROC of all arms."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from MedLLMSegLib.core.safe_files import make_folder
from MedLLMSegLib.core.types import Array
from MedLLMSegLib.studies.study.results import StudyResults
from MedLLMSegLib.studies.study.runs import Run
from MedLLMSegLib.training.checkpoint import BEST

from .detect import Calls, find_calls
from .figures import POINTS, mean_curve, runs_of
from .scans import TouchedScan
from .study_names import ARMS, OURS, PICTURE, SIDES

if TYPE_CHECKING:
    from .study import Emboli

WIDE_VOX = 15  # on each side of the middle
ORANGE, GREEN = "#e69f00", "#009e73"  # Okabe and Ito
COLOURS = dict(zip(ARMS, ("#e69f00", "#999999", "#0072b2", "#56b4e9"), strict=True))
CURVE = [float(point) for point in np.geomspace(min(POINTS), max(POINTS), 29)]


def draw_picture(emboli: Emboli, results: StudyResults, docs: Path) -> None:
    """Draw it where the weights of the first run are still there. Needs matplotlib."""
    run = Run(OURS, emboli.seeds[0], SIDES[0])
    folder = emboli.output / run.name
    if run.name not in results.runs or not (folder / BEST).exists():
        return
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.4), layout="constrained")
    halves = figure.subfigures(1, 2, squeeze=False, width_ratios=(3, 2))[0]
    _draw_scans(halves[0].subplots(3, 4), emboli, run, results.runs[run.name]["threshold"])
    _draw_curves(halves[1].subplots(), results)
    make_folder((docs / PICTURE).parent)
    figure.savefig(docs / PICTURE, dpi=100)


def _draw_scans(panels: Array, emboli: Emboli, run: Run, threshold: float) -> None:
    zone = emboli.parts(run.data).test
    scorer = emboli.scorer(run, emboli.output / run.name)
    silent = find_calls(emboli.untouched, zone, scorer)
    scans = emboli.touched(run.data, "test")
    calls = [find_calls(scan, zone, scorer) for scan in scans]
    all_clots = [
        (clot.ml, scan, own, clot.voxels[len(clot.voxels) // 2], _best(own, number) > threshold)
        for scan, own in zip(scans, calls, strict=True)
        for number, clot in enumerate(scan.clots, 1)
    ]
    all_clots.sort(key=lambda each: each[0], reverse=True)
    is_found = [each for each in all_clots if each[-1]]
    missed = [each for each in all_clots if not each[-1]]
    for panel, (ml, scan, own, middle, _) in zip(panels[0], _ends(is_found), strict=False):
        _panel(panel, scan, own, middle, threshold, f"{ml:.2f} ml")
    for panel, (ml, scan, own, middle, _) in zip(panels[1], missed[:4], strict=False):
        _panel(panel, scan, own, middle, threshold, f"missed, {ml:.2f} ml")
    for panel, place, score in zip(panels[2], silent.places, silent.scores, strict=False):
        _panel(panel, emboli.untouched, silent, place, threshold, f"untouched, {score:.1f}")
    for panel in panels.ravel():
        panel.set_axis_off()


def _best(calls: Calls, clot: int) -> float:
    own = calls.scores[calls.clots == clot]
    return float(own.max()) if len(own) else -np.inf


def _ends(found: list[Any]) -> list[Any]:
    return found if len(found) < 5 else [*found[:2], *found[-2:]]


def _panel(
    panel: Any, scan: TouchedScan, calls: Calls, middle: Array, threshold: float, title: str
) -> None:
    """One slice around a place, front up and the patient's right to the left, as readers see it."""
    k, j, i = (int(n) for n in middle)
    contrast = scan.patient.contrast
    top = contrast.artery_hu + 2 * contrast.artery_sd
    panel.imshow(scan.hu[k], cmap="gray", vmin=0, vmax=top, interpolation="nearest")
    mask = np.zeros(scan.hu.shape[1:], bool)
    for clot in scan.clots:
        own = clot.voxels[clot.voxels[:, 0] == k]
        mask[tuple(own[:, 1:].T)] = True
    if mask.any():
        panel.contour(mask, [0.5], colors=GREEN, linewidths=0.8, linestyles="dashed")
    for place, score in zip(calls.places, calls.scores, strict=True):
        if score > threshold and abs(int(place[0]) - k) <= 3:
            panel.plot(place[2], place[1], "o", ms=12, mfc="none", mec=ORANGE, mew=1)
    panel.set_xlim(i + WIDE_VOX, i - WIDE_VOX)
    panel.set_ylim(j - WIDE_VOX, j + WIDE_VOX)
    panel.set_title(title, fontsize=7)


def _draw_curves(panel: Any, results: StudyResults) -> None:
    study = {"settings": results.get("settings"), "runs": results.runs}
    for arm in ARMS:
        if runs_of(arm, study):
            panel.plot(CURVE, mean_curve(arm, study, CURVE), color=COLOURS[arm], label=arm)
    panel.set_xscale("log", base=2)
    panel.set_xlim(CURVE[0], CURVE[-1])
    panel.set_ylim(0, 1)
    panel.set_xlabel("false calls a scan (one side)", fontsize=8)
    panel.set_ylabel("share of inserted defects called", fontsize=8)
    panel.tick_params(labelsize=7)
    panel.legend(fontsize=7)
