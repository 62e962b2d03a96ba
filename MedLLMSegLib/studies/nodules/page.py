"""docs/nodules.md, made from the stored results alone."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np

from MedLLMSegLib.core.safe_files import write_text
from MedLLMSegLib.core.types import Json
from MedLLMSegLib.reporting.markdown import table
from MedLLMSegLib.studies.study.page import mean_text
from MedLLMSegLib.studies.study.settings import read_json

from .operating_points import (
    POINTS,
    SCANS,
    Answers,
    answers_of,
    false_a_copy,
    found_at,
    mean_found,
)
from .page_texts import EARLIER, FALSE_POSITIVES, INTRODUCTION, LIMITS, METHOD, RECIPE
from .pictures import CURVES, REAL
from .shapes import BINS_MM

PAGE, RESULTS = "nodules.md", "nodules-results.json"
ARMS = {"network": "the network", "blobs": "blobs in the lung (trivial)"}
# Dice of the network's outline and of the threshold's, patient of the shape, size
DiceRow = tuple[float, float, str, int]
SHOWN = 1.0  # false positives a scan at which recall is given by size and scan


def write_page(results: Path, docs: Path) -> Path:
    """Write the page of what is finished."""
    whole = read_json(results)
    answers = arms_answers(whole)
    parts = [INTRODUCTION]
    if len(answers) == len(ARMS):
        parts += [
            _answer(answers),
            "## Inserted nodules",
            _froc_table(answers),
        ]
        if (docs / CURVES).exists():
            parts.append(f"![Recall over false positives]({CURVES})")
        parts += [_sizes(answers), _scans(whole), _outlines(answers)]
    parts += ["## The two real nodules", *_real(whole, docs)]
    parts += ["## How", METHOD, _settings(whole), _measured(whole)]
    parts += [LIMITS, RECIPE, "## Made by", *_made_by(whole.get("command", ""))]
    write_text(docs / PAGE, "\n\n".join(part for part in parts if part) + "\n")
    return docs / PAGE


def _made_by(command: str) -> list[str]:
    return [f"    {command}", EARLIER] if "--weights" in command else [f"    {command}"]


def arms_answers(whole: Json) -> dict[str, Answers]:
    """Arm -> what it answered, of the arms whose folds are all finished."""
    folds, found = whole["settings"]["folds"], {}
    for arm in ARMS:
        runs = [whole["runs"].get(f"{arm}-{fold}-0") for fold in folds]
        if all(runs):
            found[arm] = answers_of([run for run in runs if run])
    return found


def _answer(answers: Mapping[str, Answers]) -> str:
    network, blobs = (mean_found(answers[arm]) for arm in ARMS)
    gain, groups = network - blobs, answers["network"].groups
    both = _both_outlined(answers)
    count, own, threshold, better = _dice_cells(both)
    return (
        f"- **Found**: mean recall at 1/4 to 8 false positives a scan: the network"
        f" {mean_text(network, 3, groups)}, the blob detector {mean_text(blobs, 3, groups)};"
        f" difference {mean_text(gain, 3, groups, has_sign=True)}; {len(gain)} inserted nodules in"
        f" {len(answers['network'].in_copies)} copies of {SCANS} scans.\n"
        f"- **Outlined**: mean Dice of the {count} nodules that both hit: the network {own}, a"
        f" plain threshold {threshold}; difference {better}.\n"
        "- Intervals: 95 %, bootstrap over the patients of the inserted shapes. The scans are four,"
        " so that nothing is known of how this varies from scan to scan."
    )


def _rate(rate: float) -> str:
    return f"{rate:g}" if rate >= 1 else f"1/{1 / rate:g}"


def _froc_table(answers: Mapping[str, Answers]) -> str:
    rows = []
    for rate in POINTS:
        row = [_rate(rate)]
        for each in answers.values():
            row += [mean_text(found_at(each, rate), 3, each.groups)]
            row += [f"{false_a_copy(each, rate):.1f}"]
        rows.append(row)
    means = [(mean_text(mean_found(e), 3, e.groups), "-") for e in answers.values()]
    rows.append(["mean", *(cell for pair in means for cell in pair)])
    names = [(f"recall, {ARMS[arm]} (95 %)", "false a copy") for arm in answers]
    head = ["false positives a scan", *(cell for pair in names for cell in pair)]
    return f"{table(head, rows)}\n\n{FALSE_POSITIVES}"


def _sizes(answers: Mapping[str, Answers]) -> str:
    rows = []
    for size, (low, high) in enumerate(pairwise(BINS_MM)):
        cells = []
        for each in answers.values():
            mine = np.array([row["size"] == size for row in each.nodules])
            groups = [g for g, own in zip(each.groups, mine, strict=True) if own]
            cells.append(mean_text(found_at(each, SHOWN)[mine], 2, groups))
        rows.append([f"{low:g} to {high:g} mm", str(int(mine.sum())), *cells])
    head = ["diameter", "inserted", *(f"{ARMS[arm]} (95 %)" for arm in answers)]
    return f"Recall at {SHOWN:g} false positive a scan, by diameter:\n\n" + table(head, rows)


def _scans(whole: Json) -> str:
    rows: list[list[str]] = []
    answers = arms_answers(whole)
    at = 0
    for name, scan in _tested(whole, "network"):
        count = len(scan["nodules"])
        cells = [f"{found_at(e, SHOWN)[at : at + count].mean():.2f}" for e in answers.values()]
        spacing = whole["measured"]["scans"][name]["spacing_mm"][0] if "measured" in whole else 0
        rows.append([name, f"{spacing:g} mm", str(count), *cells])
        at += count
    head = ["scan", "slices", "inserted", *(ARMS[arm] for arm in answers)]
    return f"The same by scan; each was tested by what never saw it:\n\n{table(head, rows)}"


def _tested(whole: Json, arm: str) -> list[tuple[str, Json]]:
    """(scan, result) in the order of `arms_answers`."""
    return [
        (name, scan)
        for fold in whole["settings"]["folds"]
        for name, scan in whole["runs"][f"{arm}-{fold}-0"]["scans"].items()
    ]


def _both_outlined(answers: Mapping[str, Answers]) -> list[DiceRow]:
    """Of the nodules that a candidate of both arms hits."""
    network, blobs = (answers[arm].nodules for arm in ARMS)
    return [
        (one["dice"], other["dice"], one["patient"], one["size"])
        for one, other in zip(network, blobs, strict=True)
        if one["dice"] is not None and other["dice"] is not None
    ]


def _outlines(answers: Mapping[str, Answers]) -> str:
    both, rows = _both_outlined(answers), []
    for size, (low, high) in enumerate(pairwise(BINS_MM)):
        mine = [row for row in both if row[3] == size]
        rows.append([f"{low:g} to {high:g} mm", *_dice_cells(mine)])
    rows.append(["all", *_dice_cells(both)])
    head = ["diameter", "hit by both", "the network", "threshold at -400 HU", "difference (95 %)"]
    return (
        "Dice of the outline with the inserted shape, at the scan's own voxels, of the nodules that"
        " a candidate of both hits, whatever its score:\n\n" + table(head, rows)
    )


def _dice_cells(rows: list[DiceRow]) -> list[str]:
    if not rows:
        return ["0", "-", "-", "-"]
    one, other = (np.array([row[n] for row in rows]) for n in (0, 1))
    groups, gain = [row[2] for row in rows], one - other
    texts = [mean_text(one, 3, groups), mean_text(other, 3, groups)]
    return [str(len(rows)), *texts, mean_text(gain, 3, groups, has_sign=True)]


def _real(whole: Json, docs: Path) -> list[str]:
    crops, rows = whole.get("real_crops", {}), []
    for arm, words in ARMS.items():
        for name, scan in _finished_scans(whole, arm):
            real = scan["real"]
            if real is None:
                continue
            if not real["found"]:
                rows.append([name, words, "no", "-", "-"])
                continue
            native = crops.get(name, {}).get("dice", {}).get(arm)
            surer = real["surer"]
            rows.append(
                [
                    name,
                    words,
                    f"yes, {surer} surer false positive{'s' * (surer != 1)}",
                    f"{real['dice']:.2f}",
                    "-" if native is None else f"{native:.2f}",
                ]
            )
    head = ["nodule", "by", "found", "Dice at 2 mm", "Dice at native voxels"]
    parts = [table(head, sorted(rows)), _readers(crops)]
    if (docs / REAL).exists():
        parts += [
            f"![The two real nodules]({REAL})",
            (
                "Each in its widest slice at native voxels, -1000 to 300 HU. Scans and readers'"
                " outlines: Armato et al., LIDC-IDRI, The Cancer Imaging Archive, CC BY 3.0."
            ),
        ]
    return parts


def _finished_scans(whole: Json, arm: str) -> list[tuple[str, Json]]:
    return [
        pair
        for fold in whole["settings"]["folds"]
        if f"{arm}-{fold}-0" in whole["runs"]
        for pair in whole["runs"][f"{arm}-{fold}-0"]["scans"].items()
    ]


def _readers(crops: Json) -> str:
    texts = [
        f"{name}: {min(crop['between_readers']):.2f} to {max(crop['between_readers']):.2f}; what"
        f" they agree on, brought to 2 mm and back: {crop['dice']['readers at 2 mm']:.2f}"
        for name, crop in crops.items()
    ]
    if not texts:
        return ""
    return (
        "Dice is with what two or more of four readers outlined. Between two readers it is "
        + "; ".join(texts)
        + ". The outlines are made at 2 mm, and carried over to the crops' native voxels linearly."
        " Two nodules prove nothing but that it can be done."
    )


def _settings(whole: Json) -> str:
    settings, runs = whole["settings"], whole["runs"]
    done = [runs[f"network-{fold}-0"] for fold in settings["folds"] if f"network-{fold}-0" in runs]
    if not done:
        return ""
    learnt = "; ".join(f"fold {fold}: {' and '.join(s)}" for fold, s in settings["folds"].items())
    val = ", ".join(f"{run['val_dice']:.2f}" for run in done)
    minutes = ", ".join(f"{run['training_seconds'] / 60:.0f}" for run in done)
    shapes = whole.get("measured", {}).get("shapes", {})
    parts = "; ".join(
        f"{part} {count['nodules']} of {count['patients']} patients"
        for part, count in shapes.items()
    )
    return (
        f"Learnt in {learnt}; tested in the other fold's. Shapes: {parts}."
        f" {done[0]['parameters']:,} weights, {settings['steps']} steps of"
        f" {settings['optimiser'].capitalize()}, batch {settings['batch']}, rate"
        f" {settings['lr']:g}, {settings['precision']}; {minutes} minutes of one core of an AMD"
        f" processor (AVX2) beside other work. Dice on windows with val shapes: {val}."
        f" {_tested_with(settings)}"
        f" {settings['copies']} copies of each tested scan, with {settings['each']} nodules of each"
        " of four sizes."
    )


def _tested_with(settings: Json) -> str:
    """Results that state no step are those of an older test."""
    if "window_step" in settings:
        return f"Windows {settings['window_step']} voxels apart when tested;"
    return "Tested with windows 24 voxels apart, and false positives left out within 11 mm, not 8;"


def _measured(whole: Json) -> str:
    scans = whole.get("measured", {}).get("scans", {})
    rows = []
    for name, scan in scans.items():
        density, (k, j, i) = scan["density"], scan["spacing_mm"]
        rows.append(
            [
                name,
                f"{k:g} x {j:g} x {i:g}",
                f"{scan['lungs_l']:.1f}",
                f"{scan['blur_mm']:.2f}",
                *(
                    [
                        f"{density['hu']:.0f}",
                        f"{density['sd_hu']:.0f}",
                        f"{density['texture_mm']:.1f}",
                    ]
                    if density
                    else ["-"] * 3
                ),
            ]
        )
    head = ["scan", "voxel, mm", "lungs, l", "blur, mm", "core, HU", "SD, HU", "texture, mm"]
    return "Measured in the scans:\n\n" + table(head, rows) if rows else ""
