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
        (
            "The share of inserted defects that are called, where that many false calls a scan (one"
            " side of it) are allowed. Means over seeds and sides; intervals as above."
        ),
    ]
    if (docs / PICTURE).exists():
        parts += [f"![Inserted defects, calls and the FROC]({PICTURE})", _PICTURE_WORDS]
    parts += ["## Contrast", *_contrast(study), "## How", _method(study), "## Limits", _LIMITS]
    parts += ["## Made by", f"    {study['command']}" if "command" in study else NOT_RUN]
    write_text(docs / PAGE, "\n\n".join(parts) + "\n")
    return docs / PAGE


_PICTURE_WORDS = (
    "In the part that tests, 45 mm wide, in the vessel window: green, dashed: the inserted defects;"
    " orange circles: calls of the first `cnn-lstm`, above its threshold. Top: the two largest and"
    " two smallest that it finds; middle: the four largest that it misses; bottom: the untouched"
    " scan at its four highest scores, called only where circled. Right: the FROC of each arm."
)

_LIMITS = "\n".join(
    (
        "- One scan of one person: its intervals are over inserted defects, not over patients. They"
        " say how well the figures are known for this scan alone, and cannot say what another"
        " person, scanner or contrast phase would give.",
        "- Inserted defects are simpler than emboli: no dilated or shrunken vessels, no webs, no"
        " infarcts, no motion, no flow artefacts. A real reader's false calls (lymph nodes, veins,"
        " mucus) have their part only as far as this scan holds them.",
        "- Voxels of 1.5 mm: subsegmental arteries are not seen, and none has a defect.",
        "- The artery's label comes from a model, made on the scan before anything was inserted; an"
        " embolus may spoil such a label. Arteries and veins in the lungs are told apart only by"
        " which is nearer to the label or to the heart within contrast-filled voxels.",
        "- The candidates around the trunk reach into the tissue beside it. The `cnn-lstm` that"
        " trained on the right side calls places there, between the aorta and the trunk, in the"
        " untouched left side: it has not learnt what a vessel's wall is.",
        "- Both sides of one chest are alike in noise, contrast and build: a test on the other side"
        " is easier than one on another person.",
    )
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
        " they leave out. Seconds are of one core of an AMD EPYC (AVX2), fp32, that six processes"
        f" shared.{luck if seeds == 1 else ''}"
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
                "Without a label of the artery the blood is estimated between the lungs. A CT below"
                " 100 HU is refused; below 200 HU, or with an artery not brighter than the other"
                " blood, a warning is given."
            ),
        ]
    return parts


def _method(study: Json) -> str:
    scan, settings = study["scan"], study["settings"]
    ml = [
        each["ml"]
        for arm in ARMS
        for pair in runs_of(arm, study)[:1]
        for run in pair
        for each in run["lesions"]
    ]
    sizes = f" of {min(ml):.2f} to {max(ml):.2f} ml (median {np.median(ml):.2f})" if ml else ""
    scans = settings["scans"]
    return "\n".join(
        (
            f"- **Vessels.** The label of the artery ({scan['label_ml']} ml) grows through"
            f" contrast-filled voxels in the lungs to {scan['arteries_ml']} ml.",
            f"- **Filling defects**{sizes} are drawn as worms within the arteries, never outside:"
            " central ones in the label, segmental ones in the branches, floating or blocking. They"
            " have 30 to 90 HU, as measured in emboli (Wittram et al., Radiology 2005: 33 HU in"
            f" acute and 87 HU in chronic ones). Their edges are blurred by {scan['blur_mm']} mm,"
            " no sharper than half a voxel, and the scan's own noise stays.",
            f"- **Candidates** are the voxels within {settings['searched_mm']:g} mm of blood and of"
            " the arteries that are darker than blood and no air; that includes the edges of"
            " vessels. The arteries are grown again in the scan with the defects in it. Of calls"
            " within 9 mm the highest stays.",
            "- **The score** of a candidate is the sum of the chances that a network gives to the"
            f" candidates within {settings['pooled_mm']:g} mm: a clot holds several. This was"
            " chosen on the val slab of one side, among single chances and means and sums within"
            " 2.5 to 5.5 mm.",
            "- **Earlier looks at the test.** The two `cnn-lstm` were tested twice before: with"
            " single chances, over all dark voxels near blood in the lungs (19 of 91 defects"
            " called at one false call a scan), and with sums (20 of 91; 2 and 25 calls in the"
            " untouched parts). The search was then narrowed to the arteries. The figures of this"
            " page are the third look, and so a little too good.",
            "- **Networks** see nine slices of 30 mm around a candidate, in a vessel window from 0"
            " HU to the artery's mean and two SD (Bae et al., Radiology 2005), and in a soft-tissue"
            " window (Brink et al., Radiology 1997: occluded vessels show there)."
            f" {settings['steps']} steps of {settings['batch']} windows, half with a defect, from"
            f" {scans['train']} scans with defects in the part that trains; weights by the AUC in"
            " a slab that does not.",
            f"- **Test**: {scans['test']} scans with defects in the other side. No window of one"
            " side shows a voxel that a window of the other side shows.",
            "- **Trivial baseline**: the number of voxels from -20 to 130 HU in a cube of 10.5 mm,"
            " within the vessels with their gaps closed.",
        )
    )


def _text(value: Estimate) -> str:
    if not np.isfinite(value.low):
        return f"{value.value:.2f}"
    return f"{value.value:.2f} ({value.low:.2f} to {value.high:.2f})"


def _difference(value: Estimate) -> str:
    return f"{signed(value.value, 2)} ({signed(value.low, 2)} to {signed(value.high, 2)})"


def _list(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))
