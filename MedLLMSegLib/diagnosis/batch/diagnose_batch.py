"""One image or many to probabilities, heat maps and a table.

One of several cases that fails does not stop the others.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from MedLLMSegLib.core.errors import Cancelled, UserError
from MedLLMSegLib.core.progress import Report
from MedLLMSegLib.core.safe_files import remove_leftovers, write_text
from MedLLMSegLib.diagnosis.heat_map_files import write_overlay
from MedLLMSegLib.diagnosis.loaded_classifier import ClassifierModel
from MedLLMSegLib.diagnosis.predict import diagnose
from MedLLMSegLib.io.volume_files import save_volume

from .cases import HEAT_SUFFIX, CaseImages, find_lung_mask, first_image, result_names
from .table import CaseResult, check_table, diagnoses_csv, read_earlier_rows

TABLE = "diagnoses.csv"

logger = logging.getLogger("medllmseg")


@dataclass(frozen=True)
class DiagnoseOptions:
    """lungs: a mask's file, or a folder with one of each image's name. window, record: as for
    `diagnose`.
    """

    lungs: Path | None = None
    window: int | None = None
    record: Mapping[str, str] = field(default_factory=dict)


def diagnose_cases(
    cases: Sequence[CaseImages],
    folder: Path | None,
    model: ClassifierModel,
    options: DiagnoseOptions,
    progress: Callable[[int, str, float], None] | None = None,
) -> list[CaseResult]:
    """Diagnose each case.

    folder: where NAME_heat.nrrd, NAME_heat.png and the table of all are written; None: nowhere.
    progress: called with (index of the case, stage, its fraction).
    """
    if folder is not None:
        check_table(folder / TABLE)
        remove_leftovers(folder)
    results = []
    for number, (images, name) in enumerate(zip(cases, result_names(cases), strict=True)):
        report = _case_report(progress, number)
        try:
            result = _diagnose_case(images, name, folder, model, options, report)
        except Cancelled:
            raise
        except Exception as error:  # of any kind: the other images can still be diagnosed
            if len(cases) == 1:
                raise
            logger.exception("%s", images)
            result = CaseResult(images, "failed", message=_one_line(error))
        results.append(result)
        if report is not None:
            report(result.status, 1.0)
    if folder is not None:
        earlier_rows = read_earlier_rows(folder / TABLE, results, model)
        write_text(folder / TABLE, diagnoses_csv(results, model, earlier_rows))
    return results


def _case_report(progress: Callable[[int, str, float], None] | None, number: int) -> Report | None:
    """The progress of one case, as that of the batch."""
    if progress is None:
        return None

    def report(stage: str, fraction: float) -> None:
        progress(number, stage, fraction)

    return report


def _one_line(error: Exception) -> str:
    text = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())


def _diagnose_case(
    images: CaseImages,
    name: str,
    folder: Path | None,
    model: ClassifierModel,
    options: DiagnoseOptions,
    progress: Report | None,
) -> CaseResult:
    diagnosis = diagnose(
        images[0] if len(images) == 1 and images[0] is not None else list(images),
        model,
        lungs=find_lung_mask(first_image(images), options.lungs),
        window=options.window,
        record=options.record or None,
        heat_map=folder is not None,
        progress=progress,
    )
    if folder is None or diagnosis.heat_map is None:
        return CaseResult(images, "done", diagnosis)
    map_file = folder / f"{name}{HEAT_SUFFIX}.nrrd"
    picture_file = folder / f"{name}{HEAT_SUFFIX}.png"
    for path in (map_file, picture_file):
        _check_no_image(path, images)
    files = (save_volume(diagnosis.heat_map, map_file), write_overlay(diagnosis, picture_file))
    return CaseResult(images, "done", diagnosis, files)


def _check_no_image(path: Path, images: CaseImages) -> None:
    """Raise `UserError` where a result would overwrite an image of the case."""
    if not path.exists():
        return
    for image in images:
        if image is not None and image.exists() and path.samefile(image):
            raise UserError(
                f'The result would overwrite the image "{path}"; choose another output.'
            )
