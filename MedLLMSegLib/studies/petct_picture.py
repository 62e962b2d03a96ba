"""The picture of docs/petct.md: what the networks of `petct` outline on three patients."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from MedLLMSegLib.core.safe_files import make_folder
from MedLLMSegLib.core.types import Array, Json
from MedLLMSegLib.data import read_label_map
from MedLLMSegLib.training.checkpoint import BEST, fill_best
from MedLLMSegLib.training.segmenter.samples.prepared_cases import read_image

from .petct_page import OURS, PICTURE
from .study.runs import Run

if TYPE_CHECKING:
    from .petct import PetCt

COLOURS = {"both": "#e69f00", "pet": "#cc79a7", "ct": "#0072b2"}  # Okabe and Ito
WINDOWS = ((0, -150.0, 250.0, "gray"), (1, 0.0, 10.0, "gray_r"))


def outline_picture(petct: PetCt, runs: Json, docs: Path) -> None:
    """Draw the best, the middle and the worst patient, where the weights of a fold's three
    networks are still there. Needs matplotlib.
    """
    found = {
        case: (value, fold)
        for fold in range(petct.count)
        if all((petct.output / _run(arm, fold).name / BEST).exists() for arm in COLOURS)
        and (name := _run(OURS, fold).name) in runs
        for case, value in runs[name]["dice"].items()
    }
    if not found:
        return
    ranked = sorted(found, key=lambda case: found[case][0], reverse=True)
    chosen = [ranked[0], ranked[len(ranked) // 2], ranked[-1]]
    _draw(petct, [(case, found[case][1]) for case in chosen], docs / PICTURE)


def _run(arm: str, fold: int) -> Run:
    return Run(arm, 0, str(fold))


def _draw(petct: PetCt, patients: list[tuple[str, int]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.2 * len(patients)), layout="constrained")
    panels = figure.subplots(len(patients), len(WINDOWS), squeeze=False)
    for (case_id, fold), row in zip(patients, panels, strict=True):
        case = next(each for each in petct.case_set.cases if each.id == case_id)
        image = read_image(case, petct.case_set, petct.preparation.channels)
        truth = read_label_map(case, petct.case_set, image) > 0
        outlines = {arm: _outlined(petct, arm, fold, image) for arm in COLOURS}
        k = int(truth.sum(axis=(1, 2)).argmax())
        for panel, (channel, low, high, colours) in zip(row, WINDOWS, strict=True):
            panel.imshow(image.array[channel, k], cmap=colours, vmin=low, vmax=high)
            _outline(panel, truth[k], "#009e73", "dashed")
            for arm, mask in outlines.items():
                _outline(panel, mask[k], COLOURS[arm], "solid")
            panel.set_axis_off()
        scores = ", ".join(f"{arm} {_dice(mask, truth):.2f}" for arm, mask in outlines.items())
        row[0].set_title(f"{case_id}: {scores}", fontsize=7, loc="left")
    words = ", ".join(f"{arm} {_NAMES[arm]}" for arm in COLOURS)
    figure.suptitle(f"outlined from: {words}; dashed green: the reference", fontsize=8)
    make_folder(path.parent)
    figure.savefig(path, dpi=100)


_NAMES = {"both": "orange", "pet": "pink", "ct": "blue"}


def _outlined(petct: PetCt, arm: str, fold: int, image) -> Array:
    """bool [k, j, i] on the image's grid."""
    network = petct.new_network(arm, fold)
    fill_best(network, petct.output / _run(arm, fold).name)
    return petct.outlined(network.eval(), image, arm)


def _outline(panel, mask: Array, colour: str, style: str) -> None:
    if mask.any() and not mask.all():
        panel.contour(mask, [0.5], colors=[colour], linewidths=1, linestyles=style)


def _dice(one: Array, other: Array) -> float:
    return float(2 * (one & other).sum() / max(1, one.sum() + other.sum()))
