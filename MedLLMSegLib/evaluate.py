"""Measure a model on a folder of labelled scans: one row of Dice a case, and a summary."""
from __future__ import annotations

import csv
import io
import json
import logging
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Sequence

import numpy as np

from .cases import choose_cases, file_of, group_of as head_of, read_labels
from .errors import Cancelled, UserError
from .files import load_volume
from .metrics import dice, group_means, summarize
from .outputs import check_writable, write_text
from .structures import Segmentation, Structure
from .volume import Volume

RULE = ("Dice of each case; a structure that is in neither label map is left out (blank), "
        "a case that could not be segmented counts as 0")
logger = logging.getLogger("medllmseg")


@dataclass
class Score:
    """One case. dice: structure key -> 0 to 1, NaN where neither label map has it. error: why it has no result."""

    case: str
    dice: dict[str, float] = field(default_factory=dict)
    error: str = ""
    labels: frozenset[int] = frozenset()


def evaluate(model, data_folder, output_csv, cases=None, device: str = "auto",
             progress: Callable[[str, float], None] | None = None,
             segment: Callable[..., Segmentation] | None = None) -> dict:
    """Segment the labelled scans of a folder, write one row of Dice a case, and return the summary.

    model: an id or a bundle's folder. data_folder: holds imagesTr and labelsTr, and maybe splits.json.
    output_csv: columns ``case,dice_<structure>,...``; the summary is written beside it as <stem>.summary.json.
    cases: a text file with one case id a line, or a list of ids; None takes "test" of splits.json, else all labelled.
    progress: called with (case, fraction done); may raise `Cancelled`.
    segment: stands in for `pipeline.segment` in tests.
    Raises `UserError` for data that cannot be used; a case that cannot be segmented counts as Dice 0 and is named.
    """
    began = time.monotonic()
    data_folder, output_csv = Path(data_folder).expanduser(), Path(output_csv).expanduser()
    check_writable(output_csv.parent)
    wanted = choose_cases(data_folder, cases)
    pairs = {case: (file_of(data_folder / "imagesTr", case), file_of(data_folder / "labelsTr", case))
             for case in wanted}  # all looked up first: what is wrong is better known before the work than after it
    for image, labels in pairs.values():
        read_labels(labels, load_volume(image))
    run, sha256 = _runner(model, device, segment)
    scores, seen, name = [], [], str(model)
    for n, (case, (image, labels)) in enumerate(pairs.items()):
        if progress:
            progress(case, n / len(pairs))
        score, result = _score(case, image, labels, run)
        scores.append(score)
        if result is not None:
            seen, name = [*seen, result.structures], result.model or name
    _fill_failed(scores, seen)
    summary = {**_summary(scores, name, data_folder, time.monotonic() - began), "weights_sha256": sha256}
    write_text(output_csv, _table(scores))
    write_text(output_csv.with_name(f"{output_csv.stem}.summary.json"), _json(summary))
    if progress:
        progress("done", 1.0)
    return summary


def _runner(model, device: str, segment) -> tuple[Callable[[Volume], Segmentation], str]:
    """What segments one scan, and the sha256 of the weights it uses ("" for a stand-in)."""
    if segment is not None:
        return lambda volume: segment(volume, model, device=device), ""
    from .pipeline import load_model, segment as segment_scan  # torch comes with it: only when it is needed

    loaded = load_model(model, device)
    return lambda volume: segment_scan(volume, loaded), loaded.entry.sha256


def _score(case: str, image: Path, labels: Path, run) -> tuple[Score, Segmentation | None]:
    volume = load_volume(image)
    truth = read_labels(labels, volume)
    present = frozenset(int(v) for v in np.unique(truth) if v)
    try:
        result = run(volume)
    except Cancelled:
        raise
    except Exception as error:  # noqa: BLE001 - one failing case must not lose the others; it is named and counts as 0
        logger.exception("%s", case)
        return Score(case, error=str(error) or type(error).__name__, labels=present), None
    unknown = present - {s.label for s in result.structures}
    if unknown:
        known = ", ".join(f"{s.label} {s.name}" for s in result.structures)
        raise UserError(f'The label map of "{case}" has the labels {sorted(unknown)}, and the model knows {known}; '
                        "change the labels, or leave the case out.")
    return Score(case, {s.key: dice(result.labels.array, truth, s.label) for s in result.structures},
                 labels=present), result


def _fill_failed(scores: list[Score], seen: Sequence[tuple[Structure, ...]]) -> None:
    """Dice 0 for the structures that a case without result should have had."""
    failed = [s for s in scores if s.error]
    if len(failed) == len(scores):
        raise UserError(f'None of the {len(scores)} cases could be segmented; the first, "{failed[0].case}": '
                        f"{failed[0].error}")
    for score in failed:
        # A folder may mix crops (anterior, posterior) with heads (left and right): take the smallest set that fits.
        fitting = [s for s in seen if score.labels <= {each.label for each in s}] or list(seen)
        structures = min(fitting, key=len)
        score.dice = {s.key: 0.0 for s in structures if s.label in score.labels or not score.labels}


def _table(scores: list[Score]) -> str:
    """The CSV: case, then one column a structure; blank where Dice is undefined or does not apply."""
    keys = list(dict.fromkeys(key for s in scores for key in s.dice))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["case", *(f"dice_{key}" for key in keys)])
    for s in scores:
        values = [s.dice.get(key, math.nan) for key in keys]
        writer.writerow([s.case, *("" if math.isnan(v) else f"{v:.6f}" for v in values)])
    return text.getvalue()


def _summary(scores: list[Score], model: str, folder: Path, seconds: float) -> dict:
    """Statistics for each structure, over the mean of structures of each case, and over heads where cases share one."""
    keys = list(dict.fromkeys(key for s in scores for key in s.dice))
    heads = [head_of(s.case) for s in scores]
    means = [_mean(list(s.dice.values())) for s in scores]
    summary = {
        "model": model, "data": str(folder), "cases": len(scores), "rule": RULE,
        "failed": {s.case: s.error for s in scores if s.error},
        "structures": {key: summarize([s.dice.get(key, math.nan) for s in scores], heads) for key in keys},
        "mean": summarize(means, heads), "seconds": round(seconds, 1),
    }
    if len(set(heads)) < len(heads):
        summary["heads"] = summarize(list(group_means(means, heads).values()))
    return summary


def _mean(values: list[float]) -> float:
    there = [v for v in values if not math.isnan(v)]
    return sum(there) / len(there) if there else math.nan


def summary_table(summary: dict) -> str:
    """The summary for the screen."""
    def line(name: str, s: dict) -> str:
        return (f"{name:<28}{s['n']:>5}  {s['mean']:.3f}  {s['sd']:.3f}  {s['median']:.3f}  "
                f"{s['low']:.3f} to {s['high']:.3f}")
    rows = [f"{'Dice':<28}{'n':>5}  mean   sd     median 95 % of the mean"]
    rows += [line(key, s) for key, s in summary["structures"].items()]
    rows.append(line("mean of structures", summary["mean"]))
    if "heads" in summary:
        rows.append(line("mean of structures, by head", summary["heads"]))
    rows += [f"failed, counted as 0: {case}: {why}" for case, why in summary["failed"].items()]
    return "\n".join(rows)


def _json(summary: dict) -> str:
    def plain(value):
        if isinstance(value, dict):
            return {key: plain(each) for key, each in value.items()}
        return None if isinstance(value, float) and math.isnan(value) else value
    return json.dumps(plain(summary), indent=1, ensure_ascii=False) + "\n"
