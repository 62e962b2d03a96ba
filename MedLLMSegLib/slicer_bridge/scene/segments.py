"""A result as segments: their voxels, names, colours and codes, and which older segments they
replace.

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

from MedLLMSegLib.anatomy.structures import TERMINOLOGY, is_part_in_brain
from MedLLMSegLib.core.segmentation import Segmentation, Structure
from MedLLMSegLib.metrics.volumetry import Volumetry, volumetry

STRUCTURE_TAG = "MedLLMSeg.structure"  # a segment of ours: the structure's key
MODEL_TAG = "MedLLMSeg.model"  # and the model that drew it
# What Slicer's DICOM SEG export reads; without these it would say that the segment was drawn by
# hand.
DICOM_TYPE, DICOM_NAME = ("DICOM.SegmentAlgorithmType", "AUTOMATIC"), "DICOM.SegmentAlgorithmName"
BINARY_LABELMAP = "Binary labelmap"
REGIONS = "Anatomic codes - DICOM master list"

# a structure's name, its volume in mL, the mean confidence over it
Row = tuple[str, float, float | None]


@dataclass(frozen=True, eq=False)
class Drawing:
    """What a run found, cut down to the box that holds it.

    labels: uint8 [k, j, i], None if nothing was found. start: (k, j, i) of its first voxel on the
    scan's grid, which has ``shape``. structures: all that the model knows; present: those that
    have voxels. rows: one for each of ``present``. volumetry: of all structures.
    partial: only some of the model's structures were asked for, which alone stand in
    ``structures``.
    """

    labels: np.ndarray | None
    start: tuple[int, int, int]
    shape: tuple[int, int, int]
    structures: tuple[Structure, ...]
    present: tuple[Structure, ...]
    rows: tuple[Row, ...]
    model: str
    notes: tuple[str, ...]
    volumetry: Volumetry | None = None
    partial: bool = False

    @property
    def brain_volumetry(self) -> Volumetry | None:
        """The volumetry of a model of the whole brain; None of any other model."""
        found = self.volumetry
        return found if found is not None and found.intracranial is not None else None

    @property
    def inserted(self) -> tuple[str, ...]:
        """Names of the parts that a second model drew, which ``model`` knows nothing of."""
        return tuple(s.name for s in self.present if is_part_in_brain(s))

    @property
    def confidence(self) -> dict[str, float]:
        """Name -> mean confidence of the structures that were found and whose is known."""
        return {name: value for name, _ml, value in self.rows if value is not None}


def draw(segmentation: Segmentation) -> Drawing:
    """The part of a result that is drawn."""
    labels = segmentation.labels.array
    k, j, i = (_extent(labels, axis) for axis in range(3))
    inside = np.ascontiguousarray(labels[k, j, i])  # empty if nothing was found
    voxels = np.bincount(inside.ravel(), minlength=256)  # of each label
    voxel_ml = segmentation.labels.grid.voxel_ml
    present = tuple(s for s in segmentation.structures if voxels[s.label])
    rows = tuple(
        (s.name, float(voxels[s.label] * voxel_ml), _finite(segmentation.confidence.get(s.label)))
        for s in present
    )
    return Drawing(
        labels=inside if inside.size else None,
        start=(k.start, j.start, i.start),
        shape=labels.shape,
        structures=segmentation.structures,
        present=present,
        rows=rows,
        model=segmentation.model,
        notes=segmentation.notes,
        volumetry=volumetry(segmentation),
    )


def measured_rows(segments) -> tuple[Row, ...]:
    """The segments of a vtkSegmentation with their volumes; no confidence is known of them."""
    rows = []
    for segment_id in segments.GetSegmentIDs():
        segment = segments.GetSegment(segment_id)
        image = segment.GetRepresentation(BINARY_LABELMAP)
        if image is not None:
            rows.append((segment.GetName(), _volume_ml(image, segment.GetLabelValue()), None))
    return tuple(rows)


def _volume_ml(image, label: int) -> float:
    """The volume of a label's voxels in a vtkOrientedImageData, in mL."""
    scalars = image.GetPointData().GetScalars()
    voxels = 0 if scalars is None else np.count_nonzero(vtk_to_numpy(scalars) == label)
    return float(voxels * math.prod(image.GetSpacing()) / 1000)


def _extent(labels: np.ndarray, axis: int) -> slice:
    """The smallest range along one axis that holds all labels; empty without any."""
    others = tuple({0, 1, 2} - {axis})
    occupied = np.flatnonzero(labels.any(axis=others))
    if not occupied.size:
        return slice(0, 0)
    return slice(int(occupied[0]), int(occupied[-1]) + 1)


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def old_segments(segments, drawing: Drawing, side: str | None) -> dict[str, str]:
    """Segments of an earlier run that this result replaces, as structure key -> segment id.

    segments: a vtkSegmentation.
    side: "left" or "right" if only that side was asked for; segments of the other side stay.

    A segment is replaced if it shows one of the result's structures, or was drawn by the same
    model, all of whose structures were asked for. Of several segments of one structure only the
    first is replaced: the others are the user's own copies.
    """
    old: dict[str, str] = {}
    keys = {s.key for s in drawing.structures}
    other_side = {
        s.key
        for s in drawing.structures
        if side and s.modifier and s.modifier.meaning.lower() != side
    }
    spared = other_side - {s.key for s in drawing.present}
    for segment_id in segments.GetSegmentIDs():
        segment = segments.GetSegment(segment_id)
        key, model = tag(segment, STRUCTURE_TAG), tag(segment, MODEL_TAG)
        same_model = model == drawing.model and not drawing.partial
        if key and key not in spared and (key in keys or same_model):
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
    for key in set(old) - {s.key for s in drawing.present}:
        segments.RemoveSegment(old[key])
    if drawing.labels is None:
        return
    labelmap = _labelmap(drawing.labels, drawing.start, ijk_to_ras)
    for structure in drawing.present:
        segment_id = segments.GenerateUniqueSegmentID(structure.key)
        following = ""  # the id of the segment that it is put before
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
    fields: list[str] = []
    for code in (structure.category, structure.type, structure.modifier):
        fields += (code.value, code.scheme, code.meaning) if code else ("", "", "")
    no_region = [""] * 6
    return slicer.vtkSlicerTerminologiesModuleLogic.SerializeTerminologyEntry(
        TERMINOLOGY, *fields, REGIONS, *no_region
    )


def _labelmap(labels: np.ndarray, start: tuple[int, int, int], ijk_to_ras: np.ndarray):
    """The labels as a vtkOrientedImageData.

    start: (k, j, i) of the first voxel: all keep their indices on the scan's grid, and so their
    places.
    """
    (k0, j0, i0), (k, j, i) = start, labels.shape
    image = slicer.vtkOrientedImageData()
    image.SetExtent(i0, i0 + i - 1, j0, j0 + j - 1, k0, k0 + k - 1)  # inclusive
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    vtk_to_numpy(image.GetPointData().GetScalars())[:] = labels.ravel()
    image.SetImageToWorldMatrix(to_vtk(ijk_to_ras))
    return image


def to_vtk(matrix: np.ndarray):
    """A (4, 4) array as a vtkMatrix4x4."""
    made = vtk.vtkMatrix4x4()
    made.DeepCopy(np.asarray(matrix, float).ravel())
    return made
