"""What is to be explained: the name that a user gives, as structures of the model on one side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.segmentation import Structure, comparable_name
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.segmentation.loaded_segmenter import SegmenterModel
from MedLLMSegLib.segmentation.localize import is_crop
from MedLLMSegLib.segmentation.selection import check_names, chosen_structures


@dataclass(frozen=True)
class Asked:
    """name: as it was given. structures: that it stands for. side: to be looked at alone; None for
    a model that outlines everything at once, and for a crop of unspecified side.
    """

    name: str
    structures: tuple[Structure, ...]
    side: str | None = None

    @property
    def title(self) -> str:
        """Its name for people: the structure's own, or that of the organ whose parts are meant."""
        names = {structure.name for structure in self.structures}
        organs = {organ_name(structure) for structure in self.structures}
        return names.pop() if len(names) == 1 else ", ".join(sorted(organs))


def asked_structures(name: str, volume: Volume, model: SegmenterModel) -> Asked:
    """What a name stands for in a scan.

    name: a structure's key or name, or an organ's, whose parts are then explained together ("left
    hippocampus"). An explanation is of one side. Raises `UserError` for a name that the model does
    not know, and for one of both sides.
    """
    has_sides = bool(model.anatomy)
    known = _named(name, model.structures_for(lateral=True))
    crop = has_sides and (model.localizer is None or is_crop(volume))
    if crop and len({s.side for s in known}) != 1:
        return Asked(name, _named(name, model.structures_for(lateral=False)))
    sides = {structure.side for structure in known}
    if len(sides) > 1:
        raise UserError(
            f'"{name}" stands for structures of more than one side ({_keys(known)}); an explanation'
            " is of one, so name it with its side."
        )
    return Asked(name, known, sides.pop() if has_sides else None)


def _named(name: str, structures: Sequence[Structure]) -> tuple[Structure, ...]:
    """The structures that a name stands for: at least one."""
    parts = tuple(s for s in structures if comparable_name(organ_name(s)) == comparable_name(name))
    if parts:
        return parts
    sideless = tuple(
        s for s in structures if comparable_name(_sideless_organ(s)) == comparable_name(name)
    )
    if sideless:
        return sideless
    check_names((name,), structures)
    return chosen_structures((name,), structures)


def organ_name(structure: Structure) -> str:
    """Its name without the part in brackets: "Left hippocampus (anterior)", "Left hippocampus"."""
    return structure.name.partition(" (")[0]


def _sideless_organ(structure: Structure) -> str:
    first, _space, rest = organ_name(structure).partition(" ")
    return rest if structure.side and first.lower() == structure.side else organ_name(structure)


def _keys(structures: Sequence[Structure]) -> str:
    return ", ".join(structure.key for structure in structures)
