"""The types of a segmentation: `Code`, `Structure` and `Segmentation`.

The structures themselves (names, codes, colours) are listed in `anatomy.structures`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from .domain_verdict import DomainVerdict
from .quality import Certainty, ScanQuality
from .volume import Volume

SIDES = ("left", "right")


@dataclass(frozen=True)
class Code:
    """One concept of a coding scheme, as DICOM and Slicer's terminologies write it."""

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True)
class Structure:
    """What one value of a label map stands for.

    label: the voxel value, 1 to 255. key: lower-case identifier for columns ("left_anterior").
    name: what a clinician reads ("Left hippocampus (anterior)"). color: RGB, 0 to 255 each.
    category, type, modifier: SNOMED CT codes for Slicer's terminologies and DICOM SEG. group: what
    it belongs to in a list of many ("deep grey"); "" in a model of few structures.
    """

    label: int
    key: str
    name: str
    color: tuple[int, int, int]
    category: Code
    type: Code
    modifier: Code | None = None
    group: str = ""

    @property
    def side(self) -> str:
        """ "left" or "right", as its modifier says; "" for a structure without a side."""
        side = self.modifier.meaning.lower() if self.modifier else ""
        return side if side in SIDES else ""

    @property
    def sideless_key(self) -> str:
        """The key that a left and a right structure share ("anterior" of "left_anterior")."""
        return self.key.removeprefix(f"{self.side}_") if self.side else self.key

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, as in "labels" of a bundle's metadata. `from_dict` reads them.

        A structure without a group has no entry "group", as in the bundles of version 0.3.
        """
        fields = {**asdict(self), "color": list(self.color)}
        if not self.group:
            del fields["group"]
        return fields

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Structure:
        """The structure of such a dict. Raises KeyError, TypeError or ValueError if damaged."""
        label = int(data["label"])
        color = [int(channel) for channel in data["color"]]
        if not 1 <= label <= 255:
            raise ValueError(f"a structure has label {label}, which is not from 1 to 255")
        if len(color) != 3 or min(color) < 0 or max(color) > 255:
            raise ValueError(f"a structure has colour {color}, which is not RGB from 0 to 255")
        red, green, blue = color
        return cls(
            label=label,
            key=str(data["key"]),
            name=str(data["name"]),
            color=(red, green, blue),
            category=Code(**data["category"]),
            type=Code(**data["type"]),
            modifier=Code(**data["modifier"]) if data.get("modifier") else None,
            group=str(data.get("group") or ""),
        )


# An expected Dice below this is called low: a guess at where an outline is no use unseen.
LEAST_EXPECTED_DICE = 0.6


@dataclass(frozen=True)
class IntracranialVolume:
    """The volume of all that lies inside the skull: brain, ventricles and the fluid around them.

    ml: None where it is not available; then why_not says why, as the end of a sentence ("the skull
    was taken off").
    """

    ml: float | None = None
    why_not: str = ""


@dataclass(frozen=True, eq=False)
class Segmentation:
    """What `segment` returns.

    labels: uint8 label map on the scan's own grid.
    structures: one entry for each possible label.
    confidence: label -> mean probability of that label over its own voxels; NaN without voxels.
    expected_dice: label -> the Dice that the model expects, from its own confidence and what that
    was worth on images with known labels; {} for a model that was not calibrated so.
    probabilities: float32 [c, k, j, i] over `structures` in order, if asked for.
    notes: sentences for the user (what was assumed or skipped).
    model: the model's id. seconds: wall time.
    uncertainty: float32 [k, j, i] from 0 (sure) to 1 (all classes equally likely), if asked for.
    intracranial: of a model of the whole brain; None for any other.
    precision: "fp32" or "bf16", in which the model's network ran; "" where that is not known.
    certainty: label -> more on how sure the network is, of the structures that were found.
    quality: the traffic light, and intervals of the volumes; None where nothing is known of it.
    domain: whether the scan is of the domain that the model was measured in; None where that is
    not known.
    """

    labels: Volume
    structures: tuple[Structure, ...]
    confidence: dict[int, float] = field(default_factory=dict)
    probabilities: Volume | None = None
    notes: tuple[str, ...] = ()
    model: str = ""
    seconds: float = 0.0
    uncertainty: Volume | None = None
    intracranial: IntracranialVolume | None = None
    precision: str = ""
    expected_dice: dict[int, float] = field(default_factory=dict)
    certainty: dict[int, Certainty] = field(default_factory=dict)
    quality: ScanQuality | None = None
    domain: DomainVerdict | None = None

    @property
    def found(self) -> tuple[Structure, ...]:
        """The structures that have voxels."""
        return tuple(s for s in self.structures if (self.labels.array == s.label).any())

    @property
    def volumes_ml(self) -> dict[str, float]:
        """Volume of each structure in mL by its key."""
        voxel_ml = self.labels.grid.voxel_ml
        return {
            s.key: float(np.count_nonzero(self.labels.array == s.label) * voxel_ml)
            for s in self.structures
        }


def comparable_name(name: str) -> str:
    """A structure's name in lower case, letters and digits only, to compare it with another."""
    return "".join(c for c in name.casefold() if c.isalnum())
