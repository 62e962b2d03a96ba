"""Codes, colours and names of the structures our models outline (no torch).

The codes are those of Slicer's "Segmentation category and type - DICOM master list", which follows DICOM
CID 7153: Slicer finds a term only if scheme, value and meaning all agree, capitals included. Its shorter
"3D Slicer General Anatomy list" has no hippocampus. Neither list gives the hippocampus a colour, so the
colour is the one of FreeSurfer and of the brain atlas colour tables that come with Slicer.
SNOMED CT has no term for the anterior or the posterior part: both carry the code of the whole, and the name
and the shade say which part it is.
"""
from __future__ import annotations

from .structures import Code, Structure

TERMINOLOGY = "Segmentation category and type - DICOM master list"  # Slicer's name for the list the codes are in

ANATOMICAL_STRUCTURE = Code("123037004", "SCT", "Anatomical Structure")
HIPPOCAMPUS = Code("5366008", "SCT", "Hippocampus")
LEFT = Code("7771000", "SCT", "Left")
RIGHT = Code("24028007", "SCT", "Right")

ANTERIOR_COLOR = (220, 216, 20)  # the hippocampus of FreeSurfer's and Slicer's tables
POSTERIOR_COLOR = (214, 92, 30)  # darker as well as redder: told apart in print and by colour-blind eyes


def hippocampus_structures(lateral: bool) -> tuple[Structure, ...]:
    """The labels of a hippocampus segmentation, in order of label.

    lateral: True for a scan whose sides are known: 1 left anterior, 2 left posterior, 3 right anterior,
    4 right posterior. False for a crop of unspecified side: 1 anterior, 2 posterior.
    """
    sides = (("left", LEFT), ("right", RIGHT)) if lateral else ((None, None),)
    parts = (("anterior", ANTERIOR_COLOR), ("posterior", POSTERIOR_COLOR))
    structures = []
    for side, modifier in sides:
        for part, color in parts:
            organ = f"{side} hippocampus".capitalize() if side else "Hippocampus"
            structures.append(Structure(
                label=len(structures) + 1, key=f"{side}_{part}" if side else part, name=f"{organ} ({part})",
                color=color, category=ANATOMICAL_STRUCTURE, type=HIPPOCAMPUS, modifier=modifier))
    return tuple(structures)


ANATOMY = {"hippocampus": hippocampus_structures}  # what a bundle's metadata may name
