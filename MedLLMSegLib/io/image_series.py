"""A series of images over time from one file of four dimensions, or from several on one grid, and
the label maps that belong to it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.volume import Volume

from .volume_files import load_volume

SAME_GRID_MM = 1e-3  # how far the matrices of one grid may differ


def load_series(paths: Sequence[Path]) -> Volume:
    """[t, k, j, i] of one file, or of several files on one grid, in their order.

    Raises `UserError` for one image alone, and for images of two grids.
    """
    volumes = [load_volume(path) for path in paths]
    first = volumes[0]
    if len(volumes) == 1:
        if first.array.ndim != 4:
            raise UserError(
                f'"{paths[0]}" is one image, and a series over a beat is needed, or two images at'
                " least: full and empty."
            )
        return first
    for path, each in zip(paths, volumes, strict=True):
        if each.array.ndim != 3 or not _is_on_same_grid(each, first):
            raise UserError(
                f'"{path}" does not lie on the grid of "{paths[0]}"; give images of one series.'
            )
    return replace(first, array=np.stack([each.array for each in volumes]))


def load_label_series(path: Path, scan: Volume, names: dict[int, str]) -> list[Volume]:
    """The label maps of a file, uint8 [k, j, i], one an image of a series.

    scan: the series. names: label -> structure, of the labels that may be there beside 0. Raises
    `UserError` for another grid, another number of images, and for an unknown label.
    """
    labels = load_volume(path)
    if labels.array.shape != scan.array.shape or not _is_on_same_grid(labels, scan):
        raise UserError(
            f'The label maps "{path}" are {labels.array.shape}, and the scan is {scan.array.shape};'
            " they must lie on the same grid."
        )
    _refuse_unknown(labels, path, names)
    return [replace(labels, array=each.astype(np.uint8), tags={}) for each in labels.array]


def _refuse_unknown(labels: Volume, path: Path, names: dict[int, str]) -> None:
    known: Collection[int] = (0, *names)
    numbers = np.unique(labels.array)
    unknown = numbers[~np.isin(numbers, list(known))]
    if len(unknown):
        texts = [f"{number} {name}" for number, name in names.items()]
        raise UserError(
            f'"{path}" holds the label {unknown[0]:g}, and {", ".join(texts[:-1])} and {texts[-1]}'
            " are known."
        )


def _is_on_same_grid(one: Volume, other: Volume) -> bool:
    is_near = np.allclose(one.ijk_to_ras, other.ijk_to_ras, atol=SAME_GRID_MM)
    return bool(is_near and one.array.shape[-3:] == other.array.shape[-3:])
