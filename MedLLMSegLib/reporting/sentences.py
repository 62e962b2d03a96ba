"""A result in plain sentences, from measured values alone.

Each sentence is a pure function of the result: no language model writes here. A text that reads
well and states what nobody measured would be worse than none, as its reader cannot tell the two
apart; and the same result must give the same words each time, so that two reports can be compared.

Rules. Volumes: whole mL from 100 on, one decimal from 1 mL on, two below, "less than 0.01 mL"
beneath that. Percent: whole, "less than 1 %" beneath. What was not found, or is not available, is
said, and never left out or shown as zero. A volume that is not to be relied on says so in the same
sentence.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from MedLLMSegLib.core.quality import RED, ScanQuality
from MedLLMSegLib.core.segmentation import Segmentation, Structure
from MedLLMSegLib.metrics.heart_function import Figure, HeartFunction, Ventricle, figures
from MedLLMSegLib.metrics.volumetry import StructureVolume, Volumetry, volumetry

RESEARCH = "Measured by MedLLMSeg from the outlines; research use only, not a medical device."


def scan_sentences(segmentation: Segmentation) -> tuple[str, ...]:
    """What was measured in a scan: structures with their sides, the intracranial volume, the
    result's quality, and the notes.
    """
    found = volumetry(segmentation)
    lines = map(_organ_sentence, _organs(found.rows))
    return tuple(
        filter(
            None,
            (
                *lines,
                _intracranial_sentence(found),
                *_doubts(found.rows),
                _interval_sentence(found),
                _quality_sentence(found.quality),
                *map(as_sentence, segmentation.notes),
                RESEARCH,
            ),
        )
    )


def heart_sentences(function: HeartFunction, notes: Sequence[str] = ()) -> tuple[str, ...]:
    """The function of a heart. notes: of the measurement (`MeasuredHeart.notes`)."""
    rows = {row.name: row for row in figures(function)}
    return tuple(
        filter(
            None,
            (
                _ventricle_sentence("left", "LV", function.left, rows),
                _ventricle_sentence("right", "RV", function.right, rows),
                _mass_sentence(rows["LV myocardial mass"]),
                _output_sentence(rows.get("Cardiac output"), function.person.rate_bpm),
                function.intervals.in_words if function.intervals is not None else "",
                *map(as_sentence, notes or function.notes),
                RESEARCH,
            ),
        )
    )


# ---- numbers ----


def millilitres(ml: float) -> str:
    """ "1480 mL", "3.4 mL", "0.22 mL", "less than 0.01 mL"."""
    if ml < 0.005:
        return "less than 0.01 mL"
    return f"{ml:.{_decimals(ml)}f} mL"


def _decimals(value: float) -> int:
    """As the rounded value deserves: 99.96 is 100, and 0.996 is 1.0."""
    if round(value, 1) >= 100:
        return 0
    return 1 if round(value, 2) >= 1 else 2


def percent(value: float) -> str:
    """The size of a percentage: "6 %", "less than 1 %"."""
    size = abs(value)
    return "less than 1 %" if size < 1 else f"{size:.0f} %"


def as_sentence(text: str) -> str:
    """A text on one line, with a full stop."""
    line = " ".join(text.split())
    return line if not line or line[-1] in ".!?" else f"{line}."


# ---- structures ----


def _organs(rows: Iterable[StructureVolume]) -> list[list[StructureVolume]]:
    """The rows of each organ: both sides, and all parts."""
    by_organ: dict[str, list[StructureVolume]] = {}
    for row in rows:
        by_organ.setdefault(_organ(row.structure), []).append(row)
    return list(by_organ.values())


def _organ(structure: Structure) -> str:
    """Its name without side and part: "hippocampus" of "Left hippocampus (anterior)"."""
    name = structure.name.partition(" (")[0]
    first, _space, rest = name.partition(" ")
    if structure.side and first.lower() == structure.side:
        name = rest
    return _in_text(name)


def _in_text(name: str) -> str:
    """A name within a sentence; abbreviations stay in capitals."""
    return name if name[1:2].isupper() else name[:1].lower() + name[1:]


def _part(structure: Structure) -> str:
    """ "anterior" of "Left hippocampus (anterior)"; "" of a whole."""
    return structure.name.partition(" (")[2].removesuffix(")")


def _organ_sentence(rows: Sequence[StructureVolume]) -> str:
    """One sentence on an organ: its sides, their parts and the asymmetry."""
    organ = _organ(rows[0].structure)
    sides = [[r for r in rows if r.structure.side == side] for side in ("left", "right")]
    if not all(sides):
        subject = " ".join(filter(None, (rows[0].structure.side, organ)))
        return _one_side(f"the {subject}", rows)
    left, right = sides
    if not _total(left) and not _total(right):
        return f"The {organ} was found on neither side."
    if not _total(left) or not _total(right):
        one, other = (right, "left") if not _total(left) else (left, "right")
        found = one[0].structure.side
        return f"The {other} {organ} was not found; the {found} {_measures(one)}{_reliance(one)}."
    return (
        f"The left {organ} {_measures(left)}{_reliance(left)}, the right"
        f" {_amount(right)}{_reliance(right)} ({_asymmetry(left, right)})."
    )


def _one_side(subject: str, rows: Sequence[StructureVolume]) -> str:
    subject = subject[:1].upper() + subject[1:]
    if not _total(rows):
        return f"{subject} was not found."
    return f"{subject} {_measures(rows)}{_reliance(rows)}."


def _measures(rows: Sequence[StructureVolume]) -> str:
    return f"measures {_amount(rows)}"


def _amount(rows: Sequence[StructureVolume]) -> str:
    """ "3.4 mL", with the volumes of its parts."""
    total = millilitres(_total(rows))
    if len(rows) < 2:
        return total + _interval(rows[0])
    parts = ", ".join(_part_amount(row) for row in rows)
    return f"{total} ({parts})"


def _interval(row: StructureVolume) -> str:
    """ " (3.1 to 3.8 mL)", where one is stated: it holds the true volume in most scans."""
    if row.interval_ml is None or not row.volume_ml > 0:
        return ""
    low, high = row.interval_ml
    digits = _decimals(high)
    return f" ({low:.{digits}f} to {high:.{digits}f} mL)"


def _part_amount(row: StructureVolume) -> str:
    name = _part(row.structure) or _in_text(row.structure.name)
    return f"{name} {millilitres(row.volume_ml)}" if row.volume_ml > 0 else f"{name} not found"


def _total(rows: Sequence[StructureVolume]) -> float:
    return sum(row.volume_ml for row in rows)


def _asymmetry(left: Sequence[StructureVolume], right: Sequence[StructureVolume]) -> str:
    """The same index as the table's, of all parts together."""
    left_ml, right_ml = _total(left), _total(right)
    index = 100 * (left_ml - right_ml) / ((left_ml + right_ml) / 2)
    return f"asymmetry {percent(index)}"


def _reliance(rows: Sequence[StructureVolume]) -> str:
    """What a red light says of a volume, where the volume stands."""
    red = any(row.quality is not None and row.quality.light == RED for row in rows)
    return " (not to be relied on)" if red else ""


def _intracranial_sentence(found: Volumetry) -> str:
    whole = found.intracranial
    if whole is None:
        return ""
    if whole.ml is None:
        why = f": {whole.why_not}" if whole.why_not else ""
        return as_sentence(f"The intracranial volume is not available{why}")
    return f"The intracranial volume is {millilitres(whole.ml)}."


def _doubts(rows: Iterable[StructureVolume]) -> Iterable[str]:
    """Why an outline is to be looked at: its light's reasons, or the Dice that is expected."""
    for row in rows:
        name = _in_text(row.structure.name)
        if row.is_doubtful and row.quality is not None:
            yield as_sentence(f"The {name} is {row.quality.in_words}")
        elif row.is_doubtful:
            yield (
                f"Look at the outline of the {name} first: the model expects a Dice of"
                f" {row.expected_dice:.2f}."
            )


def _interval_sentence(found: Volumetry) -> str:
    """What the ranges behind the volumes are; "" where there are none."""
    if found.quality is None or not any(row.interval_ml for row in found.rows):
        return ""
    share = f"{100 * found.quality.level:.0f} %"
    return f"The ranges in brackets hold the true volume in {share} of scans like the training's."


def _quality_sentence(quality: ScanQuality | None) -> str:
    return (
        "" if quality is None else as_sentence(f"The result's quality is {quality.scan.in_words}")
    )


# ---- the heart ----


def _ventricle_sentence(side: str, short: str, chamber: Ventricle, rows: dict[str, Figure]) -> str:
    if not chamber.was_found:
        return f"The {side} ventricle was not found at end-diastole and end-systole: no figures."
    ejection = chamber.ejection_percent
    fraction = "not available" if ejection is None else f"{ejection:.0f} %"
    fraction += _range(rows[f"{short} ejection fraction"])
    return (
        f"The {side} ventricle holds {_figure(rows[f'{short} end-diastolic volume'])} at"
        f" end-diastole and {_figure(rows[f'{short} end-systolic volume'])} at end-systole: its"
        f" ejection fraction is {fraction}, and its stroke volume"
        f" {_figure(rows[f'{short} stroke volume'])}."
    )


def _mass_sentence(row: Figure) -> str:
    if row.value is None:
        return "The mass of the left ventricle's wall is not available."
    return f"The wall of the left ventricle weighs {_figure(row)}."


def _output_sentence(row: Figure | None, rate_bpm: float | None) -> str:
    if row is None or row.value is None or rate_bpm is None:
        return ""
    return f"At {rate_bpm:.0f} beats a minute the cardiac output is {_figure(row)}."


def _figure(row: Figure) -> str:
    """ "142 mL (133 to 152; 71 mL/m²)"; with one decimal below 10."""
    if row.value is None or math.isnan(row.value):
        return "an unknown volume"
    text = f"{_rounded(row.value)} {row.unit}"
    index = "" if row.indexed is None else f"{_rounded(row.indexed)} {row.indexed_unit}"
    return text + _range(row, index)


def _range(row: Figure, more: str = "") -> str:
    """ " (49.5 to 64.5)", where an interval is known. more: within the same brackets."""
    digits = 1 if row.unit == "%" else 0 if _rounded(row.value or 0.0).isdigit() else 1
    ends = "" if row.interval is None else " to ".join(f"{end:.{digits}f}" for end in row.interval)
    inside = "; ".join(filter(None, (ends, more)))
    return f" ({inside})" if inside else ""


def _rounded(value: float) -> str:
    return f"{value:.1f}" if abs(round(value, 1)) < 10 else f"{value:.0f}"
