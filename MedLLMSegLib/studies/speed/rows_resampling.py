"""Rows: a scan on the network's grid, and labels back on the scan's."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from MedLLMSegLib.core.geometry import Grid, centred_grid
from MedLLMSegLib.core.types import Array, Json, Triple

from . import product, rivals
from .phantoms import FreeNetwork, body, straight_grid
from .row import BOTH, OURS, Prepare, Row, Run, Setting

SCAN_MM = (300.0, 384.0, 384.0)
RANGE = 400.0  # of the scan's grey values
OBLIQUE_DEG = (12.0, -7.0, 20.0)  # about i, j, k


def _scan_shape(setting: Setting) -> Triple:
    return setting.pick((300, 512, 512), (150, 256, 256))


def _grids(setting: Setting, oblique: bool) -> tuple[Grid, Grid]:
    """The scan's grid and the network's."""
    scan = straight_grid(_scan_shape(setting), SCAN_MM)
    if not oblique:
        return scan, straight_grid(setting.pick((160, 256, 256), (80, 128, 128)), SCAN_MM)
    from scipy.spatial.transform import Rotation

    # Not so coarse that the product averages first, which SimpleITK does not
    shape = setting.pick((160, 288, 288), (80, 144, 144))
    spacing_mm = [mm / n for mm, n in zip(SCAN_MM, shape, strict=True)]
    straight = centred_grid((0, 0, 0), shape, spacing_mm)
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("xyz", OBLIQUE_DEG, degrees=True).as_matrix()
    matrix = turn @ straight.ijk_to_ras
    matrix[:3, 3] += scan.centre_ras()
    return scan, Grid(shape, matrix)


def _image(setting: Setting, dtype: type) -> Array:
    image: Array = body(_scan_shape(setting), RANGE).astype(dtype)
    return image


def _ours(oblique: bool, dtype: type) -> Prepare:
    def prepare(setting: Setting) -> Run:
        image, (scan, target) = _image(setting, dtype), _grids(setting, oblique)
        return Run(lambda: product.resample(image, scan, target))

    return prepare


def _sitk(oblique: bool, dtype: type) -> Prepare:
    def prepare(setting: Setting) -> Run:
        scan, target = _grids(setting, oblique)
        image = rivals.sitk_image(_image(setting, dtype), scan)
        return Run(lambda: rivals.sitk_resample(image, target, setting.threads))

    return prepare


def _monai(setting: Setting) -> Run:
    scan, target = _grids(setting, oblique=False)
    return Run(rivals.monai_spacing(_image(setting, np.float32), scan, target))


def _difference(oblique: bool) -> Callable[[Setting], Json]:
    """The largest difference from SimpleITK, as a part of the image's range."""

    def facts(setting: Setting) -> Json:
        ours, theirs = (way(oblique, np.float32)(setting).call() for way in (_ours, _sitk))
        scan, target = _grids(setting, oblique)
        inside = _well_inside(scan, target)
        largest = np.abs(np.asarray(ours) - np.asarray(theirs))[inside].max() / RANGE
        return {"largest difference from SimpleITK, of the range": float(largest)}

    return facts


def _well_inside(grid: Grid, target: Grid) -> NDArray[np.bool_]:
    """Voxels of ``target`` whose centre lies among the centres of ``grid``'s voxels. At the faces
    the programs differ on purpose.
    """
    k, j, i = np.indices(target.shape, sparse=True)
    matrix = np.linalg.inv(grid.ijk_to_ras) @ target.ijk_to_ras
    mask = np.ones(target.shape, bool)
    for axis, length in enumerate(grid.shape[::-1]):
        at = matrix[axis, 0] * i + matrix[axis, 1] * j + matrix[axis, 2] * k + matrix[axis, 3]
        mask &= (at >= 0) & (at <= length - 1)
    return mask


# ---- the way back ----

BACK_MM = (300.0, 256.0, 256.0)


@lru_cache(maxsize=1)
def _logits(setting: Setting) -> tuple[NDArray[np.float32], Grid, Grid]:
    """(logits [3, k, j, i] of the free network, the network's grid, the scan's grid)."""
    crop = straight_grid(setting.pick((160, 256, 256), (80, 96, 96)), BACK_MM)
    scan = straight_grid(setting.pick((300, 512, 512), (150, 192, 192)), BACK_MM)
    with torch.inference_mode():
        image = torch.from_numpy(body(crop.shape, 2.0))[None, None]
        logits: NDArray[np.float32] = FreeNetwork(3)(image)[0].numpy()
    return logits, crop, scan


def _ours_back(setting: Setting) -> Run:
    logits, crop, scan = _logits(setting)
    return Run(lambda: product.labels_on_scan(logits, crop, scan)[0])


def _torch_back(setting: Setting) -> Run:
    logits, _, scan = _logits(setting)
    return Run(lambda: rivals.torch_nearest_labels(torch.from_numpy(logits), scan.shape))


def _sitk_back(setting: Setting) -> Run:
    logits, crop, scan = _logits(setting)

    def run() -> Array:
        labels = torch.from_numpy(logits).max(0).indices.to(torch.uint8).numpy()
        image = rivals.sitk_image(labels, crop)
        return rivals.sitk_resample(image, scan, setting.threads, nearest=True)

    return Run(run)


def _differing_voxels(setting: Setting) -> Json:
    logits, crop, scan = _logits(setting)
    values = torch.from_numpy(product.interpolated(logits))
    exact = rivals.every_class_everywhere(values, scan.shape)
    ours = product.labels_on_scan(logits, crop, scan)[0]
    nearest = rivals.torch_nearest_labels(torch.from_numpy(logits), scan.shape)
    return {
        "voxels other than by interpolating every class everywhere": int((ours != exact).sum()),
        "the same of nearest labels": int((nearest != exact).sum()),
        "voxels of the scan": int(exact.size),
    }


ROWS = (
    Row(
        "resample",
        "resampling 512 x 512 x 300 to 256 x 256 x 160, float32",
        {OURS: _ours(False, np.float32), "SimpleITK": _sitk(False, np.float32), "MONAI": _monai},
        aim="0.25 of SimpleITK, 0.067 of MONAI; difference at most 1e-3",
        facts=_difference(oblique=False),
        rounds=5,
        scales=BOTH,
    ),
    Row(
        "resample-int16",
        "the same from int16, as CT is stored",
        {OURS: _ours(False, np.int16), "SimpleITK": _sitk(False, np.int16)},
        aim="0.25 of SimpleITK",
        rounds=5,
        scales=BOTH,
    ),
    Row(
        "resample-oblique",
        "float32 to 288 x 288 x 160 turned about all three axes",
        {OURS: _ours(True, np.float32), "SimpleITK": _sitk(True, np.float32)},
        aim="1.0 of SimpleITK; difference at most 1e-3",
        facts=_difference(oblique=True),
        rounds=5,
        scales=BOTH,
    ),
    Row(
        "way-back",
        "logits of 3 classes, 160 x 256 x 256, to labels with confidence, 300 x 512 x 512",
        {OURS: _ours_back, "nearest, torch": _torch_back, "nearest, SimpleITK": _sitk_back},
        aim="4 times nearest labels; no voxel other than by interpolating everything",
        facts=_differing_voxels,
        scales=BOTH,
    ),
)
