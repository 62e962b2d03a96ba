"""How others number the brain's structures, and which of FreeSurfer's numbers each one is.

Three numberings are known:
  freesurfer        FreeSurfer's aseg, and the maps that SynthSeg was trained on, with odd numbers
  neuromorphometrics  labels drawn by hand (MICCAI 2012), https://neuromorphometrics.com
  muse              DLMUSE and MUSE, as listed in NiChart_DLMUSE, MUSE_ROI_complete_list.csv

A number is one structure, or that of the nearest voxel of some structures (a part that others do
not divide into left and right, or count into what lies around it), or background.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .brain import BRAIN_STRUCTURES, brain_structures

WHITE_MATTER, CORTEX, CEREBELLAR_CORTEX = (2, 41), (3, 42), (8, 47)
MIDLINE = (14, 15, 16, 24)
CSF = 24


@dataclass(frozen=True)
class Numbering:
    """One way of numbering.

    structures: number -> FreeSurfer's number. nearest: number -> FreeSurfer's numbers of which the
    nearest voxel's is taken. background: numbers that no structure of ours stands for.
    background_from: so are all numbers from here on.
    """

    name: str
    structures: Mapping[int, int]
    nearest: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    background: tuple[int, ...] = ()
    background_from: int = 1 << 30

    def knows(self, number: int) -> bool:
        """Whether the numbering has a number; 0 is always background."""
        return (
            number == 0
            or number in self.structures
            or number in self.nearest
            or number in self.background
            or number >= self.background_from
        )


def _of_side(right: bool) -> tuple[int, ...]:
    """FreeSurfer's numbers of one side, and of the midline."""
    paired = [s for s in BRAIN_STRUCTURES if s.paired]
    return (*(s.right if right else s.left for s in paired), *MIDLINE)


FREESURFER = Numbering(
    "freesurfer",
    structures={
        **{s.label: s.label for s in brain_structures()},
        72: CSF,  # fifth ventricle
        31: 4,  # choroid plexus, which fills part of the lateral ventricle
        63: 43,
        78: 2,  # hypointensities of the white matter
        79: 41,
    },
    nearest={
        # lesions, hypointensities and vessels of either side, and the corpus callosum
        **dict.fromkeys((25, 57, 77, 30, 62, 192, 251, 252, 253, 254, 255), WHITE_MATTER),
        136: _of_side(right=False),  # caudate and putamen in one
        137: _of_side(right=True),
        163: _of_side(right=False),  # subcortical grey matter
        164: _of_side(right=True),
    },
    background=(85,),  # optic chiasm
    background_from=500,  # the head around the brain
)

# Right and left of the structures that both others number alike
_SHARED = {
    59: 49, 60: 10,  # thalamus
    36: 50, 37: 11,  # caudate
    57: 51, 58: 12,  # putamen
    55: 52, 56: 13,  # pallidum
    47: 53, 48: 17,  # hippocampus
    31: 54, 32: 18,  # amygdala
    23: 58, 30: 26,  # accumbens
    61: 60, 62: 28,  # ventral diencephalon
    51: 43, 52: 4,  # lateral ventricle
    49: 44, 50: 5,  # inferior lateral ventricle
    38: 47, 39: 8,  # cerebellum exterior
    40: 46, 41: 7,  # cerebellum white matter
    63: 41, 64: 2,  # vessels in the white matter
    35: 16,  # brain stem
    4: 14,  # third ventricle
    11: 15,  # fourth ventricle
    46: CSF,
    # gyri: even numbers are right ones, odd numbers left ones
    **{n: 42 if n % 2 == 0 else 3 for n in range(100, 208)},
}  # fmt: skip
# The vermis has no sides there; FreeSurfer parts it at the middle.
_VERMIS = dict.fromkeys((71, 72, 73), CEREBELLAR_CORTEX)
# Cerebral exterior, optic chiasm, a vitamin E tablet, basal forebrain: FreeSurfer has none of them.
_BACKGROUND = (42, 43, 69, 74, 75, 76)

NEUROMORPHOMETRICS = Numbering(
    "neuromorphometrics",
    structures={
        **_SHARED,
        44: 41, 45: 2,  # cerebral white matter
        66: 42, 65: 3,  # insula
        15: CSF,  # fifth ventricle
    },
    nearest=_VERMIS,
    background=_BACKGROUND,
)  # fmt: skip

MUSE = Numbering(
    "muse",
    structures={
        **_SHARED,
        # White matter in parts: lobes, fornix, limbs of the internal capsule
        **{n: 41 for n in range(81, 95, 2)},
        **{n: 2 for n in range(82, 95, 2)},
        # What its list counts into the intracranial volume (702) and not into the brain (701)
        1: CSF,
    },
    nearest={**_VERMIS, 95: WHITE_MATTER},  # corpus callosum
    background=_BACKGROUND,
)

NUMBERINGS = {each.name: each for each in (FREESURFER, NEUROMORPHOMETRICS, MUSE)}


def numbering_of_names(names: Mapping[int, str]) -> Numbering | None:
    """The numbering that a list of names, such as a data set's labels.json, is of.

    None where it is none of ours. The hippocampi decide, as all three name them alike.
    """
    words = {number: set(_words(name)) for number, name in names.items()}

    def is_hippocampus(number: int, side: str) -> bool:
        return {side, "hippocampus"} <= words.get(number, set())

    if is_hippocampus(17, "left") and is_hippocampus(53, "right"):
        return FREESURFER
    if is_hippocampus(48, "left") and is_hippocampus(47, "right"):
        return MUSE if {"frontal", "right"} <= words.get(81, set()) else NEUROMORPHOMETRICS
    return None


def _words(name: str) -> list[str]:
    return "".join(c if c.isalnum() else " " for c in name.lower()).split()
