"""From a scan to candidates with a score and an outline: the network's, and a blob detector's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from MedLLMSegLib.core.types import Array

from .lung_windows import LungWindows
from .scans import WORKING_MM, to_working

SEED = 0.1  # probability from which voxels belong to a candidate
OUTLINE = 0.5  # and from which to its outline
MOST = 200  # candidates of a scan
FEWEST = 2  # voxels of 2 mm
AROUND = ndimage.generate_binary_structure(3, 3)
# Blobs: SDs in mm; a ball of radius r answers most at r / sqrt(3) (Lindeberg 1998).
BLOB_SDS_MM = (1.2, 1.8, 2.7, 4.0, 6.0, 9.0)
HALF_HU = -400.0  # halfway between lung and nodule
LUNG_HU = -850.0
ROUND_REACH = 1.5  # radii of a blob within which its outline lies


@dataclass(frozen=True, eq=False)
class Candidate:
    """score: the higher the surer. centre: (k, j, i) in the scan's voxels. voxels: (n, 3) of the
    scan, its outline.
    """

    score: float
    centre: Array
    voxels: Array


def network_candidates(windows: LungWindows, hu: Array, spacing_k_mm: float) -> list[Candidate]:
    """Connected parts of what a network finds in and at the lungs, the surest first.

    hu: the scan, or a copy with nodules, [k, j, i]. The score is the highest mean probability of
    3 x 3 x 3 voxels of 2 mm.
    """
    probability = windows.probability(to_working(hu, spacing_k_mm))
    smooth = ndimage.uniform_filter(probability, 3)
    parts, _ = ndimage.label(probability >= SEED, AROUND)
    back = on_slices(probability, len(hu), spacing_k_mm)
    found = []
    for number, box in enumerate(ndimage.find_objects(parts), 1):
        part = parts[box] == number
        if part.sum() < FEWEST or not windows.region[box][part].any():
            continue
        low = np.array([each.start for each in box])
        centre = low + np.average(np.argwhere(part), axis=0, weights=probability[box][part])
        voxels = _outline_on_slices(back, part, low, spacing_k_mm)
        score = float(smooth[box][part].max())
        found.append(Candidate(score, _on_scan(centre, spacing_k_mm), voxels))
    return sorted(found, key=lambda each: -each.score)[:MOST]


def on_slices(probability: Array, count: int, spacing_k_mm: float) -> Array:
    """From 2 mm back to the scan's slices, linearly along k."""
    places = np.minimum(np.arange(count) * spacing_k_mm / WORKING_MM, len(probability) - 1)
    low = places.astype(int)
    high = np.minimum(low + 1, len(probability) - 1)
    share = (places - low).astype(np.float32)[:, None, None]
    slices: Array = probability[low] * (1 - share) + probability[high] * share
    return slices


def _on_scan(centre: Array, spacing_k_mm: float) -> Array:
    return np.array([centre[0] * WORKING_MM / spacing_k_mm, centre[1], centre[2]])


def _outline_on_slices(back: Array, part: Array, low: Array, spacing_k_mm: float) -> Array:
    """The voxels of the scan in a part's box that reach `OUTLINE`; the surest one where none
    does.
    """
    size = np.array(part.shape)
    first = int(np.floor(low[0] * WORKING_MM / spacing_k_mm))
    last = int(np.ceil((low[0] + size[0]) * WORKING_MM / spacing_k_mm)) + 1
    box = (slice(first, last), *(slice(a, a + n) for a, n in zip(low[1:], size[1:], strict=True)))
    inside = back[box] >= OUTLINE
    # another candidate's voxels may lie in the same box: only where this part is, in any plane
    inside &= ndimage.binary_dilation(part.any(axis=0))[None]
    if not inside.any():
        inside = back[box] == back[box].max()
    voxels: Array = np.argwhere(inside) + np.array([first, low[1], low[2]])
    return voxels


def blob_candidates(
    hu: Array, lungs: Array, spacing_mm: tuple[float, float, float]
) -> list[Candidate]:
    """The trivial detector: bright balls in the lungs, by the Laplacian of a Gaussian of several
    widths (Lindeberg 1998), and around each what is denser than halfway.
    """
    working = np.clip(to_working(hu, spacing_mm[0]), -1000, 100)
    inside = to_working(lungs, spacing_mm[0]) >= 0.5
    bright = np.where(inside, working, LUNG_HU).astype(np.float32)
    answers = np.stack(
        [
            -((sd / WORKING_MM) ** 2) * ndimage.gaussian_laplace(bright, sd / WORKING_MM)
            for sd in BLOB_SDS_MM
        ]
    )  # (SDs, K, J, I)
    peaks = (answers == ndimage.maximum_filter(answers, 3)) & inside & (answers > 0)
    order = np.argsort(-answers[peaks])
    places, scores = np.argwhere(peaks)[order], answers[peaks][order]
    kept: list[tuple[float, Array, float]] = []
    for (sd, *at), score in zip(places, scores, strict=True):
        radius = float(np.sqrt(3) * BLOB_SDS_MM[sd])
        place = np.array(at)
        if all(np.linalg.norm(place - o) * WORKING_MM > max(r, radius) for _, o, r in kept):
            kept.append((float(score), place, radius))
        if len(kept) == MOST:
            break
    return [_blob(score, place, radius, hu, spacing_mm) for score, place, radius in kept]


def _blob(
    score: float, place: Array, radius_mm: float, hu: Array, spacing_mm: tuple[float, float, float]
) -> Candidate:
    centre, spacing = _on_scan(place.astype(float), spacing_mm[0]), np.array(spacing_mm)
    reach = ROUND_REACH * radius_mm
    low = np.maximum(0, np.floor(centre - reach / spacing)).astype(int)
    high = np.minimum(hu.shape, np.ceil(centre + reach / spacing) + 1).astype(int)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    axes = np.ogrid[box]
    off = sum(((a - c) * s) ** 2 for a, c, s in zip(axes, centre, spacing, strict=True))
    dense = (hu[box] > HALF_HU) & (off <= reach**2)
    parts, _ = ndimage.label(dense, AROUND)
    at = tuple(np.minimum(np.round(centre).astype(int) - low, np.array(dense.shape) - 1))
    part = parts == parts[at] if parts[at] else dense
    voxels = np.argwhere(part) + low if part.any() else np.round(centre).astype(int)[None]
    return Candidate(score, centre, voxels)
