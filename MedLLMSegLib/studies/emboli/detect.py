"""From a score at each place to calls, and which of them hit an inserted clot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from scipy import ndimage
from scipy.spatial import KDTree
from scipy.special import expit
from torch import nn

from MedLLMSegLib.core.types import Array

from .chest import closed
from .scans import TouchedScan
from .windows import MARGINS, cut

CALLS_APART_MM = 9.0
# Of single scores, their means and their sums within 2.5 to 5.5 mm, the sum was best on val.
POOLED_MM = 5.5
BASELINE_HU = (-20.0, 130.0)  # blood clots and a little more (Wittram et al. 2005: 6 to 155 HU)
BASELINE_CLOSED_MM = 4.5
BASELINE_WITHIN_VOX = 7
AT_ONCE = 256  # windows

# A scan and places (n, 3) in it -> (n,) scores.
Scorer: TypeAlias = Callable[[TouchedScan, Array], Array]


@dataclass(frozen=True, eq=False)
class Calls:
    """A scan's calls, the highest score first. clots: (n,) number from 1 of the one that is hit;
    0 for a false one.
    """

    places: Array
    scores: Array
    clots: Array


def find_calls(scan: TouchedScan, zone: Array, scorer: Scorer) -> Calls:
    """Score every second searched voxel of a zone, as on a chess board, and keep the highest of
    those that lie within `CALLS_APART_MM` of each other.
    """
    places = np.argwhere(scan.searched & zone)
    places = places[places.sum(1) % 2 == 0]
    if not len(places):
        return Calls(places, np.zeros(0), np.zeros(0, int))
    scores = scorer(scan, places)
    kept = apart(places * scan.patient.chest.spacing_mm, scores, CALLS_APART_MM)
    return Calls(places[kept], scores[kept], scan.hit[tuple(places[kept].T)].astype(int))


def apart(points_mm: Array, scores: Array, distance_mm: float) -> Array:
    """Indices, by falling score, of points none of which is within a distance of a better one."""
    tree, open_ = KDTree(points_mm), np.ones(len(scores), bool)
    kept = []
    for n in np.argsort(-scores, kind="stable"):
        if open_[n]:
            kept.append(int(n))
            open_[tree.query_ball_point(points_mm[n], distance_mm)] = False
    return np.array(kept, int)


def network_scorer(network: nn.Module, device: torch.device) -> Scorer:
    """Scores by a network's logit."""

    @torch.no_grad()
    def score(scan: TouchedScan, places: Array) -> Array:
        logits = [
            network(torch.from_numpy(cut(scan.images, places[n : n + AT_ONCE])).to(device)).cpu()
            for n in range(0, len(places), AT_ONCE)
        ]
        if not logits:
            return np.zeros(0)
        return torch.cat(logits).double().numpy()

    return score


def pooled(scorer: Scorer) -> Scorer:
    """How many of the places within `POOLED_MM` are likely to be in a clot: the sum of their
    chances. A clot holds several, where a chance likeness is a single one.
    """

    def score(scan: TouchedScan, places: Array) -> Array:
        chances = expit(scorer(scan, places))
        points_mm = places * scan.patient.chest.spacing_mm
        near = KDTree(points_mm).query_ball_point(points_mm, POOLED_MM)
        return np.array([chances[own].sum() for own in near])

    return score


def known_where_untouched(scorer: Scorer, untouched: TouchedScan) -> Scorer:
    """The same scores in less time: a window without a changed voxel has that of the untouched
    scan, which is scored once at each place.
    """
    known = np.full(untouched.hu.shape, np.nan)

    def score(scan: TouchedScan, places: Array) -> Array:
        size = [2 * margin + 1 for margin in MARGINS]
        changed = ndimage.maximum_filter((scan.hu != untouched.hu).astype(np.uint8), size) > 0
        if scan is untouched:
            known[tuple(places.T)] = scorer(scan, places)
        scores: Array = known[tuple(places.T)]
        fresh = changed[tuple(places.T)] | np.isnan(scores)
        scores[fresh] = scorer(scan, places[fresh])
        return scores

    return score


def low_volume(scan: TouchedScan, places: Array) -> Array:
    """The trivial baseline: how many voxels around a place, in a vessel, have a clot's HU.

    In a vessel: where bright voxels are, with the gaps between them closed.
    """
    vessels, spacing_mm = scan.patient.vessels, scan.patient.chest.spacing_mm
    filled = closed((scan.hu > vessels.blood_hu / 2) & vessels.near, BASELINE_CLOSED_MM, spacing_mm)
    low, high = BASELINE_HU
    dark = (filled & vessels.near & (scan.hu >= low) & (scan.hu <= high)).astype(np.float32)
    counts = ndimage.uniform_filter(dark, BASELINE_WITHIN_VOX, mode="constant")
    return np.round(counts[tuple(places.T)] * BASELINE_WITHIN_VOX**3).astype(float)
