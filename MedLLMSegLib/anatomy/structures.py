"""The catalogue of structures: names, SNOMED CT codes and colours of what our models outline.

The type is `core.segmentation.Structure`; this module holds its instances, and makes those of a
user's own labels.

The codes are those of Slicer's "Segmentation category and type - DICOM master list", which follows
DICOM CID 7153. Slicer finds a term only if scheme, value and meaning all agree, including capitals.
Slicer's shorter "3D Slicer General Anatomy list" has no hippocampus.

SNOMED CT has no terms for the anterior and posterior hippocampus. Both carry the code of the whole
hippocampus; name and shade tell them apart. Likewise, the list has no myocardium: the wall and the
cavity of the left ventricle share one code.

Neither list gives the hippocampus a colour. Ours is that of FreeSurfer and of the brain atlas
colour tables that come with Slicer. The list's colours of the two ventricles are two similar
browns, so ours differ. In every model the right side is darker than the left (`right_color`).
"""

from __future__ import annotations

import colorsys
import re
from collections.abc import Mapping
from dataclasses import replace

from MedLLMSegLib.core.segmentation import Code, Structure

# Slicer's name for the list that the codes come from
TERMINOLOGY = "Segmentation category and type - DICOM master list"

ANATOMICAL_STRUCTURE = Code("123037004", "SCT", "Anatomical Structure")
HIPPOCAMPUS = Code("5366008", "SCT", "Hippocampus")
RIGHT_VENTRICLE = Code("53085002", "SCT", "Right ventricle")
LEFT_VENTRICLE = Code("87878005", "SCT", "Left ventricle")
LEFT = Code("7771000", "SCT", "Left")
RIGHT = Code("24028007", "SCT", "Right")
# Category and type that Slicer gives to a structure without a code of its own
TISSUE = Code("85756007", "SCT", "Tissue")

# FreeSurfer's and Slicer's colour of the hippocampus
ANTERIOR_COLOR = (220, 216, 20)
# Darker as well as redder: distinct in print and for colour-blind readers
POSTERIOR_COLOR = (214, 92, 30)

# How bright the right side's colour is, as a share of the left side's
RIGHT_BRIGHTNESS = 0.7

# The palette of Okabe and Ito (2008), which colour-blind readers can tell apart, without its black
PALETTE = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
# Saturation and value of the colours beyond the palette
SHADES = ((0.9, 0.85), (0.5, 1.0), (0.75, 0.5), (0.3, 0.75), (0.95, 0.65))


def right_color(left: tuple[int, int, int]) -> tuple[int, int, int]:
    """The colour of a right structure: the hue of the left one, darker. RGB, 0 to 255 each."""
    red, green, blue = (round(RIGHT_BRIGHTNESS * channel) for channel in left)
    return red, green, blue


def hippocampus_structures(lateral: bool) -> tuple[Structure, ...]:
    """The labels of a hippocampus segmentation, in order of label.

    lateral: True for a scan whose sides are known: 1 left anterior, 2 left posterior, 3 right
    anterior, 4 right posterior. False for a crop of unspecified side: 1 anterior, 2 posterior.
    """
    if not lateral:
        return _hippocampus_parts(1, "", "Hippocampus", None)
    return (
        *_hippocampus_parts(1, "left_", "Left hippocampus", LEFT),
        *_hippocampus_parts(3, "right_", "Right hippocampus", RIGHT),
    )


def _hippocampus_parts(
    first_label: int, key_prefix: str, organ: str, side: Code | None
) -> tuple[Structure, ...]:
    """The anterior and the posterior part of one hippocampus."""
    parts = (("anterior", ANTERIOR_COLOR), ("posterior", POSTERIOR_COLOR))
    return tuple(
        Structure(
            label=label,
            key=f"{key_prefix}{part}",
            name=f"{organ} ({part})",
            color=right_color(color) if side == RIGHT else color,
            category=ANATOMICAL_STRUCTURE,
            type=HIPPOCAMPUS,
            modifier=side,
        )
        for label, (part, color) in enumerate(parts, start=first_label)
    )


# The values of the hippocampus' parts in a segmentation of the whole brain. FreeSurfer has none for
# them: its numbers of the hippocampal head, body and tail (232, 231 and 226) have no side, and its
# border is another. These are far from the numbers of the brain's structures, and from those three.
PARTS_IN_BRAIN = {"left": (184, 185), "right": (186, 187)}


def hippocampus_parts_in_brain(side: str, group: str) -> tuple[Structure, ...]:
    """The anterior and the posterior part of one hippocampus, beside the structures of a brain.

    side: "left" or "right". group: of the hippocampus that they are parts of.
    """
    code = LEFT if side == "left" else RIGHT
    parts = _hippocampus_parts(1, "", f"{side.capitalize()} hippocampus", code)
    return tuple(
        replace(part, label=label, key=f"{side}_hippocampus_{part.key}", group=group)
        for part, label in zip(parts, PARTS_IN_BRAIN[side], strict=True)
    )


def is_part_in_brain(structure: Structure) -> bool:
    """Whether a second model drew it inside a structure of the brain (see `PARTS_IN_BRAIN`)."""
    return any(
        (structure.label, structure.key) == (part.label, part.key)
        for side in PARTS_IN_BRAIN
        for part in hippocampus_parts_in_brain(side, "")
    )


# The function that lists an anatomy's structures, by the name that a bundle's metadata gives
STRUCTURES_OF_ANATOMY = {"hippocampus": hippocampus_structures}


def cardiac_structures() -> tuple[Structure, ...]:
    """The labels of cardiac cine MR in ACDC's order: 1 right ventricle, 2 myocardium, 3 left
    ventricle.
    """
    return (
        Structure(
            1,
            "right_ventricle",
            "Right ventricle",
            right_color((86, 160, 211)),
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


# Usual names of the structures that have codes, in lower case, by the structure's key
SYNONYMS = {
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


def named_structures(names: Mapping[int, str]) -> tuple[Structure, ...]:
    """Structures of a training's labels, in order of label.

    names: label (1 to 255) -> name, such as {1: "right ventricle", 2: "tumour"}. A known name gets
    the codes and colour of its structure, unless two labels share it; the others have no codes.
    """
    coded = {label: _coded_structure(name) for label, name in names.items()}
    keys = [structure.key for structure in coded.values() if structure is not None]
    structures = []
    for uncoded in uncoded_structures(names):
        known = coded[uncoded.label]
        if known is not None and keys.count(known.key) == 1:
            structures.append(replace(known, label=uncoded.label))
        else:
            structures.append(uncoded)
    return tuple(structures)


def _coded_structure(name: str) -> Structure | None:
    """The structure with codes that a name stands for; None for an unknown name."""
    plain_name = " ".join(name.lower().replace("_", " ").split())
    for structure in cardiac_structures():
        if plain_name in SYNONYMS[structure.key]:
            return structure
    return None


def uncoded_structures(names: Mapping[int, str]) -> tuple[Structure, ...]:
    """Structures without codes of their own, in order of label.

    names: label (1 to 255) -> name, such as {1: "tumour"}. Every structure gets a unique key. Its
    colour depends on its label only.
    """
    keys = {label: _key_from_name(names[label]) for label in sorted(names)}
    all_keys = list(keys.values())
    return tuple(
        Structure(
            label=label,
            key=key if all_keys.count(key) == 1 else f"{key}_label_{label}",
            name=names[label][:1].upper() + names[label][1:],
            color=label_color(label),
            category=TISSUE,
            type=TISSUE,
        )
        for label, key in keys.items()
    )


def _key_from_name(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "structure"


def label_color(label: int) -> tuple[int, int, int]:
    """The RGB colour (0 to 255) of a label from 1.

    The first labels get the palette. The others get hues a golden section apart, in five shades.
    """
    if label <= len(PALETTE):
        return PALETTE[label - 1]
    hue = (label * 0.618034 + 0.46) % 1.0
    saturation, value = SHADES[label % len(SHADES)]
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)
