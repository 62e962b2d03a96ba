"""The steps of segmenting a series over time: every image of a sequence, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from MedLLMSegLib.core.domain_verdict import DomainVerdict
from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.quality import Quality, ScanQuality
from MedLLMSegLib.core.segmentation import Structure
from MedLLMSegLib.reporting.sentences import heart_sentences
from MedLLMSegLib.segmentation.quality.light import judge_series
from MedLLMSegLib.slicer_bridge.scene.heart_nodes import HeartDrawing, draw_heart
from MedLLMSegLib.slicer_bridge.scene.overlay import map_node
from MedLLMSegLib.slicer_bridge.scene.segments import Row
from MedLLMSegLib.slicer_bridge.scene.sequence_nodes import (
    SequenceSource,
    SequenceState,
    output_sequence,
    segmentation_of_image,
    source_of,
)
from MedLLMSegLib.slicer_bridge.scene.sequence_output import (
    SequenceNodes,
    SequenceResults,
    add_to_scene,
)
from MedLLMSegLib.slicer_bridge.scene.volume_nodes import read_volume
from MedLLMSegLib.slicer_bridge.scene.volumes_table import make_volumes

from .counted_progress import CountedProgress, ReportProgress
from .heart_figures import heart_of, known_intervals
from .image_segmentation import ImageSegmenter, SegmentJobOptions
from .job_runner import wait_for_scene
from .jobs import Job, NodeRemoved, Steps

ItemRows = dict[str, tuple[Row, ...]]  # index value -> a row for each structure


def segment_sequence(
    segmenter: ImageSegmenter,
    job: Job,
    source: SequenceSource,
    options: SegmentJobOptions,
    report: ReportProgress,
) -> Steps:
    """Steps: segment every image of a sequence; the scene changes when all are done."""
    sequence, scene = source.sequence, source.sequence.GetScene()
    target = output_sequence(source, options.segmentationNode)
    check_nodes = partial(_require_in_scene, sequence)
    values = [sequence.GetNthIndexValue(n) for n in range(sequence.GetNumberOfDataNodes())]
    results = SequenceResults(sequence)
    rows: ItemRows = {}
    structures: tuple[Structure, ...] = ()
    notes: dict[str, None] = {}  # in order, each once
    lights: list[Quality | None] = []
    verdicts: list[DomainVerdict | None] = []
    counted = CountedProgress(report, len(values))
    for value in values:
        scan = _scan_at(sequence, value)
        volume = read_volume(scan, source.proxy, f"{sequence.GetName()} {value}")
        result = yield from segmenter.steps(volume, options, job, check_nodes, counted)
        counted.finished += 1
        earlier = target.sequence.GetDataNodeAtValue(value, True) if target else None
        segmentation = segmentation_of_image(result.drawing, scan, earlier, options.side)
        results.segmentations.SetDataNodeAtValue(segmentation, value)
        if result.uncertainty is not None:
            results.maps.SetDataNodeAtValue(map_node(result.uncertainty, scan), value)
        rows[value], structures = result.drawing.rows, result.drawing.structures
        notes.update(dict.fromkeys(result.drawing.notes))
        quality = result.segmentation.quality
        lights.append(quality.scan if quality is not None else None)
        verdicts.append(result.segmentation.domain)
    if not any(rows.values()):
        raise UserError(
            f'Nothing was found in any image of "{sequence.GetName()}"; check that it is the right'
            " sequence."
        )
    yield from wait_for_scene(scene, check_nodes)
    source = _still_shown(source, target)
    before = SequenceState(target.sequence, target.proxy) if target else None
    volumes = make_volumes(results.segmentations, rows)
    heart, heart_notes = _heart(rows, structures, options, verdicts)
    nodes = add_to_scene(source, target, before, results, volumes, heart)
    _describe(nodes, options.model)
    segmenter.restore_points.remember(nodes.segmentation, before)
    segmenter.onResult(result.segmentation)
    job.segmentationNode, job.uncertaintyNode = nodes.segmentation, nodes.uncertainty_map
    job.tableNode, job.heartNode = nodes.volumes_table, nodes.heart_table
    job.heart = heart.function if heart else None
    job.drawnBy = result.drawing.model
    job.itemRows, job.rows = rows, _means(rows)
    light = judge_series(lights)
    job.quality = ScanQuality(light) if light is not None else None
    job.sentences = heart_sentences(heart.function) if heart else ()
    job.notes = (*notes, *_sequence_notes(rows, sequence, job.tableNode), *heart_notes)


def _heart(
    rows: ItemRows,
    structures: tuple[Structure, ...],
    options: SegmentJobOptions,
    verdicts: Sequence[DomainVerdict | None],
) -> tuple[HeartDrawing | None, tuple[str, ...]]:
    """The heart's function, where it is a heart, and what is to be said of it."""
    try:
        function = heart_of(rows, structures, options.person)
    except UserError as error:
        return None, (f"The heart's function is not available. {error}",)
    if function is None:
        return None, ()
    function = replace(function, intervals=known_intervals(options, verdicts))
    return draw_heart(function, structures), function.notes


def _describe(nodes: SequenceNodes, model) -> None:
    nodes.volumes_table.SetDescription(
        f"{model}: volume of each structure in each image; 0 where it was not found."
    )
    if nodes.heart_table is not None:
        nodes.heart_table.SetDescription(
            f"{model}: the heart's function from the volumes of each image. Research use only; not"
            " a medical device."
        )


def _require_in_scene(sequence) -> None:
    if sequence.GetScene() is None:
        raise NodeRemoved(
            "The sequence was removed from the scene while it was being segmented; nothing was"
            " changed."
        )


def _still_shown(source: SequenceSource, target: SequenceSource | None) -> SequenceSource:
    """The source, by another browser or none where its own has left the scene meanwhile."""
    if source.browser is None or source.browser.GetScene() is not None:
        return source
    if target is not None:
        raise NodeRemoved(
            f'The browser of the sequence "{source.sequence.GetName()}" was removed while it was'
            " being segmented; nothing was changed."
        )
    return source_of(source.sequence) or SequenceSource(source.sequence)


def _scan_at(sequence, value: str):
    scan = sequence.GetDataNodeAtValue(value, True)
    if scan is None:
        raise NodeRemoved(
            f'An image of the sequence "{sequence.GetName()}" was removed while it was being'
            " segmented; nothing was changed."
        )
    return scan


def _means(rows: ItemRows) -> tuple[Row, ...]:
    """One row for each structure: means over the images it was found in."""
    by_name: dict[str, list[Row]] = {}
    for item_rows in rows.values():
        for row in item_rows:
            by_name.setdefault(row[0], []).append(row)
    return tuple(
        (
            name,
            float(np.mean([volume_ml for _, volume_ml, _ in found])),
            _mean_of_known([confidence for _, _, confidence in found]),
        )
        for name, found in by_name.items()
    )


def _mean_of_known(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _sequence_notes(rows: ItemRows, sequence, table) -> list[str]:
    notes = [
        f"Volumes are means over {len(rows)} images; those of each are in the table"
        f' "{table.GetName()}".'
    ]
    empty = [value for value, item_rows in rows.items() if not item_rows]
    if empty:
        index = " ".join(filter(None, (sequence.GetIndexName(), sequence.GetIndexUnit())))
        listed = ", ".join(empty[:5]) + (" ..." if len(empty) > 5 else "")
        notes.append(f"Nothing was found in {len(empty)} of them ({index} {listed}).")
    return notes
