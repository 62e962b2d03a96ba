"""Which regions of a localizer's probabilities are a left and a right hippocampus."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.geometry import Box, Grid, transform_points
from MedLLMSegLib.core.types import Array
from MedLLMSegLib.networks.segmentation.localizer_network import CLASSES

Point: TypeAlias = tuple[float, float, float]

SIDES = ("left", "right")
CORE_PROBABILITY = 0.2  # least probability in the core of a hippocampus
CEREBRUM_RADIUS_MM = 30.0
ADVICE = "load a T1 MRI of the head that shows the temporal lobes"


@dataclass(frozen=True)
class Location:
    """One hippocampus.

    centre_ras: mm. confidence: 0 to 1. volume_ml: of what the localizer found. That is about four
    times a hippocampus, because it is trained on widened ones.
    """

    side: str
    centre_ras: Point
    confidence: float
    volume_ml: float


@dataclass(frozen=True)
class Limits:
    """What a candidate must look like to be accepted as a hippocampus.

    Chosen by hand: on the two real heads at hand the confidence was 0.7 and the localizer's region
    had 14 to 22 mL; on scans without a brain the confidence was below 0.3. `evaluate_localizer`
    measures what these limits accept and what they miss. spread_mm: of the centres of seven views.
    It was chosen on synthetic images made for that: all that were off by more than 8 mm had a
    spread above 2.5 mm. A side alone (the other one out of view or removed) has less evidence and
    is held to the `lone_` limits.
    """

    confidence: float = 0.5
    lone_confidence: float = 0.7
    volume_ml: tuple[float, float] = (2.0, 40.0)
    mirror_gap_mm: float = 8.0
    lone_mirror_gap_mm: float = 5.0
    distance_mm: tuple[float, float] = (35.0, 80.0)
    cerebrum_ml: float = 30.0
    own_side: float = 0.6
    spread_mm: float = 2.5

    def for_one_side(self) -> Limits:
        """The limits for a side whose other side was not found."""
        return replace(self, confidence=self.lone_confidence, mirror_gap_mm=self.lone_mirror_gap_mm)


# Of the first, coarse view of a scan.
LOOSE = Limits(
    confidence=0.3, volume_ml=(1.0, 80.0), mirror_gap_mm=np.inf, cerebrum_ml=0.0, own_side=0.0
)


@dataclass(frozen=True)
class Candidate:
    """The evidence for the hippocampus of one side.

    centre_ras: mm. confidence: mean probability of the hippocampus in its core. mirror_gap_mm:
    between the centres found in the image and in its mirror image. cerebrum_ml: of the same side's
    cerebrum within `CEREBRUM_RADIUS_MM`. own_side: its share of both sides' cerebrum there.
    """

    side: str
    centre_ras: Point
    confidence: float
    volume_ml: float
    mirror_gap_mm: float
    cerebrum_ml: float
    own_side: float

    def faults(self, limits: Limits) -> list[str]:
        """Why this is not accepted, as ends of the sentence "No hippocampus was found: ..."."""
        low, high = limits.volume_ml
        faults = []
        if not self.confidence >= limits.confidence:
            faults.append("nothing looks enough like one")
        if not low <= self.volume_ml <= high:
            faults.append(
                f"what looks like one has {self.volume_ml:.1f} mL, which is not plausible"
            )
        if not self.mirror_gap_mm <= limits.mirror_gap_mm:
            faults.append("its place is uncertain")
        if not self.cerebrum_ml >= limits.cerebrum_ml:
            faults.append("there is too little brain around what looks like one")
        if not self.own_side >= limits.own_side:
            faults.append("its side is uncertain")
        return faults

    def to_location(self) -> Location:
        """The candidate as an accepted location."""
        return Location(self.side, self.centre_ras, self.confidence, self.volume_ml)


def not_found_error(name: str, reason: str) -> UserError:
    """name: of the scan."""
    return UserError(f'No hippocampus was found in "{name}": {reason}; {ADVICE}.')


def find_candidates(plain: Array, mirrored: Array, grid: Grid) -> list[Candidate]:
    """The best candidate of each side; none for a side with no probability above the threshold.

    plain, mirrored: two views' class probabilities [6, k, j, i] on ``grid``.
    """
    candidates = []
    for side in SIDES:
        channel = _channel(side, "hippocampus")
        probability = (plain[channel] + mirrored[channel]) / 2
        core = core_region(probability)
        if core is None:
            continue
        centre = centroid(probability, core)
        near = _dilated(core)
        plain_centre = _view_centre(plain[channel], core, near)
        mirrored_centre = _view_centre(mirrored[channel], core, near)
        cerebrum_ml = {each: _cerebrum_ml(each, plain, mirrored, centre, grid) for each in SIDES}
        own_ml, both_ml = cerebrum_ml[side], sum(cerebrum_ml.values())
        weights = probability[core]
        candidates.append(
            Candidate(
                side,
                as_point(transform_points(grid.ijk_to_ras, centre[::-1])),
                confidence=float((weights**2).sum() / weights.sum()),
                volume_ml=float(weights.sum()) * grid.voxel_ml,
                mirror_gap_mm=float(
                    np.linalg.norm((plain_centre - mirrored_centre) * grid.spacing_mm)
                ),
                cerebrum_ml=own_ml,
                own_side=own_ml / max(both_ml, 1e-6),
            )
        )
    return candidates


def _channel(side: str, structure: str) -> int:
    return CLASSES.index(f"{side}_{structure}")


def as_point(values: Array) -> Point:
    """An array (3,) as plain numbers."""
    first, second, third = (float(value) for value in values)
    return first, second, third


def core_region(
    probability: Array, threshold: float = CORE_PROBABILITY
) -> NDArray[np.bool_] | None:
    """bool [k, j, i]: the connected region above the threshold with the most probability in it.

    None where nothing is above the threshold.
    """
    above = probability > threshold
    box = _box_around(above)
    if box is None:
        return None
    regions, _ = ndimage.label(above[box], np.ones((3, 3, 3)))
    sums = np.bincount(regions.ravel(), weights=probability[box].ravel())
    core = np.zeros(probability.shape, bool)
    core[box] = regions == 1 + int(np.argmax(sums[1:]))  # the first sum is of what is in no region
    return core


def _box_around(mask: NDArray[np.bool_]) -> Box | None:
    """The smallest box [k, j, i] that holds all that is true in a mask; None for an empty one."""
    spans = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        occupied = np.flatnonzero(mask.any(axis=others))
        if not len(occupied):
            return None
        spans.append(slice(int(occupied[0]), int(occupied[-1]) + 1))
    k, j, i = spans
    return k, j, i


def centroid(probability: Array, region: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(3,) voxels: the centre of mass of an array [k, j, i] within a region of it."""
    places = np.argwhere(region)  # (n, 3)
    centre: NDArray[np.float64] = np.average(places, axis=0, weights=probability[region])
    return centre


def _dilated(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A mask that is not empty, and the voxels that share a face with it."""
    around = _box_around(mask)
    dilated = np.zeros_like(mask)
    if around is not None:
        k, j, i = (slice(max(0, span.start - 1), span.stop + 1) for span in around)
        dilated[k, j, i] = ndimage.binary_dilation(mask[k, j, i])
    return dilated


def _view_centre(
    probability: Array, core: NDArray[np.bool_], near: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """(3,) voxels: the centre that one view alone would give; infinite where it has none.

    Only what is near both views' core counts, unless this view's core lies elsewhere.
    """
    own_core = core_region(probability)
    if own_core is None:
        return np.full(3, np.inf)
    if (own_core & core).any():
        own_core = own_core & near
    return centroid(probability, own_core)


def _cerebrum_ml(side: str, plain: Array, mirrored: Array, centre: Array, grid: Grid) -> float:
    """Of one side's cerebrum around a place, the mean of both views."""
    channel = _channel(side, "cerebrum")
    views_ml = [_ml_around(view[channel], centre, grid) for view in (plain, mirrored)]
    return sum(views_ml) / len(views_ml)


def _ml_around(probability: Array, centre: Array, grid: Grid) -> float:
    """Millilitres of a class within `CEREBRUM_RADIUS_MM` of ``centre`` (k, j, i)."""
    box, squared_mm = [], []
    for middle, length, mm in zip(centre, probability.shape, grid.spacing_mm, strict=True):
        reach = int(np.ceil(CEREBRUM_RADIUS_MM / mm))
        first, last = max(0, int(middle) - reach), int(middle) + reach + 2
        box.append(slice(first, last))
        squared_mm.append(((np.arange(first, min(last, length)) - middle) * mm) ** 2)
    k, j, i = squared_mm
    ball = k[:, None, None] + j[None, :, None] + i[None, None, :] <= CEREBRUM_RADIUS_MM**2
    return float(probability[tuple(box)][ball].sum()) * grid.voxel_ml


def accept_candidates(
    name: str, candidates: list[Candidate], limits: Limits
) -> tuple[Location, ...]:
    """The locations that can be trusted; raises `UserError` when there are none.

    name: of the scan, for the message.
    """
    good = [candidate for candidate in candidates if not candidate.faults(limits)]
    if len(good) == 2:
        _check_distance(name, good, limits)
        return tuple(candidate.to_location() for candidate in good)
    strict = limits.for_one_side()
    for candidate in good:
        if not candidate.faults(strict):
            return (candidate.to_location(),)
    if not candidates:
        raise not_found_error(name, "nothing in it looks enough like one")
    first = candidates[0]
    raise not_found_error(name, first.faults(strict if first in good else limits)[0])


def _check_distance(name: str, left_and_right: list[Candidate], limits: Limits) -> None:
    """Raise `UserError` unless left and right lie where the two sides of a head would be."""
    left, right = (np.array(candidate.centre_ras) for candidate in left_and_right)
    distance = float(np.linalg.norm(right - left))
    low, high = limits.distance_mm
    if not low <= distance <= high or right[0] - left[0] < 0.5 * distance:
        raise not_found_error(
            name,
            f"two places look like one, but they are {distance:.0f} mm apart and not where left"
            " and right would be",
        )
