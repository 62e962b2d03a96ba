"""docs/emboli.md, from the stored results alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from MedLLMSegLib.core.safe_files import write_text
from MedLLMSegLib.core.types import Json
from MedLLMSegLib.reporting.markdown import signed, table
from MedLLMSegLib.studies.study.page import NOT_RUN
from MedLLMSegLib.studies.study.settings import read_json

from .figures import (
    POINTS,
    Estimate,
    estimate,
    false_calls,
    kinds,
    lesion_values,
    runs_of,
    silent_calls,
)
from .page_texts import CREDIT, PICTURE_WORDS, earlier, limits, method
from .study_names import ARMS, BASELINE, OURS, PAGE, PICTURE, READS


def write_page(results: Path, docs: Path) -> Path:
    """Write the page of what is finished."""
    study = read_json(results)
    parts = [
        "# Pulmonary emboli: a method, on inserted filling defects",
        (
            "**Nobody's emboli were seen by this.** It is a method, tried on filling defects that"
            " were inserted into one contrast CT of one person. Nothing here says how well it finds"
            " emboli in patients. **It does not ship.** Research use only; not a medical device."
        ),
        *_answer(study),
        "## At the chosen threshold",
        _threshold_table(study),
        _threshold_words(study),
        "## At other thresholds (FROC)",
        _froc_table(study),
        _FROC_WORDS,
    ]
    if (docs / PICTURE).exists():
        parts += [f"![Inserted defects, calls and the FROC]({PICTURE})", PICTURE_WORDS, CREDIT]
    parts += ["## Contrast", *_contrast(study), "## How", method(study)]
    parts += ["## Limits", limits(study)]
    parts += ["## Made by", f"    {study['command']}" if "command" in study else NOT_RUN]
    write_text(docs / PAGE, "\n\n".join(parts) + "\n")
    return docs / PAGE


_FROC_WORDS = (
    "The share of inserted defects that are called, where that many false calls a scan (one side of"
    " it) are allowed. Means over seeds and sides; intervals as above. All copies of the scan share"
    " one background, so that a false call in it comes back in each copy: nothing below 1 false"
    " call a scan can be told apart here, and even the false calls from 1 on are those of one"
    " person's background."
)


def _answer(study: Json) -> list[str]:
    values = lesion_values(OURS, study)
    if not len(values):
        return []
    silent = [silent_calls(run) for pair in runs_of(OURS, study) for run in pair]
    lines = [
        f"- The CNN-LSTM calls {_text(estimate(values))} of {len(values)} inserted defects in the"
        " part of the scan that it did not train on, at the threshold chosen elsewhere; in that"
        f" part untouched it makes {_list(silent)} calls (each training), and none would be right.",
    ]
    if any(silent):
        lines.append("- The aim of no call in the untouched part is missed.")
    for arm in ARMS:
        others = lesion_values(arm, study)
        if arm != OURS and len(others):
            at_one = lesion_values(OURS, study, 1.0) - lesion_values(arm, study, 1.0)
            lines.append(
                f"- At one false call a scan it calls a share that differs by"
                f" {_difference(estimate(at_one))} from that of `{arm}` ({ARMS[arm]})."
            )
    controls = [arm for arm in READS if arm != OURS and len(lesion_values(arm, study))]
    ours = lesion_values(OURS, study, 1.0)
    gains = [estimate(ours - lesion_values(arm, study, 1.0)).low for arm in controls]
    if gains and max(gains) <= 0:
        lines.append("- Nothing here shows that the LSTM, or the slices beside the middle, help.")
    return ["\n".join(lines)]


def _threshold_table(study: Json) -> str:
    head = ["arm", "called (95 %)", *(f"{kind}" for kind in ("central", "segmental"))]
    head += [
        "calls in the untouched part, each training",
        "false calls a scan",
        "val AUC",
        "s a training",
    ]
    rows = []
    of_kind = kinds(study)
    for arm, words in ARMS.items():
        values = lesion_values(arm, study)
        name = f"`{arm}` {words}"
        if not len(values):
            rows.append([name, *[NOT_RUN] * (len(head) - 1)])
            continue
        runs = [run for pair in runs_of(arm, study) for run in pair]
        rows.append(
            [
                name,
                _text(estimate(values)),
                *(_text(estimate(values[of_kind == kind])) for kind in ("central", "segmental")),
                _list([silent_calls(run) for run in runs]),
                f"{np.mean([false_calls(run) for run in runs]):.2f}",
                "-" if arm == BASELINE else f"{np.mean([run['val_auc'] for run in runs]):.3f}",
                "-"
                if arm == BASELINE
                else f"{np.mean([run['training_seconds'] for run in runs]):.0f}",
            ]
        )
    return table(head, rows)


def _threshold_words(study: Json) -> str:
    seeds = len(study["settings"]["seeds"])
    of_kind = kinds(study)
    counts = ", ".join(f"{(of_kind == kind).sum()} {kind}" for kind in ("central", "segmental"))
    trainings = f"one training{'' if seeds == 1 else f' with each of {seeds} seeds'}"
    luck = (
        " With one seed, the luck of a training's first weights is in no interval: a difference"
        " between two networks may be that."
    )
    return (
        f"Each side of the chest was tested by networks that trained on the other ({trainings})."
        f" Inserted: {counts}. The threshold is the highest score in the untouched"
        " part that does not test, so that nothing is called there. Intervals: bootstrap over the"
        " inserted defects, each with the share of the seeds that call it; see the limits for what"
        f" they leave out.{_seconds_words(study)}{luck if seeds == 1 else ''}\n\n"
        f"{_chosen_words(study)}"
    )


def _seconds_words(study: Json) -> str:
    machine = earlier(study).get("machine")
    return f" Seconds are of {machine}." if machine else ""


def _chosen_words(study: Json) -> str:
    """What it means for the threshold that its part trained the network, too."""
    runs = [run for arm in READS for pair in runs_of(arm, study) for run in pair]
    higher = sum(run["threshold"] > run["threshold_of_val"] for run in runs)
    words = (
        "Most of the part that the threshold comes from trained the network, as places without a"
        " defect, so that scores may be lower there than in tissue that it has not seen. A slab of"
        " it trained nothing, and only chose the weights."
    )
    if not runs:
        return words
    if not higher:
        return (
            f"{words} In each of the {len(runs)} trainings the highest score lies in that slab: the"
            " slab alone gives the same thresholds."
        )
    return (
        f"{words} In {higher} of the {len(runs)} trainings the highest score lies in what trained,"
        " and the slab alone gives a lower threshold."
    )


def _froc_table(study: Json) -> str:
    rows = []
    for arm in ARMS:
        cells = [
            _text(estimate(values)) if len(values := lesion_values(arm, study, point)) else NOT_RUN
            for point in POINTS
        ]
        rows.append([f"`{arm}`", *cells])
    return table(["arm", *(f"{point:g} false a scan" for point in POINTS)], rows)


def _contrast(study: Json) -> list[str]:
    scan = study["scan"]
    other = "" if scan["other_hu"] is None else f", heart and aorta {scan['other_hu']} HU"
    parts = [
        f"In its label the pulmonary artery of the scan has {scan['artery_hu']} HU (SD"
        f" {scan['artery_sd']}{other}). "
        + (" ".join(scan["warnings"]) or "That is a phase in which emboli can be seen.")
    ]
    if rows := study.get("contrast"):
        parts += [
            table(
                ["scan", "blood, HU", "answer"], [[r["scan"], r["hu"], r["answer"]] for r in rows]
            ),
            (
                "Here the blood is estimated between the lungs, without a label of the artery. A CT"
                " below 100 HU is refused, and below 200 HU a warning is given. Above that there is"
                " contrast medium, which may be in the heart and aorta alone. Only with `--artery`,"
                " a label of the artery, is a CT accepted, or an artery warned of that is not"
                " brighter than the other blood."
            ),
        ]
    return parts


def _text(value: Estimate) -> str:
    if not np.isfinite(value.low):
        return f"{value.value:.2f}"
    return f"{value.value:.2f} ({value.low:.2f} to {value.high:.2f})"


def _difference(value: Estimate) -> str:
    return f"{signed(value.value, 2)} ({signed(value.low, 2)} to {signed(value.high, 2)})"


def _list(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))
