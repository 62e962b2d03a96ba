"""Measure a segmenter on labelled scans at their own resolution: a table, a summary, a box plot."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from MedLLMSegLib.core.errors import Cancelled, UserError
from MedLLMSegLib.core.progress import Progress, Report
from MedLLMSegLib.core.safe_files import check_writable, write_text
from MedLLMSegLib.core.segmentation import Segmentation, Structure
from MedLLMSegLib.core.types import Json, PathLike
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.data import Case, load_images
from MedLLMSegLib.data.case_digest import measured_marks
from MedLLMSegLib.registry.input_channels import InputChannel
from MedLLMSegLib.registry.own_figures import MARKS, OWNER, marks_as_json
from MedLLMSegLib.registry.seen_cases import Marks
from MedLLMSegLib.segmentation.selection import check_names, only

from .ablation import Ablated, ablation_path, ablation_summary, ablation_table, parts_to_silence
from .case_results import CaseResult, calibration_summary, charge_failed_cases, measure_segmentation
from .labelled_cases import LabelledCases, labelled_cases, with_model_values
from .scores import Score, as_json, summarize_scores, summary_path, table

if TYPE_CHECKING:
    from MedLLMSegLib.segmentation.loaded_segmenter import SegmenterModel

logger = logging.getLogger("medllmseg")

Images: TypeAlias = Volume | Sequence[Volume]


@dataclass(frozen=True)
class EvaluationOptions:
    """How to segment, and what to measure besides the metrics.

    calibration: also measure whether the probabilities are honest and whether uncertainty marks the
    errors. augment: the number of further views of each scan that are averaged. precision: "auto",
    "fp32" or "bf16", as for `load_model`. numbering: how the label maps of brains are numbered (see
    `labelled_cases`). structures: names or groups of the structures to measure; () for all. ablate:
    also measure the cases with parts of the network silenced (`networks.ablation`).
    """

    device: str = "auto"
    calibration: bool = False
    augment: int = 0
    precision: str = "auto"
    numbering: str | None = None
    structures: tuple[str, ...] = ()
    ablate: bool = False

    def __post_init__(self) -> None:
        if self.augment < 0:
            raise UserError(
                f"{self.augment} views are asked for, and 0 or more are needed; correct the number."
            )

    def segment_arguments(self) -> dict[str, Any]:
        """The arguments of `segment` for these options."""
        arguments: dict[str, Any] = {}
        if self.calibration:
            arguments |= {"probabilities": True, "uncertainty": True}
        if self.augment:
            arguments["augment"] = self.augment
        return arguments


@dataclass(frozen=True)
class _Segmenter:
    """The model to measure.

    segment: the images of a scan -> result. channels: which images those are; () for one without
    a name. weights_sha256, measured_sha256: of its weights, and of the measured
    model; "" for a stand-in. expected_structures: scan ->
    the structures the model looks for in it; None where that is unknown before segmenting.
    precision_why: () -> the sentence on the precision, known after the first case. why_not: part of
    the network -> why it cannot be silenced, "" where it can. without: part -> the same model with
    that part silenced.
    """

    segment: Callable[[Images], Segmentation]
    weights_sha256: str = ""
    measured_sha256: str = ""
    expected_structures: Callable[[Volume], tuple[Structure, ...]] | None = None
    precision_why: Callable[[], str] = str
    why_not: Callable[[str], str] = lambda part: "it is a stand-in"
    without: Callable[[str], _Segmenter] | None = None
    channels: tuple[InputChannel, ...] = ()
    name: str = ""

    def images_of(self, case: Case, labelled: LabelledCases) -> list[Volume]:
        """The images of a case that the model takes."""
        return load_images(case, labelled.channels, self.channels, self.name)


def evaluate(
    model: PathLike,
    data: PathLike,
    output_csv: PathLike,
    cases: PathLike | Sequence[str] | None = None,
    options: EvaluationOptions = EvaluationOptions(),
    progress: Report | None = None,
    segment: Callable[..., Segmentation] | None = None,
) -> Json:
    """Segment labelled scans, write one row a case, and return the summary.

    The summary is that of `scores.summarize_scores`, with the ablations under "ablation" where they
    are asked for. Beside the table come the summary as <stem>.summary.json, the ablations as
    <stem>.ablation.csv and, where matplotlib is installed, a box plot as <stem>.png.

    model: an id or a bundle's folder. data: a folder with imagesTr and labelsTr, and maybe
    splits.json, or anything else that `read_cases` or `brain_cases` understands. output_csv: its
    columns are ``case,dice_<structure>,...``, then the other metrics of `METRICS` in the same way.
    cases: a text file with one id a line, or a list of ids; None takes the data's "test" split,
    else all labelled cases. progress: called with (case, fraction done); may raise `Cancelled`.
    segment: replaces `pipeline.segment` in tests and benchmarks.

    Raises `UserError` for data that cannot be used. A case that cannot be segmented counts as
    missed and is named. Absent structures: see `metrics.overlap.RULE`.
    """
    began = time.monotonic()
    report = Progress.of(progress)
    data, output_csv = Path(data).expanduser(), Path(output_csv).expanduser()
    _check_output(output_csv)
    labelled = labelled_cases(data, cases, options.numbering)
    segmenter = _segmenter(model, options, segment)
    parts = parts_to_silence(str(model), segmenter.why_not) if options.ablate else ()
    marks = _check_cases(labelled, segmenter, options)
    measuring, *silencing = report.parts(1 + len(parts))
    results = _measure_all(labelled, segmenter, options, measuring)
    charge_failed_cases(results, labelled)
    scores = [result.score for result in results]
    name = next((result.model for result in results if result.model), str(model))
    summary = summarize_scores(scores, name, data, time.monotonic() - began)
    summary |= _how(segmenter, options, results) | {MARKS: marks_as_json(marks)}
    if options.calibration:
        summary["calibration"] = calibration_summary(summary["means"], results)
    if parts:
        arms = [
            _ablated(part, labelled, segmenter, options, results, listener)
            for part, listener in zip(parts, silencing, strict=True)
        ]
        summary["ablation"] = ablation_summary(scores, arms, segmenter.why_not)
        write_text(ablation_path(output_csv), ablation_table(scores, arms))
    _write(scores, summary, output_csv)
    report("done", 1.0)
    return summary


def _how(segmenter: _Segmenter, options: EvaluationOptions, results: Sequence[CaseResult]) -> Json:
    """What a summary says of how it was measured. results: of all cases."""
    how = {
        "weights_sha256": segmenter.weights_sha256,
        OWNER: segmenter.measured_sha256,
        "augment": options.augment,
        "precision": sorted({result.precision for result in results if result.precision}),
        "precision_why": segmenter.precision_why(),
    }
    if options.structures:
        how["structures_asked_for"] = list(options.structures)
    return how


def _check_output(output_csv: Path) -> None:
    check_writable(output_csv.parent)
    if output_csv.is_dir():
        raise UserError(
            f'"{output_csv}" is a folder, and a CSV file to write is needed; use'
            f' "{output_csv / "test.csv"}", for example.'
        )


def _segmenter(
    model: PathLike, options: EvaluationOptions, stand_in: Callable[..., Segmentation] | None
) -> _Segmenter:
    """The loaded model, or a stand-in for `pipeline.segment`."""
    arguments = options.segment_arguments()
    if stand_in is not None:
        return _Segmenter(
            lambda images: stand_in(_alone(images), model, device=options.device, **arguments),
            name=str(model),
        )
    # torch comes with these: only when it is needed
    from MedLLMSegLib.networks.ablation import why_not
    from MedLLMSegLib.segmentation import pipeline

    loaded = pipeline.load_model(
        Path(model) if isinstance(model, os.PathLike) else model,
        options.device,
        options.precision,
    )
    return _Segmenter(
        lambda images: pipeline.segment(_alone(images), loaded, **arguments),
        loaded.entry.sha256,
        loaded.sha256,
        lambda volume: pipeline.expected_structures(volume, loaded),
        lambda: loaded.precision_why,
        lambda part: why_not(loaded.network, part),
        lambda part: _silenced_segmenter(loaded, part, replace(options, calibration=False)),
        loaded.channels,
        loaded.entry.id,
    )


def _alone(images: Images) -> Images:
    """One image as such, and several as they are."""
    return images[0] if isinstance(images, Sequence) and len(images) == 1 else images


def _silenced_segmenter(
    loaded: SegmenterModel, part: str, options: EvaluationOptions
) -> _Segmenter:
    """A loaded model with a part of its network silenced, in the precision that it has run in.

    The precision is not decided anew: what is kept of it belongs to the whole network.
    """
    from MedLLMSegLib.networks.ablation import silenced
    from MedLLMSegLib.segmentation import pipeline

    settled = loaded.settled_precision()
    model = loaded.with_precision(settled.name) if settled else loaded

    def segment(images: Images) -> Segmentation:
        with silenced(loaded.network, part):
            return pipeline.segment(_alone(images), model, **options.segment_arguments())

    return _Segmenter(
        segment,
        loaded.entry.sha256,
        loaded.sha256,
        channels=loaded.channels,
        name=loaded.entry.id,
    )


def _check_cases(
    labelled: LabelledCases, segmenter: _Segmenter, options: EvaluationOptions
) -> dict[str, Marks]:
    """Read all cases first: what is wrong with them is better known before the work than after.

    Returns what each is recognised by.
    """
    marks = {}
    for case in labelled.cases:
        image = segmenter.images_of(case, labelled)[0]
        truth = labelled.truth(case, image)
        if segmenter.expected_structures is not None:
            structures = segmenter.expected_structures(image)
            check_names(options.structures, structures)
            with_model_values(truth, case.id, labelled, structures)
        marks[case.id] = measured_marks(case, None if case.channels else image)
    return marks


def _measure_all(
    labelled: LabelledCases, segmenter: _Segmenter, options: EvaluationOptions, progress: Progress
) -> list[CaseResult]:
    """Segment and measure every case."""
    results = []
    for case, part in zip(labelled.cases, progress.parts(len(labelled.cases)), strict=True):
        part(case.id, 0.0)
        results.append(_measure(case, labelled, segmenter, options))
    return results


def _ablated(
    part: str,
    labelled: LabelledCases,
    segmenter: _Segmenter,
    options: EvaluationOptions,
    whole: Sequence[CaseResult],
    progress: Progress,
) -> Ablated:
    """The cases measured with a part of the network silenced. whole: with all of it.

    A case in which nothing can be outlined then counts as missed.
    """
    assert segmenter.without is not None  # `parts_to_silence` has asked
    plain = replace(options, calibration=False)
    results = _measure_all(labelled, segmenter.without(part), plain, progress)
    charge_failed_cases(results, labelled, whole)
    return Ablated(part, tuple(result.score for result in results))


def _measure(
    case: Case, labelled: LabelledCases, segmenter: _Segmenter, options: EvaluationOptions
) -> CaseResult:
    """Segment and measure one case; a failure becomes the error of its score."""
    images = segmenter.images_of(case, labelled)
    try:
        segmentation = segmenter.segment(images)
    except Cancelled:
        raise
    except Exception as error:
        logger.exception("%s", case.id)
        return CaseResult(Score(case.id, case.group, error=str(error) or type(error).__name__))
    truth = labelled.truth(case, images[0])
    truth = with_model_values(truth, case.id, labelled, segmentation.structures)
    if options.structures:
        segmentation = only(segmentation, options.structures)
        truth = truth * np.isin(truth, [s.label for s in segmentation.structures])
    return measure_segmentation(segmentation, truth, case, options.calibration)


def _write(scores: list[Score], summary: Json, output_csv: Path) -> None:
    write_text(output_csv, table(scores))
    write_text(summary_path(output_csv), as_json(summary))
    if find_spec("matplotlib"):  # an extra: without it the figures must still be written
        from .box_plot import plot_scores

        plot_scores(scores, summary, output_csv.with_suffix(".png"))
