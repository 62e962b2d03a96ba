"""The steps of segmenting several scans of the scene, one after the other.

Each result enters the scene, beside its scan and as a row of the batch's table, as soon as it is
there: a cancel or a failure later on takes nothing of it away.
"""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from MedLLMSegLib.core.errors import Cancelled, UserError
from MedLLMSegLib.slicer_bridge.scene.batch_table import (
    BatchTableState,
    batch_table_of,
    new_batch_table,
    write_batch_table,
)

from .counted_progress import CountedProgress
from .image_segmentation import ImageSegmenter, SegmentJobOptions
from .jobs import Job, NodeRemoved, ScanOfBatch, Steps, WorkerFailed
from .segmentation_job import segment_node


def segment_all(
    segmenter: ImageSegmenter, job: Job, volumeNodes: Sequence, options: SegmentJobOptions
) -> Steps:
    """Steps: segment every scan into a segmentation of its own; one that fails stops no other.

    The job shows the result of the first scan that succeeded. Raises `UserError` if none did.
    """
    if not volumeNodes:
        raise UserError("No scan is in the scene; load one.")
    if options.furtherNodes:
        raise UserError(
            "A model that takes several images of a patient cannot segment every scan of the scene;"
            " segment one patient at a time."
        )
    job.planned = len(volumeNodes)
    options = replace(options, segmentationNode=None)
    report = CountedProgress(partial(segmenter.runner.report, job), len(volumeNodes))
    shown: Job | None = None
    for node in volumeNodes:
        name = node.GetName()
        try:
            yield from segment_node(segmenter, job, node, options, report)
        except Cancelled:
            raise
        except Exception as error:
            job.scans = (*job.scans, _failed(name, error))
        else:
            job.scans = (*job.scans, _succeeded(name, job))
            shown = shown or replace(job)
        if shown is not None:
            _write_table(segmenter, job, shown)
        report.finished += 1
    if shown is None:
        raise UserError(f"None of {len(job.scans)} scans was segmented. {_failures(job)}")
    _show(job, shown)


def _succeeded(name: str, job: Job) -> ScanOfBatch:
    light = job.quality.scan.light if job.quality is not None else ""
    return ScanOfBatch(name, job.segmentationNode, rows=job.rows, light=light, notes=job.notes)


def _write_table(segmenter: ImageSegmenter, job: Job, shown: Job) -> None:
    """Write what is done into the batch's table: that of the model's last batch, which Restore
    brings back, or a new one. One that the user deletes meanwhile is not made again.
    """
    model = shown.drawnBy
    if job.batchNode is None:
        scene = shown.segmentationNode.GetScene()
        job.batchNode = batch_table_of(scene, model)
        if job.batchNode is not None:
            segmenter.restore_points.remember(job.batchNode, BatchTableState(job.batchNode))
        else:
            job.batchNode = new_batch_table(scene, model)
    if job.batchNode.GetScene() is not None:
        write_batch_table(job.batchNode, job.scans, model)


def _failed(name: str, error: Exception) -> ScanOfBatch:
    if isinstance(error, (UserError, NodeRemoved)):
        return ScanOfBatch(name, message=str(error))
    if isinstance(error, WorkerFailed):
        message, details = error.args
        return ScanOfBatch(name, message=message, details=details)
    message = f"Something unexpected went wrong ({type(error).__name__}: {error})."
    return ScanOfBatch(name, message=message, details=traceback.format_exc())


def _failures(job: Job) -> str:
    return " ".join(f"{scan.name}: {scan.message}" for scan in job.scans if scan.message)


def _show(job: Job, shown: Job) -> None:
    """Make the result of one scan the job's."""
    for name in (
        "segmentationNode",
        "uncertaintyNode",
        "rows",
        "volumetry",
        "quality",
        "notes",
        "inserted",
        "itemRows",
        "tableNode",
        "heart",
        "heartNode",
    ):
        setattr(job, name, getattr(shown, name))
