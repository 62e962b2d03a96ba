"""A result as segments: which voxels, names, colours and codes a segmentation gets, and which older
segments go.

`draw` needs numpy alone and may run in a thread; all else works on `vtkSegmentation`, in a scene or
not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from MedLLMSegLib.anatomy.structures import TERMINOLOGY
from MedLLMSegLib.core.segmentation import Segmentation, Structure

STRUCTURE_TAG = "MedLLMSeg.structure"  # a segment of ours: the structure's key
MODEL_TAG = "MedLLMSeg.model"  # and the model that drew it
# What Slicer's DICOM SEG export reads; without these it would say that the segment was drawn by
# hand.
DICOM_TYPE, DICOM_NAME = ("DICOM.SegmentAlgorithmType", "AUTOMATIC"), "DICOM.SegmentAlgorithmName"
BINARY_LABELMAP = "Binary labelmap"
REGIONS = "Anatomic codes - DICOM master list"

Row = tuple[
    str, float, float | None
]  # a structure's name, its volume in mL, the mean confidence over it


@dataclass(frozen=True, eq=False)
class Drawing:
    """What a run found, cut down to the box that holds it.

    labels: uint8 [k, j, i], None if nothing was found. start: (k, j, i) of its first voxel on the
    scan's grid, which has ``shape``. structures: all that the model knows; found: those that have
    voxels. rows: one for each of ``found``.
    """

    labels: np.ndarray | None
    start: tuple[int, int, int]
    shape: tuple[int, int, int]
    structures: tuple[Structure, ...]
    found: tuple[Structure, ...]
    rows: tuple[Row, ...]
    model: str
    notes: tuple[str, ...]


def draw(segmentation: Segmentation) -> Drawing:
    """The part of a result that is drawn; each voxel of the scan's grid is looked at once."""
    labels = segmentation.labels.array
    occupied = [np.flatnonzero(labels.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    if not len(occupied[0]):
        return Drawing(
            None,
            (0, 0, 0),
            labels.shape,
            segmentation.structures,
            (),
            (),
            segmentation.model,
            segmentation.notes,
        )
    box = tuple(slice(int(where[0]), int(where[-1]) + 1) for where in occupied)
    inside = np.ascontiguousarray(labels[box])
    voxels, ml = np.bincount(inside.ravel(), minlength=256), segmentation.labels.grid.voxel_ml
    found = tuple(s for s in segmentation.structures if voxels[s.label])
    rows = tuple(
        (s.name, float(voxels[s.label] * ml), _finite(segmentation.confidence.get(s.label)))
        for s in found
    )
    return Drawing(
        inside,
        tuple(part.start for part in box),
        labels.shape,
        segmentation.structures,
        found,
        rows,
        segmentation.model,
        segmentation.notes,
    )


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def old_segments(segments, drawing: Drawing, side: str | None) -> dict[str, str]:
    """Segments of an earlier run that this result replaces, as structure key -> segment id.

    segments: a vtkSegmentation. They are those of the same structure, and what else the same model
    drew, but for the side that was not asked for. Of several with one key only the first is: a copy
    that the user made of a segment is the user's.
    """
    keys, old = {s.key for s in drawing.structures}, {}
    spared = {
        s.key
        for s in drawing.structures
        if side and s.modifier and s.modifier.meaning.lower() != side
    }
    spared -= {s.key for s in drawing.found}
    for segment_id in segments.GetSegmentIDs():
        segment = segments.GetSegment(segment_id)
        key, model = tag(segment, STRUCTURE_TAG), tag(segment, MODEL_TAG)
        if key and key not in spared and (key in keys or model == drawing.model):
            old.setdefault(key, segment_id)
    return old


def tag(segment, name: str) -> str:
    """A tag of a vtkSegment; "" where it has none."""
    value = vtk.reference("")
    return str(value) if segment.GetTag(name, value) else ""


def set_segments(segments, drawing: Drawing, ijk_to_ras: np.ndarray, old: dict[str, str]) -> None:
    """Replace the segments of an earlier run, ``old`` (structure key -> id), each in its place; new
    ones come last.

    A segment that is replaced keeps its name and colour, which the user may have changed.
    ijk_to_ras: (4, 4) from the scan's voxel indices to the frame that the segmentation lies in, mm.
    """
    for key in set(old) - {s.key for s in drawing.found}:
        segments.RemoveSegment(old[key])
    labelmap = _labelmap(drawing, ijk_to_ras) if drawing.found else None
    for structure in drawing.found:
        segment_id, following = segments.GenerateUniqueSegmentID(structure.key), ""
        segment = _segment(structure, drawing.model, labelmap)
        if structure.key in old:
            segment_id = old[structure.key]
            segment.SetName(segments.GetSegment(segment_id).GetName())
            segment.SetColor(segments.GetSegment(segment_id).GetColor())
            index = segments.GetSegmentIndex(segment_id) + 1
            following = (
                segments.GetNthSegmentID(index) if index < segments.GetNumberOfSegments() else ""
            )
            segments.RemoveSegment(segment_id)
        if not segments.AddSegment(segment, segment_id, following):
            raise RuntimeError(f"Slicer did not take the segment {structure.name!r}")


def _segment(structure: Structure, model: str, labelmap):
    """One structure as a vtkSegment that shares ``labelmap`` with the others, as Slicer's own
    layers do.
    """
    segment = slicer.vtkSegment()
    segment.SetName(structure.name)
    segment.SetColor(*(channel / 255.0 for channel in structure.color))
    # or Slicer would rename and recolour both parts after their common term
    segment.NameAutoGeneratedOff()
    segment.ColorAutoGeneratedOff()
    segment.SetTag(segment.GetTerminologyEntryTagName(), terminology_entry(structure))
    segment.SetTag(STRUCTURE_TAG, structure.key)
    segment.SetTag(MODEL_TAG, model)
    segment.SetTag(*DICOM_TYPE)
    segment.SetTag(DICOM_NAME, f"MedLLMSeg {model}"[:64])  # as long as DICOM allows
    segment.SetLabelValue(structure.label)
    segment.AddRepresentation(BINARY_LABELMAP, labelmap)
    return segment


def terminology_entry(structure: Structure) -> str:
    """The structure's codes as Slicer writes them into a segment's tag."""
    codes = [structure.category, structure.type, structure.modifier]
    triples = [
        part
        for code in codes
        for part in ((code.value, code.scheme, code.meaning) if code else ("", "", ""))
    ]
    return slicer.vtkSlicerTerminologiesModuleLogic.SerializeTerminologyEntry(
        TERMINOLOGY, *triples, REGIONS, *[""] * 6
    )


def _labelmap(drawing: Drawing, ijk_to_ras: np.ndarray):
    """The labels as a vtkOrientedImageData whose voxels keep their indices, and so their places,
    on the scan's grid.
    """
    (k0, j0, i0), (k, j, i) = drawing.start, drawing.labels.shape
    image = slicer.vtkOrientedImageData()
    image.SetExtent(i0, i0 + i - 1, j0, j0 + j - 1, k0, k0 + k - 1)  # inclusive
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    vtk_to_numpy(image.GetPointData().GetScalars())[:] = drawing.labels.ravel()
    image.SetImageToWorldMatrix(to_vtk(ijk_to_ras))
    return image


def to_vtk(matrix: np.ndarray):
    """A (4, 4) array as a vtkMatrix4x4."""
    made = vtk.vtkMatrix4x4()
    made.DeepCopy(np.asarray(matrix, float).ravel())
    return made
