"""The steps of a segmentation: a scan to the worker, and its result into the scene.

The scene changes at the very end, and all at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.slicer_bridge.scene.node_quantity import measured_volume
from MedLLMSegLib.slicer_bridge.scene.overlay import uncertainty_of
from MedLLMSegLib.slicer_bridge.scene.region_nodes import region_of
from MedLLMSegLib.slicer_bridge.scene.sequence_nodes import source_of
from MedLLMSegLib.slicer_bridge.scene.volume_nodes import write_drawing

from .counted_progress import ReportProgress
from .image_segmentation import ImageSegmenter, SegmentJobOptions
from .job_runner import wait_for_scene
from .jobs import Job, NodeRemoved, Steps
from .patient_node import patient_in
from .sequence_job import segment_sequence


def segment_node(
    segmenter: ImageSegmenter,
    job: Job,
    volumeNode,
    options: SegmentJobOptions,
    report: ReportProgress | None = None,
) -> Steps:
    """Steps: segment a volume node, or the sequence that it belongs to.

    report: of the job, unless this is one of several.
    """
    report = report or partial(segmenter.runner.report, job)
    if options.regionNode is not None:
        options = replace(options, region=region_of(options.regionNode))
    source = source_of(volumeNode, options.wholeSequence)
    if source is not None and options.furtherNodes:
        raise UserError(
            "A sequence and further images were given; give single images, or a sequence that holds"
            " all images that the model takes."
        )
    patient = None if options.furtherNodes else patient_in(volumeNode, source, options.model)
    if patient is not None:
        yield from _segment_scan(segmenter, job, patient.node, options, report, patient.images)
        job.notes = (patient.note, *job.notes)
    elif source is None:
        images = [measured_volume(node) for node in (volumeNode, *options.furtherNodes)]
        yield from _segment_scan(segmenter, job, volumeNode, options, report, images)
    else:
        yield from segment_sequence(segmenter, job, source, options, report)


def _segment_scan(
    segmenter: ImageSegmenter,
    job: Job,
    volumeNode,
    options: SegmentJobOptions,
    report: ReportProgress,
    images: Sequence[Volume],
) -> Steps:
    """Steps: segment the images of a patient, the first of which has the node's grid."""
    scene = volumeNode.GetScene()
    check_nodes = partial(_require_in_scene, volumeNode)
    first, *further = images
    result = yield from segmenter.steps(first, options, job, check_nodes, report, further)
    yield from wait_for_scene(scene, check_nodes)
    node, before = write_drawing(
        result.drawing, volumeNode, options.segmentationNode, options.side, result.uncertainty
    )
    segmenter.restore_points.remember(node, before)
    segmenter.onResult(result.segmentation)
    job.segmentationNode = node
    job.uncertaintyNode = uncertainty_of(node) if result.uncertainty is not None else None
    job.rows, job.notes = result.drawing.rows, result.drawing.notes
    job.volumetry, job.sentences = result.drawing.brain_volumetry, result.sentences
    job.drawnBy, job.inserted = result.drawing.model, result.drawing.inserted
    job.quality = result.segmentation.quality


def _require_in_scene(volumeNode) -> None:
    """Raise `NodeRemoved` for a scan that left its scene."""
    if volumeNode.GetScene() is None:
        raise NodeRemoved(
            "The scan was removed from the scene while it was being segmented; nothing was changed."
        )
