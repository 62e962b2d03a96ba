"""Slicer's segmentations (.seg.nrrd) as label maps on their image's grid.

A segment is a value in one of several layers; overlapping segments lie in different layers. The
file may hold only the box around all segments. Values differ between files, so segments are
identified by their names. The format is described in Slicer's
Docs/developer_guide/modules/segmentations.md and vtkMRMLSegmentationStorageNode.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import SimpleITK as sitk

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.geometry import Grid, transform_points, voxel_map
from MedLLMSegLib.core.types import Array
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.io.itk_images import image_to_volume, read_image, scan_suffix
from MedLLMSegLib.io.volume_files import scan_name

from .case import Case, group_of

SUFFIX = ".seg.nrrd"
_VOXEL_TOLERANCE = 0.05  # how far the segmentation's voxels may lie from the image's, in voxels


@dataclass(frozen=True)
class Segment:
    """One segment of a file: its name, and the layer and value of its voxels."""

    name: str
    layer: int
    value: int


@dataclass(frozen=True)
class _Pair:
    """A segmentation file and the volume it belongs to."""

    name: str
    image: Path
    label: Path


def is_segmentation(path: Path) -> bool:
    """Whether this is one of Slicer's segmentation files."""
    return path.name.lower().endswith(SUFFIX)


def find_segmentations(folder: Path) -> list[Case]:
    """The segmentations of a folder and its direct subfolders, each with its volume.

    The volume has the same name. In a subfolder with one segmentation and one volume their names do
    not matter; the subfolder's name is the case's group. Raises `UserError` for a segmentation
    without a volume.
    """
    cases = [
        Case(pair.name, pair.image, pair.label, group_of(pair.name)) for pair in _pairs(folder)
    ]
    for subfolder in sorted(path for path in folder.iterdir() if path.is_dir()):
        if subfolder.name.startswith("."):
            continue
        pairs = _pairs(subfolder)
        for pair in pairs:
            case_id = subfolder.name if len(pairs) == 1 else f"{subfolder.name}_{pair.name}"
            cases.append(Case(case_id, pair.image, pair.label, group_of(subfolder.name)))
    return cases


def _pairs(folder: Path) -> list[_Pair]:
    files = sorted(
        path
        for path in folder.iterdir()
        if path.is_file() and scan_suffix(path) and not path.name.startswith(".")
    )
    labels = [path for path in files if is_segmentation(path)]
    images = [path for path in files if not is_segmentation(path)]
    pairs = []
    for label in labels:
        name = label.name[: -len(SUFFIX)]
        candidates = [path for path in images if scan_name(path) == name]
        if len(labels) == len(images) == 1:
            candidates = images
        if len(candidates) != 1:
            raise UserError(
                f'The segmentation "{label}" has {_present(candidates, images)} beside it, and one'
                f" volume is needed; keep it there as {name}.nrrd, {name}.nii.gz or {name}.mha."
            )
        pairs.append(_Pair(name, candidates[0], label))
    return pairs


def _present(candidates: Sequence[Path], images: Sequence[Path]) -> str:
    """The volumes beside a segmentation, for a message."""
    if candidates:
        return " and ".join(path.name for path in candidates)
    return "no volume of its name" if images else "no volume"


def read_segments(path: Path) -> list[Segment]:
    """The segments of a file, in its order; only the header is read.

    Raises `UserError` if there are none.
    """
    fields = _header_fields(path)
    count = next(n for n in range(len(fields) + 1) if f"Segment{n}_Name" not in fields)
    try:
        segments = [_segment(fields, n) for n in range(count)]
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


def _header_fields(path: Path) -> dict[str, str]:
    """The key:=value lines of an NRRD header."""
    try:
        with open(path, "rb") as file:
            lines = [line for line in _header_lines(file) if not line.startswith("#")]
    except OSError as error:
        raise UserError(
            f'"{path}" may not be read ({error.strerror}); check the file and its permissions.'
        ) from error
    pairs = (line.split(":=", 1) for line in lines if ":=" in line)
    return {key: value for key, value in pairs}


def _header_lines(file: BinaryIO) -> Iterator[str]:
    """The lines of an NRRD header, which ends with an empty line."""
    while line := file.readline(1 << 20).decode("utf-8", "replace").rstrip("\r\n"):
        yield line


def _segment(fields: Mapping[str, str], n: int) -> Segment:
    """The segment number ``n`` of a header.

    Slicer before 4.11 wrote neither layer nor value: one layer of zeros and ones for each segment.
    """
    return Segment(
        name=fields[f"Segment{n}_Name"].strip(),
        layer=int(fields.get(f"Segment{n}_Layer", n)),
        value=int(fields.get(f"Segment{n}_LabelValue", 1)),
    )


def normalized_name(name: str) -> str:
    """A segment's name in lower case with single blanks, to compare names."""
    return " ".join(name.casefold().split())


def read_segmentation(path: Path, labels: Mapping[int, str], image: Volume) -> Array:
    """The segments as a label map, uint8 [k, j, i], on the image's grid.

    labels: label value -> name; a segment gets the value of its name. Raises `UserError` for a
    segment that has none, for segments that overlap, and for voxels that do not lie on the image's.
    """
    layers, grid = _read_layers(path)
    value_of = {normalized_name(name): value for value, name in labels.items()}
    label_map = np.zeros(grid.shape, np.uint8)
    for segment in read_segments(path):
        value = value_of.get(normalized_name(segment.name))
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
        taken = label_map[inside]
        others = taken[(taken != 0) & (taken != value)]
        if len(others):
            raise UserError(
                f'The segments "{labels[int(others[0])]}" and "{segment.name}" of "{path}" overlap,'
                " and every voxel can have one label only; remove the overlap (in Slicer's Segment"
                " Editor: Masking, Modify other segments: Overwrite all)."
            )
        label_map[inside] = value
    return _placed(label_map, grid, image.grid, path)


def _read_layers(path: Path) -> tuple[list[Array], Grid]:
    """The layers of a file, integers [k, j, i], and the grid they share."""
    image = read_image(path)
    count = image.GetNumberOfComponentsPerPixel()
    layers = [image]
    if count > 1:
        layers = [sitk.VectorIndexSelectionCast(image, n) for n in range(count)]
    volumes = [image_to_volume(layer, path.name) for layer in layers]
    return [volume.array for volume in volumes], volumes[0].grid


def _placed(labels: Array, grid: Grid, target: Grid, path: Path) -> Array:
    """Labels on some of the target's voxels (or around them) as an array of the target's shape."""
    offset = _offset(grid, target, path)
    low, high = np.clip(offset, 0, target.shape), np.clip(offset + grid.shape, 0, target.shape)
    into = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    source = tuple(slice(a, b) for a, b in zip(low - offset, high - offset, strict=True))
    placed = np.zeros(target.shape, np.uint8)
    placed[into] = labels[source]
    lost = int(np.count_nonzero(labels)) - int(np.count_nonzero(placed))
    if lost:
        raise UserError(
            f'"{path}" has {lost} labelled voxels outside of its image; check that the two belong'
            " together."
        )
    return placed


def _offset(grid: Grid, target: Grid, path: Path) -> Array:
    """The target's voxel (k, j, i) on which the grid's first one lies.

    Raises `UserError` unless all voxels lie on those of the target.
    """
    ends = [(0, n - 1) for n in grid.shape]
    corners = np.array(np.meshgrid(*ends, indexing="ij")).reshape(3, -1).T  # (8, 3) [k, j, i]
    in_target = transform_points(voxel_map(target, grid), corners)
    offset: Array = np.rint(in_target[0]).astype(int)
    if not np.abs(in_target - (corners + offset)).max() <= _VOXEL_TOLERANCE:
        size, image_size = (
            " x ".join(f"{s:.4g}" for s in each.spacing_mm[::-1]) for each in (grid, target)
        )
        raise UserError(
            f'The voxels of "{path}" ({size} mm) do not lie on those of its image ({image_size}'
            " mm); set the volume as the source geometry of the segmentation in 3D Slicer and save"
            " it again."
        )
    return offset
