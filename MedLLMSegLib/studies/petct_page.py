"""docs/petct.md: the arms of `petct` beside each other, with the crops shifted and as they are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from MedLLMSegLib.core.safe_files import write_text
from MedLLMSegLib.core.types import Json
from MedLLMSegLib.metrics.group_statistics import summarize
from MedLLMSegLib.metrics.paired_tests import Comparison, paired_tests
from MedLLMSegLib.reporting.markdown import p_value

from .study.page import ArmRow, TableForm, arms_table, difference_text
from .study.settings import read_json

PAGE, RESULTS, PICTURE = "petct.md", "petct-results.json", "images/petct.png"
ARMS = {
    "both": "CT and PET",
    "pet": "PET alone",
    "ct": "CT alone",
    "ellipsoid": "an ellipsoid from the crop's size, blind to the image",
    "threshold": "41 % of the highest SUV of the crop",
}
OURS = "both"
PLAIN = ("ellipsoid", "threshold")
DIGITS = 3
# The folders that `data.sts_petct` is told to write, the one that answers first.
SECTIONS = {
    "sts-shifted": (
        "Crops shifted at random",
        "Each face of a crop was moved inwards by a random part of its distance to the tumour (all"
        " but 8 mm), so that the crop's size and middle say less of where the tumour lies.",
    ),
    "sts": (
        "Crops as they are",
        "Each crop ends 5 cm beside its tumour, which its size and middle give away: these figures"
        " say less of the images.",
    ),
}


def write_page(results: Path, docs: Path) -> Path:
    """Write the page of what is finished."""
    whole = read_json(results)
    parts = [
        "# What a PET adds to a CT",
        (
            "Soft-tissue sarcomas of 40 patients (TCIA Soft-tissue-Sarcoma, CC BY 3.0), outlined by"
            " one small network from the CT alone, the PET alone, and both as its two channels."
            " Folds over the patients: each is tested once, by a network that saw neither its image"
            " nor chose its weights by it. All arms have the same folds, steps, samples, optimiser"
            " and rate. The budget is short, on purpose: the figures compare inputs, and say"
            " nothing of what can be reached. **No model of this study ships.** Research use only;"
            " not a medical device."
        ),
        _answer(whole),
    ]
    for name in SECTIONS:
        parts += _section(name, whole[name]) if name in whole else []
    if (docs / PICTURE).exists():
        parts += [
            "## Pictures",
            f"![Outlines on CT and PET]({PICTURE})",
            (
                "Of the shifted crops: the patient whom the network of both images outlines best,"
                " the one in the middle and the worst, in the slice with most of the tumour. CT"
                " (-150 to 250 HU) and PET (0 to 10 SUV, dark is hot)."
            ),
        ]
    parts += ["## Made by", _commands()]
    write_text(docs / PAGE, "\n\n".join(parts) + "\n")
    return docs / PAGE


def _answer(whole: Mapping[str, Json]) -> str:
    study = whole.get("sts-shifted")
    tests = comparisons(study) if study else {}
    lines = []
    for arm, words in ARMS.items():
        if arm == OURS:
            continue
        test = tests.get(arm)
        if test is None:
            lines.append(f"- Both images against {words}: not run.")
            continue
        difference = difference_text(test.difference, test.low, test.high, DIGITS)
        lines.append(f"- Both images against {words}: {difference} Dice, {test.n} patients.")
    text = "With the crops shifted at random:\n\n" + "\n".join(lines)
    place = comparisons(whole["sts"]).get("ellipsoid") if "sts" in whole else None
    if place is None:
        return text
    difference = difference_text(place.difference, place.low, place.high, DIGITS)
    return (
        f"{text}\n\nWith the crops as they are, whose place gives the tumour away, both images"
        f" against the ellipsoid: {difference} Dice, {place.n} patients."
    )


def _section(name: str, study: Json) -> list[str]:
    title, words = SECTIONS[name]
    settings, tests = study["settings"], comparisons(study)
    form = TableForm(
        "mean Dice (95 %)",
        "each fold",
        DIGITS,
        further=("SD over patients", "patients", "s a training"),
        against="both minus it (95 %; ± excluded)",
    )
    rows = [_row(arm, study, tests.get(arm)) for arm in ARMS]
    train, test = (len(settings["folds"][0][part]) for part in ("train", "test"))
    window = " x ".join(map(str, settings["window"]))
    text = (
        f"{words} {len(settings['folds'])} folds, the first of {train} patients to train on and"
        f" {test} to test. {settings['steps']} steps of {settings['optimiser'].capitalize()}, batch"
        f" {settings['batch']}, rate {settings['lr']:g}, {settings['precision']}, window {window}"
        f" voxels of {settings['spacing_mm']:g} mm. Dice at the scans' own resolution, nothing"
        " cleaned up. Intervals: bootstrap over patients, paired for the differences; p: paired"
        " permutation over patients, Holm's correction over the four. Seconds are of one core"
        " beside other work."
    )
    return [f"## {title}", arms_table(form, rows), text]


def _row(arm: str, study: Json, test: Comparison | None) -> ArmRow:
    title, folds = f"`{arm}` {ARMS[arm]}", _finished(arm, study)
    if not folds:
        return ArmRow(title, "", against=("", "") if arm == OURS else None)
    values = list(_table(arm, study).values())
    over = summarize(values)
    seconds = [fold["training_seconds"] for fold in folds if "training_seconds" in fold]
    further = (
        f"{over['sd']:.2f}",
        str(len(values)),
        f"{np.mean(seconds):.0f}" if seconds else "-",
    )
    score = f"{over['mean']:.3f} ({over['low']:.3f} to {over['high']:.3f})"
    each = [float(np.mean(list(fold["dice"].values()))) for fold in folds]
    missing = len(study["settings"]["folds"]) - len(folds)
    return ArmRow(title, score, each, missing, further, _against(arm, test))


def _against(arm: str, test: Comparison | None) -> tuple[str, str] | None:
    if arm == OURS:
        return "", ""
    if test is None:
        return None
    difference = difference_text(test.difference, test.low, test.high, DIGITS)
    return difference, p_value(test.p_holm, error=test.p_holm_error)


def _finished(arm: str, study: Json) -> list[Json]:
    """The results of an arm's finished folds."""
    count, runs = len(study["settings"]["folds"]), study["runs"]
    return [runs[name] for fold in range(count) if (name := f"{arm}-{fold}-0") in runs]


def _table(arm: str, study: Json) -> dict[str, float]:
    """Patient -> Dice, of the folds that are finished."""
    return {case: value for fold in _finished(arm, study) for case, value in fold["dice"].items()}


def comparisons(study: Json) -> dict[str, Comparison]:
    """Arm -> `OURS` against it, over the patients that both have."""
    tables = {arm: table for arm in ARMS if (table := _table(arm, study))}
    pairs = [(OURS, arm) for arm in tables if arm != OURS]
    if OURS not in tables or not pairs:
        return {}
    arms = {
        arm: [{case: {"dice_tumour": value} for case, value in table.items()}]
        for arm, table in tables.items()
    }
    groups = {case: case for table in tables.values() for case in table}
    tests = paired_tests(arms, groups, pairs=pairs)
    return {other: test for (_, other), test in zip(pairs, tests, strict=True)}


def _commands() -> str:
    convert = "python -m MedLLMSegLib.data.sts_petct --data ../shared/data/sts_petct --output runs"
    study = "python -m MedLLMSegLib.studies.petct --output runs/petct --threads 1 --data runs"
    return "\n".join(
        (
            f"    {convert}/sts",
            f"    {convert}/sts-shifted --shift",
            f"    {study}/sts-shifted",
            f"    {study}/sts",
        )
    )
