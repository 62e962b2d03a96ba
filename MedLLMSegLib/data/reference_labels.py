"""Slicer's segmentations (.seg.nrrd) as labels: their segments' names, and their voxels on the
image's grid.

How the file is written: Slicer, Docs/developer_guide/modules/segmentations.md and
vtkMRMLSegmentationStorageNode. A segment is a value in one of several layers; segments that overlap
lie in different layers. The file may hold only the box around all segments. Values differ between
files, so segments are known by their names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.geometry import Grid, transform_points, voxel_map
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.io.itk_images import image_to_volume, read_image, scan_suffix
from MedLLMSegLib.io.volume_files import scan_name

from .case import Case, group_of

SUFFIX = ".seg.nrrd"
_SAME_VOXEL = 0.05  # of a voxel: how far the segmentation's voxels may lie beside the image's


@dataclass(frozen=True)
class Segment:
    """One segment of a file: its name, and the layer and value its voxels have."""

    name: str
    layer: int
    value: int


def is_segmentation(path: Path) -> bool:
    """Whether this is one of Slicer's segmentation files."""
    return path.name.lower().endswith(SUFFIX)


def find_segmentations(folder: Path) -> list[Case]:
    """The segmentations of a folder and its direct subfolders, each with the volume of the same
    name beside it.

    A subfolder that holds one segmentation and one volume is a case, whatever their names are; the
    subfolder's name is the case's group. Raises `UserError` for a segmentation without a volume.
    """
    cases = [Case(name, image, label, group_of(name)) for name, image, label in _pairs(folder)]
    for sub in sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")):
        pairs = _pairs(sub)
        cases += [
            Case(
                sub.name if len(pairs) == 1 else f"{sub.name}_{name}",
                image,
                label,
                group_of(sub.name),
            )
            for name, image, label in pairs
        ]
    return cases


def _pairs(folder: Path) -> list[tuple[str, Path, Path]]:
    files = sorted(
        p for p in folder.iterdir() if p.is_file() and scan_suffix(p) and not p.name.startswith(".")
    )
    labels = [p for p in files if is_segmentation(p)]
    images = [p for p in files if not is_segmentation(p)]
    found = []
    for label in labels:
        name = label.name[: -len(SUFFIX)]
        fitting = (
            images
            if len(labels) == len(images) == 1
            else [p for p in images if scan_name(p) == name]
        )
        if len(fitting) != 1:
            there = (
                " and ".join(p.name for p in fitting)
                if fitting
                else "no volume of its name"
                if images
                else "no volume"
            )
            raise UserError(
                f'The segmentation "{label}" has {there} beside it, and one volume is needed; keep'
                f" it there as {name}.nrrd, {name}.nii.gz or {name}.mha."
            )
        found.append((name, fitting[0], label))
    return found


def read_segments(path: Path) -> list[Segment]:
    """The segments of a file, in its order; only the header is read. Raises `UserError` if there
    are none.
    """
    try:
        with open(path, "rb") as file:
            lines = iter(
                lambda: file.readline(1 << 20).decode("utf-8", "replace").rstrip("\r\n"), ""
            )  # to the empty line
            fields = dict(
                line.split(":=", 1) for line in lines if ":=" in line and not line.startswith("#")
            )
    except OSError as error:
        raise UserError(
            f'"{path}" may not be read ({error.strerror}); check the file and its permissions.'
        ) from error
    count = next(n for n in range(len(fields) + 1) if f"Segment{n}_Name" not in fields)
    # Slicer before 4.11 wrote neither layer nor value: one layer of zeros and ones for each segment
    try:
        segments = [
            Segment(
                fields[f"Segment{n}_Name"].strip(),
                int(fields.get(f"Segment{n}_Layer", n)),
                int(fields.get(f"Segment{n}_LabelValue", 1)),
            )
            for n in range(count)
        ]
    except ValueError as error:
        raise UserError(
            f'The header of "{path}" is damaged; save the segmentation again in 3D Slicer.'
        ) from error
    if not segments:
        raise UserError(
            f'"{path}" names no segments; save the segmentation in 3D Slicer, in its own format'
            f" {SUFFIX}."
        )
    return segments


def same_name(name: str) -> str:
    """What two ways of writing a structure's name have in common: small letters, single blanks."""
    return " ".join(name.casefold().split())


def read_segmentation(path: Path, labels: Mapping[int, str], image: Volume) -> np.ndarray:
    """The segments as a label map, uint8 [k, j, i], on the image's grid.

    labels: label value -> name; a segment gets the value of its name. Raises `UserError` for a
    segment that has none, for segments that overlap, and for voxels that do not lie on the image's.
    """
    layers, grid = _layers(path)
    values = {same_name(name): value for value, name in labels.items()}
    out = np.zeros(grid.shape, np.uint8)
    for segment in read_segments(path):
        value = values.get(same_name(segment.name))
        if value is None:
            raise UserError(
                f'The segment "{segment.name}" of "{path}" is none of the structures '
                f"({', '.join(labels.values())}); rename it, or remove it."
            )
        if not 0 <= segment.layer < len(layers):
            raise UserError(
                f'"{path}" has {len(layers)} layers, and its segment "{segment.name}" should lie in'
                f" number {segment.layer + 1}; save it again in 3D Slicer."
            )
        inside = layers[segment.layer] == segment.value
        taken = out[inside]
        others = taken[(taken != 0) & (taken != value)]
        if len(others):
            other = labels[int(others[0])]
            raise UserError(
                f'The segments "{other}" and "{segment.name}" of "{path}" overlap, and every voxel'
                " can have one label only; remove the overlap (in Slicer's Segment Editor:"
                " Masking, Modify other segments: Overwrite all)."
            )
        out[inside] = value
    return _place(out, grid, image.grid, path)


def _layers(path: Path) -> tuple[list[np.ndarray], Grid]:
    """The layers of a file, integers [k, j, i], and the grid they share."""
    image = read_image(path)
    count = image.GetNumberOfComponentsPerPixel()
    parts = (
        [sitk.VectorIndexSelectionCast(image, n) for n in range(count)] if count > 1 else [image]
    )
    volumes = [image_to_volume(part, path.name) for part in parts]
    return [volume.array for volume in volumes], volumes[0].grid


def _place(labels: np.ndarray, grid: Grid, target: Grid, path: Path) -> np.ndarray:
    """Put labels that lie on some of the target's voxels (or around them) into an array of the
    target's shape.
    """
    ends = (
        np.array(np.meshgrid(*[(0, n - 1) for n in grid.shape], indexing="ij")).reshape(3, -1).T
    )  # (8, 3) [k, j, i]
    there = transform_points(voxel_map(target, grid), ends)
    offset = np.rint(there[0]).astype(int)
    if not np.abs(there - (ends + offset)).max() <= _SAME_VOXEL:
        sizes = [" x ".join(f"{s:.4g}" for s in g.spacing_mm[::-1]) for g in (grid, target)]
        raise UserError(
            f'The voxels of "{path}" ({sizes[0]} mm) do not lie on those of its image ({sizes[1]}'
            " mm); set the volume as the source geometry of the segmentation in 3D Slicer and save"
            " it again."
        )
    out = np.zeros(target.shape, np.uint8)
    low, high = np.clip(offset, 0, target.shape), np.clip(offset + grid.shape, 0, target.shape)
    into = tuple(slice(a, b) for a, b in zip(low, high))
    out[into] = labels[tuple(slice(s.start - o, s.stop - o) for s, o in zip(into, offset))]
    lost = int(np.count_nonzero(labels)) - int(np.count_nonzero(out))
    if lost:
        raise UserError(
            f'"{path}" has {lost} labelled voxels outside of its image; check that the two belong'
            " together."
        )
    return out
