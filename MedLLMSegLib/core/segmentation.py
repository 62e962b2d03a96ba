"""Anatomical structures: names, colours and codes, and the `Segmentation` a run returns (no
torch).
"""

from __future__ import annotations

import colorsys
import re
from dataclasses import asdict, dataclass, field

import numpy as np

from .volume import Volume


@dataclass(frozen=True)
class Code:
    """One concept of a coding scheme: (value, scheme, meaning), as DICOM and Slicer's
    terminologies write it.
    """

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True)
class Structure:
    """One value of a label map.

    label: the voxel value. key: lower-case identifier for columns ("left_anterior").
    name: what a clinician reads ("Left hippocampus (anterior)"). color: RGB 0 to 255.
    category, type, modifier: SNOMED CT codes for Slicer's terminologies and DICOM SEG.
    """

    label: int
    key: str
    name: str
    color: tuple[int, int, int]
    category: Code
    type: Code
    modifier: Code | None = None

    def to_dict(self) -> dict:
        """Plain JSON types, as in the "labels" of a bundle's metadata; `from_dict` is the way
        back.
        """
        return {**asdict(self), "color": list(self.color)}

    @classmethod
    def from_dict(cls, data: dict) -> Structure:
        """Raises KeyError, TypeError or ValueError for a description that is damaged."""
        codes = {
            k: Code(**data[k]) if data.get(k) else None for k in ("category", "type", "modifier")
        }
        label, color = int(data["label"]), tuple(int(c) for c in data["color"])
        if not 1 <= label <= 255 or len(color) != 3 or not 0 <= min(color) <= max(color) <= 255:
            raise ValueError(f"a structure has label {label} and colour {color}")
        return cls(
            label,
            str(data["key"]),
            str(data["name"]),
            color,
            codes["category"],
            codes["type"],
            codes["modifier"],
        )


TISSUE = Code(
    "85756007", "SCT", "Tissue"
)  # category and type of what has no code of its own, as Slicer has it

# The palette of Okabe and Ito (2008), which colour-blind eyes can tell apart, without its black.
PALETTE = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)


def plain_structures(names: dict[int, str]) -> tuple[Structure, ...]:
    """Structures without codes of their own, in order of label. names: label (1 to 255) -> name,
    such as {1: "tumour"}.

    Each gets a key of its own and, by its label, always the same colour.
    """
    keys = {
        label: re.sub(r"[^a-z0-9]+", "_", names[label].lower()).strip("_") or "structure"
        for label in sorted(names)
    }
    found = list(keys.values())
    return tuple(
        Structure(
            label,
            key if found.count(key) == 1 else f"{key}_label_{label}",
            names[label][:1].upper() + names[label][1:],
            label_color(label),
            TISSUE,
            TISSUE,
        )
        for label, key in keys.items()
    )


def label_color(label: int) -> tuple[int, int, int]:
    """The colour of a label (from 1): the palette's, and then hues a golden section apart in
    five shades.
    """
    if label <= len(PALETTE):
        return PALETTE[label - 1]
    saturation, value = ((0.9, 0.85), (0.5, 1.0), (0.75, 0.5), (0.3, 0.75), (0.95, 0.65))[label % 5]
    red, green, blue = colorsys.hsv_to_rgb((label * 0.618034 + 0.46) % 1.0, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


@dataclass(frozen=True, eq=False)
class Segmentation:
    """What `segment` returns.

    labels: uint8 label map on the scan's own grid. structures: one entry for each possible label.
    confidence: label -> mean probability of that label over its own voxels (NaN where there are
    none). probabilities: float32 [c, k, j, i] over `structures` in order, or None unless asked for.
    notes: sentences for the user (what was assumed or skipped). model: its id. seconds: wall time.
    uncertainty: float32 [k, j, i] from 0 (sure) to 1 (every class as likely), or None unless asked
    for.
    """

    labels: Volume
    structures: tuple[Structure, ...]
    confidence: dict[int, float] = field(default_factory=dict)
    probabilities: Volume | None = None
    notes: tuple[str, ...] = ()
    model: str = ""
    seconds: float = 0.0
    uncertainty: Volume | None = None

    @property
    def found(self) -> tuple[Structure, ...]:
        """The structures that have voxels."""
        return tuple(s for s in self.structures if (self.labels.array == s.label).any())

    @property
    def volumes_ml(self) -> dict[str, float]:
        """Volume of each structure in mL by its key."""
        ml = self.labels.grid.voxel_ml
        return {
            s.key: float(np.count_nonzero(self.labels.array == s.label) * ml)
            for s in self.structures
        }


def plain_name(name: str) -> str:
    """A structure's name without case, spaces and signs, for comparing."""
    return "".join(c for c in name.casefold() if c.isalnum())
