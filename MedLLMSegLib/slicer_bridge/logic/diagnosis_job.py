"""The steps of a diagnosis: images to the worker, and its answer into the scene, at the very end
and all at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
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
    Images,
    file_of,
    images_of,
    modality_of,
    read_image,
)
from MedLLMSegLib.slicer_bridge.scene.overlay import HEAT_MAP, map_node, name_map
from MedLLMSegLib.slicer_bridge.scene.volume_nodes import ijk_to_ras, place_beside, restore_place
from MedLLMSegLib.worker.array_files import load_diagnosis, save_volume

from .jobs import Job, Removed, Runner, Steps, calm
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
class Options:
    """What a diagnosis is asked for, as in `MedLLMSegLib.diagnose`.

    view: "PA", "AP", "lateral" or "" (not known); a DICOM file's own tags go before it. window:
    which of a DICOM file's windows. record: field -> value. lungs: a segmentation of them, a
    vtkMRMLLabelMapVolumeNode on the image's pixels, or None.
    """

    model: Any = DEFAULT_CLASSIFIER
    device: str = "auto"
    view: str = ""
    window: int | None = None
    record: Mapping[str, Any] | None = None
    lungs: Any = None
    heatMap: bool = True


def steps(runner: Runner, job: Job, node, options: Options) -> Steps:
    """Steps: diagnose what a volume node shows, several of them together, or a sequence."""
    entry = find_model(str(options.model), "classifier")
    about = InputConfig.from_dict(read_metadata(entry.folder).get("input") or {})
    images = images_of(node, about.kind, entry.id)
    modality, scene = _modality(images), images.owners[0].GetScene()
    check_modality(
        modality if isinstance(modality, str) else modality[0], about, images.name, entry.id
    )
    still = lambda: _require(images)
    with runner.folder() as folder:
        given = yield from _hand_over(runner, images, options, folder, still)
        event = yield from runner.request(
            job,
            "diagnose",
            still,
            lambda event: runner.report(job, event.stage, event.fraction, event.seconds_left),
            **given,
            output=str(folder / "result"),
            model=str(options.model),
            device=options.device,
            view=options.view,
            modality=modality,
            window=options.window,
            record=dict(options.record) if options.record else None,
            heat_map=options.heatMap,
        )
        found = yield from runner.in_thread(load_diagnosis, event.folder)
    yield from calm(scene, still)
    job.tableNode, job.heatMapNode = write_diagnosis(found, images)
    job.diagnosis = replace(found, heat_map=None)
    job.rows, job.notes = rows_of(found), found.notes


def _modality(images: Images) -> str | list[str]:
    """What the images are by their studies: of one, or of each channel in order, "" for a
    missing one.
    """
    if not images.flat or len(images.nodes) + len(images.missing) == 1:
        return modality_of(images.frame)
    found = [modality_of(node) for node in images.nodes]
    for n in images.missing:
        found.insert(n, "")
    return found


def _hand_over(runner: Runner, images: Images, options: Options, folder: Path, still) -> Steps:
    """Steps: the fields of the request that name the images. Voxels are read here and written in
    the thread for files.
    """
    given: dict = {}
    if options.lungs is not None:
        mask = _mask(options.lungs, images.nodes[0])
        given["lungs"] = str((yield from runner.in_thread(save_volume, mask, folder / "lungs")))
    path = file_of(images.nodes[0]) if len(images.nodes) == 1 and not images.missing else None
    if path is not None:
        return {**given, "image": path}
    given["volumes"] = []
    for n, node in enumerate(images.nodes):
        still()
        if images.flat and (path := file_of(node)) is not None:
            given["volumes"].append(path)
            continue
        volume = read_image(
            node,
            images.frame if images.in_sequence and images.frame.IsA("vtkMRMLVolumeNode") else None,
        )
        if images.in_sequence:
            volume = replace(volume, name=f"{images.name} {n + 1}")
        given["volumes"].append(
            str((yield from runner.in_thread(save_volume, volume, folder / f"volume {n}")))
        )
    for n in images.missing:
        given["volumes"].insert(n, None)
    return given


def _mask(lungs, image) -> Volume:
    """The lungs' voxels on an image's grid: of a segmentation, or of a label map as it is."""
    if lungs.IsA("vtkMRMLSegmentationNode"):
        return Volume(covered(lungs, image).astype(np.uint8), ijk_to_ras(image), lungs.GetName())
    return Volume(slicer.util.arrayFromVolume(lungs).copy(), ijk_to_ras(lungs), lungs.GetName())


def _require(images: Images) -> None:
    if any(node.GetScene() is None for node in images.owners):
        raise Removed(
            "The image was removed from the scene while it was being diagnosed; nothing was"
            " changed."
        )


def rows_of(found: Diagnosis) -> tuple[tuple[str, float, float | None, bool], ...]:
    """(class, probability, threshold or None, whether it is the answer), one for each class."""
    looked_for = (
        list(found.probabilities)[1]
        if found.threshold is not None and len(found.probabilities) == 2
        else None
    )
    return tuple(
        (name, p, found.threshold if name == looked_for else None, name == found.answer)
        for name, p in found.probabilities.items()
    )


def write_diagnosis(found: Diagnosis, images: Images):
    """Put an answer into the scene: (table node, heat map's volume node or None), beside the
    image; all of it or nothing.
    """
    frame, grid, scene = images.frame, images.nodes[0], images.owners[0].GetScene()
    heat, image = found.heat_map, grid.GetImageData()
    if heat is not None and (image is None or image.GetDimensions()[::-1] != heat.array.shape):
        raise UserError(f'"{images.name}" was changed while it was being diagnosed; try again.')
    with ExitStack() as undo:
        table = scene.AddNewNodeByClass(
            "vtkMRMLTableNode", scene.GenerateUniqueName(f"{images.name} diagnosis")
        )
        undo.callback(_take_out, table)
        _fill(table, found)
        made = None
        if heat is not None:
            made = map_node(heat.array, grid)
            made.SetName(scene.GenerateUniqueName(f"{images.name} heat map"))
            made.SetAttribute(HEAT_MAP, "map")  # before anyone can take it for a scan
            scene.AddNode(made)
            undo.callback(_take_out, made)
            made.SetDescription(
                f"{found.model}: what speaks for {found.heat_class} (Grad-CAM). {RESEARCH_ONLY}"
            )
            if frame.IsA("vtkMRMLTransformableNode"):
                made.SetAndObserveTransformNodeID(frame.GetTransformNodeID())
            name_map(table, made, HEAT_MAP)
        for node in (table, made) if frame.IsA("vtkMRMLVolumeNode") else ():
            if node is not None:
                place_beside(node, frame)
        undo.pop_all()
    return table, made


def _fill(table, found: Diagnosis) -> None:
    rows = rows_of(found)
    columns = list(
        zip(
            *(
                (
                    name,
                    p,
                    float("nan") if threshold is None else threshold,
                    int(positive),
                    found.confidence,
                )
                for name, p, threshold, positive in rows
            )
        )
    )
    for (name, kind, description), values in zip(COLUMNS, columns):
        array = kind()
        array.SetName(name)
        for value in values:
            array.InsertNextValue(value)
        table.AddColumn(array)
        table.SetColumnDescription(name, description)
    table.SetAttribute(MODEL_ATTRIBUTE, found.model)
    table.SetAttribute(ANSWER_ATTRIBUTE, found.answer)
    table.SetDescription(" ".join((RESEARCH_ONLY, *found.notes)))


def _take_out(node) -> None:
    """Take a node out of its scene, with its display nodes and its place in the hierarchy."""
    scene = node.GetScene()
    for index in reversed(
        range(node.GetNumberOfDisplayNodes() if node.IsA("vtkMRMLDisplayableNode") else 0)
    ):
        scene.RemoveNode(node.GetNthDisplayNode(index))
    restore_place(node, None)
    scene.RemoveNode(node)
