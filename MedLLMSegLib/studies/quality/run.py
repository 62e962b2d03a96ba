"""Fit a model's quality, measure it, and write both into its bundle."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from MedLLMSegLib.anatomy.brain import is_whole_brain
from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.progress import Progress, Report
from MedLLMSegLib.core.safe_files import make_folder, write_text
from MedLLMSegLib.core.segmentation import Structure
from MedLLMSegLib.core.types import Json, PathLike
from MedLLMSegLib.registry.bundle import rewrite_texts
from MedLLMSegLib.registry.catalogue import read_metadata
from MedLLMSegLib.segmentation.loaded_segmenter import SegmenterModel, load_model
from MedLLMSegLib.segmentation.quality.fitted import FIELD, QualityFit
from MedLLMSegLib.segmentation.quality.light import DOUBTFUL_DICE
from MedLLMSegLib.segmentation.quality.norms import Norms
from MedLLMSegLib.training.segmenter.bundle.segmenter_card import model_card

from .brain import brain_norms, brain_points, brain_rows, counted
from .corruptions import FITTED_KINDS, KINDS, Corruption, drawn
from .figures import all_figures, light_counts
from .fit import Point, as_metadata, fit_quality, points_of, worst_level
from .measure import Row, Subject, measure
from .subjects import subjects_of

CROPS, WHOLE_SCANS = 160, 40  # about how many are measured for the fit, and as many for the test
FIGURES = "quality.json"


def fit_and_measure(
    name: str,
    data: PathLike,
    output: PathLike,
    device: str = "auto",
    precision: str = "auto",
    progress: Report | None = None,
) -> Json:
    """Fit and measure a model's quality, and write it into its bundle.

    name: an id or a bundle's folder. data: see `subjects.subjects_of`. output: of what was
    measured; it goes on where it was stopped. device, precision: as for `load_model`. progress: may
    raise `Cancelled`. Returns the entry of the bundle's metadata. Raises `UserError` where there is
    nothing to fit.
    """
    report, folder = Progress.of(progress), make_folder(output)
    model = load_model(name, device, precision)
    if model.entry.kind != "segmenter":
        raise UserError(f'"{name}" outlines nothing; name a model that does.')
    study = _brain if is_whole_brain(model.structures) else _labelled
    found = study(model, Path(data).expanduser(), folder, report)
    chosen = [p for p in found.fit if p.corruption.level <= found.level]
    fit = fit_quality(chosen, found.norms)
    figures = {
        **all_figures(found.test, fit, found.level),
        "lights": light_counts(found.test_rows, structures_of(model), fit),
        "fit_bad_share": round(float(np.mean([p.dice < DOUBTFUL_DICE for p in chosen])), 4),
        "fitted_on": found.fitted_on,
        "tested_on": found.tested_on,
    }
    entry = as_metadata(fit, model.sha256, figures)
    write_text(folder / FIGURES, json.dumps(entry, indent=1) + "\n")
    return _write(model, entry)


def learn_sanity(
    name: str, data: PathLike, output: PathLike, progress: Report | None = None
) -> Json:
    """Learn a model's norms alone, from the label maps of its training, and write them into its
    bundle: lights then speak of sizes, places, parts and neighbours, and no Dice is expected.

    It takes no network. Parameters, answer and errors are those of `fit_and_measure`; a model whose
    Dice was fitted is refused as well: what was fitted rests on the norms that it was fitted with.
    """
    report, folder = Progress.of(progress), make_folder(output)
    model = load_model(name, "cpu", "fp32")
    if model.entry.kind != "segmenter":
        raise UserError(f'"{name}" outlines nothing; name a model that does.')
    if model.quality is not None and model.quality.structures:
        raise UserError(
            f'"{name}" has an expected Dice and intervals, which would be lost; leave out --sanity'
            " to fit all of them anew."
        )
    if is_whole_brain(model.structures):
        norms = brain_norms(Path(data).expanduser(), folder, report)
    else:
        norms = subjects_of(model, Path(data).expanduser(), folder, report).norms
    return _write(model, {**QualityFit({}, {}, norms).to_dict(), "measured_model": model.sha256})


def _write(model: SegmenterModel, entry: Json) -> Json:
    """Put an entry into a bundle, and into its card."""
    metadata = {**read_metadata(model.entry.folder), FIELD: entry}
    rewrite_texts(model.entry.folder, metadata, model_card(metadata))
    return entry


@dataclass(frozen=True)
class _Found:
    """What a fit needs. level: of corruption, up to which scans count. fitted_on, tested_on: how
    many scans, persons and refusals. test_rows: up to that level, where they hold shapes.
    """

    norms: Norms
    fit: list[Point]
    test: list[Point]
    level: int
    fitted_on: Json
    tested_on: Json
    test_rows: tuple[Row, ...] = ()


def _labelled(model: SegmenterModel, data: Path, folder: Path, report: Progress) -> _Found:
    """From labelled cases, as they are and corrupted."""
    reading = report.part(0.0, 0.1)
    fitting, testing = report.part(0.1, 0.55), report.part(0.55, 1.0)
    subjects = subjects_of(model, data, folder, reading)
    structures = structures_of(model)
    fit_rows = measure(model, wanted(subjects.fit, FITTED_KINDS, model), folder / "fit", fitting)
    points = points_of(fit_rows, structures, subjects.norms)
    level = worst_level(points)
    test_rows = measure(model, wanted(subjects.test, KINDS, model), folder / "test", testing)
    tested = points_of(test_rows, structures, subjects.norms)
    return _Found(
        subjects.norms,
        points,
        tested,
        level,
        fitted_on=_counted(fit_rows, level),
        tested_on=_counted(test_rows, level),
        test_rows=tuple(row for row in test_rows if row.corruption.level <= level),
    )


def _brain(model: SegmenterModel, data: Path, folder: Path, report: Progress) -> _Found:
    """From the rows of `brain_figures`, which hold corrupted scans already."""
    reading = report.part(0.0, 0.1)
    fitting, testing = report.part(0.1, 0.4), report.part(0.4, 1.0)
    norms = brain_norms(data, folder, reading)
    fit_rows = brain_rows(data, folder, model, ("val",), fitting)
    test_rows = brain_rows(data, folder, model, ("oasis", "synthetic"), testing)
    points, tested = (brain_points(rows, norms) for rows in (fit_rows, test_rows))
    return _Found(norms, points, tested, 1, counted(fit_rows), counted(test_rows))


def structures_of(model: SegmenterModel) -> tuple[Structure, ...]:
    """Those of the measured rows: of an organ with two sides both, as one of them was stated."""
    return model.structures_for(lateral=True)


def wanted(
    subjects: tuple[Subject, ...], kinds: tuple[str, ...], model: SegmenterModel
) -> list[tuple[Subject, list[Corruption]]]:
    """What is measured: each scan as it is and with some corruptions."""
    numbered = list(enumerate(subjects))
    scans = CROPS if model.anatomy else WHOLE_SCANS
    each = max(1, scans // max(1, len(subjects)) - 1)
    return [(subject, drawn(number, kinds, each)) for number, subject in numbered]


def _counted(all_rows: list[Row], level: int) -> Json:
    rows = [row for row in all_rows if row.corruption.level <= level]
    return {
        "scans": len(rows),
        "persons": len({row.person for row in rows}),
        "refused": sum(bool(row.refused) for row in rows),
    }


def figures_text(entry: Json) -> str:
    """For the screen: what the fit is worth."""
    figures = entry.get("figures")
    if figures is None:
        cases = entry["norms"]["cases"]
        return f"Sizes, places, parts and neighbours were learnt from {cases} cases."
    whole, held = figures["all"], figures["coverage_plain"]
    intervals = (
        f"{100 * held['coverage']:.0f} % of {held['intervals']} intervals hold the true volume"
        if held["intervals"]
        else "there are no intervals, which need nine persons or more"
    )
    return (
        f"AUROC of a Dice under 0.8: {_estimate(whole['expected'])}, by the mean confidence alone"
        f" {_estimate(whole['confidence'])}; {intervals}."
    )


def _estimate(stored: Json) -> str:
    value, low, high = (stored[name] for name in ("value", "low", "high"))
    if value is None:
        return "not measured"
    return f"{value:.3f}" + (f" ({low:.3f} to {high:.3f})" if low is not None else "")
