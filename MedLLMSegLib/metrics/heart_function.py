"""The function of a heart from the volumes of its chambers over a beat: when it is full and when it
is empty, what it throws out, and how heavy the left wall is.

Definitions as in Schulz-Menger et al., Journal of Cardiovascular Magnetic Resonance 22 (2020) 19.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real

import numpy as np

from MedLLMSegLib.core.errors import UserError

from .heart_intervals import HeartIntervals

MYOCARDIUM_G_PER_ML = 1.05
JUDGED_FROM = 12  # images: of fewer each counts as it is
ODD_SHARE = 0.1  # of the median volume
ODD_STEP = 1.5  # times the steps around
RIGHT, WALL, LEFT = "right_ventricle", "myocardium", "left_ventricle"  # keys of structures
HEIGHTS_CM, WEIGHTS_KG = (30.0, 250.0), (1.0, 400.0)
RATES_BPM = (20.0, 300.0)


@dataclass(frozen=True)
class Person:
    """Whose heart it is, as far as is known. height_cm, weight_kg: both or neither.

    rate_bpm: beats a minute during the scan. Raises `UserError` for what no person has.
    """

    height_cm: float | None = None
    weight_kg: float | None = None
    rate_bpm: float | None = None

    def __post_init__(self) -> None:
        for name, value, (least, most) in (
            ("height", self.height_cm, HEIGHTS_CM),
            ("weight", self.weight_kg, WEIGHTS_KG),
            ("heart rate", self.rate_bpm, RATES_BPM),
        ):
            if value is None:
                continue
            if not isinstance(value, Real) or isinstance(value, bool):
                raise UserError(
                    f"The {name} is {value!r}, and a number is needed; heights are in cm, weights"
                    " in kg, rates in beats a minute."
                )
            if not least <= value <= most:
                raise UserError(
                    f"The {name} is {value:g}, and {least:g} to {most:g} is possible; heights are"
                    " in cm, weights in kg, rates in beats a minute."
                )
        if (self.height_cm is None) != (self.weight_kg is None):
            raise UserError(
                "Height and weight are needed together: both give the body's surface, one alone"
                " gives nothing."
            )

    @property
    def surface_m2(self) -> float | None:
        """The body's surface by Mosteller, New England Journal of Medicine 317 (1987) 1098."""
        if self.height_cm is None or self.weight_kg is None:
            return None
        return math.sqrt(self.height_cm * self.weight_kg / 3600)


@dataclass(frozen=True)
class Ventricle:
    """The volumes of one chamber at end-diastole and end-systole, in mL."""

    edv_ml: float
    esv_ml: float

    @property
    def was_found(self) -> bool:
        """Whether both images show it; else it has no figures."""
        return self.edv_ml > 0 and self.esv_ml > 0

    @property
    def stroke_ml(self) -> float:
        """What one beat throws out."""
        return self.edv_ml - self.esv_ml

    @property
    def ejection_percent(self) -> float | None:
        """The ejection fraction; None of a chamber that was not found."""
        return 100 * self.stroke_ml / self.edv_ml if self.edv_ml > 0 else None


@dataclass(frozen=True)
class HeartFunction:
    """end_diastole, end_systole: numbers of the images, from 0; chosen by the left ventricle, and
    used for both. mass_g: of the left wall, at end-diastole; None where no wall was found there.
    volumes_ml: the curves, by structure. intervals: of the model whose outlines these are; None
    where nothing is known, or the scan is outside its domain.
    """

    end_diastole: int
    end_systole: int
    left: Ventricle
    right: Ventricle
    mass_g: float | None
    volumes_ml: Mapping[str, Sequence[float]]
    person: Person = Person()
    notes: tuple[str, ...] = ()
    intervals: HeartIntervals | None = None

    @property
    def output_l_min(self) -> float | None:
        """What the left ventricle throws out in a minute; None without a heart rate."""
        rate = self.person.rate_bpm
        return None if rate is None else self.left.stroke_ml * rate / 1000


def heart_function(
    volumes_ml: Mapping[str, Sequence[float]], person: Person | None = None
) -> HeartFunction:
    """The function of the heart whose structures have these volumes over one beat.

    volumes_ml: of "left_ventricle", "myocardium" and "right_ventricle", one number an image, in
    order of time. Raises `UserError` where a structure is missing, or fewer than two images show a
    left ventricle.
    """
    curves = {key: np.asarray(volumes_ml.get(key, ()), float) for key in (LEFT, WALL, RIGHT)}
    images = len(curves[LEFT])
    if any(len(curve) != images for curve in curves.values()) or not images:
        raise UserError(
            "A heart's function needs the volumes of the left ventricle, its wall and the right"
            " ventricle in every image; segment with a model of the heart, and leave none out."
        )
    there = curves[LEFT] > 0
    if there.sum() < 2:
        raise UserError(
            f"A left ventricle was found in {int(there.sum())} of {images} images, and a heart's"
            " function needs two at least: full and empty; give the whole series over a beat."
        )
    end_diastole, end_systole = full_and_empty(curves[LEFT])
    left, right = (
        Ventricle(float(curves[key][end_diastole]), float(curves[key][end_systole]))
        for key in (LEFT, RIGHT)
    )
    wall_ml = float(curves[WALL][end_diastole])
    return HeartFunction(
        end_diastole,
        end_systole,
        left,
        right,
        MYOCARDIUM_G_PER_ML * wall_ml if wall_ml > 0 else None,
        {key: tuple(curve.tolist()) for key, curve in curves.items()},
        person or Person(),
        tuple(_notes(curves, end_diastole, end_systole)),
    )


def full_and_empty(curve_ml: Sequence[float] | np.ndarray) -> tuple[int, int]:
    """Numbers of the images in which a chamber is largest and smallest.

    curve_ml: over one beat; after its last image comes the first again. Images without the chamber
    do not count, and neither does an odd outline: one far above or far below both neighbours.
    """
    curve = np.asarray(curve_ml, float)
    places = np.flatnonzero(curve > 0)
    usual = places[~_is_odd(curve[places])]
    return int(usual[curve[usual].argmax()]), int(usual[curve[usual].argmin()])


def _is_odd(curve: np.ndarray) -> np.ndarray:
    """Whether a volume lies above or below both neighbours, by more than a tenth of the median
    volume and by more than 1.5 times the largest of the four nearest other steps.

    A true end-systole may be sharp, but the steps that lead to it are then large, too. Shorter
    curves are too steep to tell.
    """
    if len(curve) < JUDGED_FROM:
        return np.zeros(len(curve), bool)
    after = np.roll(curve, -1) - curve  # the step to the next image; the last one's to the first
    before = np.roll(after, 1)
    smaller = np.minimum(np.abs(before), np.abs(after))
    around = np.max([np.abs(np.roll(after, shift)) for shift in (3, 2, -1, -2)], axis=0)
    limit = np.maximum(ODD_SHARE * np.median(curve), ODD_STEP * around)
    odd: np.ndarray = (before * after < 0) & (smaller > limit)
    return odd


def _notes(curves: Mapping[str, np.ndarray], full: int, empty: int) -> list[str]:
    notes = []
    left, right = curves[LEFT], curves[RIGHT]
    missing = int((left <= 0).sum())
    if missing:
        notes.append(
            f"No left ventricle was found in {missing} of {len(left)} images; they were left out."
        )
    places = np.flatnonzero(left > 0)
    odd = places[_is_odd(left[places])]
    if len(odd):
        listed = ", ".join(str(number + 1) for number in odd[:5])
        notes.append(
            "The left ventricle is unlike that of the images around it, and was not used, in image"
            f" {listed}: look at its outlines."
        )
    smallest = int(left[places].argmin())  # of all outlines, as an odd one may be the true end
    if len(left) > 2 and smallest in (0, len(places) - 1):
        end = "first" if smallest == 0 else "last"
        notes.append(
            f"The left ventricle is smallest in the {end} image that shows it, so the series may"
            " not show a whole beat: do not trust the ejection fraction."
        )
    if curves[WALL][full] <= 0:
        notes.append("No wall of the left ventricle was found at end-diastole: it has no mass.")
    if right[full] <= 0 or right[empty] <= 0:
        notes.append(
            "No right ventricle was found at end-diastole or end-systole: it has no figures."
        )
    elif right[empty] > right[full]:
        notes.append(
            "The right ventricle is larger at the left one's end-systole than at its end-diastole:"
            " look at its outlines."
        )
    return notes


@dataclass(frozen=True)
class Figure:
    """One line of the table. indexed: the value by the body's surface; None where it has none.

    interval: (low, high) of the value, in its unit; None where nothing is known.
    """

    name: str
    value: float | None
    unit: str
    indexed: float | None = None
    interval: tuple[float, float] | None = None

    @property
    def indexed_unit(self) -> str:
        return f"{self.unit}/m²" if self.indexed is not None else ""


def figures(function: HeartFunction) -> list[Figure]:
    """The table of a heart's function, in the order that is usual."""
    surface = function.person.surface_m2
    rows = []
    for name, chamber in (("LV", function.left), ("RV", function.right)):
        for title, value in (
            ("end-diastolic volume", chamber.edv_ml),
            ("end-systolic volume", chamber.esv_ml),
            ("stroke volume", chamber.stroke_ml),
        ):
            rows.append(
                _figure(f"{name} {title}", value if chamber.was_found else None, "mL", surface)
            )
        ejection = chamber.ejection_percent if chamber.was_found else None
        rows.append(Figure(f"{name} ejection fraction", ejection, "%"))
    rows.append(_figure("LV myocardial mass", function.mass_g, "g", surface))
    if function.output_l_min is not None:
        rows.append(_figure("Cardiac output", function.output_l_min, "L/min", surface))
    known = function.intervals
    return [replace(row, interval=known.of(row.name, row.value)) for row in rows] if known else rows


def _figure(name: str, value: float | None, unit: str, surface_m2: float | None) -> Figure:
    has_index = value is not None and surface_m2 is not None
    return Figure(name, value, unit, value / surface_m2 if has_index else None)  # type: ignore[operator]
