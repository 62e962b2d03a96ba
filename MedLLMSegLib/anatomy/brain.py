"""The structures of the whole brain, by FreeSurfer's numbers: 18 structures, 14 of them paired.

Structure and side are apart, as the network learns them apart: a paired structure is one class,
and a map of left and right says which of its two numbers a voxel gets.

Codes. Those of Slicer's "Segmentation category and type - DICOM master list" where it has the
structure, with its spelling, as Slicer finds a term only if the meaning agrees letter by letter.
The list lacks three (`NOT_IN_SLICERS_LIST`): their codes are those of DICOM PS3.16, CID 7140 "Brain
Structure for Volumetric Measurement". Slicer keeps such a code, and writes it into a DICOM SEG.

Colours. Those of FreeSurfer's FreeSurferColorLUT.txt, which gives both sides one; the right side is
darker here (`structures.right_color`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from MedLLMSegLib.core.segmentation import Code, Structure

from .structures import ANATOMICAL_STRUCTURE, HIPPOCAMPUS, LEFT, RIGHT, right_color


@dataclass(frozen=True)
class BrainStructure:
    """One structure of the brain.

    key: lower-case identifier. name: without a side, as it stands in a sentence. left, right:
    FreeSurfer's numbers of the two sides; of a structure in the midline both are its one number.
    group: what it belongs to in a list. code: what it is, for Slicer and DICOM. color: FreeSurfer's
    RGB, 0 to 255 each.
    """

    key: str
    name: str
    left: int
    right: int
    group: str
    code: Code
    color: tuple[int, int, int]

    @property
    def paired(self) -> bool:
        """Whether it has two sides."""
        return self.left != self.right

    @property
    def sides(self) -> tuple[Structure, ...]:
        """Its left and its right structure, or the one in the midline."""
        if not self.paired:
            return (self._structure(self.left, self.key, self.name, self.color, None),)
        return (
            self._structure(self.left, f"left_{self.key}", f"left {self.name}", self.color, LEFT),
            self._structure(
                self.right,
                f"right_{self.key}",
                f"right {self.name}",
                right_color(self.color),
                RIGHT,
            ),
        )

    def _structure(
        self, label: int, key: str, name: str, color: tuple[int, int, int], side: Code | None
    ) -> Structure:
        return Structure(
            label=label,
            key=key,
            name=name[:1].upper() + name[1:],
            color=color,
            category=ANATOMICAL_STRUCTURE,
            type=self.code,
            modifier=side,
            group=self.group,
        )


CORTEX = "cortex"
WHITE_MATTER = "white matter"
DEEP_GREY = "deep grey"
FLUID = "ventricles and CSF"
HINDBRAIN = "cerebellum and stem"
BRAIN_GROUPS = (CORTEX, WHITE_MATTER, DEEP_GREY, FLUID, HINDBRAIN)  # in the order of a list

CEREBRAL_WHITE_MATTER = Code("68523003", "SCT", "Cerebral White Matter")
CEREBRAL_CORTEX = Code("40146001", "SCT", "Cerebral cortex")
LATERAL_VENTRICLE = Code("66720007", "SCT", "Lateral ventricle")
INFERIOR_HORN = Code("53118009", "SCT", "Inferior Horn of Lateral Ventricle")
CEREBELLAR_WHITE_MATTER = Code("33060004", "SCT", "Cerebellar white matter")
CEREBELLAR_CORTEX = Code("25991003", "SCT", "Cerebellar Cortex")
THALAMUS = Code("42695009", "SCT", "Thalamus")
CAUDATE = Code("11000004", "SCT", "Caudate nucleus")
PUTAMEN = Code("89278009", "SCT", "Putamen")
PALLIDUM = Code("14738005", "SCT", "Globus pallidus")
THIRD_VENTRICLE = Code("49841001", "SCT", "Third ventricle")
FOURTH_VENTRICLE = Code("35918002", "SCT", "Fourth ventricle")
BRAIN_STEM = Code("119238007", "SCT", "Brain stem")
AMYGDALA = Code("4958002", "SCT", "Amygdala")
CSF = Code("65216001", "SCT", "Cerebrospinal Fluid")
ACCUMBENS = Code("427667007", "SCT", "Nucleus accumbens")
VENTRAL_DIENCEPHALON = Code("110700", "DCM", "Ventral Diencephalon")  # it has no SNOMED CT code

NOT_IN_SLICERS_LIST = (INFERIOR_HORN, CEREBELLAR_CORTEX, VENTRAL_DIENCEPHALON)

# fmt: off
# In the order of the network's classes after the background.
BRAIN_STRUCTURES = (
    BrainStructure("cerebral_white_matter", "cerebral white matter", 2, 41,
                   WHITE_MATTER, CEREBRAL_WHITE_MATTER, (245, 245, 245)),
    BrainStructure("cerebral_cortex", "cerebral cortex", 3, 42,
                   CORTEX, CEREBRAL_CORTEX, (205, 62, 78)),
    BrainStructure("lateral_ventricle", "lateral ventricle", 4, 43,
                   FLUID, LATERAL_VENTRICLE, (120, 18, 134)),
    BrainStructure("inferior_lateral_ventricle", "inferior lateral ventricle", 5, 44,
                   FLUID, INFERIOR_HORN, (196, 58, 250)),
    BrainStructure("cerebellar_white_matter", "cerebellar white matter", 7, 46,
                   HINDBRAIN, CEREBELLAR_WHITE_MATTER, (220, 248, 164)),
    BrainStructure("cerebellar_cortex", "cerebellar cortex", 8, 47,
                   HINDBRAIN, CEREBELLAR_CORTEX, (230, 148, 34)),
    BrainStructure("thalamus", "thalamus", 10, 49, DEEP_GREY, THALAMUS, (0, 118, 14)),
    BrainStructure("caudate", "caudate", 11, 50, DEEP_GREY, CAUDATE, (122, 186, 220)),
    BrainStructure("putamen", "putamen", 12, 51, DEEP_GREY, PUTAMEN, (236, 13, 176)),
    BrainStructure("pallidum", "pallidum", 13, 52, DEEP_GREY, PALLIDUM, (12, 48, 255)),
    BrainStructure("third_ventricle", "third ventricle", 14, 14,
                   FLUID, THIRD_VENTRICLE, (204, 182, 142)),
    BrainStructure("fourth_ventricle", "fourth ventricle", 15, 15,
                   FLUID, FOURTH_VENTRICLE, (42, 204, 164)),
    BrainStructure("brain_stem", "brain stem", 16, 16, HINDBRAIN, BRAIN_STEM, (119, 159, 176)),
    BrainStructure("hippocampus", "hippocampus", 17, 53, DEEP_GREY, HIPPOCAMPUS, (220, 216, 20)),
    BrainStructure("amygdala", "amygdala", 18, 54, DEEP_GREY, AMYGDALA, (103, 255, 255)),
    BrainStructure("csf", "CSF", 24, 24, FLUID, CSF, (60, 60, 60)),
    BrainStructure("accumbens", "accumbens", 26, 58, DEEP_GREY, ACCUMBENS, (255, 165, 0)),
    BrainStructure("ventral_diencephalon", "ventral diencephalon", 28, 60,
                   DEEP_GREY, VENTRAL_DIENCEPHALON, (165, 42, 42)),
)
# fmt: on


@cache
def brain_structures() -> tuple[Structure, ...]:
    """The 32 labels of a segmentation of the whole brain, in order of class, left before right.

    The label values are FreeSurfer's numbers.
    """
    return tuple(side for structure in BRAIN_STRUCTURES for side in structure.sides)


def brain_label_table() -> NDArray[np.uint8]:
    """(19, 2) FreeSurfer's number of each class, in the left half and in the right one.

    The first axis is the network's class, 0 the background; `table[classes, is_right]` turns a map
    of classes and one of sides into a label map. Structures in the midline have one number twice.
    """
    numbers = [(0, 0), *((structure.left, structure.right) for structure in BRAIN_STRUCTURES)]
    return np.array(numbers, np.uint8)


def group_place(group: str) -> int:
    """Where a group stands in a list; groups that are none of the brain's come last."""
    return BRAIN_GROUPS.index(group) if group in BRAIN_GROUPS else len(BRAIN_GROUPS)


def is_whole_brain(structures: Iterable[Structure]) -> bool:
    """Whether these structures are all of the brain, so that their sum is what the skull holds."""
    return {s.key for s in brain_structures()} <= {s.key for s in structures}
