"""The summary of an evaluation as text for the screen."""

from __future__ import annotations

import math

from MedLLMSegLib.core.types import Json
from MedLLMSegLib.data import patients_counted
from MedLLMSegLib.metrics.overlap import CASE_METRICS, METRICS

from .ablation import ablation_lines
from .scores import SURFACES


def summary_table(summary: Json) -> str:
    """The summary for the screen. summary: see `scores.summarize_scores`."""
    lines = [f"{'':<34}{'n':>5}     mean       sd   median   95 % interval of the mean"]
    for name in METRICS:
        lines += _metric_lines(summary, name)
    lines += [
        _line(metric.title, summary["means"][name], digits=4)
        for name, metric in CASE_METRICS.items()
        if name in summary["means"]
    ]
    if "calibration" in summary:
        lines.append(
            f"Calibration error of all cases' voxels together: {summary['calibration']['ece']:.4f}"
        )
    assumption = summary.get("assumption") or ""
    counted = patients_counted(assumption, summary["cases"], summary["groups"])
    whose = f" of {summary['groups']} heads or patients" if counted else ""
    lines.append(f"{summary['cases']} cases{whose}, over which the intervals are drawn")
    if assumption:
        lines[-1] += f". {assumption}"
    lines += [f"Surfaces: {SURFACES}.", f"Rule: {summary['rule']}."]
    if summary.get("precision"):
        lines.append(f"The network ran in {' and '.join(summary['precision'])}.")
    if summary["charged"]:
        charged = ", ".join(f"{key} in {count}" for key, count in summary["charged"].items())
        lines.append(
            f"Counted as missed, because only one label map has it: {charged} of {summary['cases']}"
            " cases"
        )
    if "ablation" in summary:
        lines += ablation_lines(summary["ablation"])
    lines += [f"failed, counted as 0: {case}: {error}" for case, error in summary["failed"].items()]
    return "\n".join(lines)


def _metric_lines(summary: Json, name: str) -> list[str]:
    """A heading, a line for each structure, and the means."""
    by_structure = summary["metrics"][name]
    lines = [METRICS[name].title]
    lines += [_line(f"  {key}", statistics) for key, statistics in by_structure.items()]
    if len(by_structure) > 1:
        lines.append(_line("  mean of structures", summary["means"][name]))
    if "heads" in summary:
        lines.append(_line("  the same, by head or patient", summary["group_means"][name]))
    return lines


def _line(name: str, statistics: Json, digits: int = 3) -> str:
    numbers = [statistics[key] for key in ("mean", "sd", "median")]
    cells = "".join(
        f"{number:>9.{digits}f}" if math.isfinite(number) else f"{'-':>9}" for number in numbers
    )
    low, high = statistics["low"], statistics["high"]
    interval = f"{low:.{digits}f} to {high:.{digits}f}" if math.isfinite(low) else "-"
    return f"{name:<34}{statistics['n']:>5}{cells}   {interval}"
