"""Scans in files through an exported model to label maps in files. No torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from MedLLMSegLib.core.errors import Cancelled, UserError
from MedLLMSegLib.core.progress import Report
from MedLLMSegLib.core.safe_files import make_folder, write_text
from MedLLMSegLib.core.segmentation import Segmentation
from MedLLMSegLib.core.types import Json
from MedLLMSegLib.engines.graph import FP32
from MedLLMSegLib.io.volume_files import (
    LABEL_SUFFIXES,
    load_volume,
    save_segmentation,
    scan_name,
)
from MedLLMSegLib.metrics.volumetry import volumetry, volumetry_csv
from MedLLMSegLib.registry.catalogue import model_entry
from MedLLMSegLib.registry.licences import require_licence
from MedLLMSegLib.segmentation.batch.scan_quality import quality_entry, structure_quality
from MedLLMSegLib.segmentation.region import Region

from .exported_folder import ExportedModel, read_exported
from .exported_network import ExportedNetwork
from .segment_exported import check_exported_segmenter, segment_exported

VOLUMETRY_SUFFIX = "_structures.csv"
IN_FOLDER = (".seg.nrrd", ".nii.gz")  # of each scan, where the output is a folder


@dataclass(frozen=True)
class ExportedOptions:
    """What to write, and how to segment; as `segmentation.batch.outputs.SegmentOptions`."""

    precision: str = FP32
    overwrite: bool = False
    structures: tuple[str, ...] = ()
    volumetry: bool = False
    resolution_mm: float | None = None
    region: Region | None = None
    assume_orientation: str | None = None


@dataclass(frozen=True)
class ExportedResult:
    """What became of one scan. status: "done" or "failed". record: for the screen."""

    scan: Path
    status: str
    record: Json = field(default_factory=dict)
    message: str = ""


def segment_scan_files(
    scans: Sequence[Path],
    output: Path,
    folder: Path,
    options: ExportedOptions = ExportedOptions(),
    progress: Callable[[int, str, float], None] | None = None,
) -> list[ExportedResult]:
    """Segment scans with the exported model in a folder.

    output: a file for one scan, or a folder. progress: called with (number of the scan, stage,
    fraction of it). One of several scans that fails does not stop the others. Raises `UserError`
    for a folder without such a model, and for a result that would replace a file unasked.
    """
    model = read_exported(folder)
    check_exported_segmenter(model)
    require_licence(model_entry(folder))
    paths = [_outputs(scan, output, options) for scan in scans]
    _check_outputs(scans, paths, options)
    network = ExportedNetwork.of(model, options.precision)
    results = []
    for number, (scan, files) in enumerate(zip(scans, paths, strict=True)):
        report = _report(progress, number)
        try:
            record = _segment_file(scan, files, (model, network), options, report)
        except Cancelled:
            raise
        except UserError as error:
            if len(scans) == 1:
                raise
            results.append(ExportedResult(scan, "failed", message=str(error)))
        else:
            results.append(ExportedResult(scan, "done", record))
    return results


def _report(progress: Callable[[int, str, float], None] | None, number: int) -> Report | None:
    if progress is None:
        return None
    return lambda stage, fraction: progress(number, stage, fraction)


def _outputs(scan: Path, output: Path, options: ExportedOptions) -> list[Path]:
    """The files of one scan: label maps, and then the table."""
    suffix = next((s for s in LABEL_SUFFIXES if output.name.lower().endswith(s)), None)
    if suffix is not None:
        labels, stem = [output], output.with_name(output.name[: -len(suffix)])
    else:
        stem = output / scan_name(scan)
        labels = [stem.with_name(stem.name + each) for each in IN_FOLDER]
    table = [stem.with_name(stem.name + VOLUMETRY_SUFFIX)] if options.volumetry else []
    return [*labels, *table]


def _check_outputs(
    scans: Sequence[Path], paths: Sequence[Sequence[Path]], options: ExportedOptions
) -> None:
    files = [path for each in paths for path in each]
    for path in files:
        if files.count(path) > 1:
            raise UserError(
                f'Two of the scans would be written to "{path}"; segment them into different'
                " folders, or rename one."
            )
        if any(path.exists() and scan.exists() and path.samefile(scan) for scan in scans):
            raise UserError(f'The result would overwrite the scan "{path}"; choose another output.')
        if path.exists() and not options.overwrite:
            raise UserError(
                f'"{path}" already exists; choose another output, or add --overwrite to replace it.'
            )


def _segment_file(
    scan: Path,
    files: Sequence[Path],
    loaded: tuple[ExportedModel, ExportedNetwork],
    options: ExportedOptions,
    progress: Report | None,
) -> Json:
    """Segment one scan and write its files; returns what the screen shows of it."""
    model, network = loaded
    volume = load_volume(scan, options.assume_orientation)
    if volume.array.ndim != 3:
        raise UserError(
            f'"{scan}" is a series of {len(volume.array)} images, and an exported model segments'
            " one; save the wanted one as a file of its own."
        )
    result = segment_exported(
        volume,
        model,
        network,
        resolution_mm=options.resolution_mm,
        structures=options.structures,
        region=options.region,
        progress=progress,
    )
    for path in files:
        make_folder(path.parent)
        if path.name.endswith(VOLUMETRY_SUFFIX):
            write_text(path, volumetry_csv(volumetry(result)))
        else:
            save_segmentation(result, path)
    return _record(result, model, files)


def _record(result: Segmentation, model: ExportedModel, files: Sequence[Path]) -> Json:
    whole = result.intracranial
    about = {} if whole is None else {"volume_ml": whole.ml, "why_not": whole.why_not}
    return {
        "seconds": result.seconds,
        "structures": [_row(result, s.label, s.name, s.key) for s in result.structures],
        **({"intracranial": about} if about else {}),
        **quality_entry(result),
        "notes": list(result.notes),
        "files": [str(path) for path in files],
        "model": model.id,
        "licence": str(model.about["licence"]),
    }


def _row(result: Segmentation, label: int, name: str, key: str) -> Json:
    confidence = result.confidence[label]
    row: Json = {
        "label": label,
        "name": name,
        "volume_ml": result.volumes_ml[key],
        "confidence": None if math.isnan(confidence) else confidence,
    }
    if label in result.expected_dice:
        row["expected_dice"] = result.expected_dice[label]
    return row | structure_quality(result, label)
