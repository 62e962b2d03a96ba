"""Scans that test the localizer: synthetic heads, variants of a head, scans without a brain."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from MedLLMSegLib.core.geometry import Grid, sub_grid, transform_points
from MedLLMSegLib.core.resampling import resample
from MedLLMSegLib.core.types import Array, Triple
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.io.volume_files import load_volume
from MedLLMSegLib.segmentation.localize import SIDES
from MedLLMSegLib.training.localizer import subjects
from MedLLMSegLib.training.localizer.localizer_contrast import draw_contrast

HIPPOCAMPUS_LABELS = (17, 53)  # FreeSurfer's numbers of the left and the right one


def synthetic_scan(path: Path, rng: np.random.Generator) -> tuple[Volume, dict[str, Array]]:
    """A tilted head at 1 mm from a label map, T1-like or of random contrast, and its true centres.

    The centres are side -> (3,) RAS mm. The scan is made without the training's simplifications
    (2 mm tissues, 3 mm grid), so that it can show whether they misled the network.
    """
    labels = load_volume(path)
    numbers = labels.array.astype(np.int16)
    image = _synthetic_image(numbers, rng)
    tilt = np.eye(4)
    tilt[:3, :3] = Rotation.from_euler("xyz", rng.uniform(-20, 20, 3), degrees=True).as_matrix()
    volume = Volume((1000 * image).astype(np.float32), tilt @ labels.ijk_to_ras, path.name)
    centres = {
        side: transform_points(volume.ijk_to_ras, np.argwhere(numbers == number).mean(0)[::-1])
        for side, number in zip(SIDES, HIPPOCAMPUS_LABELS, strict=True)
    }
    if rng.random() < 0.5:
        volume = with_thick_slices(volume, int(rng.integers(3)), rng.uniform(2, 5))
    return volume, centres


def _synthetic_image(numbers: Array, rng: np.random.Generator) -> Array:
    """float32 [k, j, i]: contrast, blur, a bias field and noise. numbers: FreeSurfer's labels."""
    tissues = subjects.tissues_of(numbers)
    if rng.random() < 0.4:
        tissues[tissues >= subjects.FIRST_OUTSIDE] = 0
    means, deviations = draw_contrast(rng)
    image = means[tissues] + deviations[tissues] * rng.standard_normal(tissues.shape, np.float32)
    image = ndimage.gaussian_filter(image, rng.uniform(0.3, 1.2))
    image *= np.exp(0.2 * subjects.smooth_field(image.shape, 4, rng)[0])
    image += rng.standard_normal(image.shape, np.float32) * np.float32(rng.uniform(0, 0.08))
    return image


def with_thick_slices(volume: Volume, axis: int, thickness_mm: float) -> Volume:
    """The scan with thick slices along array axis ``axis``, blurred as wide at half height."""
    grid, spacing_mm = volume.grid, volume.spacing_mm[axis]
    sigma_vox = thickness_mm / spacing_mm / 2.355
    blurred = ndimage.gaussian_filter1d(volume.array.astype(np.float32), sigma_vox, axis)
    shape = list(grid.shape)
    shape[axis] = max(2, int(shape[axis] * spacing_mm / thickness_mm))
    matrix = grid.ijk_to_ras.copy()
    matrix[:3, 2 - axis] *= thickness_mm / spacing_mm
    target = Grid((shape[0], shape[1], shape[2]), matrix)
    name = f"{volume.name}, {thickness_mm:.0f} mm slices"
    return Volume(resample(blurred, grid, target), matrix, name)


def reoriented(volume: Volume, order: Triple, flips: tuple[bool, bool, bool]) -> Volume:
    """The same scan with its array axes in another order and some of them reversed.

    The header states the new orientation, so that every voxel stays in its place.
    """
    columns = [volume.ijk_to_ras[:3, 2 - axis] for axis in order]  # of the new k, j, i
    origin, array = volume.ijk_to_ras[:3, 3].copy(), volume.array.transpose(order)
    for axis, flip in enumerate(flips):
        if flip:
            array = np.flip(array, axis)
            origin += columns[axis] * (array.shape[axis] - 1)
            columns[axis] = -columns[axis]
    matrix = np.eye(4)
    matrix[:3] = np.stack([*columns[::-1], origin], 1)
    return Volume(np.ascontiguousarray(array), matrix, volume.name)


def cropped(volume: Volume, low_ras: Array, high_ras: Array, name: str) -> Volume:
    """The part of the scan whose voxel centres may lie between two corners.

    low_ras, high_ras: (3,) RAS mm, infinity for no limit.
    """
    corners = volume.grid.corners_ras()
    low, high = np.maximum(low_ras, corners.min(0)), np.minimum(high_ras, corners.max(0))
    box = np.array(list(itertools.product(*zip(low, high, strict=True))))  # (8, 3)
    ijk = transform_points(np.linalg.inv(volume.ijk_to_ras), box)
    first = np.clip(np.ceil(ijk.min(0) - 1e-3).astype(int), 0, None)[::-1]
    last = np.minimum(np.floor(ijk.max(0) + 1e-3).astype(int)[::-1] + 1, volume.array.shape)
    k, j, i = (slice(int(a), int(b)) for a, b in zip(first, last, strict=True))
    grid = sub_grid(volume.grid, (k, j, i))
    return Volume(volume.array[k, j, i], grid.ijk_to_ras, f"{volume.name}, {name}")


def variants(volume: Volume, centres: Mapping[str, Array]) -> Iterator[tuple[str, Volume]]:
    """Variants of one head that must not move its hippocampi, as (group, scan).

    centres: side -> (3,) RAS mm.
    """
    orders = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
    for n, (k, j, i) in enumerate(itertools.product((False, True), repeat=3)):
        yield "reorientations", reoriented(volume, orders[n % 6], (k, j, i))
    for axis in range(3):
        yield "3 mm slices", with_thick_slices(volume, axis, 3.0)
    for scan in _cropped_fields(volume, np.mean(list(centres.values()), 0)):
        yield "cropped field of view", scan
    rng, peak = np.random.default_rng(0), float(np.percentile(volume.array, 99))
    for strength in (0.05, 0.1):
        noisy = volume.array + peak * strength * rng.standard_normal(volume.array.shape, np.float32)
        name = f"{volume.name}, noise {strength}"
        yield "noise of 5 and 10 %", Volume(np.abs(noisy), volume.ijk_to_ras, name)


def _cropped_fields(volume: Volume, middle: Array) -> Iterator[Volume]:
    """Smaller fields of view. middle: between the hippocampi, (3,) RAS mm."""
    far = np.full(3, np.inf)
    for axis, name in enumerate(("sides", "front and back", "top and bottom")):
        reach = np.where(np.arange(3) == axis, 55.0, np.inf)
        yield cropped(volume, middle - reach, middle + reach, f"{name} cut off")
    yield cropped(volume, middle - 60, middle + 60, "box of 12 cm")
    yield cropped(volume, -far, middle + np.array([np.inf, np.inf, 35]), "top cut off")
    yield cropped(volume, middle - np.array([np.inf, np.inf, 30]), far, "bottom cut off")


def scans_without_hippocampi(data: Path) -> Iterator[Volume]:
    """The sample scans of other organs, noise, and a ball."""
    for name in ("example_ct.nii.gz", "example_mr_sm.nii.gz", "example_ct_dicom"):
        yield load_volume(data / "samples" / name)
    rng, matrix = np.random.default_rng(0), np.diag([2.0, 2.0, 2.0, 1.0])
    white = rng.standard_normal((96, 110, 96)).astype(np.float32)
    for sigma in (0, 1, 3, 8):
        yield Volume(ndimage.gaussian_filter(white, sigma), matrix, f"noise, sigma {2 * sigma} mm")
    k, j, i = (np.linspace(-1, 1, n) ** 2 for n in white.shape)
    ball = k[:, None, None] + j[:, None] + i < 0.6
    yield Volume(100 * ball + 10 * white, matrix, "a ball")
