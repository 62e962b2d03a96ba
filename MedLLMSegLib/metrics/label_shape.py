"""Size, shape, place and neighbours of each structure of a label map, in mm.

Nothing here depends on how the scan's axes lie: lengths are along a structure's own axes, places
are in RAS, and surfaces are in mm2 of the voxels' faces.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from MedLLMSegLib.core.geometry import transform_points
from MedLLMSegLib.core.types import Array
from MedLLMSegLib.core.volume import Volume

VALUES = 256  # of a uint8 label map
TOUCHING = np.ones((3, 3, 3))  # 26 neighbours
SOLID = 2 * math.sqrt(5)  # length of a solid ellipsoid over the deviation of its points

Point: TypeAlias = tuple[float, float, float]


@dataclass(frozen=True)
class Shape:
    """One structure.

    volume_ml: of its voxels. lengths_mm: of the solid ellipsoid with its moments of inertia, the
    longest first. centre_ras: mm. surface_mm2: of the faces of its voxels that are its own.
    largest_share: of its voxels, in its largest connected part (26 neighbours). border_share: of
    its voxels, on the outermost planes of the scan. touches: label of a neighbour -> the share of
    the surface that adjoins it.
    """

    volume_ml: float
    lengths_mm: Point
    centre_ras: Point
    surface_mm2: float
    largest_share: float
    border_share: float
    touches: dict[int, float] = field(default_factory=dict)

    @property
    def roughness(self) -> float:
        """Its surface over that of a ball of its volume: 1.5 of a ball of voxels, more of anything
        ragged or flat.
        """
        of_ball_mm2 = math.pi ** (1 / 3) * (6000 * self.volume_ml) ** (2 / 3)
        return float(self.surface_mm2 / of_ball_mm2)


def label_shapes(labels: Volume) -> dict[int, Shape]:
    """Label -> its shape, of all labels above 0 that are there.

    labels: uint8 [k, j, i].
    """
    whole = ndimage.find_objects(labels.array > 0, max_label=1)[0]
    if whole is None:
        return {}
    array = labels.array[whole]
    offset_kji = np.array([span.start for span in whole], float)
    counts = np.bincount(array.ravel(), minlength=VALUES)
    present = [int(label) for label in np.flatnonzero(counts) if label]
    centres, lengths = _moments(array, labels.ijk_to_ras, offset_kji, counts)
    faces = _faces(array, labels.ijk_to_ras)
    on_border = _on_border(labels.array)
    largest = _largest_parts(array, counts)
    voxel_ml = float(labels.grid.voxel_ml)
    return {
        label: Shape(
            volume_ml=float(counts[label]) * voxel_ml,
            lengths_mm=lengths[label],
            centre_ras=centres[label],
            surface_mm2=float(faces[label].sum()),
            largest_share=largest[label] / float(counts[label]),
            border_share=float(on_border[label] / counts[label]),
            touches={
                other: float(faces[label, other] / faces[label].sum())
                for other in present
                if other != label and faces[label, other] > 0
            },
        )
        for label in present
    }


def _moments(
    array: NDArray[np.uint8], ijk_to_ras: Array, offset_kji: Array, counts: Array
) -> tuple[dict[int, Point], dict[int, Point]]:
    """(centre in RAS, lengths) of each label, from the first and second moments of its voxels."""
    places = np.nonzero(array)
    values = array[places]
    kji = np.stack(places).astype(float)  # (3, n)
    first = np.stack([np.bincount(values, axis, VALUES) for axis in kji])  # (3, labels)
    centres, lengths = {}, {}
    axes = np.asarray(ijk_to_ras, float)[:3, :3]
    own = axes @ axes.T / 12  # a voxel is a solid, too
    second = np.empty((3, 3, VALUES))
    for a in range(3):
        for b in range(a, 3):
            second[a, b] = second[b, a] = np.bincount(values, kji[a] * kji[b], VALUES)
    for label in np.flatnonzero(counts[1:]) + 1:
        mean = first[:, label] / counts[label]
        spread = (second[:, :, label] / counts[label] - np.outer(mean, mean))[::-1, ::-1]  # i, j, k
        in_mm = np.linalg.eigvalsh(axes @ spread @ axes.T + own)
        lengths[int(label)] = _point(SOLID * np.sqrt(np.maximum(in_mm[::-1], 0)))
        centre = transform_points(ijk_to_ras, (mean + offset_kji)[::-1])
        centres[int(label)] = _point(centre)
    return centres, lengths


def _point(values: Array) -> Point:
    x, y, z = (float(value) for value in values)
    return x, y, z


def _faces(array: NDArray[np.uint8], ijk_to_ras: Array) -> Array:
    """(labels, labels) mm2 in which two labels adjoin each other; what lies outside is 0."""
    axes = np.asarray(ijk_to_ras, float)[:3, :3].T  # rows: i, j, k
    total = np.zeros((VALUES, VALUES))
    padded = np.pad(array, 1)
    for axis in range(3):  # k, j, i
        one, other = (n for n in range(3) if n != 2 - axis)
        area_mm2 = float(np.linalg.norm(np.cross(axes[one], axes[other])))
        before = np.moveaxis(padded, axis, 0)[:-1]
        after = np.moveaxis(padded, axis, 0)[1:]
        differ = before != after
        pairs = before[differ].astype(np.intp) * VALUES + after[differ]
        counted = np.bincount(pairs, minlength=VALUES * VALUES).reshape(VALUES, VALUES)
        total += area_mm2 * (counted + counted.T)
    return total


def _on_border(array: NDArray[np.uint8]) -> Array:
    """(labels,) how many voxels of each lie on an outermost plane; thin scans have no border."""
    inner = tuple(slice(1, -1) if n > 2 else slice(None) for n in array.shape)
    return np.bincount(array.ravel(), minlength=VALUES) - np.bincount(
        array[inner].ravel(), minlength=VALUES
    )


def _largest_parts(array: NDArray[np.uint8], counts: Array) -> dict[int, float]:
    """Label -> voxels of its largest connected part."""
    found = {}
    for label, box in enumerate(ndimage.find_objects(array), start=1):
        if box is None:
            continue
        parts, count = ndimage.label(array[box] == label, structure=TOUCHING)
        sizes = np.bincount(parts.ravel())[1:] if count > 1 else counts[label : label + 1]
        found[label] = float(sizes.max())
    return found
