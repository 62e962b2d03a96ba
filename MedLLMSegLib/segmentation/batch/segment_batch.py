"""Scans to files: one or many, skipping what is finished, and a table of volumes at the end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from MedLLMSegLib.core.errors import Cancelled, UserError
from MedLLMSegLib.core.progress import Report
from MedLLMSegLib.core.safe_files import write_text
from MedLLMSegLib.core.segmentation import Segmentation
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.data.channel_images import check_count, images_in_file, stated_as
from MedLLMSegLib.io.volume_files import load_volume, save_segmentation, save_volume
from MedLLMSegLib.metrics.volumetry import volumetry, volumetry_csv
from MedLLMSegLib.segmentation.pipeline import SegmenterModel, segment
from MedLLMSegLib.segmentation.result_grid import scan_on
from MedLLMSegLib.segmentation.time_series import SeriesSegmentation, segment_frames, write_series

from .outputs import OutputPaths, SegmentOptions, possible_paths
from .records import (
    check_outputs,
    find_finished,
    make_record,
    results_in_progress,
    write_record,
)
from .result_folder import ResultFolder
from .volumes_table import ScanResult

logger = logging.getLogger("medllmseg")


def segment_file(
    scan: Path,
    paths: OutputPaths,
    model: SegmenterModel,
    options: SegmentOptions,
    progress: Report | None = None,
) -> ScanResult:
    """Segment one scan and write its results; skip it if the very same was done before."""
    finished = find_finished(scan, paths, model, options)
    if finished and not options.overwrite:
        return ScanResult(scan, "skipped", finished)
    check_outputs(scan, paths, options)
    if paths.report and find_spec("matplotlib") is None:
        raise UserError(
            "Reports need the package matplotlib, which is not installed; "
            'run `pip install "medllmseg[report]"` or leave --report out.'
        )
    volume = load_volume(
        scan,
        options.assume_orientation,
        series=options.dicom_series,
        frames=options.dicom_frames,
    )
    if volume.array.ndim == 4 and not options.frames and len(model.channels) < 2:
        raise UserError(
            f'"{scan}" is a series of {len(volume.array)} images; add --frames to segment each of'
            " them, or save the wanted one as a file of its own."
        )
    paths = possible_paths(paths, volume)
    images = read_images(scan, volume, model, options)
    result = _run_model(images, paths, model, options, progress)
    with results_in_progress(scan, paths):
        if isinstance(result, Segmentation):
            _write_results(images[0], result, paths, options)
            if paths.derivative is not None:
                paths.derivative.write(result, model.sha256, options.resolution_mm)
        elif paths.table is not None:
            write_series(result, paths.labels[0], paths.table)
        record = make_record(scan, paths, result, model, options)
        if paths.record is not None:
            write_record(paths.record, record)
    return ScanResult(scan, "done", record)


def read_images(
    scan: Path, volume: Volume, model: SegmenterModel, options: SegmentOptions
) -> list[Volume]:
    """All images of a scan's patient, in the units that the user says. volume: the scan; of a model
    that takes several images maybe all of them, [c, k, j, i].

    Raises `UserError` for too few or too many, before the others are read.
    """
    further = options.further_images.get(scan, ())
    if not further and len(model.channels) > 1 and volume.array.ndim == 4 and not options.frames:
        images = images_in_file(volume, model.channels, model.entry.id)
    else:
        if model.channels:
            check_count(1 + len(further), model.channels, model.entry.id)
        images = [volume, *(load_volume(path, options.assume_orientation) for path in further)]
    known = {channel.name: n for n, channel in enumerate(model.channels)}
    for name, statement in options.units.items():
        if name not in known:
            has = ", ".join(known) or "one image without a name"
            raise UserError(
                f'A unit is given for "{name}", and the model "{model.entry.id}" takes {has}.'
            )
        n = known[name]
        images[n] = stated_as(images[n], model.channels[n], statement)
    return images


def _run_model(
    images: list[Volume],
    paths: OutputPaths,
    model: SegmenterModel,
    options: SegmentOptions,
    progress: Report | None,
) -> Segmentation | SeriesSegmentation:
    """Segment one 3D scan, or every image of a series."""
    if paths.table is not None:
        if len(images) > 1:
            raise UserError(
                "Of a model that takes several images, no series over time can be segmented; leave"
                " --frames out."
            )
        return segment_frames(
            images[0],
            model,
            side=options.side,
            augment=options.augment,
            resolution_mm=options.resolution_mm,
            region=options.region,
            structures=options.structures,
            with_model=options.with_model,
            progress=progress,
        )
    return segment(
        images[0] if len(images) == 1 else images,
        model,
        side=options.side,
        probabilities=paths.probabilities is not None,
        uncertainty=paths.uncertainty is not None,
        augment=options.augment,
        resolution_mm=options.resolution_mm,
        region=options.region,
        structures=options.structures,
        with_model=options.with_model,
        progress=progress,
    )


def _write_results(
    volume: Volume, result: Segmentation, paths: OutputPaths, options: SegmentOptions
) -> None:
    for path in paths.labels:
        save_segmentation(result, path)
    for map_volume, map_path in (
        (result.probabilities, paths.probabilities),
        (result.uncertainty, paths.uncertainty),
    ):
        if map_volume is not None and map_path is not None:
            save_volume(map_volume, map_path)
    if paths.volumetry is not None:
        write_text(paths.volumetry, volumetry_csv(volumetry(result)))
    if paths.report is not None:
        # It imports matplotlib, which only reports need.
        from MedLLMSegLib.reporting.scan_report import write_report

        shown = scan_on(volume, result.labels.grid)
        write_report(shown, result, paths.report, options.command)


def segment_or_fail(
    scan: Path,
    paths: OutputPaths,
    model: SegmenterModel,
    options: SegmentOptions,
    progress: Report | None = None,
) -> ScanResult:
    """As `segment_file`; but an error becomes a failed result, so that others can be segmented."""
    try:
        return segment_file(scan, paths, model, options, progress)
    except Cancelled:
        raise
    except Exception as error:  # of any kind
        logger.exception("%s", scan)
        return ScanResult(scan, "failed", {}, _one_line(error))


def segment_files(
    scans: Sequence[Path],
    folder: Path | ResultFolder,
    model: SegmenterModel,
    options: SegmentOptions,
    progress: Callable[[int, str, float], None] | None = None,
) -> list[ScanResult]:
    """Segment scans into a folder, and write the table volumes.csv at the end.

    One of several scans that fails does not stop the others. progress: called with (index of the
    scan, stage, fraction of this scan).
    """
    place = folder if isinstance(folder, ResultFolder) else ResultFolder(folder)
    place.check()
    segment_one = segment_file if len(scans) == 1 else segment_or_fail
    results = []
    outputs = place.outputs(scans, options)
    for number, (scan, paths) in enumerate(outputs):
        report = scan_report(progress, number)
        results.append(segment_one(scan, paths, model, options, report))
        if report is not None:
            report(results[-1].status, 1.0)
    place.finish(outputs, results)
    return results


def scan_report(progress: Callable[[int, str, float], None] | None, number: int) -> Report | None:
    """The progress of one scan, as that of the batch."""
    if progress is None:
        return None

    def report(stage: str, fraction: float) -> None:
        progress(number, stage, fraction)

    return report


def _one_line(error: Exception) -> str:
    text = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())
