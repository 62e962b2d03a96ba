"""What the scene says of an image that is to be diagnosed: its file, or its voxels with what its
display and study tell.

A classifier was trained on grey values as its files' tags ask for them. Slicer's voxels may lack a
look-up table or be turned round (MONOCHROME1), so the file is read wherever the node is still what
was loaded from it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from vtk.util.numpy_support import vtk_to_numpy

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.slicer_bridge.logic import sequence_job as sequences

from .volume_nodes import ijk_to_ras, read_volume

INVERTED = "vtkMRMLColorTableNodeInvertedGrey"  # how Slicer's DICOM module shows MONOCHROME1


@dataclass(frozen=True, eq=False)
class Images:
    """What is diagnosed at once: one image, a few (channels or frames in order), or those of a
    sequence.

    nodes: volume nodes; those of a sequence lie outside of the scene. frame: the node whose
    transform and place in the subject hierarchy count. owners: the nodes of the scene that have to
    stay there. name: for what is made of them. missing: the numbers of channels, from 0, that the
    nodes lack. flat: whether each is one image, which may have a file.
    """

    nodes: tuple
    frame: Any
    owners: tuple
    name: str
    missing: tuple[int, ...] = ()
    flat: bool = False

    @property
    def in_sequence(self) -> bool:
        return self.nodes[0].GetScene() is not self.owners[0].GetScene()


def images_of(node, kind: str, model: str) -> Images:
    """The images that a node, or several in a list, stand for. kind: of the model's input, as in
    `InputConfig`.

    In the list of a model's channels None stands for a missing one. A model of frames takes the
    whole sequence that a node is or shows an image of. Raises `UserError`.
    """
    listed = tuple(node) if isinstance(node, (list, tuple)) else (node,)
    missing = tuple(n for n, each in enumerate(listed) if each is None and kind == "radiograph")
    nodes = tuple(each for n, each in enumerate(listed) if n not in missing)
    if not nodes or any(each is None or each.GetScene() is None for each in nodes):
        raise UserError("No image is selected; load one and choose it.")
    source = sequences.source_of(nodes[0], kind == "frames") if len(nodes) == 1 else None
    if source is not None and kind != "frames":
        raise UserError(
            f'"{nodes[0].GetName()}" is a sequence, and the model "{model}" looks at one image at a'
            " time; choose the image that the sequence browser shows."
        )
    if source is not None:
        sequence = source.sequence
        items = tuple(sequence.GetNthDataNode(n) for n in range(sequence.GetNumberOfDataNodes()))
        return Images(items, source.proxy or sequence, (sequence,), sequence.GetName())
    if kind == "frames" and len(nodes) == 1:
        raise UserError(
            f'"{nodes[0].GetName()}" is one image, and the model "{model}" looks at several in'
            " order; load them as a sequence (Add data, Description: Volume Sequence)."
        )
    return Images(nodes, nodes[0], nodes, nodes[0].GetName(), missing, kind == "radiograph")


def file_of(node) -> str | None:
    """The file of one flat image that a node still shows as it was loaded, DICOM or a picture;
    None for its voxels.
    """
    from MedLLMSegLib.io.dicom.series import is_dicom
    from MedLLMSegLib.io.pictures import is_picture

    image, storage = node.GetImageData(), node.GetStorageNode()
    if image is None or image.GetDimensions()[2] != 1:
        return None
    name = storage.GetFileName() if storage is not None else None
    if name and node.GetModifiedSinceRead():
        return None
    if (
        name
        and storage.GetNumberOfFileNames() < 2
        and os.path.isfile(name)
        and (is_picture(name) or is_dicom(Path(name)))
    ):
        return name
    database = getattr(slicer, "dicomDatabase", None)
    instances = (node.GetAttribute("DICOM.instanceUIDs") or "").split()
    found = (
        database.fileForInstance(instances[0])
        if database is not None and len(instances) == 1
        else ""
    )
    return found if found and os.path.isfile(found) else None


def read_image(node, frame=None) -> Volume:
    """A node's voxels as a `Volume`, with the window and the direction of grey that it is shown in
    as tags.

    Pictures that Slicer loads in colours are [colour, k, j, i]. frame: as for `read_volume`. Raises
    `UserError`.
    """
    if node.IsA("vtkMRMLVectorVolumeNode") and node.GetImageData() is not None:
        image = node.GetImageData()
        scalars = vtk_to_numpy(image.GetPointData().GetScalars())
        array = scalars.reshape(*image.GetDimensions()[::-1], image.GetNumberOfScalarComponents())
        return Volume(np.moveaxis(array, -1, 0).copy(), ijk_to_ras(node), node.GetName(), {})
    volume = read_volume(node, frame)
    return Volume(volume.array, volume.ijk_to_ras, volume.name, _tags(node))


def _tags(node) -> dict[str, float]:
    """The window, unless Slicer has chosen it itself, and whether the lowest value is white."""
    display = node.GetDisplayNode()
    if display is None or not display.IsA("vtkMRMLScalarVolumeDisplayNode"):
        return {}
    tags = (
        {}
        if display.GetAutoWindowLevel()
        else {"window_center": display.GetLevel(), "window_width": display.GetWindow()}
    )
    return {**tags, **({"inverted": 1.0} if display.GetColorNodeID() == INVERTED else {})}


def modality_of(node) -> str:
    """DICOM's code of what made an image, such as "CR", as the subject hierarchy has it; "" if
    it has none.
    """
    hierarchy = node.GetScene().GetSubjectHierarchyNode() if node.GetScene() is not None else None
    item = hierarchy.GetItemByDataNode(node) if hierarchy is not None else 0
    name = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMSeriesModalityAttributeName()
    return (hierarchy.GetItemAttribute(item, name) or "").upper() if item else ""
