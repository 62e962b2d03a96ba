"""Where in a whole head the left and the right hippocampus are, or that there is none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from MedLLMSegLib.core.geometry import Grid, centred_grid, covering_grid, transform_points
from MedLLMSegLib.core.progress import Progress, Report
from MedLLMSegLib.core.types import Array
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.networks.segmentation.localizer_network import CLASSES

from .hippocampus_candidates import (
    LOOSE,
    SIDES,
    Candidate,
    Limits,
    Location,
    accept_candidates,
    as_point,
    centroid,
    core_region,
    find_candidates,
    not_found_error,
)
from .localizer import Localizer, predict_both_views, predict_view, sample_scan

__all__ = ["SIDES", "Limits", "Localizer", "Location", "is_crop", "localize"]

CROP_MM = 80.0  # a scan no longer than this along any axis is a crop around one hippocampus
WINDOW_VOX = (80, 80, 80)  # second view, around the first one's findings: 240 mm, a whole head
TILTED_VOX = (64, 64, 64)  # tilted views: 192 mm
TILT_DEG = 12.0
TILTS = [("x", 0), *((axis, sign) for axis in "xyz" for sign in (1, -1))]  # the first is plain
FAINT = 0.03  # least probability that counts in the tilted views
STRAY_MM = 25.0  # a tilted view with its hippocampus further off than this shows something else
LEAST_VIEWS = 4  # that must find a hippocampus, of the seven
MOST_VOXELS = 24_000_000  # 3 mm voxels: a body of two metres


def is_crop(volume: Volume) -> bool:
    """Whether the scan already is a crop around one hippocampus, with nothing to locate."""
    return max(volume.grid.extent_mm) <= CROP_MM


def localize(
    volume: Volume,
    localizer: Localizer,
    device: torch.device | str = "cpu",
    progress: Report | None = None,
) -> tuple[Location, ...]:
    """Find the hippocampi in a head in any orientation, with or without skull.

    Returns one or two locations, left before right. Raises `UserError` when no hippocampus can be
    located reliably.
    """
    reporter = Progress.of(progress)
    reporter("localize", 0.0)
    grid = _whole_head_grid(volume, localizer)
    coarse = [c for c in _candidates_on(grid, volume, localizer, device) if not c.faults(LOOSE)]
    reporter("localize", 0.5)
    if not coarse:
        raise not_found_error(volume.name, "nothing in it looks enough like one")
    # The second view always has the head in the middle of the same window. So its findings hardly
    # depend on how the scan was cropped or where the first grid began.
    centre = np.mean([candidate.centre_ras for candidate in coarse], 0)
    window = centred_grid(centre, WINDOW_VOX, localizer.config.spacing_mm)
    candidates = _candidates_on(window, volume, localizer, device)
    locations = accept_candidates(volume.name, candidates, localizer.limits)
    locations = average_over_tilts(
        locations, volume, centre, localizer, device, reporter.part(0.6, 1.0)
    )
    reporter("localize", 1.0)
    return locations


def _whole_head_grid(volume: Volume, localizer: Localizer) -> Grid:
    grid = covering_grid(volume.grid, localizer.config.spacing_mm)
    if np.prod(grid.shape, dtype=float) > MOST_VOXELS:
        extent_m = max(volume.grid.extent_mm) / 1000
        raise not_found_error(
            volume.name,
            f"by its voxel size the scan covers {extent_m:.1f} m, which is more than a person",
        )
    return grid


def _candidates_on(
    grid: Grid, volume: Volume, localizer: Localizer, device: torch.device | str
) -> list[Candidate]:
    """The best candidate of each side on a grid along the RAS axes."""
    image = sample_scan(volume, grid)
    plain, mirrored = predict_both_views(image, localizer.network, device)
    return find_candidates(plain, mirrored, grid)


def average_over_tilts(
    locations: tuple[Location, ...],
    volume: Volume,
    centre: Array,
    localizer: Localizer,
    device: torch.device | str,
    progress: Progress,
) -> tuple[Location, ...]:
    """Each centre as the mean over seven views: with the head as it is, and tilted six ways.

    A side on which the views do not agree (`Limits.spread_mm`) is left out. Raises `UserError`
    when no side is left. In a contrast unlike any in training, one view can be 10 mm off, because
    only part of the organ responds; hence the low threshold `FAINT`.
    """
    centres: dict[str, list[NDArray[np.float64]]] = {location.side: [] for location in locations}
    for number, (axis, sign) in enumerate(TILTS):
        progress("localize", number / len(TILTS))
        grid = _tilted_grid(centre, axis, sign * TILT_DEG, localizer.config.spacing_mm)
        image = sample_scan(volume, grid)
        probabilities = predict_view(image, localizer.network, device, mirrored=sign < 0)
        for side, centre_ras in _centres_near(locations, probabilities, grid):
            centres[side].append(centre_ras)
    agreed = [
        replace(location, centre_ras=as_point(np.mean(centres[location.side], 0)))
        for location in locations
        if _spread_mm(centres[location.side]) <= localizer.limits.spread_mm
    ]
    if not agreed:
        raise not_found_error(volume.name, "its place is uncertain")
    return tuple(agreed)


def _centres_near(
    locations: tuple[Location, ...], probabilities: Array, grid: Grid
) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """(side, centre (3,) in RAS mm) of what one view shows within `STRAY_MM` of each location."""
    for location in locations:
        probability = probabilities[CLASSES.index(f"{location.side}_hippocampus")]
        core = core_region(probability, FAINT)
        if core is None:
            continue
        centre_ras = transform_points(grid.ijk_to_ras, centroid(probability * core)[::-1])
        if np.linalg.norm(centre_ras - location.centre_ras) <= STRAY_MM:
            yield location.side, centre_ras


def _spread_mm(centres: list[NDArray[np.float64]]) -> float:
    """Root mean square distance of several views' centres from their mean.

    Infinite for fewer than `LEAST_VIEWS`.
    """
    if len(centres) < LEAST_VIEWS:
        return np.inf
    squared_distances = ((np.array(centres) - np.mean(centres, 0)) ** 2).sum(1)
    return float(np.sqrt(squared_distances.mean()))


def _tilted_grid(centre: Array, axis: str, degrees: float, spacing_mm: float) -> Grid:
    rotation = np.eye(4)
    rotation[:3, :3] = Rotation.from_euler(axis, degrees, degrees=True).as_matrix()
    matrix = rotation @ centred_grid((0, 0, 0), TILTED_VOX, spacing_mm).ijk_to_ras
    matrix[:3, 3] += centre
    return Grid(TILTED_VOX, matrix)
