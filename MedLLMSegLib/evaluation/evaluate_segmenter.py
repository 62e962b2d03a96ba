"""Measure a model on labelled scans, at their own resolution: one row a case, a summary and a
box plot.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from MedLLMSegLib.anatomy.structures import SYNONYMS
from MedLLMSegLib.core.errors import Cancelled, UserError
from MedLLMSegLib.core.progress import Report
from MedLLMSegLib.core.safe_files import check_writable, write_text
from MedLLMSegLib.core.segmentation import Segmentation, Structure, comparable_name
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.data import (
    Case,
    CaseSet,
    choose_cases,
    file_of,
    group_of,
    listed_ids,
    read_cases,
    read_label_map,
    read_labels,
    stated_labels,
)
from MedLLMSegLib.data.reference_labels import is_segmentation
from MedLLMSegLib.io.volume_files import load_volume
from MedLLMSegLib.metrics.calibration import (
    NEAR_MM,
    calibration_error,
    near_foreground,
    voxel_reliability,
)
from MedLLMSegLib.metrics.overlap import CASE_METRICS, missed_structure_metrics, structure_metrics
from MedLLMSegLib.metrics.risk_coverage import risk_coverage_area

from .scores import Score, as_json, summarize_scores, summary_path, table

BINS = 15
logger = logging.getLogger("medllmseg")


@dataclass(frozen=True, eq=False)
class Chosen:
    """The cases to measure.

    names: label value -> structure, as far as the source says. numbered: whether the values mean
    anything by themselves (those of Slicer's segmentations do not, only their names do). case_set:
    the source's own description, None for a folder in the Decathlon's layout, of which only the
    cases asked for are looked at.
    """

    cases: tuple[Case, ...]
    names: dict[int, str]
    numbered: bool = True
    case_set: CaseSet | None = None

    def truth(self, case: Case, image: Volume) -> np.ndarray:
        """The label map of a case as integers [k, j, i] with the source's values; `UserError`
        unless on the image's grid.
        """
        return (
            read_label_map(case, self.case_set, image)
            if self.case_set
            else read_labels(case.label, image)
        )


@dataclass(frozen=True)
class How:
    """How to segment and what to measure besides the metrics.

    calibration: also whether the probabilities are honest and whether uncertainty marks the errors.
    augment: so many more views of each scan are averaged.
    """

    device: str = "auto"
    calibration: bool = False
    augment: int = 0

    def __post_init__(self):
        if self.augment < 0:
            raise UserError(
                f"{self.augment} views are asked for, and 0 or more are needed; correct the number."
            )

    def wanted(self) -> dict:
        """What a segmentation is asked for besides the labels."""
        maps = {"probabilities": True, "uncertainty": True} if self.calibration else {}
        return maps | ({"augment": self.augment} if self.augment else {})


@dataclass(frozen=True, eq=False)
class _Measured:
    """One case. structures: what the model could find; None where it failed. bins: its
    `voxel_reliability` table, if asked for.
    """

    score: Score
    structures: tuple[Structure, ...] | None = None
    bins: np.ndarray | None = None
    model: str = ""


def evaluate(
    model,
    data,
    output_csv,
    cases=None,
    how: How = How(),
    progress: Report | None = None,
    segment: Callable[..., Segmentation] | None = None,
) -> dict:
    """Segment labelled scans, write one row a case, and return the summary (see
    `scores.summarize_scores`).

    model: an id or a bundle's folder. data: a folder with imagesTr and labelsTr, and maybe
    splits.json, or anything else that `cases.read_cases` understands. output_csv: columns
    ``case,dice_<structure>,...`` and then the other metrics of `metrics.METRICS` in the same way.
    Beside it come the summary, <stem>.summary.json, and where matplotlib is installed a box plot,
    <stem>.png. cases: a text file with one case id a line, or a list of ids; None takes the data's
    "test" split, else all labelled. progress: called with (case, fraction done); may raise
    `Cancelled`. segment: stands in for `pipeline.segment` in tests and benchmarks. Raises
    `UserError` for data that cannot be used; a case that cannot be segmented counts as missed and
    is named. Empty structures: see `metrics.RULE`.
    """
    began = time.monotonic()
    data, output_csv = Path(data).expanduser(), Path(output_csv).expanduser()
    check_writable(output_csv.parent)
    if output_csv.is_dir():
        raise UserError(
            f'"{output_csv}" is a folder, and a CSV file to write is needed; use'
            f' "{output_csv / "test.csv"}", for example.'
        )
    chosen = labelled_cases(data, cases)
    run, sha256, possible = _runner(model, how, segment)
    for case in (
        chosen.cases
    ):  # all read first: what is wrong is better known before the work than after it
        image = load_volume(case.image)
        truth = chosen.truth(case, image)
        if possible:
            with_values_of(possible(image), truth, chosen, case.id)
    measured = []
    for n, case in enumerate(chosen.cases):
        if progress:
            progress(case.id, n / len(chosen.cases))
        measured.append(_measure(case, chosen, run, how.calibration))
    _charge_failed(measured, chosen)
    scores, name = (
        [m.score for m in measured],
        next((m.model for m in measured if m.model), str(model)),
    )
    summary = summarize_scores(scores, name, data, time.monotonic() - began)
    summary |= {"weights_sha256": sha256, "augment": how.augment}
    if how.calibration:
        summary["calibration"] = _calibration(
            summary, [m.bins for m in measured if m.bins is not None]
        )
    _write(scores, summary, output_csv)
    if progress:
        progress("done", 1.0)
    return summary


def labelled_cases(data: Path, cases=None) -> Chosen:
    """The cases to measure: those named (file or list of ids), else the data's "test" split,
    else all.
    """
    if any((data / part).is_dir() for part in ("imagesTr", "labelsTr")):
        # Only what is asked for need be there and readable, and the model knows the structures.
        return Chosen(
            tuple(
                Case(
                    case,
                    file_of(data / "imagesTr", case),
                    file_of(data / "labelsTr", case),
                    group_of(case),
                )
                for case in choose_cases(data, cases)
            ),
            stated_labels(data) or {},
        )
    found = read_cases(data)
    by_id = {case.id: case for case in found.cases}
    wanted = (
        listed_ids(cases) if cases is not None else (found.splits or {}).get("test") or list(by_id)
    )
    unknown = [case for case in wanted if case not in by_id]
    if unknown:
        raise UserError(f'There is no case "{unknown[0]}" in "{data}"; correct the list of cases.')
    if not wanted:
        raise UserError("There is no case in the list of cases; name at least one.")
    return Chosen(
        tuple(by_id[case] for case in dict.fromkeys(wanted)),
        found.labels,
        not any(is_segmentation(case.label) for case in found.cases),
        found,
    )


def _runner(
    model, how: How, segment
) -> tuple[Callable[[Volume], Segmentation], str, Callable | None]:
    """What segments one scan, the sha256 of its weights ("" for a stand-in), and what says which
    structures it looks for in a scan.
    """
    if segment is not None:
        return lambda volume: segment(volume, model, device=how.device, **how.wanted()), "", None
    from MedLLMSegLib.segmentation.pipeline import (  # torch comes with it: only when it is needed
        expected_structures,
        load_model,
    )
    from MedLLMSegLib.segmentation.pipeline import segment as segment_scan

    loaded = load_model(model, how.device)
    return (
        lambda volume: segment_scan(volume, loaded, **how.wanted()),
        loaded.entry.sha256,
        lambda volume: expected_structures(volume, loaded),
    )


def _measure(case: Case, chosen: Chosen, run, calibration: bool) -> _Measured:
    volume = load_volume(case.image)
    try:
        result = run(volume)
    except Cancelled:
        raise
    except Exception as error:
        logger.exception("%s", case.id)
        return _Measured(Score(case.id, case.group, error=str(error) or type(error).__name__))
    truth = with_values_of(result.structures, chosen.truth(case, volume), chosen, case.id)
    by_key = {
        s.key: structure_metrics(result.labels.array, truth, s.label, volume.ijk_to_ras)
        for s in result.structures
    }
    charged = [
        s.key
        for s in result.structures
        if (result.labels.array == s.label).any() != (truth == s.label).any()
    ]
    score = Score(case.id, case.group, _columns(by_key), charged=tuple(charged))
    bins = _add_calibration(score, result, truth) if calibration else None
    return _Measured(score, result.structures, bins, result.model)


def _columns(by_key: dict[str, dict[str, float]]) -> dict[str, float]:
    return {
        f"{metric}_{key}": value
        for key, values in by_key.items()
        for metric, value in values.items()
    }


def with_values_of(
    structures: Sequence[Structure], truth: np.ndarray, chosen: Chosen, case: str
) -> np.ndarray:
    """A truth with the label values of the model.

    Where the source names its structures as the model does (key, name or another usual name), the
    names decide; else the values do. Raises `UserError` for what the model does not know, and where
    only some of the names are the model's.
    """
    present = [int(v) for v in np.unique(truth) if v]
    known = {
        comparable_name(name): s.label
        for s in structures
        for name in (s.key, s.name, *SYNONYMS.get(s.key, ()))
    }
    named = {
        v: known[comparable_name(chosen.names[v])]
        for v in present
        if comparable_name(chosen.names.get(v, "")) in known
    }
    by_value = chosen.numbered and not named
    strange = [
        v for v in present if v not in ({s.label for s in structures} if by_value else named)
    ]
    if strange:
        labels = ", ".join(f"{s.label} {s.name}" for s in structures)
        called = (
            "" if by_value else f" ({', '.join(chosen.names.get(v, 'unnamed') for v in strange)})"
        )
        raise UserError(
            f'The label map of "{case}" has the labels {strange}{called}, and the model knows'
            f" {labels}; change the labels, or leave the case out."
        )
    if all(value == label for value, label in named.items()):  # also where the values decide
        return truth
    renamed = np.zeros_like(truth)
    for value, label in named.items():
        renamed[truth == value] = label
    return renamed


def _add_calibration(score: Score, result: Segmentation, truth: np.ndarray) -> np.ndarray:
    """Add the columns of `CASE_METRICS` to a score, and return the case's `voxel_reliability` table."""
    maps, spacing_mm = result.probabilities.array, result.labels.spacing_mm
    classes = np.concatenate([np.clip(1 - maps.sum(0), 0, 1)[None], maps])  # background first
    numbers = np.zeros_like(truth)
    for n, structure in enumerate(result.structures, 1):
        numbers[truth == structure.label] = n
    bins = voxel_reliability(classes, numbers, BINS, spacing_mm)
    near = near_foreground(truth, result.labels.array, spacing_mm)
    curve = risk_coverage_area(result.uncertainty.array[near], (result.labels.array != truth)[near])
    score.values |= dict(zip(CASE_METRICS, (calibration_error(bins), curve.area, curve.random)))
    return bins


def _calibration(summary: dict, tables: list[np.ndarray]) -> dict:
    return {
        "ece": calibration_error(np.sum(tables, 0)),
        "bins": BINS,
        "where": f"voxels within {NEAR_MM:g} mm of a structure of the truth or of the answer",
        **{
            name: summary["means"][name]["mean"]
            for name in ("risk_coverage", "risk_coverage_random")
        },
    }


def _charge_failed(measured: list[_Measured], chosen: Chosen) -> None:
    """A case without result counts as missed in all that its truth holds (in everything, where
    that is empty).
    """
    seen = [m.structures for m in measured if m.structures is not None]
    failed = [(m.score, case) for m, case in zip(measured, chosen.cases) if m.structures is None]
    if not seen:
        raise UserError(
            f'None of the {len(failed)} cases could be segmented; the first, "{failed[0][0].case}":'
            f" {failed[0][0].error}"
        )
    for score, case in failed:
        image = load_volume(case.image)
        truth = chosen.truth(case, image)
        # A folder may mix crops (anterior, posterior) with heads (left and right): take the
        # smallest set that fits.
        structures, truth = _fitting(sorted(seen, key=len), truth, chosen, case.id)
        present = {s.key: int((truth == s.label).sum()) for s in structures}
        wanted = [key for key, voxels in present.items() if voxels] or list(present)
        by_key = {
            key: missed_structure_metrics(image.grid)
            | {"volume_difference_ml": -present[key] * image.grid.voxel_ml}
            for key in wanted
        }
        score.values, score.charged = _columns(by_key), tuple(wanted)


def _fitting(seen: list[tuple[Structure, ...]], truth: np.ndarray, chosen: Chosen, case: str):
    """The first set of structures that a truth fits, and the truth with its values."""
    for structures in seen:
        try:
            return structures, with_values_of(structures, truth, chosen, case)
        except UserError:
            continue
    return seen[0], truth


def _write(scores: list[Score], summary: dict, output_csv: Path) -> None:
    write_text(output_csv, table(scores))
    write_text(summary_path(output_csv), as_json(summary))
    if find_spec(
        "matplotlib"
    ):  # it comes with reports and training, and is no reason to lose the figures
        from .box_plot import plot_scores

        plot_scores(scores, summary, output_csv.with_suffix(".png"))
