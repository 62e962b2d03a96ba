"""docs/benchmark.md: generated from the finished runs, "not run" for what is not."""

from __future__ import annotations

from pathlib import Path

from MedLLMSegLib.core.safe_files import write_text
from MedLLMSegLib.metrics.paired_tests import Comparison
from MedLLMSegLib.reporting.markdown import margin, p_value, signed
from MedLLMSegLib.studies.study.page import NOT_RUN

from .benchmark_method import method_section
from .benchmark_plan import BLIND, run_of
from .benchmark_results import BenchmarkResults
from .benchmark_tables import (
    DIGITS,
    EXTRA,
    OURS,
    PAPER,
    ablations,
    costs,
    interval,
    memory,
    network_section,
    robustness,
    section_tests,
)
from .verdict import (
    CONTROLS,
    NAMES,
    ArmKey,
    BlockAnswer,
    answer,
    figure,
    headline,
    known_figure,
    seed_differences,
)

WITH_BLOCK = (
    "F",
    "I",
    "F-nolocal",
    "F-nofusion",
)  # the arms of the plan that hold the pretrained block
UNTRAINED = 0.1  # of Dice below our network, with the same data and steps


def write_page(results: BenchmarkResults, docs: Path, command: str) -> Path:
    """Write benchmark.md and its plot into a folder. command: what was typed to run the
    benchmark.
    """
    from .benchmark_plot import draw

    draw(results, docs / "images" / "benchmark.png")
    return write_text(docs / "benchmark.md", page(results, command))


def page(results: BenchmarkResults, command: str) -> str:
    """The whole page as Markdown."""
    parts = [
        "# Does the language-model block help?",
        *_answer_lines(results),
        "![Dice of the arms, and how far F is from each](images/benchmark.png)",
        *network_section(results, "Our network, all training cases", OURS, 100),
        *_blind_line(results),
        *network_section(results, "Our network, a tenth of the training cases", OURS, 10),
        *network_section(results, "The paper's plain network, all training cases", PAPER, 100),
        *ablations(results),
        *robustness(results),
        *_left_out(results),
        *costs(results),
        *memory(results),
        *method_section(results, command),
    ]
    return "\n\n".join(parts) + "\n"


def _blind_line(results: BenchmarkResults) -> list[str]:
    """What can be had without an image, where it was measured."""
    network, arm = BLIND.split("-")
    found = figure(results, ArmKey(network, arm, 100))
    if found is None:
        return []
    text = (
        "The control that sees no image, the mean of the training labels laid over each test crop,"
        f" has a mean Dice of {found.mean:.4f} ({interval(found)}; `medllmseg benchmark --only"
        f' "{BLIND}"`). It is in none of the tests.'
    )
    paper = figure(results, ArmKey("paper", "F", 100))
    if paper is not None and paper.mean < found.mean:
        text += (
            f" The paper's plain network with its block ({paper.mean:.4f}) does not reach it in"
            " these steps."
        )
    return [text]


def _answer_lines(results: BenchmarkResults) -> list[str]:
    block = answer(results)
    lines = [f"**{headline(block)}** {_explanation(results, block)}", *_control_lines(block)]
    for title, network, percent, controls in (
        ("With a tenth of the training cases", "ours", 10, CONTROLS),
        ("In the paper's plain network", "paper", 100, ("A", "D")),
    ):
        other = answer(results, network, percent, controls)
        said = f" **{headline(other)}**" if not other.missing and controls == CONTROLS else ""
        lines += (
            [f"{title}: {NOT_RUN}."]
            if other.missing
            else [f"{title}{_reached(results, network, percent)}:{said}", *_control_lines(other)]
        )
    return lines


def _reached(results: BenchmarkResults, network: str, percent: int) -> str:
    """How good a network's F is, and that it says little where it is far from trained."""
    reached = known_figure(results, ArmKey(network, "F", percent))
    ours = figure(results, ArmKey("ours", "F", 100))
    text = f", F has a mean Dice of {reached.mean:.4f}"
    if ours is None or ours.mean - reached.mean <= UNTRAINED:
        return text
    return (
        f"{text} (ours, in as many steps, {ours.mean:.4f}): it is far from trained, and "
        "what the block does for it later was not measured"
    )


def _explanation(results: BenchmarkResults, block: BlockAnswer) -> str:
    if block.missing:
        total = len(results.settings["seeds"]) * (1 + len(CONTROLS))
        return (
            f"{len(block.missing)} of the {total} trainings that answer it are {NOT_RUN}:"
            f" {', '.join(block.missing)}. What is finished stands below; no part of it is an"
            " estimate."
        )
    f = known_figure(results, ArmKey("ours", "F", 100))
    cases = results.settings["cases"]["test"]
    heads = len({results.groups[c] for c in cases})
    return (
        f'"The language model helps" was to mean that our network with the frozen pretrained block'
        f" (F) is better than both "
        "the trainable MLP (C) and the frozen random block (D); that is"
        f" {'so' if block.verdict == 'helps' else 'not shown'} "
        f"here. F has a mean Dice of {f.mean:.4f} ({interval(f)}) on {len(cases)} test cases of"
        f" {heads} heads or patients, "
        f"{len(f.seeds)} seeds averaged."
    )


def _control_lines(block: BlockAnswer) -> list[str]:
    """F against each control, a line each."""
    if block.missing:
        return []
    lines = [
        f"- against {NAMES[arm]} ({arm}): {_standing(test)}, {signed(test.difference, DIGITS)} Dice"
        f" ({interval(test)}, "
        f"{p_value(test.p_holm, 'p', test.p_holm_error)}; seed by seed"
        f" {', '.join(signed(v, DIGITS) for v in block.by_seed[arm].values())}"
        f"{': the seeds disagree' if block.disagree(arm) else ''})"
        for arm, test in block.tests.items()
    ]
    return ["\n".join(lines)]


def _standing(test: Comparison) -> str:
    return {test.first: "better", test.second: "worse"}.get(test.better, "no difference shown")


def _left_out(results: BenchmarkResults) -> list[str]:
    """What the shipped model would lose or gain without its block, and which arm with a block is
    the best on val.
    """
    parts = ["## What leaving the block out costs or gains"]
    section = section_tests(results, OURS, 100)
    for arm, how in {
        "A": "Training the network without the block (A)",
        "I": "Training with the block and leaving it out at inference (I)",
    }.items():
        test = section.tests.get((section.f, ArmKey("ours", arm, 100)))
        parts.append(
            f"{how}: {NOT_RUN}."
            if test is None
            else (
                f"{how} changes the mean Dice by {signed(-test.difference, DIGITS)} (95 %"
                f" {-test.high:.4f} to {-test.low:.4f}, excludes changes beyond"
                f" {margin(test.margin, DIGITS)},"
                f" {p_value(test.p_holm, 'p', test.p_holm_error)}, the test of the"
                f" table above{_seeds_short(results, arm)}) against the network with the block"
                f" (F){_change(results, arm)}."
            )
        )
    return [*parts, _best_on_val(results)]


def _seeds_short(results: BenchmarkResults, arm: str) -> str:
    """A test on one seed must not read like one on all."""
    planned, both = (
        len(results.settings["seeds"]),
        len(seed_differences(results, ArmKey("ours", "F", 100), ArmKey("ours", arm, 100))),
    )
    return "" if both == planned else f", on {both} of {planned} seeds"


def _best_on_val(results: BenchmarkResults) -> str:
    """The shipped model is to be the best arm that holds the pretrained block."""
    arms = [
        *WITH_BLOCK,
        *(arm for arm in EXTRA if arm.startswith("H-") and _val(results, arm) is not None),
    ]
    val = {arm: value for arm in arms if (value := _val(results, arm)) is not None}
    missing = [arm for arm in arms if arm not in val]
    if not {"F", "I"} <= set(val):
        return f"Which arm that holds the pretrained block is the best on val: {NOT_RUN}."
    best = max(val, key=lambda arm: val[arm])
    listed = ", ".join(f"{arm} {value:.4f}" for arm, value in val.items())
    return (
        f"Of the arms that hold the pretrained block, {best} has the best mean"
        f" Dice on val ({listed}; means over seeds, all training cases): chosen on val, not on"
        " test." + (f" With all seeds {NOT_RUN}: {', '.join(missing)}." if missing else "")
    )


def _val(results: BenchmarkResults, arm: str) -> float | None:
    """The mean Dice on val over the seeds; None unless all were run."""
    names = [run_of("ours", arm, 100, seed).name for seed in results.settings["seeds"]]
    if not all(name in results.runs for name in names):
        return None
    return sum(results.runs[name]["val_dice"] for name in names) / len(names)


def _change(results: BenchmarkResults, arm: str) -> str:
    own, f = results.measured.get(f"ours-{arm}"), results.measured.get("ours-F")
    if not own or not f or "rounds" not in own:
        return f"; what it saves in time and parameters: {NOT_RUN}"
    trained, frozen = (own["parameters"][k] - f["parameters"][k] for k in ("trained", "frozen"))
    ratios = [100 * a / b for a, b in zip(own["rounds"], f["rounds"], strict=False)]
    low, high = min(ratios), max(ratios)
    size = (
        f", needs none of its {f['parameters']['frozen']:,} frozen parameters then"
        if arm == "I"
        # it was trained with them
        else f", the trained parameters by {trained:+,}, the frozen ones by {frozen:+,}"
    )
    return (
        f"{size}, and takes {low:.0f} to {high:.0f} % of its processor time for a crop (range over"
        f" {len(ratios)} rounds{', so no difference is shown' if low <= 100 <= high else ''})"
    )
