"""A labelled scan of the heart as another scanner, pose or header would give it: fixed changes, the
same for every model.

Each takes an image and its labels in the layout of `MedLLMSegLib.data.acdc` (slices along k from
base to apex) and gives both anew.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from MedLLMSegLib.core.geometry import Grid
from MedLLMSegLib.core.resampling import resample
from MedLLMSegLib.core.volume import Volume

from .benchmark.corruptions import corrupted

LOST = 2  # labelled slices that a cut stack lacks


@dataclass(frozen=True, eq=False)
class LabelledScan:
    """image: float32 [k, j, i]; labels: whole numbers on the same grid."""

    image: Volume
    labels: Volume


def _turned(quarters: int, mirrored: bool = False) -> Callable[[LabelledScan], LabelledScan]:
    """In the plane, by quarters of a turn. The pixels are square, so the header may stay."""

    def change(scan: LabelledScan) -> LabelledScan:
        return _with_arrays(scan, lambda array: _turned_planes(array, quarters, mirrored))

    return change


def _turned_planes(array: np.ndarray, quarters: int, mirrored: bool) -> np.ndarray:
    flipped = array[..., ::-1] if mirrored else array
    return np.ascontiguousarray(np.rot90(flipped, quarters, axes=(-2, -1)))


def _with_arrays(scan: LabelledScan, change: Callable[[np.ndarray], np.ndarray]) -> LabelledScan:
    return LabelledScan(
        *(volume.with_array(change(volume.array)) for volume in (scan.image, scan.labels))
    )


def _stated(plane: float = 1.0, slices: float = 1.0) -> Callable[[LabelledScan], LabelledScan]:
    """The header states pixels and slices so many times too large."""
    scales = np.diag([plane, plane, slices, 1.0])  # the matrix's axes are i, j, k

    def change(scan: LabelledScan) -> LabelledScan:
        return LabelledScan(
            *(
                Volume(volume.array, volume.ijk_to_ras @ scales, volume.name)
                for volume in (scan.image, scan.labels)
            )
        )

    return change


def _resliced(thickness_mm: float) -> Callable[[LabelledScan], LabelledScan]:
    """Slices as far apart, each blended of its neighbours; the header is right."""

    def change(scan: LabelledScan) -> LabelledScan:
        old, share = scan.image.grid, thickness_mm / scan.image.spacing_mm[0]
        count = max(2, int(np.floor((old.shape[0] - 1) / share)) + 1)
        matrix = scan.image.ijk_to_ras @ np.diag([1.0, 1.0, share, 1.0])
        # Centred, so that the first slice is a blend, too.
        left = (old.shape[0] - 1) - (count - 1) * share
        matrix[:3, 3] += scan.image.ijk_to_ras[:3, 2] * left / 2
        grid = Grid((count, *old.shape[1:]), matrix)
        values = range(int(scan.labels.array.max()) + 1)
        shares = [
            resample((scan.labels.array == value).astype(np.float32), old, grid) for value in values
        ]
        return LabelledScan(
            Volume(resample(scan.image.array, old, grid), matrix, scan.image.name),
            Volume(np.argmax(shares, axis=0).astype(np.uint8), matrix, scan.labels.name),
        )

    return change


def _without_base(scan: LabelledScan) -> LabelledScan:
    """The stack begins within the heart: its first `LOST` labelled slices are missing."""
    shown = np.flatnonzero((scan.labels.array > 0).any(axis=(1, 2)))
    return _with_arrays(scan, lambda array: array[int(shown[0]) + LOST :])


def _off_centre(scan: LabelledScan) -> LabelledScan:
    """A field of view in which the heart lies in a corner: cut 12 pixels beside the labels."""
    rows, columns = (
        np.flatnonzero((scan.labels.array > 0).any(axis=axes)) for axes in ((0, 2), (0, 1))
    )
    top, left = max(0, rows[0] - 12), max(0, columns[0] - 12)
    return _with_arrays(scan, lambda array: array[:, top:, left:])


def _clipped(scan: LabelledScan) -> LabelledScan:
    """Shown in a narrow window: the darkest tenth and the brightest eighth are cut off."""
    low, high = np.percentile(scan.image.array, (10, 87.5))
    return LabelledScan(scan.image.with_array(scan.image.array.clip(low, high)), scan.labels)


def _as_scanned(name: str) -> Callable[[LabelledScan], LabelledScan]:
    return lambda scan: LabelledScan(corrupted(scan.image, name, scan.image.name), scan.labels)


PLAIN = "as it is"
CHANGES: dict[str, Callable[[LabelledScan], LabelledScan]] = {
    PLAIN: lambda scan: scan,
    "turned by 90 degrees": _turned(1),
    "turned by 180 degrees": _turned(2),
    "mirrored and turned by 90 degrees": _turned(1, mirrored=True),
    "pixels stated 0.7 times as large": _stated(0.7),
    "pixels stated 1.4 times as large": _stated(1.4),
    "pixels stated twice as large": _stated(2.0),
    "slices of 6 mm stated as 10 mm": lambda scan: _stated(slices=10 / 6)(_resliced(6.0)(scan)),
    "slices of 13 mm": _resliced(13.0),
    "base missing": _without_base,
    "heart in a corner": _off_centre,
    "gamma 2.5": _as_scanned("gamma"),
    "bias field": _as_scanned("bias field"),
    "noise": _as_scanned("noise"),
    "clipped": _clipped,
}
