"""The steps of an explanation: a scan and a structure to the worker, and the map into the scene."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.segmentation import comparable_name
from MedLLMSegLib.slicer_bridge.scene.map_roles import EVIDENCE_MAP
from MedLLMSegLib.slicer_bridge.scene.overlay import write_map
from MedLLMSegLib.slicer_bridge.scene.segments import MODEL_TAG, STRUCTURE_TAG, tag
from MedLLMSegLib.slicer_bridge.scene.volume_nodes import place_next_to, read_volume
from MedLLMSegLib.worker.array_files import load_explanation, save_volume
from MedLLMSegLib.worker.protocol import Event

from .job_runner import JobRunner, wait_for_scene
from .jobs import Job, NodeRemoved, Steps


@dataclass(frozen=True, eq=False)
class ExplainJobOptions:
    """What is to be explained.

    segmentationNode: a result of ours. structure: a name, as for `MedLLMSegLib.explain`.
    volumeNode: the scan; None for the one that the segmentation was made from. model: None for the
    one that drew the structure's segment.
    """

    segmentationNode: Any
    structure: str
    volumeNode: Any = None
    model: Any = None
    device: str = "auto"


def explain_node(runner: JobRunner, job: Job, options: ExplainJobOptions) -> Steps:
    """Steps: map the evidence for a structure; `job.evidenceNode` is the volume node."""
    segmentation = options.segmentationNode
    if segmentation is None or segmentation.GetScene() is None:
        raise UserError("There is no segmentation to explain; press Segment first.")
    scan = options.volumeNode or _scan_of(segmentation)
    model = options.model or _model_of(segmentation, options.structure)
    volume = read_volume(scan)
    check_nodes = partial(_require_in_scene, (scan, segmentation))

    def report_event(event: Event) -> None:
        runner.report(job, event.stage, event.fraction, event.seconds_left)

    with runner.folder() as folder:
        yield from runner.in_thread(save_volume, volume, folder / "volume")
        event = yield from runner.request(
            job,
            "explain",
            check_nodes,
            report_event,
            volume=str(folder / "volume"),
            output=str(folder / "result"),
            structure=options.structure,
            model=str(model),
            device=options.device,
        )
        shown = yield from runner.in_thread(load_explanation, event.folder)
    yield from wait_for_scene(scan.GetScene(), check_nodes)
    with ExitStack() as undo:
        node = write_map(shown.evidence.array, scan, segmentation, undo, EVIDENCE_MAP)
        place_next_to(node, scan, undo)
        node.SetDescription(" ".join((f"{shown.structure}: {shown.facts}.", *shown.sentences)))
        undo.pop_all()
    job.segmentationNode, job.evidenceNode = segmentation, node
    job.structure, job.notes = shown.structure, shown.sentences


def _scan_of(segmentation):
    """The scan whose grid the segmentation has."""
    role = segmentation.GetReferenceImageGeometryReferenceRole()
    scan = segmentation.GetNodeReference(role)
    if scan is None:
        raise UserError(
            f'The scan of "{segmentation.GetName()}" is no longer in the scene; load it and segment'
            " it again."
        )
    return scan


def _model_of(segmentation, structure: str) -> str:
    """The model that drew the segment of a structure, or the parts of an organ of that name.

    The first model where no segment is called so: it says what it knows.
    """
    segments = segmentation.GetSegmentation()
    wanted, models, of_parts = comparable_name(structure), [], []
    for segment_id in segments.GetSegmentIDs():
        segment = segments.GetSegment(segment_id)
        model, name = tag(segment, MODEL_TAG), segment.GetName()
        if not model:
            continue
        if wanted in (comparable_name(name), comparable_name(tag(segment, STRUCTURE_TAG))):
            return model
        models.append(model)
        if wanted == comparable_name(name.partition(" (")[0]):
            of_parts.append(model)
    if models:
        return (*of_parts, *models)[0]
    raise UserError(
        f'"{segmentation.GetName()}" holds no segment that a model of ours drew; press Segment'
        " first."
    )


def _require_in_scene(nodes) -> None:
    """Raise `NodeRemoved` for a scan or segmentation that left its scene."""
    if any(node.GetScene() is None for node in nodes):
        raise NodeRemoved(
            "The scan or its segmentation was removed from the scene while it was being explained;"
            " nothing was changed."
        )
