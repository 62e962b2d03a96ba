"""Where in a whole head the left and the right hippocampus are, or that there is none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from MedLLMSegLib.core.geometry import Grid, centred_grid, covering_grid, transform_points
from MedLLMSegLib.core.progress import Progress, Report
from MedLLMSegLib.core.types import Array
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.engines.graph import FP32
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
from .localizer import CoarseScan, HeadView, Localizer, predict_views

__all__ = ["SIDES", "Limits", "Localizer", "Location", "is_crop", "localize"]

CROP_MM = 80.0  # a scan no longer than this along any axis is a crop around one hippocampus
WINDOW_VOX = (80, 80, 80)  # second view, around the first one's findings: 240 mm, a whole head
TILTED_VOX = (64, 64, 64)  # tilted views: 192 mm
TILT_DEG = 12.0
# (axis, sign): the first is plain, and those with a negative sign are mirrored.
TILTS = [(0, 0), *((axis, sign) for axis in range(3) for sign in (1, -1))]
TILTS_AT_ONCE = 4  # as many as are fastest in one batch
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
    precision: str = FP32,
) -> tuple[Location, ...]:
    """Find the hippocampi in a head in any orientation, with or without skull.

    precision: "fp32", "bf16", or "auto" for what was decided (`Localizer.precision_for`). Returns
    one or two locations, left before right. Raises `UserError` when no hippocampus can be
    located reliably.
    """
    reporter = Progress.of(progress)
    reporter("localize", 0.0)
    grid = _whole_head_grid(volume, localizer)
    scan = CoarseScan.of(volume, localizer.config.spacing_mm)
    image = scan.sample(grid)
    deciding = reporter.part(0.0, 0.1, label="localize")
    chosen = localizer.precision_for(image, device, precision, deciding).name
    search = Search(scan, localizer, device, chosen)
    found = search.candidates(grid, image, reporter.part(0.1, 0.3))
    coarse = [candidate for candidate in found if not candidate.faults(LOOSE)]
    if not coarse:
        raise not_found_error(volume.name, "nothing in it looks enough like one")
    # The second view always has the head in the middle of the same window. So its findings hardly
    # depend on how the scan was cropped or where the first grid began.
    centre = np.mean([candidate.centre_ras for candidate in coarse], 0)
    window = centred_grid(centre, WINDOW_VOX, localizer.config.spacing_mm)
    candidates = search.candidates(window, scan.sample(window), reporter.part(0.3, 0.6))
    locations = accept_candidates(volume.name, candidates, localizer.limits)
    centres = centres_over_tilts(locations, centre, search, reporter.part(0.6, 1.0))
    agreed = average_centres(locations, centres, localizer.limits)
    if not agreed:
        raise not_found_error(volume.name, "its place is uncertain")
    return agreed


def _whole_head_grid(volume: Volume, localizer: Localizer) -> Grid:
    grid = covering_grid(volume.grid, localizer.config.spacing_mm)
    if np.prod(grid.shape, dtype=float) > MOST_VOXELS:
        extent_m = max(volume.grid.extent_mm) / 1000
        raise not_found_error(
            volume.name,
            f"by its voxel size the scan covers {extent_m:.1f} m, which is more than a person",
        )
    return grid


@dataclass(frozen=True, eq=False)
class Search:
    """The search in one scan: what all looks at it have in common."""

    scan: CoarseScan
    localizer: Localizer
    device: torch.device | str
    precision: str = FP32

    def look(self, views: Sequence[HeadView], progress: Progress) -> list[Array]:
        """Class probabilities [6, k, j, i] of each view. Whoever listens to the progress can stop
        it between two calls of the network.
        """
        progress("localize", 0.0)
        found: list[Array] = []
        network = self.localizer.network
        for probabilities in predict_views(views, network, self.device, self.precision):
            found.append(probabilities)
            progress("localize", len(found) / len(views))
        return found

    def candidates(self, grid: Grid, image: Array, progress: Progress) -> list[Candidate]:
        """The best candidate of each side. image: the scan on a grid along the RAS axes."""
        views = (HeadView(image), HeadView(image, mirrored=True))
        plain, mirrored = self.look(views, progress)
        return find_candidates(plain, mirrored, grid)


def centres_over_tilts(
    locations: tuple[Location, ...], centre: Array, search: Search, progress: Progress
) -> dict[str, list[NDArray[np.float64]]]:
    """The centres (RAS mm) of each side in seven views: the head as it is, and tilted six ways.

    In a contrast unlike any in training, one view can be 10 mm off, because only part of the organ
    responds; hence the low threshold `FAINT`.
    """
    centres: dict[str, list[NDArray[np.float64]]] = {location.side: [] for location in locations}
    for first in range(0, len(TILTS), TILTS_AT_ONCE):
        tilts = TILTS[first : first + TILTS_AT_ONCE]
        part = progress.part(first / len(TILTS), (first + len(tilts)) / len(TILTS))
        grids = [
            tilted_grid(centre, axis, sign * TILT_DEG, search.localizer.config.spacing_mm)
            for axis, sign in tilts
        ]
        views = [
            HeadView(search.scan.sample(grid), mirrored=sign < 0)
            for grid, (_, sign) in zip(grids, tilts, strict=True)
        ]
        for grid, probabilities in zip(grids, search.look(views, part), strict=True):
            for side, centre_ras in _centres_near(locations, probabilities, grid):
                centres[side].append(centre_ras)
    return centres


def average_centres(
    locations: tuple[Location, ...],
    centres: Mapping[str, list[NDArray[np.float64]]],
    limits: Limits,
) -> tuple[Location, ...]:
    """Each location with the mean of its centres; left out where they do not agree."""
    return tuple(
        replace(location, centre_ras=as_point(np.mean(centres[location.side], 0)))
        for location in locations
        if _spread_mm(centres[location.side]) <= limits.spread_mm
    )


def _centres_near(
    locations: tuple[Location, ...], probabilities: Array, grid: Grid
) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """(side, centre (3,) in RAS mm) of what one view shows within `STRAY_MM` of each location."""
    for location in locations:
        probability = probabilities[CLASSES.index(f"{location.side}_hippocampus")]
        core = core_region(probability, FAINT)
        if core is None:
            continue
        centre_ras = transform_points(grid.ijk_to_ras, centroid(probability, core)[::-1])
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


def tilted_grid(centre: Array, axis: int, degrees: float, spacing_mm: float) -> Grid:
    """The window of a tilted view, turned about the RAS axis through its centre."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    first, second = (axis + 1) % 3, (axis + 2) % 3
    rotation = np.eye(4)
    rotation[[first, second], [first, second]] = cosine
    rotation[first, second], rotation[second, first] = -sine, sine
    matrix = rotation @ centred_grid((0, 0, 0), TILTED_VOX, spacing_mm).ijk_to_ras
    matrix[:3, 3] += centre
    return Grid(TILTED_VOX, matrix)
