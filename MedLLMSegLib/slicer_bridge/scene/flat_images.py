"""An image that is to be diagnosed: its file, or its voxels with what its display and study say.

A classifier was trained on grey values as its files' tags define them. Slicer's voxels may lack a
look-up table or be inverted (MONOCHROME1), so the file is read as long as the node is unchanged
since it was loaded.
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

from .sequence_nodes import source_of
from .volume_nodes import ijk_to_ras, read_volume

INVERTED = "vtkMRMLColorTableNodeInvertedGrey"  # how Slicer's DICOM module shows MONOCHROME1


@dataclass(frozen=True, eq=False)
class ImageSet:
    """The images of one diagnosis: one, a few (channels or frames in order), or a sequence's.

    nodes: volume nodes; those of a sequence lie outside of the scene.
    frame: the node whose transform and place in the subject hierarchy count.
    owners: the nodes that have to stay in the scene.
    name: of the nodes that are made from them.
    missing: the numbers of channels, from 0, that are not there.
    flat: whether each is one image, which may have a file.
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


def images_of(node, kind: str, model: str) -> ImageSet:
    """The images that a node, or several in a list, stand for.

    node: in the list of a model's channels None stands for a missing one. A model of frames takes
        the whole sequence that a node is or shows an image of.
    kind: of the model's input, as in `InputConfig`.

    Raises `UserError`.
    """
    listed = tuple(node) if isinstance(node, (list, tuple)) else (node,)
    missing = tuple(n for n, item in enumerate(listed) if item is None and kind == "radiograph")
    nodes = tuple(item for n, item in enumerate(listed) if n not in missing)
    if not nodes or any(item is None or item.GetScene() is None for item in nodes):
        raise UserError("No image is selected; load one and choose it.")
    first = nodes[0]
    source = source_of(first, kind == "frames") if len(nodes) == 1 else None
    if source is not None:
        if kind != "frames":
            raise UserError(
                f'"{first.GetName()}" is a sequence, and the model "{model}" looks at one image at'
                " a time; choose the image that the sequence browser shows."
            )
        sequence = source.sequence
        items = tuple(sequence.GetNthDataNode(n) for n in range(sequence.GetNumberOfDataNodes()))
        return ImageSet(items, source.proxy or sequence, (sequence,), sequence.GetName())
    if kind == "frames" and len(nodes) == 1:
        raise UserError(
            f'"{first.GetName()}" is one image, and the model "{model}" looks at several in'
            " order; load them as a sequence (Add data, Description: Volume Sequence)."
        )
    return ImageSet(nodes, first, nodes, first.GetName(), missing, kind == "radiograph")


def file_of(node) -> str | None:
    """The file of one flat image, DICOM or a picture; None if the node's voxels have to be used.

    They have to if the node is no single flat image, was changed since it was loaded, or has no
    file.
    """
    image, storage = node.GetImageData(), node.GetStorageNode()
    if image is None or image.GetDimensions()[2] != 1:
        return None
    name = storage.GetFileName() if storage is not None else None
    if name and node.GetModifiedSinceRead():
        return None
    if name and storage.GetNumberOfFileNames() < 2 and _is_readable_image(name):
        return name
    return _file_in_database(node)


def _is_readable_image(name: str) -> bool:
    from MedLLMSegLib.io.dicom.sort import is_dicom
    from MedLLMSegLib.io.pictures import is_picture

    return os.path.isfile(name) and (is_picture(name) or is_dicom(Path(name)))


def _file_in_database(node) -> str | None:
    """The file of a node's one DICOM instance in Slicer's DICOM database, or None."""
    database = getattr(slicer, "dicomDatabase", None)
    instances = (node.GetAttribute("DICOM.instanceUIDs") or "").split()
    if database is None or len(instances) != 1:
        return None
    found = database.fileForInstance(instances[0])
    return found if found and os.path.isfile(found) else None


def read_image(node, frame=None) -> Volume:
    """A node's voxels as a `Volume`, with tags for the window and the direction of grey that it is
    shown in.

    Pictures that Slicer loads in colours are [colour, k, j, i]. frame: as for `read_volume`. Raises
    `UserError`.
    """
    if node.IsA("vtkMRMLVectorVolumeNode") and node.GetImageData() is not None:
        image = node.GetImageData()
        scalars = vtk_to_numpy(image.GetPointData().GetScalars())
        array = scalars.reshape(*image.GetDimensions()[::-1], image.GetNumberOfScalarComponents())
        return Volume(np.moveaxis(array, -1, 0).copy(), ijk_to_ras(node), node.GetName(), {})
    volume = read_volume(node, frame)
    return Volume(volume.array, volume.ijk_to_ras, volume.name, _display_tags(node))


def _display_tags(node) -> dict[str, float]:
    """The window, unless Slicer has chosen it itself, and whether the lowest value is white."""
    display = node.GetDisplayNode()
    if display is None or not display.IsA("vtkMRMLScalarVolumeDisplayNode"):
        return {}
    tags = {}
    if not display.GetAutoWindowLevel():
        tags = {"window_center": display.GetLevel(), "window_width": display.GetWindow()}
    if display.GetColorNodeID() == INVERTED:
        tags["inverted"] = 1.0
    return tags


def modality_of(node) -> str:
    """The DICOM modality of an image, such as "CR", by the subject hierarchy; "" if unknown."""
    scene = node.GetScene()
    hierarchy = scene.GetSubjectHierarchyNode() if scene is not None else None
    item = hierarchy.GetItemByDataNode(node) if hierarchy is not None else 0
    if hierarchy is None or not item:
        return ""
    name = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMSeriesModalityAttributeName()
    return (hierarchy.GetItemAttribute(item, name) or "").upper()
