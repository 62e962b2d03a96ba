"""The result table of many structures: groups with their structures, as a tree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from .quality_view import light_text
from .translation import _

if TYPE_CHECKING:  # numpy comes with them, and Slicer's start must not wait for it
    from MedLLMSegLib.core.segmentation import Structure
    from MedLLMSegLib.metrics.volumetry import StructureVolume, Volumetry

NOTHING = "–"


class VolumetryTexts(NamedTuple):
    """The cells of one row, from left to right."""

    name: str
    volume_ml: str
    expected_dice: str
    percent_intracranial: str
    asymmetry: str
    confidence: str


class VolumetryRow(NamedTuple):
    """One structure. key: as the segments' tag has it. color: RGB, 0 to 255. short: its name with L
    or R for the side, as the panel is narrow. tip: what there is no room for. doubt: why this
    outline is to be looked at first; "" where it is not.
    """

    key: str
    color: tuple[int, int, int]
    texts: VolumetryTexts
    short: str
    tip: str
    doubt: str = ""


class VolumetryGroup(NamedTuple):
    """One branch of the tree. texts: of the group as a whole. rows: its structures."""

    name: str
    texts: VolumetryTexts
    rows: tuple[VolumetryRow, ...]


def headings() -> VolumetryTexts:
    """What stands above the columns."""
    return VolumetryTexts(
        _("Structure"),
        _("Volume (mL)"),
        _("Expected Dice"),
        _("Intracranial volume (%)"),
        _("Asymmetry (%)"),
        _("Mean confidence"),
    )


def volumetry_groups(
    found: Volumetry, rows: Sequence[tuple[str, float, float | None]]
) -> tuple[VolumetryGroup, ...]:
    """The tree of a result; structures that were not found are left out, as they have no segment.

    rows: (structure's name, mL, mean confidence) of those that were found.
    """
    confidence = {name: value for name, _ml, value in rows}
    groups = []
    for name, members in found.groups:
        present = [row for row in members if row.structure.name in confidence]
        if present:
            title = name[:1].upper() + name[1:]
            groups.append(
                VolumetryGroup(
                    name,
                    _group_texts(title, present),
                    tuple(_row(row, confidence[row.structure.name]) for row in present),
                )
            )
    return tuple(groups)


def intracranial_text(found: Volumetry) -> str:
    """A sentence on the intracranial volume; "" for a model of less than the brain."""
    whole = found.intracranial
    if whole is None:
        return ""
    if whole.ml is not None:
        return _("Intracranial volume {ml} mL.").format(ml=f"{whole.ml:.0f}")
    return _("Intracranial volume not available: {reason}.").format(reason=whole.why_not)


def volumetry_text(groups: Sequence[VolumetryGroup]) -> str:
    """The table for the clipboard: tabs between columns, each structure with its group in front."""
    lines = [(_("Group"), *headings())]
    lines += [(group.name, *row.texts) for group in groups for row in group.rows]
    return "".join("\t".join(line) + "\n" for line in lines)


def _row(row: StructureVolume, confidence: float | None) -> VolumetryRow:
    structure = row.structure
    texts = VolumetryTexts(
        structure.name,
        _millilitres(row.volume_ml),
        _number(row.expected_dice, ".2f"),
        _number(row.percent_intracranial, ".2f"),
        _number(row.asymmetry_percent, "+.1f"),
        _number(confidence, ".2f"),
    )
    tip = _("{name}; mean confidence {confidence}").format(
        name=texts.name, confidence=texts.confidence
    )
    if row.percent_intracranial is not None:
        tip += _("; {percent} % of the intracranial volume").format(
            percent=texts.percent_intracranial
        )
    if row.interval_ml is not None:
        low, high = map(_millilitres, row.interval_ml)
        tip += _("; {low} to {high} mL in most such scans").format(low=low, high=high)
    return VolumetryRow(
        structure.key, structure.color, texts, _short(structure), tip, _doubt(row, texts)
    )


def _doubt(row: StructureVolume, texts: VolumetryTexts) -> str:
    """Why an outline is to be looked at first; "" where it is not."""
    if not row.is_doubtful:
        return ""
    if row.quality is not None:
        return light_text(row.quality)
    return _("The model expects a low Dice ({dice}) of {name}: look at this outline first.").format(
        dice=texts.expected_dice, name=texts.name
    )


def _short(structure: Structure) -> str:
    if not structure.side:
        return structure.name
    letter = _("L") if structure.side == "left" else _("R")
    return f"{letter} {structure.name.partition(' ')[2]}"


def _group_texts(title: str, rows: Sequence[StructureVolume]) -> VolumetryTexts:
    percents = [row.percent_intracranial for row in rows if row.percent_intracranial is not None]
    return VolumetryTexts(
        title,
        _millilitres(sum(row.volume_ml for row in rows)),
        "",
        _number(sum(percents) if len(percents) == len(rows) else None, ".2f"),
        "",
        "",
    )


def _millilitres(ml: float) -> str:
    return f"{ml:.2f}" if ml < 10 else f"{ml:.1f}"


def _number(number: float | None, digits: str) -> str:
    return NOTHING if number is None else format(number, digits)
