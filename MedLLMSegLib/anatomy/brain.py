"""The structures of the whole brain, by FreeSurfer's numbers: 18 structures, 14 of them paired.

Structure and side are apart, as the network learns them apart: a paired structure is one class,
and a map of left and right says which of its two numbers a voxel gets.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BrainStructure:
    """One structure of the brain.

    key: lower-case identifier. left, right: FreeSurfer's numbers of the two sides; of a structure
    in the midline both are its one number. group: what it belongs to in a list.
    """

    key: str
    left: int
    right: int
    group: str

    @property
    def paired(self) -> bool:
        """Whether it has two sides."""
        return self.left != self.right


CORTEX = "cortex"
WHITE_MATTER = "white matter"
DEEP_GREY = "deep grey"
FLUID = "ventricles and CSF"
HINDBRAIN = "cerebellum and stem"

# In the order of the network's classes after the background.
BRAIN_STRUCTURES = (
    BrainStructure("cerebral_white_matter", 2, 41, WHITE_MATTER),
    BrainStructure("cerebral_cortex", 3, 42, CORTEX),
    BrainStructure("lateral_ventricle", 4, 43, FLUID),
    BrainStructure("inferior_lateral_ventricle", 5, 44, FLUID),
    BrainStructure("cerebellar_white_matter", 7, 46, HINDBRAIN),
    BrainStructure("cerebellar_cortex", 8, 47, HINDBRAIN),
    BrainStructure("thalamus", 10, 49, DEEP_GREY),
    BrainStructure("caudate", 11, 50, DEEP_GREY),
    BrainStructure("putamen", 12, 51, DEEP_GREY),
    BrainStructure("pallidum", 13, 52, DEEP_GREY),
    BrainStructure("third_ventricle", 14, 14, FLUID),
    BrainStructure("fourth_ventricle", 15, 15, FLUID),
    BrainStructure("brain_stem", 16, 16, HINDBRAIN),
    BrainStructure("hippocampus", 17, 53, DEEP_GREY),
    BrainStructure("amygdala", 18, 54, DEEP_GREY),
    BrainStructure("csf", 24, 24, FLUID),
    BrainStructure("accumbens", 26, 58, DEEP_GREY),
    BrainStructure("ventral_diencephalon", 28, 60, DEEP_GREY),
)
