"""Codes, colours and names of the structures our models outline (no torch).

The codes are those of Slicer's "Segmentation category and type - DICOM master list", which follows
DICOM CID 7153: Slicer finds a term only if scheme, value and meaning all agree, capitals included.
Its shorter "3D Slicer General Anatomy list" has no hippocampus. Neither list gives the hippocampus
a colour, so the colour is the one of FreeSurfer and of the brain atlas colour tables that come with
Slicer. SNOMED CT has no term for the anterior or the posterior part: both carry the code of the
whole, and the name and the shade say which part it is. So it is with the wall and the cavity of the
left ventricle: the list has no myocardium. Its colours of the two ventricles are two browns, so
ours differ.
"""

from __future__ import annotations

from dataclasses import replace

from MedLLMSegLib.core.segmentation import Code, Structure, plain_structures

# Slicer's name for the list the codes are in
TERMINOLOGY = "Segmentation category and type - DICOM master list"

ANATOMICAL_STRUCTURE = Code("123037004", "SCT", "Anatomical Structure")
HIPPOCAMPUS = Code("5366008", "SCT", "Hippocampus")
RIGHT_VENTRICLE = Code("53085002", "SCT", "Right ventricle")
LEFT_VENTRICLE = Code("87878005", "SCT", "Left ventricle")
LEFT = Code("7771000", "SCT", "Left")
RIGHT = Code("24028007", "SCT", "Right")

ANTERIOR_COLOR = (220, 216, 20)  # the hippocampus of FreeSurfer's and Slicer's tables
POSTERIOR_COLOR = (
    214,
    92,
    30,
)  # darker as well as redder: told apart in print and by colour-blind eyes


def hippocampus_structures(lateral: bool) -> tuple[Structure, ...]:
    """The labels of a hippocampus segmentation, in order of label.

    lateral: True for a scan whose sides are known: 1 left anterior, 2 left posterior, 3 right
    anterior, 4 right posterior. False for a crop of unspecified side: 1 anterior, 2 posterior.
    """
    sides = (("left", LEFT), ("right", RIGHT)) if lateral else ((None, None),)
    parts = (("anterior", ANTERIOR_COLOR), ("posterior", POSTERIOR_COLOR))
    structures = []
    for side, modifier in sides:
        for part, color in parts:
            organ = f"{side} hippocampus".capitalize() if side else "Hippocampus"
            structures.append(
                Structure(
                    label=len(structures) + 1,
                    key=f"{side}_{part}" if side else part,
                    name=f"{organ} ({part})",
                    color=color,
                    category=ANATOMICAL_STRUCTURE,
                    type=HIPPOCAMPUS,
                    modifier=modifier,
                )
            )
    return tuple(structures)


def cardiac_structures() -> tuple[Structure, ...]:
    """The labels of a cine MR of the heart as ACDC numbers them: 1 right ventricle, 2
    myocardium, 3 left ventricle.
    """
    return (
        Structure(
            1,
            "right_ventricle",
            "Right ventricle",
            (86, 160, 211),
            ANATOMICAL_STRUCTURE,
            RIGHT_VENTRICLE,
        ),
        Structure(
            2,
            "myocardium",
            "Left ventricle (myocardium)",
            (240, 200, 90),
            ANATOMICAL_STRUCTURE,
            LEFT_VENTRICLE,
        ),
        Structure(
            3,
            "left_ventricle",
            "Left ventricle (cavity)",
            (200, 60, 60),
            ANATOMICAL_STRUCTURE,
            LEFT_VENTRICLE,
        ),
    )


# What people call the structures we have codes for, in lower case, and the structure's key.
KNOWN_AS = {
    "right_ventricle": (
        "right ventricle",
        "rv",
        "right ventricular cavity",
        "right ventricle cavity",
    ),
    "myocardium": (
        "myocardium",
        "myo",
        "lv myocardium",
        "left ventricular myocardium",
        "left ventricle myocardium",
        "left ventricle (myocardium)",
        "myocardium of the left ventricle",
    ),
    "left_ventricle": (
        "left ventricle",
        "lv",
        "left ventricular cavity",
        "left ventricle cavity",
        "lv cavity",
        "left ventricle (cavity)",
    ),
}


def named_structures(names: dict[int, str]) -> tuple[Structure, ...]:
    """Structures for a training's labels, in order of label: with their codes where the name is
    known, else plain.

    names: label (1 to 255) -> name, such as {1: "right ventricle", 2: "tumour"}.
    """
    known = {name: s for s in cardiac_structures() for name in KNOWN_AS[s.key]}
    found = {
        label: known.get(" ".join(name.lower().replace("_", " ").split()))
        for label, name in names.items()
    }
    keys = [s.key for s in found.values() if s]
    return tuple(
        (
            replace(found[s.label], label=s.label)
            if found[s.label] and keys.count(found[s.label].key) == 1
            else s
        )
        for s in plain_structures(names)
    )


ANATOMY = {"hippocampus": hippocampus_structures}  # what a bundle's metadata may name
