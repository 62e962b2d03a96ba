"""The steps of a diagnosis: images to the worker, and its answer into the scene.

The scene changes at the very end, and all at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.diagnosis.input_checks import check_modality
from MedLLMSegLib.diagnosis.input_description import InputConfig
from MedLLMSegLib.diagnosis.result import Diagnosis
from MedLLMSegLib.registry.catalogue import DEFAULT_CLASSIFIER, find_model, read_metadata
from MedLLMSegLib.slicer_bridge.scene.flat_images import (
    ImageSet,
    file_of,
    images_of,
    modality_of,
    read_image,
)
from MedLLMSegLib.slicer_bridge.scene.map_roles import HEAT_MAP
from MedLLMSegLib.slicer_bridge.scene.overlay import map_node, name_map
from MedLLMSegLib.slicer_bridge.scene.volume_nodes import ijk_to_ras, place_next_to, restore_place
from MedLLMSegLib.worker.array_files import load_diagnosis, save_volume
from MedLLMSegLib.worker.protocol import Event

from .job_runner import JobRunner, wait_for_scene
from .jobs import Job, NodeRemoved, Steps
from .training_pairs import covered

MODEL_ATTRIBUTE, ANSWER_ATTRIBUTE = "MedLLMSeg.model", "MedLLMSeg.answer"
RESEARCH_ONLY = "Research use only; not a medical device."
COLUMNS = (
    ("class", vtk.vtkStringArray, "What the model tells apart"),
    ("probability", vtk.vtkDoubleArray, "Calibrated probability of the class, 0 to 1"),
    (
        "threshold",
        vtk.vtkDoubleArray,
        "From this probability on the class is the answer; NaN: the likeliest class is",
    ),
    ("positive", vtk.vtkIntArray, "1 for the class that was decided on"),
    ("confidence", vtk.vtkDoubleArray, "Probability of the class that was decided on"),
)


@dataclass(frozen=True)
class DiagnoseJobOptions:
    """The options of a diagnosis, as in `MedLLMSegLib.diagnose`.

    view: "PA", "AP", "lateral" or "" (not known); a DICOM file's own tags take precedence.
    window: which of a DICOM file's windows. record: field -> value. lungs: a segmentation of them,
    a vtkMRMLLabelMapVolumeNode on the image's pixels, or None.
    """

    model: Any = DEFAULT_CLASSIFIER
    device: str = "auto"
    view: str = ""
    window: int | None = None
    record: Mapping[str, Any] | None = None
    lungs: Any = None
    heatMap: bool = True


def diagnose_node(runner: JobRunner, job: Job, node, options: DiagnoseJobOptions) -> Steps:
    """Steps: diagnose what a volume node shows, several of them together, or a sequence."""
    entry = find_model(str(options.model), "classifier")
    input_config = InputConfig.from_dict(read_metadata(entry.folder).get("input") or {})
    images = images_of(node, input_config.kind, entry.id)
    modality, scene = _modality(images), images.owners[0].GetScene()
    check_modality(
        modality if isinstance(modality, str) else modality[0], input_config, images.name, entry.id
    )
    check_nodes = partial(_require_in_scene, images)

    def report_event(event: Event) -> None:
        runner.report(job, event.stage, event.fraction, event.seconds_left)

    with runner.folder() as folder:
        image_fields = yield from _hand_over(runner, images, options, folder, check_nodes)
        event = yield from runner.request(
            job,
            "diagnose",
            check_nodes,
            report_event,
            **image_fields,
            output=str(folder / "result"),
            model=str(options.model),
            device=options.device,
            view=options.view,
            modality=modality,
            window=options.window,
            record=dict(options.record) if options.record else None,
            heat_map=options.heatMap,
        )
        diagnosis = yield from runner.in_thread(load_diagnosis, event.folder)
    yield from wait_for_scene(scene, check_nodes)
    job.tableNode, job.heatMapNode = write_diagnosis(diagnosis, images)
    job.diagnosis = replace(diagnosis, heat_map=None)
    job.rows, job.notes = rows_of(diagnosis), diagnosis.notes


def _modality(images: ImageSet) -> str | list[str]:
    """The modality of the images by their studies.

    Of a model with several channels a list, in order, with "" for a missing channel.
    """
    if not images.flat or len(images.nodes) + len(images.missing) == 1:
        return modality_of(images.frame)
    modalities = [modality_of(node) for node in images.nodes]
    for n in images.missing:
        modalities.insert(n, "")
    return modalities


def _hand_over(
    runner: JobRunner,
    images: ImageSet,
    options: DiagnoseJobOptions,
    folder: Path,
    check_nodes: Callable[[], None],
) -> Steps:
    """Steps: returns the fields of the request that name the images.

    Voxels are read on this thread and written in the thread for files.
    """
    fields: dict[str, Any] = {}
    if options.lungs is not None:
        mask = _lung_mask(options.lungs, images.nodes[0])
        path = yield from runner.in_thread(save_volume, mask, folder / "lungs")
        fields["lungs"] = str(path)
    if len(images.nodes) == 1 and not images.missing:
        file = file_of(images.nodes[0])
        if file is not None:
            return {**fields, "image": file}
    paths: list[str | None] = []
    for n, node in enumerate(images.nodes):
        check_nodes()
        file = file_of(node) if images.flat else None
        if file is None:
            volume = _read_nth(images, n)
            path = yield from runner.in_thread(save_volume, volume, folder / f"volume {n}")
            file = str(path)
        paths.append(file)
    for n in images.missing:
        paths.insert(n, None)
    return {**fields, "volumes": paths}


def _read_nth(images: ImageSet, n: int) -> Volume:
    """The voxels of one image; those of a sequence lie where its proxy does."""
    node = images.nodes[n]
    if not images.in_sequence:
        return read_image(node)
    frame = images.frame if images.frame.IsA("vtkMRMLVolumeNode") else None
    return replace(read_image(node, frame), name=f"{images.name} {n + 1}")


def _lung_mask(lungs, image) -> Volume:
    """The lungs' voxels: a segmentation's on the image's grid, a label map's as they are."""
    if lungs.IsA("vtkMRMLSegmentationNode"):
        return Volume(covered(lungs, image).astype(np.uint8), ijk_to_ras(image), lungs.GetName())
    return Volume(slicer.util.arrayFromVolume(lungs).copy(), ijk_to_ras(lungs), lungs.GetName())


def _require_in_scene(images: ImageSet) -> None:
    if any(node.GetScene() is None for node in images.owners):
        raise NodeRemoved(
            "The image was removed from the scene while it was being diagnosed; nothing was"
            " changed."
        )


def rows_of(diagnosis: Diagnosis) -> tuple[tuple[str, float, float | None, bool], ...]:
    """(class, probability, threshold or None, whether it is the answer), one for each class."""
    thresholds: dict[str, float] = {}
    if diagnosis.threshold is not None and len(diagnosis.probabilities) == 2:
        finding = list(diagnosis.probabilities)[1]  # the class that the threshold is for
        thresholds[finding] = diagnosis.threshold
    return tuple(
        (name, probability, thresholds.get(name), name == diagnosis.answer)
        for name, probability in diagnosis.probabilities.items()
    )


def write_diagnosis(diagnosis: Diagnosis, images: ImageSet):
    """Put an answer into the scene, next to the image.

    Returns the table node and the heat map's volume node or None. If anything fails, the scene is
    left as it was.
    """
    frame, grid, scene = images.frame, images.nodes[0], images.owners[0].GetScene()
    heat, image = diagnosis.heat_map, grid.GetImageData()
    if heat is not None and (image is None or image.GetDimensions()[::-1] != heat.array.shape):
        raise UserError(f'"{images.name}" was changed while it was being diagnosed; try again.')
    with ExitStack() as undo:
        table = scene.AddNewNodeByClass(
            "vtkMRMLTableNode", scene.GenerateUniqueName(f"{images.name} diagnosis")
        )
        undo.callback(_remove_node, table)
        _fill(table, diagnosis)
        heat_node = None
        if heat is not None:
            heat_node = map_node(heat.array, grid, HEAT_MAP)
            heat_node.SetName(scene.GenerateUniqueName(f"{images.name} heat map"))
            scene.AddNode(heat_node)
            undo.callback(_remove_node, heat_node)
            heat_node.SetDescription(
                f"{diagnosis.model}: what speaks for {diagnosis.heat_class} (Grad-CAM)."
                f" {RESEARCH_ONLY}"
            )
            if frame.IsA("vtkMRMLTransformableNode"):
                heat_node.SetAndObserveTransformNodeID(frame.GetTransformNodeID())
            name_map(table, heat_node, HEAT_MAP)
        if frame.IsA("vtkMRMLVolumeNode"):
            place_next_to(table, frame)
            if heat_node is not None:
                place_next_to(heat_node, frame)
        undo.pop_all()
    return table, heat_node


def _fill(table, diagnosis: Diagnosis) -> None:
    rows = [
        (
            name,
            probability,
            float("nan") if threshold is None else threshold,
            int(positive),
            diagnosis.confidence,
        )
        for name, probability, threshold, positive in rows_of(diagnosis)
    ]
    columns = zip(*rows, strict=True)
    for (name, kind, description), values in zip(COLUMNS, columns, strict=True):
        array = kind()
        array.SetName(name)
        for value in values:
            array.InsertNextValue(value)
        table.AddColumn(array)
        table.SetColumnDescription(name, description)
    table.SetAttribute(MODEL_ATTRIBUTE, diagnosis.model)
    table.SetAttribute(ANSWER_ATTRIBUTE, diagnosis.answer)
    table.SetDescription(" ".join((RESEARCH_ONLY, *diagnosis.notes)))


def _remove_node(node) -> None:
    """Remove a node with its display nodes and its place in the subject hierarchy."""
    scene = node.GetScene()
    displays = node.GetNumberOfDisplayNodes() if node.IsA("vtkMRMLDisplayableNode") else 0
    for index in reversed(range(displays)):
        scene.RemoveNode(node.GetNthDisplayNode(index))
    restore_place(node, None)
    scene.RemoveNode(node)
