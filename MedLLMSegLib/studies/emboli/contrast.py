"""Was a chest CT made with contrast medium in the pulmonary arteries? Without it, no embolus shows.

The artery's HU is measured in its label, or estimated between the lungs where there is none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import Array

from .chest import Chest, grown, opened, shrunk

# Blood without contrast medium has 30 to 60 HU.
PLAIN_HU = 100.0
# What is taken as too weak a contrast for emboli (Bayraktaroglu et al., Iranian Journal of
# Radiology 2020: "suboptimal enhancement, < 200 HU").
WEAK_HU = 200.0
BRIGHT_HU = 150.0  # smoothed blood with contrast medium, in the estimate
BRIGHT_SHARE = 0.05  # of the soft tissue between the lungs
SMOOTH_MM = 3.0
BODY_MM = 6.0  # chambers and great vessels hold a ball of this radius
ACCEPTED = "accepted"
# An estimate takes the brightest blood: in an aortic phase, that of the heart.
NOT_KNOWN = (
    "Contrast medium is there; whether it is in the pulmonary arteries is not known, give --artery."
)


@dataclass(frozen=True)
class Contrast:
    """artery_hu, artery_sd: median and standard deviation of the pulmonary artery. other_hu: median
    of the aorta where its label is given, else of heart and aorta, which are not told apart; None
    where it is not known. measured: in a label, or estimated.
    """

    artery_hu: float
    artery_sd: float
    other_hu: float | None
    measured: bool

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences on what makes emboli hard to see."""
        found = []
        if self.artery_hu < WEAK_HU:
            found.append(
                f"The {self.place} has {self.artery_hu:.0f} HU, less than {WEAK_HU:.0f}: the"
                " contrast is weak."
            )
        if self.other_hu is not None and self.artery_hu <= self.other_hu:
            found.append(
                f"The pulmonary artery ({self.artery_hu:.0f} HU) is not brighter than the other"
                f" blood ({self.other_hu:.0f} HU): the phase is late."
            )
        return tuple(found)

    @property
    def answer(self) -> str:
        """Whether emboli can be looked for: the warnings, and what an estimate leaves open."""
        if self.measured:
            return " ".join(self.warnings) or ACCEPTED
        return " ".join((*self.warnings, NOT_KNOWN))

    @property
    def place(self) -> str:
        """Where `artery_hu` comes from."""
        return "pulmonary artery" if self.measured else "blood between the lungs"


def contrast_of(chest: Chest, artery: Array | None = None, aorta: Array | None = None) -> Contrast:
    """The contrast of a chest CT. Raises `UserError` for one without contrast medium.

    artery, aorta: bool labels on the chest's grid, where there are any.
    """
    if artery is None:
        blood = _blood_between_the_lungs(chest)
        contrast = Contrast(float(np.median(blood)), float(blood.std()), None, False)
    else:
        inside = _inside(chest, artery)
        other = chest.hu[_other_blood(chest, artery)] if aorta is None else _inside(chest, aorta)
        other_hu = float(np.median(other)) if len(other) else None
        contrast = Contrast(float(np.median(inside)), float(inside.std()), other_hu, True)
    if contrast.artery_hu < PLAIN_HU:
        raise UserError(
            "This CT was made without contrast medium in the pulmonary arteries: the"
            f" {contrast.place} has {contrast.artery_hu:.0f} HU, and {WEAK_HU:.0f} or more are"
            " needed to see emboli; load a CT pulmonary angiogram."
        )
    return contrast


def _inside(chest: Chest, label: Array) -> Array:
    """(n,) the values of a label without its edge, if that leaves any."""
    core = shrunk(label, 1.1 * chest.spacing_mm, chest.spacing_mm)
    return chest.hu[core if core.any() else label]


def _other_blood(chest: Chest, artery: Array) -> Array:
    """Bool: large bodies as bright as blood with contrast medium, away from the artery."""
    spacing_mm = chest.spacing_mm
    bright = (chest.hu > BRIGHT_HU) & ~grown(artery, 3.0, spacing_mm)
    return shrunk(opened(bright, BODY_MM, spacing_mm), 3.0, spacing_mm)


def _blood_between_the_lungs(chest: Chest) -> Array:
    """(n,) smoothed HU of what is most likely blood.

    In front of the spine, between the lungs: what is bright, where that is a good part of the soft
    tissue, or else all soft tissue.
    """
    smooth = ndimage.gaussian_filter(chest.hu, SMOOTH_MM / chest.spacing_mm)
    soft = _between(chest.lungs) & (smooth > 0)
    if not soft.any():
        raise UserError("There is no tissue between lungs in this CT; load a CT of the chest.")
    bright = soft & (smooth > BRIGHT_HU)
    if bright.sum() < BRIGHT_SHARE * soft.sum():
        return smooth[soft]
    core = shrunk(bright, BODY_MM, chest.spacing_mm)
    return smooth[core if core.any() else bright]


def _between(lungs: Array) -> Array:
    """Bool: between the lungs along i, in the front two thirds of their depth, in slices with at
    least half as much lung as the one with most.
    """
    to_left = np.logical_or.accumulate(lungs, axis=2)
    to_right = np.logical_or.accumulate(lungs[:, :, ::-1], axis=2)[:, :, ::-1]
    between = to_left & to_right & ~lungs
    sizes = lungs.sum(axis=(1, 2))
    between[sizes < sizes.max() / 2] = False
    for k in np.flatnonzero(sizes):
        back, front = np.flatnonzero(lungs[k].any(axis=1))[[0, -1]]
        between[k, : back + (front - back) // 3] = False
    return between
