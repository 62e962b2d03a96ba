"""Scans and their segmentations in the scene, as labelled cases on disk: NAME.nrrd beside
NAME.seg.nrrd.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from vtk.util.numpy_support import vtk_to_numpy

from MedLLMSegLib.anatomy.structures import uncoded_structures
from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.segmentation import Segmentation
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.data.reference_labels import normalized_name
from MedLLMSegLib.io.volume_files import save_segmentation, save_volume
from MedLLMSegLib.slicer_bridge.scene.segments import BINARY_LABELMAP, to_vtk
from MedLLMSegLib.slicer_bridge.scene.volume_nodes import ijk_to_segmentation, read_volume

FEWEST = 2  # one pair to train on and one to choose the best weights by


@dataclass(frozen=True, eq=False)
class Pair:
    """A scan and its segmentation.

    group: of the patient; all scans of a group are used either for training or for validation.
    """

    volumeNode: Any
    segmentationNode: Any
    group: str
    name: str


def checked_pairs(pairs) -> tuple[tuple[Pair, ...], tuple[str, ...]]:
    """The pairs with groups and file names of their own, and the names of the structures. Raises
    `UserError`.
    """
    pairs = [
        (volume, segmentation)
        for volume, segmentation in pairs
        if volume is not None and segmentation is not None
    ]
    if len(pairs) < FEWEST:
        raise UserError(
            f"There {'is 1 scan' if len(pairs) == 1 else 'are no scans'} with a segmentation, and"
            f" at least {FEWEST} of different patients are needed to train; add pairs of a scan and"
            " its segmentation."
        )
    seen: set[str] = set()
    for volume, _ in pairs:
        if volume.GetID() in seen:
            raise UserError(
                f'The scan "{volume.GetName()}" is in two pairs; give each scan one segmentation.'
            )
        seen.add(volume.GetID())
    names = _structures(pairs)
    checked: list[Pair] = []
    used_names: set[str] = set()
    patients: dict[int, int] = {}  # item in the subject hierarchy -> number
    for volume, segmentation in pairs:
        name = _unused_name(_file_name(volume), used_names)
        used_names.add(name.casefold())
        patient = _patient(volume)
        group = f"patient_{patients.setdefault(patient, len(patients) + 1)}" if patient else name
        checked.append(Pair(volume, segmentation, group, name))
    return tuple(checked), names


def _file_name(volumeNode) -> str:
    plain = re.sub(r"[^\w-]+", "_", volumeNode.GetName() or "").strip("_")
    return plain[:40] or "scan"


def _unused_name(name: str, used: set[str]) -> str:
    """The name, numbered if another scan's file has it; upper and lower case count as equal, as on
    some disks.
    """
    candidates = (name if n == 1 else f"{name}_{n}" for n in count(1))
    return next(candidate for candidate in candidates if candidate.casefold() not in used)


def _structures(pairs) -> tuple[str, ...]:
    """The names that the segments of every pair have, in the order of the first one's."""
    first, names = pairs[0][1], _segment_names(pairs[0][1])
    for _, segmentation in pairs[1:]:
        others = _segment_names(segmentation)
        if {normalized_name(name) for name in others} != {normalized_name(name) for name in names}:
            raise UserError(
                f'"{first.GetName()}" has the segments {", ".join(names)}, and'
                f' "{segmentation.GetName()}" has '
                f"{', '.join(others)}; give the same structures the same names in all"
                " segmentations."
            )
    return names


def _segment_names(node) -> tuple[str, ...]:
    segments = node.GetSegmentation()
    names = tuple(segments.GetSegment(i).GetName() for i in segments.GetSegmentIDs())
    if not names:
        raise UserError(
            f'The segmentation "{node.GetName()}" is empty; draw the structures that the model'
            " should learn, or leave the pair out."
        )
    if len({normalized_name(name) for name in names}) < len(names):
        raise UserError(
            f'Two segments of "{node.GetName()}" have the same name; give each structure a name of'
            " its own."
        )
    return names


def _patient(volumeNode) -> int:
    """The subject hierarchy item of a scan's patient; 0 if it has none."""
    hierarchy = volumeNode.GetScene().GetSubjectHierarchyNode()
    item = hierarchy.GetItemByDataNode(volumeNode)
    level = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMLevelPatient()
    return hierarchy.GetItemAncestorAtLevel(item, level) if item else 0


def read_pair(pair: Pair, names: tuple[str, ...]) -> tuple[Volume, Segmentation]:
    """The voxels of a pair: the scan, and its segments as labels on the scan's grid. Raises
    `UserError`.
    """
    volume = read_volume(pair.volumeNode)
    labels = np.zeros(volume.array.shape, np.uint8)
    name_of: dict[int, str] = {}  # label -> structure
    segments = pair.segmentationNode.GetSegmentation()
    by_name = {
        normalized_name(segments.GetSegment(i).GetName()): i for i in segments.GetSegmentIDs()
    }
    for value, name in enumerate(names, start=1):
        inside = _voxels(
            pair.segmentationNode, by_name[normalized_name(name)], pair.volumeNode, name
        )
        others = np.unique(labels[inside])
        if others.any():
            raise UserError(
                f'The segments "{name_of[int(others[others > 0][0])]}" and "{name}" of'
                f' "{pair.segmentationNode.GetName()}" overlap, and every voxel can have one label'
                " only; remove the overlap (Segment Editor: Masking, Modify other segments:"
                " Overwrite all)."
            )
        labels[inside] = value
        name_of[value] = name
    if not labels.any():
        raise UserError(
            f'The segmentation "{pair.segmentationNode.GetName()}" is empty where'
            f' "{pair.volumeNode.GetName()}" lies; choose the scan that it was drawn on, or leave'
            " the pair out."
        )
    return volume, Segmentation(
        volume.with_array(labels), uncoded_structures(dict(enumerate(names, start=1)))
    )


def _voxels(node, segment_id: str, volumeNode, name: str) -> np.ndarray:
    """Which voxels of the scan, bool [k, j, i], a segment covers. The scene is not touched, as
    Slicer's own export would.
    """
    grid = ijk_to_segmentation(node, volumeNode)
    segment = slicer.vtkOrientedImageData()
    extent = [edge for size in volumeNode.GetImageData().GetDimensions() for edge in (0, size - 1)]
    if not _with_labelmaps(node, grid, extent).GetBinaryLabelmapRepresentation(segment_id, segment):
        raise UserError(
            f'The segment "{name}" of "{node.GetName()}" could not be turned into voxels; make'
            " binary labelmaps of it in the Segmentations module (Representations)."
        )
    if segment.IsEmpty():
        return np.zeros(volumeNode.GetImageData().GetDimensions()[::-1], bool)
    scan, resampled = slicer.vtkOrientedImageData(), slicer.vtkOrientedImageData()
    scan.SetExtent(*extent)
    scan.SetImageToWorldMatrix(to_vtk(grid))
    slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(
        segment, scan, resampled
    )
    voxels = vtk_to_numpy(resampled.GetPointData().GetScalars())
    return voxels.reshape(resampled.GetDimensions()[::-1]) > 0


def covered(node, volumeNode) -> np.ndarray:
    """Which voxels of an image, bool [k, j, i], any segment of a segmentation covers. Raises
    `UserError` for an empty one.
    """
    segments, names = node.GetSegmentation(), _segment_names(node)
    masks = [
        _voxels(node, segment_id, volumeNode, name)
        for segment_id, name in zip(segments.GetSegmentIDs(), names, strict=True)
    ]
    return np.logical_or.reduce(masks)


def _with_labelmaps(node, grid: np.ndarray, extent: list[int]):
    """The node, or a copy of it outside of the scene whose surfaces are made into voxels of a
    grid.
    """
    converter = slicer.vtkSegmentationConverter
    if node.GetSegmentation().ContainsRepresentation(BINARY_LABELMAP):
        return node
    copy = slicer.vtkMRMLSegmentationNode()
    copy.GetSegmentation().DeepCopy(node.GetSegmentation())
    copy.GetSegmentation().SetConversionParameter(
        converter.GetReferenceImageGeometryParameterName(),
        converter.SerializeImageGeometry(to_vtk(grid), extent),
    )
    copy.GetSegmentation().CreateRepresentation(BINARY_LABELMAP)
    return copy


def write_pair(volume: Volume, segmentation: Segmentation, pair: Pair, folder: Path) -> None:
    """Put a pair's files into ``folder``, in a subfolder for its group, as `cases.read_cases`
    understands them.
    """
    group = Path(folder) / pair.group
    group.mkdir(parents=True, exist_ok=True)
    save_volume(volume, group / f"{pair.name}.nrrd")
    save_segmentation(segmentation, group / f"{pair.name}.seg.nrrd")
