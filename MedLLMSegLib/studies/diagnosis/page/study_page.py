"""docs/diagnosis.md: made from the results alone, "not run" for what is not."""

from __future__ import annotations

from pathlib import Path

from MedLLMSegLib.core.safe_files import write_text
from MedLLMSegLib.metrics.group_statistics import excluded_margin
from MedLLMSegLib.metrics.paired_tests import SIGNIFICANT
from MedLLMSegLib.metrics.sign_flips import DRAWS
from MedLLMSegLib.reporting.markdown import margin, p_value, signed
from MedLLMSegLib.studies.study.page import NOT_RUN, ArmRow, TableForm, arms_table
from MedLLMSegLib.studies.study.results import StudyResults

from .study_summary import verdict
from .study_tables import cost_section, estimate_text, subgroup_sections

DIGITS = 3  # of an AUC
RATES_SHOWN = ("sensitivity", "specificity", "accuracy")
SECTIONS = (
    ("cxr", "Chest X-rays: pneumonia against no finding"),
    ("acdc", "Slice sequences: five groups of hearts (CNN-LSTM)"),
    ("nodules", "Nodule patches (CNN-LSTM)"),
    ("records-synthetic", "Scan with record: a synthetic task"),
    ("records-cxr", "Scan with record: chest X-ray, age and sex"),
)


def write_page(results: StudyResults, docs: Path) -> Path:
    """Write diagnosis.md into a folder."""
    return write_text(Path(docs) / "diagnosis.md", page(results))


def page(results: StudyResults) -> str:
    """The whole page as Markdown."""
    parts = [
        "# Diagnosis without text",
        *_answer(results),
        (
            "**Research use only; not a medical device.** The X-rays stand in for others: pneumonia"
            " by the labels of NIH ChestX-ray14, which were read from reports by a program. Nothing"
            " here is about pneumoconiosis."
        ),
    ]
    for study, title in SECTIONS:
        parts += [f"## {title}", *_section(results.of(study))]
    return "\n\n".join([*parts, *_reading_section()]) + "\n"


def _answer(results: StudyResults) -> list[str]:
    summary = results.of("cxr").get("summary")
    found = verdict(summary) if summary else NOT_RUN
    if found == NOT_RUN:
        waiting = (
            _missing(summary) if summary else "none of the trainings that answer it is finished"
        )
        return [
            f"**Does the frozen language model help? Not answered yet:** {waiting}. What is"
            " finished stands below; no part of it is an estimate."
        ]
    tests = {name: summary["against"][name] for name in summary["controls"]}
    against = "; ".join(
        f"against {summary['titles'][name]}: AUC {signed(t['value'], DIGITS)} ({_span(t)},"
        f" {p_value(t['p_holm'], 'p', t.get('p_holm_error'))}; seed by seed"
        f" {', '.join(signed(v, DIGITS) for v in t['seeds'])})"
        for name, t in tests.items()
    )
    worse = [
        summary["titles"][name]
        for name, t in tests.items()
        if t["value"] < 0 and t["p_holm"] is not None and t["p_holm"] < SIGNIFICANT
    ]
    words = (
        "Yes, on these X-rays: PneumoLLM is better than both of its controls."
        if found == "helps"
        else (
            f"No: on these X-rays PneumoLLM is worse than the {' and the '.join(worse)}."
            if worse
            else "No help could be shown on these X-rays."
        )
    )
    return [
        f"**Does the frozen language model help? {words}** {against}. Help was to mean: a higher"
        " AUC on the test images than both the linear probe on the same frozen encoder and the"
        " same network with random frozen layers, p < 0.05 after Holm's correction, paired"
        " permutation test over patients (until version 0.3 a bootstrap of 2,000 draws, whose p"
        " hung on the draw)."
    ]


def _missing(summary: dict) -> str:
    waits = [
        name
        for name in (summary["main"], *summary["controls"])
        if summary["arms"].get(name, {}).get("missing", 1)
    ]
    return f"trainings of {', '.join(waits)} are {NOT_RUN}"


def _section(results: StudyResults) -> list[str]:
    summary = results.get("summary")
    if not summary:
        return [f"{NOT_RUN.capitalize()}."]
    lines = [*(results.get("text") or []), _arms_table(summary), _reading(summary)]
    lines += (
        _shown(summary)
        + _notes(summary)
        + subgroup_sections(summary)
        + cost_section(summary, results.get("measured") or {})
    )
    lines += results.get("pictures") or []
    if command := results.get("command"):
        lines.append(f"Made by\n\n    {command}")
    return lines


def _arms_table(summary: dict) -> str:
    form = TableForm(
        "AUC (95 % over patients)",
        "each seed's AUC",
        DIGITS,
        (*RATES_SHOWN, "calibration error"),
        f"{summary['main']} minus this arm, AUC (95 %; ± excluded)",
    )
    return arms_table(form, [_arm_row(summary, name) for name in summary["titles"]])


def _arm_row(summary: dict, name: str) -> ArmRow:
    title, found = f"`{name}` {summary['titles'][name]}", summary["arms"].get(name)
    if found is None:
        return ArmRow(title, "", against=None)
    figures = found["figures"]
    return ArmRow(
        title,
        estimate_text(figures["auc"]),
        found["seed_auc"],
        found["missing"],
        [*(estimate_text(figures[k]) for k in RATES_SHOWN), f"{found['ece']:.3f}"],
        _against(summary, name),
    )


def _against(summary: dict, name: str) -> list[str] | None:
    """The main arm minus another; None where that is not run."""
    if name == summary["main"]:
        return ["", ""]
    test = summary["against"].get(name)
    if test is None:
        return None
    return [
        f"{signed(test['value'], DIGITS)} ({_span(test)})",
        p_value(test["p_holm"], error=test.get("p_holm_error")),
    ]


def _reading(summary: dict) -> str:
    controls = " and ".join(f"`{c}`" for c in summary["controls"])
    family = f" Families of tests: {controls}; and all other arms." if controls else ""
    return (
        f"Seeds averaged ({len(summary['seeds'])} planned, a plain baseline is run once), intervals"
        f" over {summary['test_patients']} test patients or images. Best epoch, learning rate,"
        " temperature and threshold (Youden) are chosen on val. p: paired permutation test over"
        " patients, Holm's correction; where there are more patients than can be counted, ± is the"
        f" Monte-Carlo standard error of {DRAWS:,} draws.{family}"
    )


def _shown(summary: dict) -> list[str]:
    """Which arms are better or worse than the main one by the tests, and in how many seeds."""
    sides: dict[str, list[str]] = {"better": [], "worse": []}
    for name, test in summary["against"].items():
        if test["p_holm"] is not None and test["p_holm"] < SIGNIFICANT:
            other = -1 if test["value"] > 0 else 1  # the sign of the other arm's advantage
            agree = sum(other * seed < 0 for seed in test["seeds"])
            sides["better" if other > 0 else "worse"].append(
                f"`{name}` (in {agree} of {len(test['seeds'])} seeds)"
            )
    if not summary["against"]:
        return []
    verdicts = "; ".join(f"{side}: {', '.join(names) or 'none'}" for side, names in sides.items())
    return [
        f"By these tests (p < {SIGNIFICANT:g}), compared with `{summary['main']}`, {verdicts}. Of"
        " no other arm is either shown."
    ]


def _notes(summary: dict) -> list[str]:
    return (
        [" ".join(f"`{name}`: {note}." for name, note in summary["notes"].items())]
        if summary["notes"]
        else []
    )


def _reading_section() -> list[str]:
    return [
        "## How to read this",
        (
            "The cases are those of the data's own splits; where patients are known, none is in"
            " two. Nothing is chosen on test. An interval says how much other patients would change"
            " the figure, not how much other seeds would; there is none where every draw of"
            " patients gives the same. ± in a comparison is the smallest margin that its interval"
            " excludes: any difference beyond it, either way, lies outside. With so few test"
            " cases, a difference that is not shown is not shown to be absent. A table's first row"
            " is the arm the others are compared with."
        ),
    ]


def _span(test: dict) -> str:
    return (
        "no interval"
        if test["low"] is None
        else f"95 % {signed(test['low'], DIGITS)} to {signed(test['high'], DIGITS)};"
        f" {margin(excluded_margin(test['low'], test['high']), DIGITS)}"
    )
